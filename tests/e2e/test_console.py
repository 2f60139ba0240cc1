"""The console in a real Chromium against a real server.

RAGD_BIN names the binary (build/ragd). RAGD_CONSOLE_URL runs most tests against a server that is already there, loaded
with the sample; they add documents to its default collection.
AXE_JS names a copy of axe.min.js; without it npm is asked for the pinned version.
"""
import base64
import gzip
import hashlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

import console_harness as harness
import llmsim
import openapi_check

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("RAGD_BIN", ROOT / "build" / "ragd")).resolve()
AXE = ("axe-core", "4.10.2")
AXE_SHA512 = "RE3mdQ7P3FRSe7eqCWoeQ/Z9QXrtniSjp1wUjt5nRC3WIpz5rSCve6o3fsZ2aCpJtrZjSZgjwXAoTO5k4tEI0w=="
KEY = "console-test-key-0123456789abcdef"

PAGES = ["ask", "documents", "try", "evaluate", "health"]
FILES = sorted(p.name for p in (ROOT / "console").iterdir())
MOST_BYTES = 150 * 1024

FEE = "白金卡的年费是多少？"
FEE_EN = "What is the annual fee of the Platinum Card?"
UNKNOWN = "明天火星上的天气怎么样？"
HOSTILE = {
    "id": "console-hostile",
    "title": "<img src=x onerror=\"window.pwned='title'\">",
    "text": "😀😀😀 表情在前面，用来检验偏移。\n\n"
            "泽洛凡项目的手续费是 42 元 <script>window.pwned='text'</script>"
            "<img src=x onerror=\"window.pwned='img'\">，每月收取一次。\n\n"
            "后面还有一段与此无关的文字 [javascript:window.pwned=1](javascript:window.pwned=1)。\n",
}
HOSTILE_ASK = "泽洛凡项目的手续费是多少？"
LONG = {
    "id": "console-long",
    "title": "长文档",
    "text": "".join("第%d段：这里记录仓库的温度与湿度，没有别的内容。\n\n" % i for i in range(1500))
            + "云杉灯塔的守夜口令是蓝色长颈鹿。\n\n"
            + "".join("附录%d：这里记录仓库的温度与湿度，没有别的内容。\n\n" % i for i in range(1500)),
}
LONG_ASK = "云杉灯塔的守夜口令是什么？"


# ---- the server ------------------------------------------------------------------------------------------
def call(url, method="GET", body=None, key=None):
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = "Bearer " + key
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method), timeout=30) as r:
        return json.load(r)


class Server:
    def __init__(self, folder, *options, env=None):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.url = "http://127.0.0.1:%d" % port
        self.log_path = folder / "serve.log"
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(
            [str(BIN), "serve", "--data", str(folder / "data"), "--listen", "127.0.0.1:%d" % port, *options],
            stdout=self.log, stderr=self.log, env={**os.environ, **(env or {})})
        openapi_check.watch(port, self.process)
        end = time.monotonic() + 30
        while True:
            try:
                urllib.request.urlopen(self.url + "/health/ready", timeout=5).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    self.stop()
                    raise AssertionError("the server did not start:\n"
                                         + self.log_path.read_text(errors="replace")[-3000:]) from None
                time.sleep(0.05)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def need_browser():
    why = harness.missing()
    if why:
        pytest.skip(why)


