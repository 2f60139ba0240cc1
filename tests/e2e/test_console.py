"""The page at `/` in a real Chromium against a real server.

RAGD_BIN names the binary (build/ragd). RAGD_CONSOLE_URL runs the tests against a server that is already
there, loaded with the sample; the tests add two documents to its default collection.
AXE_JS names a copy of axe.min.js; without it npm is asked for the pinned version.
"""
import base64
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

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("RAGD_BIN", ROOT / "build" / "ragd")).resolve()
AXE = ("axe-core", "4.10.2")
AXE_SHA512 = "RE3mdQ7P3FRSe7eqCWoeQ/Z9QXrtniSjp1wUjt5nRC3WIpz5rSCve6o3fsZ2aCpJtrZjSZgjwXAoTO5k4tEI0w=="
KEY = "console-test-key-0123456789abcdef"

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


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    need_browser()
    given = os.environ.get("RAGD_CONSOLE_URL")
    server = None
    if not given:
        if not BIN.exists():
            pytest.skip("%s is not built" % BIN)
        folder = tmp_path_factory.mktemp("console")
        done = subprocess.run([str(BIN), "ingest", "--data", str(folder / "data"), str(ROOT / "sample" / "docs")],
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        server = Server(folder)
        given = server.url
    given = given.rstrip("/")
    try:
        for doc in (HOSTILE, LONG):
            call(given + "/v1/collections/default/documents", "POST", doc)
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
    browser.open(url)
    browser.js("localStorage.clear(); sessionStorage.clear()")
    browser.open(url)
    browser.wait("document.getElementById('coll').options.length", what="the list of collections")
    browser.console()
    return browser


@pytest.fixture
def page(chinese, url):
    """The page as a Chinese reader opens it. Nothing may be left on the browser's console at the end."""
    yield fresh(chinese, url)
    assert chinese.console() == []


def open_first_citation(browser):
    browser.wait("document.querySelector('#text button.cite')", what="a citation")
    browser.click("#text button.cite")
    browser.wait("document.getElementById('panel').open && document.getElementById('hit')", what="the passage")


def cited_text(url, question, n=1):
    answer = call(url + "/v1/query", "POST", {"query": question})
    c = next(c for c in answer["citations"] if c["n"] == n)
    doc = call("%s/v1/collections/default/documents/%s?version=%s" % (
        url, urllib.parse.quote(c["document_id"], safe=""), c["version"]))
    return doc["text"][c["start"]:c["end"]]


HIT_IN_VIEW = ("(() => { const m = document.getElementById('hit').getBoundingClientRect(),"
               " d = document.getElementById('doc').getBoundingClientRect();"
               " return m.height > 0 && m.top >= d.top - 1 && m.top < d.bottom && d.bottom <= innerHeight + 1; })()")


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
    assert page.count("#wf li") >= 3
    assert page.text("#wf .sum .n").endswith("ms")


def test_english_question(english, url):
    page = fresh(english, url)
    assert page.js("return document.documentElement.lang") == "en"
    page.ask(FEE_EN)
    assert page.count("#text button.cite") >= 1
    assert "answered" in page.text("#badges")
    assert page.console() == []


def test_example_question_can_be_clicked(page):
    question = page.text("#eglist button")
    page.click("#eglist button")
    page.settled(question)
    assert page.count("#text button.cite") >= 1


def test_citation_shows_the_passage_marked_in_its_document(page, url):
    page.ask(FEE)
    open_first_citation(page)
    assert page.text("#hit") == cited_text(url, FEE)
    assert page.js("return " + HIT_IN_VIEW)
    assert len(page.text("#doc pre")) > len(page.text("#hit"))
    assert page.text("#pt")
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
    open_first_citation(page)
    if "蓝色长颈鹿" not in page.text("#hit"):
        pytest.fail("cited: " + page.text("#hit"))
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
    assert page.text("#pt") == HOSTILE["title"]
    assert page.text("#doc pre") == HOSTILE["text"].rstrip()
    page.press("Escape")
    if page.count("#text button.cite"):
        open_first_citation(page)
        assert page.text("#hit") == cited_text(url, HOSTILE_ASK)
    assert page.count("main img, main script, dialog img, dialog script, main a") == 0
    assert page.js("return window.pwned === undefined")


def test_passage_falls_back_to_the_retrieved_text(page):
    page.ask(FEE)
    page.cdp("Network.enable")
    page.cdp("Network.setBlockedURLs", urls=["*/documents/*"])
    try:
        open_first_citation(page)
        assert page.visible("#doc .cut")
        assert len(page.text("#hit")) > 3
    finally:
        page.cdp("Network.setBlockedURLs", urls=[])
        page.console()


def test_history_of_the_session(page):
    page.ask(FEE)
    page.ask(UNKNOWN)
    assert page.count("#hist li") == 2
    page.click("#hist li:nth-child(2) button")
    assert page.text("#ansq") == FEE
    assert page.count("#text button.cite") >= 1
    page.js("location.reload()")
    page.wait("document.querySelectorAll('#hist li').length === 2")
    page.click("#clear")
    assert page.count("#hist li") == 0


# ---- when things go wrong --------------------------------------------------------------------------------
def test_error_is_readable_and_names_the_request(page):
    page.js("const c = document.getElementById('coll'); c.append(new Option('no-such-collection')); c.value = 'no-such-collection'")
    page.type("#q", FEE)
    page.press("Enter")
    page.wait("document.querySelector('#alert .note.err')")
    assert "404" in page.text("#alert strong")
    assert page.text("#alert .rid .num")
    assert not page.visible("#ans")
    noise = page.console()
    assert all("404" in m for m in noise), noise


def test_server_out_of_reach(page):
    page.cdp("Network.enable")
    page.cdp("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    try:
        page.type("#q", FEE)
        page.press("Enter")
        page.wait("document.querySelector('#alert .note.err')")
    finally:
        page.cdp("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)
        page.console()
    page.click("#alert button")
    page.settled(FEE)
    assert page.count("#alert .note") == 0


def test_key_is_asked_for_and_an_empty_collection_explains_ingest(chinese, tmp_path):
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
        page.wait("document.getElementById('keydlg').open", what="the question for a key")
        first = page.text("#keyhint")
        page.type("#keyin", "not-the-key")
        page.press("Enter")
        page.wait("document.getElementById('keydlg').open && document.getElementById('keyhint').textContent !== %s"
                  % json.dumps(first), what="the second question for a key")
        page.type("#keyin", KEY)
        page.press("Enter")
        page.wait("!document.getElementById('keydlg').open && document.getElementById('empty').checkVisibility()")
        assert "ragd ingest" in page.text("#empty code")
        assert page.js("return sessionStorage.getItem('ragd.key')") == KEY
        assert KEY not in page.js("return JSON.stringify(localStorage) + location.href + document.cookie")
        page.ask(FEE)
        assert page.visible("#badges .badge.no")
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
  window.drawn.push([document.querySelectorAll('#ctx li').length, !!t.querySelector('.hint'), t.textContent,
                     t.getAttribute('aria-busy') === 'true']);
}).observe(document.getElementById('main'), {childList: true, subtree: true, characterData: true});"""


@pytest.fixture
def models(tmp_path):
    """A server with one model, and the model."""
    need_browser()
    for program in (BIN, llmsim.BIN):
        if not program.exists():
            pytest.skip("%s is not built" % program)
    done = subprocess.run([str(BIN), "ingest", "--data", str(tmp_path / "data"), str(ROOT / "sample" / "docs")],
                          capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
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
    """The page of that server."""
    page = fresh(chinese, models.url)
    page.wait("document.getElementById('state').checkVisibility()", what="the state of the models")
    page.js(WATCH)
    yield page
    assert page.console() == []


def test_tokens_are_shown_as_they_come(talk):
    talk.ask(FEE)
    drawn = talk.js("return window.drawn")
    assert any(ctx and hint and busy for ctx, hint, _, busy in drawn), "the passages come before the first token"
    texts = [text for _, hint, text, busy in drawn if busy and not hint]
    assert len({len(t) for t in texts}) >= 3
    assert talk.text("#text").startswith(texts[0][:4])
    assert not talk.visible("#degraded")
    badges = talk.text("#badges")
    assert "small" in badges and re.search(r"¥0\.0*[1-9]\d*", badges)
    open_first_citation(talk)
    assert len(talk.text("#hit")) > 5
    talk.press("Escape")
    talk.wait("/¥0\\.0*[1-9]/.test(document.getElementById('state').textContent)", what="what was spent")


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
    talk.click("#lang")
    assert "broke off" in talk.text("#degraded") and "replaced" in talk.text("#degraded")
    talk.click("#lang")


def test_models_that_fail_are_named(talk, models):
    models.sim.set("small", "fail=http_500")
    talk.ask(FEE)
    assert talk.js("return document.getElementById('degraded').dataset.reason") == "upstream_error"
    assert "替换" not in talk.text("#degraded") and "3600" in talk.text("#text")
    talk.ask(FEE_EN)
    talk.wait("[...document.querySelectorAll('#statel .warn')].some(e => /small.*熔断/.test(e.textContent))",
              what="the open breaker")
    talk.ask(UNKNOWN)
    talk.ask(FEE)
    assert talk.js("return document.getElementById('degraded').dataset.reason") == "breaker"


def thumbs(server, which):
    with urllib.request.urlopen(server.url + "/metrics", timeout=30) as r:
        m = re.search(r'^ragd_feedback_total\{type="thumbs_%s"\} (\d+)$' % which, r.read().decode(), re.M)
    return int(m.group(1)) if m else 0


def test_feedback_is_sent_once_and_confirmed(talk, models):
    assert not talk.visible("#judge")
    talk.ask(FEE)
    talk.click("#up")
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
        talk.wait("document.querySelector('#judged.bad')", what="that it was not stored")
    finally:
        talk.cdp("Network.setBlockedURLs", urls=[])
        talk.console()
    talk.click("#down")
    talk.wait("document.getElementById('judged').textContent.includes('已保存')", what="the confirmation")
    assert (thumbs(models, "up"), thumbs(models, "down")) == (1, 1)
    talk.click("#hist li:nth-child(2) button")
    assert talk.js("return document.getElementById('up').getAttribute('aria-pressed')") == "true"


# ---- by keyboard, on a phone, in the dark, for everyone --------------------------------------------------
def test_keyboard_alone(page):
    page.js("document.activeElement.blur()")
    page.press("/")
    assert page.js("return document.activeElement.id") == "q"
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
    assert not page.visible("#ans")


def no_sideways(page, width, where):
    """A phone zooms out when a page is too wide, so its own idea of its width says so too."""
    wide = page.js("return [document.documentElement.scrollWidth, document.body.scrollWidth, innerWidth]")
    assert max(wide) <= width, "%s: %s in %d" % (where, wide, width)


@pytest.mark.parametrize("width", [360, 320])
def test_phone(page, width):
    page.size(width, 740)
    no_sideways(page, width, "start")
    page.ask(FEE)
    no_sideways(page, width, "answer")
    open_first_citation(page)
    no_sideways(page, width, "passage")
    box = page.js("const r = document.getElementById('panel').getBoundingClientRect(); return [r.left, r.right, r.bottom]")
    assert box == [0, width, 740]
    assert page.js("return document.getElementById('panel').matches(':modal')")
    assert page.js("return " + HIT_IN_VIEW)
    page.press("Escape")
    assert not page.visible("#panel")


def luminance(page, css, prop):
    rgb = page.js("const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});"
                  "c.fillStyle = getComputedStyle(document.querySelector(arguments[0]))[arguments[1]];"
                  "c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data]", css, prop)
    return (0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]) / 255


def test_light_and_dark_follow_the_system(page):
    assert luminance(page, "body", "backgroundColor") > 0.9 and luminance(page, "body", "color") < 0.2
    page.media("dark")
    assert luminance(page, "body", "backgroundColor") < 0.1 and luminance(page, "body", "color") > 0.8
    page.ask(FEE)
    assert luminance(page, "#ans", "backgroundColor") < 0.15


def test_language_can_be_switched(page):
    assert page.js("return document.documentElement.lang") == "zh-CN"
    assert "提问" in page.text("#go")
    page.click("#lang")
    assert page.js("return document.documentElement.lang") == "en"
    assert "Ask" in page.text("#go")
    page.js("location.reload()")
    page.wait("document.documentElement.lang === 'en'")


def test_page_is_one_file_under_a_strict_policy(url):
    with urllib.request.urlopen(url + "/") as r:
        policy, kind, page = r.headers["Content-Security-Policy"], r.headers["Content-Type"], r.read().decode()
    assert kind.startswith("text/html")
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert len(page.encode()) < 72000
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "src=\"http", "href=\"http"):
        assert word not in page


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    given = os.environ.get("AXE_JS")
    if given:
        return pathlib.Path(given).read_text()
    folder = tmp_path_factory.mktemp("axe")
    try:
        subprocess.run(["npm", "pack", "--silent", "%s@%s" % AXE], cwd=folder, timeout=60, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("axe-core cannot be fetched from npm here; AXE_JS may name a copy")
    packed = folder / ("%s-%s.tgz" % AXE)
    digest = base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode()
    assert digest == AXE_SHA512, "axe-core is not the pinned file"
    with tarfile.open(packed) as t:
        return t.extractfile("package/axe.min.js").read().decode()


def violations(page, axe, where):
    page.js(axe + "\n;return true")
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
    found += violations(page, axe, "answer")
    open_first_citation(page)
    found += violations(page, axe, "passage")
    page.press("Escape")
    page.click("#key")
    found += violations(page, axe, "key")
    page.click("#keyno")
    page.js("const c = document.getElementById('coll'); c.append(new Option('no-such-collection')); c.value = 'no-such-collection'")
    page.click("#go")
    page.wait("document.querySelector('#alert .note.err')")
    found += violations(page, axe, "error")
    page.console()
    assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [harness.LAPTOP, harness.PHONE])
def test_accessible_with_models(talk, models, axe, scheme, size):
    talk.media(scheme)
    talk.size(*size)
    no_sideways(talk, size[0], "start")
    found = violations(talk, axe, "start")
    models.sim.set("small", "fail=http_500")
    talk.ask(FEE)
    talk.ask(FEE_EN)
    talk.click("#up")
    talk.wait("document.getElementById('judged').textContent.includes('已保存')"
              " && document.querySelectorAll('#statel .warn').length", what="feedback and breaker")
    no_sideways(talk, size[0], "degraded")
    found += violations(talk, axe, "degraded")
    assert found == []