def fill(folder):
    done = subprocess.run([str(BIN), "ingest", "--data", str(folder / "data"), str(ROOT / "sample" / "docs")],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    need_browser()
    given = os.environ.get("RAGD_CONSOLE_URL")
    server = None
    if not given:
        if not BIN.exists():
            pytest.skip("%s is not built" % BIN)
        folder = tmp_path_factory.mktemp("console")
        fill(folder)
        server = Server(folder)
        given = server.url
    given = given.rstrip("/")
    try:
        for doc in (HOSTILE, LONG):
            call(given + "/v1/collections/default/documents", "POST", doc)
        end = time.monotonic() + 120
        while call(given + "/v1/collections/default")["vectors"] not in (None, call(given + "/v1/collections/default")["chunks"]):
            assert time.monotonic() < end, "the vectors do not come"
            time.sleep(0.3)
        yield given
    finally:
        if server:
            server.stop()


@pytest.fixture(scope="module")
def chinese():
    need_browser()
    browser = harness.Browser("zh-CN")
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def english():
    need_browser()
    browser = harness.Browser("en-US")
    yield browser
    browser.close()


def fresh(browser, url):
    browser.size(*harness.LAPTOP)
    browser.media("light")
    browser.open(url + "/console/style.css")  # the origin without its page, which would keep what is cleared
    browser.js("localStorage.clear(); sessionStorage.clear()")
    browser.open(url)
    browser.wait("document.getElementById('q') && document.querySelector('.examples, #empty')", what="the first page")
    browser.console()
    return browser


@pytest.fixture
def page(chinese, url):
    """The console as a Chinese reader opens it. Nothing may be left on the browser's console at the end."""
    yield fresh(chinese, url)
    assert chinese.console() == []


def cited_text(url, question, n=1):
    answer = call(url + "/v1/query", "POST", {"query": question})
    c = next(c for c in answer["citations"] if c["n"] == n)
    doc = call("%s/v1/collections/default/documents/%s?version=%s" % (
        url, urllib.parse.quote(c["document_id"], safe=""), c["version"]))
    return doc["text"][c["start"]:c["end"]]


HIT_IN_VIEW = ("(() => { const m = document.getElementById('hit').getBoundingClientRect(),"
               " d = document.getElementById('doc').getBoundingClientRect();"
               " return m.height > 0 && m.top >= d.top - 1 && m.top < d.bottom && d.bottom <= innerHeight + 1; })()")


# ---- the files -------------------------------------------------------------------------------------------
def get(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as r:
            return r.status, r.headers, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.headers, e.read()


def test_files_are_served_with_their_types_and_kept_by_the_browser(url):
    types = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
    tags, size = set(), 0
    for name in ["", *("console/" + f for f in FILES)]:
        status, head, body = get(url + "/" + name)
        assert status == 200, name
        file = ROOT / "console" / (name[8:] or "index.html")
        assert body == file.read_bytes()
        assert head["Content-Type"] == types[file.suffix[1:]] + "; charset=utf-8"
        assert head["Cache-Control"] == "no-cache" and head["X-Content-Type-Options"] == "nosniff"
        tag = head["ETag"]
        assert re.fullmatch('"[0-9a-f]{32}"', tag)
        for given in (tag, "W/" + tag, '"other", ' + tag, "*"):
            status, head, nothing = get(url + "/" + name, **{"If-None-Match": given})
            assert (status, nothing, head["ETag"]) == (304, b"", tag)
        assert get(url + "/" + name, **{"If-None-Match": '"other"'})[0] == 200
        tags.add(tag)
        if not name:
            continue
        status, head, packed = get(url + "/" + name, **{"Accept-Encoding": "br;q=1.0, gzip;q=0.8"})
        assert status == 200 and head["Content-Encoding"] == "gzip" and head["Vary"] == "Accept-Encoding"
        assert gzip.decompress(packed) == body and head["ETag"] != tag
        assert get(url + "/" + name, **{"Accept-Encoding": "gzip", "If-None-Match": head["ETag"]})[0] == 304
        assert get(url + "/" + name, **{"Accept-Encoding": "gzip;q=0, br"})[2] == body
        size += len(packed)
    assert len(tags) == len(FILES)
    print("console: %d files, %d bytes over the wire" % (len(FILES), size))
    assert size < MOST_BYTES
    status, head, body = get(url + "/console/frame.ts")
    assert status == 404 and json.loads(body)["error"]["code"] == "not_found" and "ETag" not in head


def test_policy_is_strict_and_nothing_takes_markup(url):
    policy = get(url + "/")[1]["Content-Security-Policy"]
    parts = dict(p.strip().split(" ", 1) for p in policy.split(";"))
    assert parts["default-src"] == parts["frame-ancestors"] == parts["base-uri"] == "'none'"
    assert parts["script-src"] == parts["style-src"] == parts["connect-src"] == "'self'"
    assert "unsafe" not in policy
    for name in FILES:
        text = (ROOT / "console" / name).read_text()
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "src=\"http", "href=\"http"):
            assert word not in text, name


def test_first_paint(url, chinese):
    chinese.open(url)
    chinese.wait("document.getElementById('q')")
    ms = chinese.wait("(performance.getEntriesByName('first-contentful-paint')[0] || {}).startTime", what="the first paint")
    print("console: first contentful paint after %.0f ms" % ms)
    assert ms < 1500


@pytest.mark.parametrize("lang", ["zh-CN", "en-US"])
def test_every_page_opens(chinese, english, url, lang):
    browser = fresh(chinese if lang == "zh-CN" else english, url)
    titles = []
    for name in PAGES:
        browser.go("#/" + name, ".page-%s h1" % name)
        assert browser.js("return document.querySelector('nav.pages [aria-current=page]').hash") == "#/" + name
        titles.append(browser.js("return document.title"))
        assert browser.count(".note.error") == 0
        no_sideways(browser, harness.LAPTOP[0], name)
    assert len(set(titles)) == len(PAGES)
    browser.js("location.hash = '#/no-such-page'")
    browser.wait("document.getElementById('q')")
    assert browser.console() == []


# ---- asking and reading ----------------------------------------------------------------------------------
def test_question_is_answered_as_a_stream_with_citations(page):
    page.js("const f = window.fetch; window.seen = [];"
            "window.fetch = async (u, o) => { const r = await f(u, o);"
            " window.seen.push([String(u), o && o.body, r.headers.get('content-type')]); return r; }")
    page.ask(FEE)
    seen = [s for s in page.js("return window.seen") if s[0].endswith("/v1/query")]
    assert len(seen) == 1
    assert json.loads(seen[0][1])["stream"] is True
    assert seen[0][2].startswith("text/event-stream")
    assert "3600" in page.text("#text")
    assert page.count("#text button.cite") >= 1
    assert page.visible("#badges .badge.yes")
    assert page.count("#ctx li") >= 1
    assert re.search(r"BM25 [\d.]+", page.text("#ctx .scores"))
    assert page.text("#stages .sum .num").endswith("ms")


def test_stages_say_what_they_decided_even_unknown_ones(page):
    page.js("const f = window.fetch; window.fetch = async (u, o) => { const r = await f(u, o);"
            " if (!String(u).endsWith('/v1/query')) return r;"
            " const text = (await r.text()).replace('\"explain\":{', '\"explain\":{\"reranking\":{\"ms\":0.5,\"kept\":7},'"
            " + '\"sorcery\":{\"ms\":1.25,\"wands\":3,\"spells\":[{\"name\":\"lumos\",\"lit\":true}],\"deep\":{\"deeper\":[1,2]}},');"
            " return new Response(text, {headers: r.headers}); }")
    page.ask(FEE)
    for stage in ("analysis", "retrieval", "fusion", "reranking", "sorcery"):
        assert page.count("#stages details[data-stage=%s]" % stage) == 1
    assert "wands 3" in page.text("#stages details[data-stage=sorcery] .brief")
    page.click("#stages details[data-stage=sorcery] summary")
    shown = page.text("#stages details[data-stage=sorcery] dl")
    assert "lumos" in shown and "deeper" in shown and "1, 2" in shown
    page.click("#stages details[data-stage=analysis] summary")
    assert "年费" in page.text("#stages details[data-stage=analysis] .words")


def test_english_question(english, url):
    page = fresh(english, url)
    assert page.js("return document.documentElement.lang") == "en"
    page.ask(FEE_EN)
    assert page.count("#text button.cite") >= 1
    assert "answered" in page.text("#badges")
    assert page.console() == []


def test_example_question_can_be_clicked(page):
    question = page.text(".examples button")
    page.click(".examples button")
    page.settled(question)
    assert page.count("#text button.cite") >= 1


def test_citation_shows_the_passage_marked_in_its_document(page, url):
    page.ask(FEE)
    page.open_citation()
    assert page.text("#hit") == cited_text(url, FEE)
    assert page.js("return " + HIT_IN_VIEW)
    assert len(page.text("#doc pre")) > len(page.text("#hit"))
    assert page.text("#panel-title") and "版本 1" in page.text("#panel-foot")
    page.click("#panel-foot a")
    page.wait("document.querySelector('.doc-text #hit')", what="the document's page")
    assert page.text(".doc-text #hit") == cited_text(url, FEE)
    page.js("history.back()")
    page.wait("document.getElementById('panel') && document.getElementById('panel').open", what="the passage again")
    page.press("Escape")
    assert not page.visible("#panel")


def test_context_shows_its_passage(page):
    page.ask(FEE)
    page.click("#ctx .open")
    page.wait("document.getElementById('hit')")
    assert page.visible("#panel")
    assert len(page.text("#hit")) > 5
    page.click("#close")
    assert not page.visible("#panel")


def test_long_document_opens_around_the_passage(page, url):
    page.ask(LONG_ASK)
    page.open_citation()
    assert "蓝色长颈鹿" in page.text("#hit")
    assert page.text("#hit") == cited_text(url, LONG_ASK)
    assert page.js("return " + HIT_IN_VIEW)
    assert len(page.text("#doc pre")) < 40000
    page.click("#doc .cut button")
    assert page.text("#doc pre") == LONG["text"].rstrip()
    assert page.js("return " + HIT_IN_VIEW)


def test_unanswerable_question_says_so(page):
    page.ask(UNKNOWN)
    assert page.visible("#badges .badge.no")
    assert page.count("#text button.cite") == 0
    assert len(page.text("#text")) > 4


def test_document_text_is_never_markup(page, url):
    page.ask(HOSTILE_ASK)
    n = page.js("return [...document.querySelectorAll('#ctx .open')].findIndex(b => b.textContent === arguments[0])",
                HOSTILE["title"])
    assert n >= 0
    page.click("#ctx li:nth-child(%d) .open" % (n + 1))
    page.wait("document.getElementById('hit')")
    assert page.text("#panel-title") == HOSTILE["title"]
    assert page.text("#doc pre") == HOSTILE["text"].rstrip()
    page.press("Escape")
    if page.count("#text button.cite"):
        page.open_citation()
        assert page.text("#hit") == cited_text(url, HOSTILE_ASK)
    assert page.count("main img, main script, dialog img, dialog script") == 0
    page.go("#/documents/" + HOSTILE["id"], ".doc-text pre")
    assert page.text("h1") == HOSTILE["title"] and page.text(".doc-text pre") == HOSTILE["text"].rstrip()
    assert page.count("main img, main script") == 0
    assert page.js("return window.pwned === undefined")


def test_passage_falls_back_to_the_retrieved_text(page):
    page.ask(FEE)
    page.cdp("Network.enable")
    page.cdp("Network.setBlockedURLs", urls=["*/documents/*"])
    try:
        page.open_citation()
        assert page.visible("#doc .cut")
        assert len(page.text("#hit")) > 3
    finally:
        page.cdp("Network.setBlockedURLs", urls=[])
        page.console()


def test_history_of_the_session(page):
    page.ask(FEE)
    page.ask(UNKNOWN)
    assert page.count("#history li") == 2
    page.click("#history li:nth-child(2) .past")
    assert page.text("#asked") == FEE
    assert page.count("#text button.cite") >= 1
    page.js("location.reload()")
    page.wait("document.querySelectorAll('#history li').length === 2")
    page.click("#history li:nth-child(2) button:last-child")
    page.wait("document.querySelector('#history li .q').textContent === %s" % json.dumps(FEE), what="the answer once more")
    page.click("#clear")
    assert page.count("#history li") == 0


def test_answer_can_be_copied_with_its_sources_and_as_a_command(page, url):
    page.js("window.copied = []; Object.defineProperty(navigator, 'clipboard', {value: {writeText: async s => { window.copied.push(s); }}})")
    page.ask(FEE)
    page.click("#copy")
    page.click("#curl")
    answer, command = page.js("return window.copied")
    assert answer.startswith(call(url + "/v1/query", "POST", {"query": FEE})["answer"])
    assert re.search(r"\n\[1\] .+ \(.+, v1\)", answer)
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=30)
    assert json.loads(done.stdout)["found"] is True


# ---- documents -------------------------------------------------------------------------------------------
def results(page, n):
    page.wait("document.querySelectorAll('.uploads li').length === %d && [...document.querySelectorAll('.uploads li')].every("
              "e => ['added', 'updated', 'unchanged', 'failed'].includes(e.dataset.state))" % n, what="%d uploads" % n)
    return page.js("return [...document.querySelectorAll('.uploads li')].map(e => e.dataset.state)")


def new_collection(page, url, name):
    page.go("#/documents", "#documents .table, #documents .empty")
    page.click("#new")
    page.wait("document.getElementById('new-name')")
    page.type("#new-name", name)
    page.press("Enter")
    page.wait("!document.querySelector('dialog.modal') && document.querySelector('#collection-head h2').textContent === %s"
              " && document.querySelector('#documents .empty')" % json.dumps(name), what="the new collection")
    assert call(url + "/v1/collections/" + name)["documents"] == 0


def test_collection_is_made_filled_searched_and_deleted(page, url, tmp_path):
    new_collection(page, url, "console-life")
    paths = []
    for i in range(5):
        paths.append(tmp_path / ("note-%d.md" % i))
        paths[-1].write_text("# 笔记 %d\n\n灯塔编号 %d 的颜色是青色。\n" % (i, i))
    (tmp_path / "picture.bin").write_bytes(bytes(range(256)))
    page.type("#file", "\n".join(str(p) for p in [*paths, tmp_path / "picture.bin"]))
    assert results(page, 6) == ["added"] * 5 + ["failed"]
    assert "415" in page.text(".uploads li:last-child .why")
    page.click(".uploads li:last-child .retry")
    assert results(page, 6)[-1] == "failed"
    paths[0].write_text("# 笔记 0\n\n灯塔编号 0 的颜色是红色。\n")
    page.click("#clear-done")
    page.type("#file", "\n".join(str(p) for p in paths[:2]))
    assert results(page, 2) == ["updated", "unchanged"]
    page.wait("document.querySelectorAll('#documents tbody tr').length === 5")
    page.wait("document.getElementById('embedding').dataset.missing === '0'", seconds=60, what="the vectors")
    page.type("#filter", "note-3")
    assert page.count("#documents tbody tr") == 1
    page.click("#documents tbody button.link")
    page.wait("document.querySelector('.doc-text pre')")
    assert "灯塔编号 3" in page.text(".doc-text pre")
    page.click("#show-chunks")
    assert page.count(".chunk-n") == 1
    page.go("#/documents/note-0.md?collection=console-life", ".doc-text pre")
    assert "红色" in page.text(".doc-text pre") and page.count("#versions li") == 2
    page.click("#versions li:nth-child(2) a")
    page.wait("document.querySelector('.doc-text pre') && document.querySelector('.doc-text pre').textContent.includes('青色')")
    page.go("#/documents", "#documents tbody tr")
    assert page.count("#documents tbody tr") == 1, "the filter is still there"
    page.js("const f = document.getElementById('filter'); f.value = ''; f.dispatchEvent(new Event('input'))")
    for n in (1, 2):
        page.click("#documents tbody tr:nth-child(%d) input" % n)
    page.click("#remove")
    page.wait("document.querySelector('dialog.modal .danger')")
    page.click("dialog.modal .danger")
    page.wait("document.querySelectorAll('#documents tbody tr').length === 3")
    assert call(url + "/v1/collections/console-life")["documents"] == 3
    page.click("#drop-collection")
    page.wait("document.getElementById('confirm')")
    page.type("#confirm", "console-lif")
    assert page.js("return document.querySelector('dialog.modal .danger').disabled")
    page.type("#confirm", "e")
    page.click("dialog.modal .danger")
    page.wait("!document.querySelector('dialog.modal') && document.querySelector('#collection-head h2').textContent === 'default'")
    assert "console-life" not in [c["name"] for c in call(url + "/v1/collections")["collections"]]
    noise = page.console()
    assert noise and all("415" in m for m in noise), noise


def test_settings_and_pasted_text(page, url):
    new_collection(page, url, "console-paste")
    try:
        page.click("#settings")
        page.wait("document.getElementById('prompt')")
        page.type("#prompt", "回答要简短。")
        page.click("dialog.modal .primary")
        page.wait("!document.querySelector('dialog.modal')")
        assert call(url + "/v1/collections/console-paste")["settings"] == {"system_prompt": "回答要简短。"}
        page.click("#paste")
        page.wait("document.getElementById('paste-text')")
        page.type("#paste-title", "口令")
        page.type("#paste-text", "紫杉仓库的口令是四十二。")
        page.click("dialog.modal .primary")
        assert results(page, 1) == ["added"]
        page.wait("document.querySelector('#documents tbody button.link')")
        assert page.text("#documents tbody button.link") == "口令"
        page.go("#/ask", "#q")
        page.ask("紫杉仓库的口令是什么？")
        assert "四十二" in page.text("#text")
    finally:
        urllib.request.urlopen(urllib.request.Request(url + "/v1/collections/console-paste", method="DELETE"), timeout=30).close()


def test_long_lists_are_paged(page, url):
    call(url + "/v1/collections/console-many", "PUT", {})
    try:
        for start in range(0, 450, 150):
            call(url + "/v1/collections/console-many/documents", "POST",
                 {"documents": [{"id": "d%04d" % i, "title": "文件 %d" % i, "text": "第 %d 份文件" % i} for i in range(start, start + 150)]})
        page.js("location.reload()")
        page.wait("[...document.querySelectorAll('#collection option')].some(o => o.value === 'console-many')")
        page.go("#/documents", "#documents tbody tr")
        page.js("const c = document.getElementById('collection'); c.value = 'console-many'; c.dispatchEvent(new Event('change'))")
        page.wait("document.querySelectorAll('#documents tbody tr').length === 200")
        page.click("#more")
        page.wait("document.querySelectorAll('#documents tbody tr').length === 400")
        page.click("#all")
        page.wait("document.querySelectorAll('#documents tbody tr').length === 450 && !document.getElementById('more')")
        page.type("#filter", "文件 449")
        assert page.count("#documents tbody tr") == 1
    finally:
        urllib.request.urlopen(urllib.request.Request(url + "/v1/collections/console-many", method="DELETE"), timeout=30).close()
        page.js("localStorage.clear()")


# ---- when things go wrong --------------------------------------------------------------------------------
NO_SUCH = ("const c = document.getElementById('collection'); c.append(new Option('no-such-collection')); c.value = 'no-such-collection';"
           "c.dispatchEvent(new Event('change'))")


def test_error_is_readable_and_names_the_request(page):
    page.js(NO_SUCH)
    page.type("#q", FEE)
    page.press("Enter")
    page.wait("document.querySelector('#alert .note.error')")
    assert "404" in page.text("#alert strong")
    assert page.text("#alert .quiet code")
    assert not page.visible("#answer")
    noise = page.console()
    assert all("404" in m for m in noise), noise


def test_server_out_of_reach(page):
    page.cdp("Network.enable")
    page.cdp("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    try:
        page.type("#q", FEE)
        page.press("Enter")
        page.wait("document.querySelector('#alert .note.error')")
    finally:
        page.cdp("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        page.console()
    page.click("#alert button")
    page.settled(FEE)
    assert page.count("#alert .note") == 0


def test_key_is_asked_for_and_an_empty_collection_offers_the_upload(chinese, tmp_path):
    if os.environ.get("RAGD_CONSOLE_URL"):
        pytest.skip("needs a server of its own")
    if not BIN.exists():
        pytest.skip("%s is not built" % BIN)
    config = tmp_path / "ragd.yaml"
    config.write_text("auth:\n  keys:\n    - {name: page, key_env: RAGD_CONSOLE_TEST_KEY, scopes: [admin]}\n")
    server = Server(tmp_path, "--config", str(config), env={"RAGD_CONSOLE_TEST_KEY": KEY})
    try:
        page = chinese
        page.size(*harness.LAPTOP)
        page.open(server.url)
        page.wait("document.querySelector('dialog.modal #key-input')", what="the question for a key")
        assert page.count("dialog.modal") == 1
        first = page.text("#key-hint")
        page.type("#key-input", "not-the-key")
        page.press("Enter")
        page.wait("document.getElementById('key-hint') && document.getElementById('key-hint').textContent !== %s"
                  % json.dumps(first), what="the second question for a key")
        page.type("#key-input", KEY)
        page.press("Enter")
        page.wait("!document.querySelector('dialog.modal') && document.getElementById('empty')", what="the empty collection")
        assert page.js("return sessionStorage.getItem('ragd.key')") == KEY
        assert KEY not in page.js("return JSON.stringify(localStorage) + location.href + document.cookie")
        page.ask(FEE)
        assert page.visible("#badges .badge.no")
        page.go("#/documents", "#documents .empty")
        note = tmp_path / "note.txt"
        note.write_text("仓库的口令是四十二。")
        page.type("#file", str(note))
        assert results(page, 1) == ["added"]
        noise = page.console()
        assert all("401" in m for m in noise), noise
        page.js("sessionStorage.clear()")
    finally:
        server.stop()


# ---- with language models --------------------------------------------------------------------------------
FLOWING = "cite=1,tokens=40,ttft_ms=50,tps=20"
MODELS = """embedding: {provider: none}
llm:
  base_url: %s
  timeouts: {inter_token_ms: 1500}
  models:
    - {name: small, model: small, class: small, price: {input: 0.2, output: 0.4}}
retry: {budget: 0}
breaker: {failures: 2}
"""
# What was drawn, whenever something changed: contexts, whether the text is still a hint, the text, whether it goes on.
WATCH = """window.drawn = [];
new MutationObserver(() => {
  const t = document.getElementById('text');
  if (!t) return;
  window.drawn.push([document.querySelectorAll('#ctx li').length, !!t.querySelector('.quiet'), t.textContent,
                     t.getAttribute('aria-busy') === 'true']);
}).observe(document.getElementById('main'), {childList: true, subtree: true, characterData: true});"""


@pytest.fixture
def models(tmp_path):
    """A server with one model, and the model."""
    need_browser()
    for program in (BIN, llmsim.BIN):
        if not program.exists():
            pytest.skip("%s is not built" % program)
    fill(tmp_path)
    with llmsim.Sim({"small": FLOWING}) as sim:
        config = tmp_path / "ragd.yaml"
        config.write_text(MODELS % sim.url)
        server = Server(tmp_path, "--config", str(config))
        server.sim = sim
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def talk(chinese, models):
    """The console of that server."""
    page = fresh(chinese, models.url)
    page.js(WATCH)
    yield page
    assert page.console() == []


def thumbs(server, which):
    with urllib.request.urlopen(server.url + "/metrics", timeout=30) as r:
        m = re.search(r'^ragd_feedback_total\{type="thumbs_%s"\} (\d+)$' % which, r.read().decode(), re.M)
    return int(m.group(1)) if m else 0


def test_a_whole_session(talk, models, tmp_path):
    """A file is uploaded, searchable, asked about; the answer streams, its citation opens the passage, a thumb is stored."""
    note = tmp_path / "lighthouse.md"
    note.write_text("# 云杉灯塔\n\n" + "这里记录天气，没有别的内容。\n\n" * 80 + "## 口令\n\n云杉灯塔的守夜口令是蓝色长颈鹿。\n")
    talk.go("#/documents", "#documents tbody tr")
    talk.js("window.states = []; new MutationObserver(() => window.states.push(...[...document.querySelectorAll('.uploads li')].map(e => e.dataset.state)))"
            ".observe(document.getElementById('uploads'), {childList: true, subtree: true})")
    talk.type("#file", str(note))
    assert results(talk, 1) == ["added"]
    assert {"sending", "reading"} & set(talk.js("return window.states"))
    talk.wait("document.getElementById('embedding').dataset.missing === '0'")
    talk.go("#/ask", "#q")
    talk.ask("云杉灯塔的守夜口令是什么？")
    drawn = talk.js("return window.drawn")
    assert any(ctx and hint and busy for ctx, hint, _, busy in drawn), "the passages come before the first token"
    texts = [text for _, hint, text, busy in drawn if busy and not hint]
    assert len({len(t) for t in texts}) >= 3
    talk.wait("[...document.querySelectorAll('#ctx .open')].some(b => b.textContent === '云杉灯塔')")
    talk.open_citation()
    assert talk.js("return " + HIT_IN_VIEW)
    talk.press("Escape")
    talk.click("#up")
    talk.type("#why", "正是要找的")
    talk.press("Enter")
    talk.wait("document.getElementById('judged').textContent.includes('已保存')", what="the confirmation")
    assert (thumbs(models, "up"), thumbs(models, "down")) == (1, 0)
    badges = talk.text("#badges")
    assert "small" in badges and re.search(r"¥0\.0*[1-9]\d*", badges)


def test_an_answer_can_be_stopped(talk, models):
    models.sim.set("small", "tokens=200,ttft_ms=50,tps=10")
    talk.type("#q", FEE)
    talk.press("Enter")
    talk.wait("document.getElementById('stop').checkVisibility() && document.querySelector('#text:not(:has(.quiet))')")
    talk.click("#stop")
    talk.wait("document.getElementById('text').getAttribute('aria-busy') === 'false'")
    assert "已停止" in talk.text("#text") and talk.visible("#go")
    models.sim.set("small", FLOWING)


def test_language_can_change_while_the_answer_streams(talk, models):
    models.sim.set("small", "cite=1,tokens=60,ttft_ms=50,tps=25")
    talk.type("#q", FEE)
    talk.press("Enter")
    talk.wait("document.querySelector('#text:not(:has(.quiet))')")
    talk.click("#language")
    talk.settled(FEE)
    assert "answered" in talk.text("#badges") and talk.count("#text button.cite") >= 1
    talk.click("#language")
    assert "已回答" in talk.text("#badges")


def test_a_broken_answer_is_replaced_and_says_why(talk, models):
    models.sim.set("small", "cite=1,fail=stall,at=12,tps=200")
    talk.ask(FEE)
    partial = [text for _, hint, text, busy in talk.js("return window.drawn") if busy and not hint]
    assert partial
    assert talk.js("return document.getElementById('degraded').dataset.reason") == "cut"
    notice = talk.text("#degraded")
    assert "中途断开" in notice and "替换" in notice
    assert partial[0] not in talk.text("#text") and "3600" in talk.text("#text")
    assert talk.count("#text button.cite") >= 1
    talk.click("#language")
    assert "broke off" in talk.text("#degraded") and "replaced" in talk.text("#degraded")
    talk.click("#language")


def test_models_that_fail_are_named(talk, models):
    models.sim.set("small", "fail=http_500")
    talk.ask(FEE)
    assert talk.js("return document.getElementById('degraded').dataset.reason") == "upstream_error"
    assert "替换" not in talk.text("#degraded") and "3600" in talk.text("#text")
    talk.ask(FEE_EN)
    talk.ask(UNKNOWN)
    talk.ask(FEE)
    assert talk.js("return document.getElementById('degraded').dataset.reason") == "breaker"


def test_feedback_is_sent_once_and_confirmed(talk, models):
    assert not talk.count("#up")
    talk.ask(FEE)
    talk.click("#up")
    talk.click("#send")
    talk.wait("document.getElementById('judged').textContent.includes('已保存')", what="the confirmation")
    assert talk.js("return document.getElementById('up').getAttribute('aria-pressed')") == "true"
    assert talk.js("return document.getElementById('up').disabled && document.getElementById('down').disabled")
    assert (thumbs(models, "up"), thumbs(models, "down")) == (1, 0)
    talk.ask(FEE_EN)
    assert talk.js("return document.getElementById('up').getAttribute('aria-pressed')") == "false"
    talk.cdp("Network.enable")
    talk.cdp("Network.setBlockedURLs", urls=["*/v1/feedback"])
    try:
        talk.click("#down")
        talk.click("#send")
        talk.wait("document.querySelector('#judged.bad')", what="that it was not stored")
    finally:
        talk.cdp("Network.setBlockedURLs", urls=[])
        talk.console()
    talk.click("#down")
    talk.ask(UNKNOWN)  # a thumb that was pressed counts though its comment was never sent
    end = time.monotonic() + 10
    while thumbs(models, "down") != 1 and time.monotonic() < end:
        time.sleep(0.05)
    assert (thumbs(models, "up"), thumbs(models, "down")) == (1, 1)
    talk.click("#history li:nth-child(3) .past")
    assert talk.js("return document.getElementById('up').getAttribute('aria-pressed')") == "true"


# ---- by keyboard, on a phone, in the dark, for everyone --------------------------------------------------
def test_keyboard_alone(page):
    page.js("location.hash = '#/documents'; location.reload()")
    page.wait("document.querySelector('#documents tbody tr')")
    page.press("Tab")
    assert page.js("return document.activeElement.matches('.skip') && document.activeElement.getBoundingClientRect().top >= 0")
    page.press("Enter")
    assert page.js("return document.activeElement.id") == "main"
    page.press("g", "h")
    page.wait("document.querySelector('.page-health')")
    page.press("?")
    page.wait("document.querySelector('dialog.modal .keys')")
    page.press("g", "a")
    assert page.visible("dialog.modal")
    page.press("Escape")
    assert not page.visible("dialog.modal")
    page.press("/")
    page.wait("document.activeElement.id === 'q'", what="the question")
    page.press(*"/", *"年费")
    assert page.js("return document.getElementById('q').value") == "/年费"
    page.js("document.getElementById('q').value = ''")
    page.type("#q", FEE)
    page.press("Enter")
    page.settled(FEE)
    for _ in range(12):
        page.press("Tab")
        if page.js("return document.activeElement.matches('button.cite')"):
            break
    assert page.js("return document.activeElement.matches('button.cite')")
    assert page.js("const s = getComputedStyle(document.activeElement);"
                   "return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2")
    page.press("Enter")
    page.wait("document.getElementById('hit')")
    assert page.js("return document.getElementById('panel').contains(document.activeElement)")
    page.press("Escape")
    assert not page.visible("#panel")
    assert page.js("return document.activeElement.matches('button.cite')")


def test_unfinished_input_of_an_input_method_is_not_sent(page):
    page.js("const q = document.getElementById('q'); q.value = 'nianfei'; q.dispatchEvent("
            "new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true, cancelable: true}))")
    assert not page.visible("#answer")


def test_shift_enter_breaks_the_line(page):
    page.js("const q = document.getElementById('q'); q.focus(); q.dispatchEvent("
            "new KeyboardEvent('keydown', {key: 'Enter', shiftKey: true, bubbles: true, cancelable: true}))")
    assert not page.visible("#answer")


def no_sideways(page, width, where):
    """A phone zooms out when a page is too wide, so its own idea of its width says so too."""
    wide = page.js("return [document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]")
    assert max(wide) <= width, "%s: %s in %d" % (where, wide, width)


@pytest.mark.parametrize("width", [390, 320])
def test_phone(page, width):
    page.size(width, 740)
    no_sideways(page, width, "start")
    page.ask(FEE)
    no_sideways(page, width, "answer")
    bar = page.js("const r = document.querySelector('nav.pages').getBoundingClientRect(); return [r.left, r.right, Math.round(r.bottom)]")
    assert bar == [0, width, 740], "the pages are at the bottom"
    page.open_citation()
    no_sideways(page, width, "passage")
    box = page.js("const r = document.getElementById('panel').getBoundingClientRect(); return [r.left, r.right, r.bottom]")
    assert box == [0, width, 740]
    assert page.js("return document.getElementById('panel').matches(':modal')")
    assert page.js("return " + HIT_IN_VIEW)
    page.press("Escape")
    assert not page.visible("#panel")
    for name in PAGES[1:]:
        page.go("#/" + name, ".page-%s h1" % name)
        no_sideways(page, width, name)
    page.go("#/documents/" + LONG["id"], ".doc-text pre")
    no_sideways(page, width, "document")


def test_wide_screen(page):
    page.size(1920, 1080)
    page.ask(FEE)
    no_sideways(page, 1920, "answer")
    assert page.js("return document.getElementById('main').getBoundingClientRect().width") <= 1440


def luminance(page, css, prop):
    rgb = page.js("const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});"
                  "c.fillStyle = getComputedStyle(document.querySelector(arguments[0]))[arguments[1]];"
                  "c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data]", css, prop)
    return (0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]) / 255


def test_light_and_dark_follow_the_system_or_the_reader(page):
    def dark():
        return luminance(page, "body", "backgroundColor") < 0.1 and luminance(page, "body", "color") > 0.8
    assert not dark()
    page.media("dark")
    assert dark()
    page.ask(FEE)
    assert luminance(page, "#answer", "backgroundColor") < 0.15
    page.click("#theme")
    assert not dark() and page.js("return localStorage.getItem('ragd.theme')") == "light"
    page.click("#theme")
    page.media("light")
    assert dark()
    page.js("location.reload()")
    page.wait("document.getElementById('q')")
    assert dark()
    page.click("#theme")
    assert not dark()


def test_language_can_be_switched(page):
    assert page.js("return document.documentElement.lang") == "zh-CN"
    assert "提问" in page.text("#go")
    page.click("#language")
    assert page.js("return document.documentElement.lang") == "en"
    assert "Ask" in page.text("#go") and page.js("return document.activeElement.id") == "language"
    page.js("location.reload()")
    page.wait("document.documentElement.lang === 'en' && document.getElementById('q')")


@pytest.fixture(scope="module")
def axe(pytestconfig):
    given = os.environ.get("AXE_JS")
    if given:
        return pathlib.Path(given).read_text()
    folder = pytestconfig.cache.mkdir("axe")
    packed = folder / ("%s-%s.tgz" % AXE)
    if not packed.exists():
        try:
            subprocess.run(["npm", "pack", "--silent", "%s@%s" % AXE], cwd=folder, timeout=60, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError):
            pytest.skip("axe-core cannot be fetched from npm here; AXE_JS may name a copy")
    digest = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
    assert digest == AXE_SHA512, "axe-core is not the pinned file"
    with tarfile.open(packed) as t:
        return t.extractfile("package/axe.min.js").read().decode()


def violations(page, axe, where):
    page.js("scrollTo(0, 0);" + axe + "\n;return true")
    found = page.js_async("const done = arguments[0]; axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a',"
                          " 'wcag21aa', 'wcag22aa', 'best-practice']}).then(r => done(r.violations.map(v =>"
                          " v.id + ': ' + v.nodes.map(n => n.target.join(' ')).slice(0, 4).join(' | '))),"
                          " e => done(['axe: ' + e]))")
    return ["%s: %s" % (where, v) for v in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [harness.LAPTOP, harness.PHONE])
def test_accessible(page, axe, scheme, size):
    page.media(scheme)
    page.size(*size)
    found = violations(page, axe, "start")
    page.ask(UNKNOWN)
    found += violations(page, axe, "no answer")
    page.ask(FEE)
    for stage in ("analysis", "fusion"):
        page.click("details[data-stage=%s] summary" % stage)
    page.click("#down")
    found += violations(page, axe, "answer")
    page.open_citation()
    found += violations(page, axe, "passage")
    page.press("Escape")
    for name in PAGES[1:]:
        page.go("#/" + name, ".page-%s h1" % name)
        if name == "documents":
            page.wait("document.querySelector('#documents tbody tr')")
            page.click("#documents tbody input")
        found += violations(page, axe, name)
    page.go("#/documents/" + LONG["id"], ".doc-text pre")
    page.click("#show-chunks")
    found += violations(page, axe, "document")
    page.click("#key")
    found += violations(page, axe, "key")
    page.press("Escape")
    page.go("#/ask", "#q")
    page.js(NO_SUCH)
    page.click("#go")
    page.wait("document.querySelector('#alert .note.error')")
    found += violations(page, axe, "error")
    page.console()
    assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible_with_models(talk, models, axe, scheme):
    talk.media(scheme)
    models.sim.set("small", "fail=http_500")
    talk.ask(FEE)
    talk.click("#up")
    talk.click("#send")
    talk.wait("document.getElementById('judged').textContent.includes('已保存')", what="feedback")
    no_sideways(talk, harness.LAPTOP[0], "degraded")
    assert violations(talk, axe, "degraded") == []
