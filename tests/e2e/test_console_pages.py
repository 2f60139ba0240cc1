"""The pages Try, Evaluate and Health in a real Chromium against a real server."""
import json
import os
import pathlib
import random
import subprocess
import sys
import time
import urllib.parse

import pytest

import conftest
import console_harness as harness
from generation_config import Generation
from test_console import axe, violations  # noqa: F401 (axe is a fixture)

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = conftest.default_model()
ENV = {"RAGD_MODELS": str(MODEL)} if MODEL else {}
QUESTION = "积分怎么兑换？"
WORDS, RRF = {"stages": {"dense": False, "reranking": False}}, {"fusion": {"method": "rrf"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if harness.missing():
        pytest.skip(harness.missing())
    data = tmp_path_factory.mktemp("pages") / "data"
    for args in ([ROOT / "sample" / "docs"], ["--labelled", "sample", ROOT / "sample" / "questions.jsonl"]):
        p = conftest.ragd("ingest", "--data", data, *args, env=ENV, timeout=300)
        assert p.returncode == 0, p.err
    s = conftest.Server(data, env=ENV).ready()
    s.url = "http://127.0.0.1:%d" % s.port
    yield s
    s.stop()


@pytest.fixture(scope="module")
def browser():
    b = harness.Browser("zh-CN")
    yield b
    b.close()


def fresh(browser, url, hash_, ready, size=harness.LAPTOP):
    browser.size(*size)
    browser.media("light")
    browser.open(url + "/console/style.css")
    browser.js("localStorage.clear(); sessionStorage.clear()")
    browser.console()
    browser.open(url + "/" + hash_)
    browser.wait("document.querySelector(%s)" % json.dumps(ready), what=ready)


@pytest.fixture
def page(browser, server):
    """open(hash, ready) opens a page anew; at the end nothing may be left on the browser's console."""
    yield lambda hash_, ready, **kw: (fresh(browser, server.url, hash_, ready, **kw), browser)[1]
    assert browser.console() == []


def try_hash(q, a, b, c="default"):
    return "#/try?" + urllib.parse.urlencode({"q": q, "c": c, "a": json.dumps(a), "b": json.dumps(b)})


def ask(server, q, overrides):
    status, r = server.request("POST", "/v1/query", {"query": q, "top_k": 10, **({"overrides": overrides} if overrides else {})})
    assert status == 200, r
    return r


def hits_of(browser, side):
    return browser.js("return [...document.querySelectorAll('.moves ol')[arguments[0]].children].map(e => e.dataset.chunk)", side)


def run(browser, rungs, lines=None):
    """Picks the rungs, runs, waits for the end."""
    browser.js("for (const c of document.querySelectorAll('.rungs input')) if (c.checked !== arguments[0].includes(c.value)) c.click()", rungs)
    browser.wait("document.querySelector('#ev-go') && !document.querySelector('#ev-go').disabled")
    browser.click("#ev-go")
    browser.wait("document.querySelector('#ev-go') && document.querySelectorAll('.ladder tbody tr').length === %d" % (lines or len(rungs)),
                 seconds=120, what="the ladder")


# ---- every page ------------------------------------------------------------------------------------------
PAGES = {"try": (try_hash(QUESTION, WORDS, RRF), ".moves"), "evaluate": ("#/evaluate", "#ev-go"), "health": ("#/health", ".config tbody tr")}


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_a_page_fits_in_both_languages(page, name, width):
    b = page(*PAGES[name], size=(width, 800))
    if name == "evaluate":
        run(b, ["bm25", "full"])
    for lang in ("zh-CN", "en"):
        if b.js("return document.documentElement.lang") != lang:
            b.click("#language")
            b.wait("document.documentElement.lang === '%s' && document.querySelector('%s')" % (lang, PAGES[name][1]))
        assert b.js("return document.documentElement.scrollWidth <= innerWidth"), b.js(
            "return [...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
            ".slice(0, 5).map(e => e.tagName + '.' + e.className)")
        text = b.js("return document.querySelector('main').innerText")
        assert "undefined" not in text and "NaN" not in text and "[object" not in text
        assert not b.js("return /(^|\\s)(try|ev|he|set|preset)\\.[a-zA-Z]/.test(document.querySelector('main').innerText)")
        assert bool(b.js("return /[\\u4e00-\\u9fff]/.test(document.querySelector('h1').innerText)")) == (lang == "zh-CN")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(page, axe, scheme):  # noqa: F811
    found = []
    for name, (hash_, ready) in PAGES.items():
        b = page(hash_, ready)
        b.media(scheme)
        if name == "try":
            b.js("for (const d of document.querySelectorAll('details')) d.open = true")
        if name == "evaluate":
            run(b, ["bm25", "current"])
            found += violations(b, axe, "results")
            b.click("#ev-upload")
            b.type("#ev-text", "nonsense")
            b.js("document.querySelector('dialog details').open = true")
        found += violations(b, axe, name)
    assert found == []


# ---- Try -------------------------------------------------------------------------------------------------
def test_try_shows_both_and_what_moved(page, server):
    b = page("#/try", "#try-q")
    b.js("document.getElementById('preset-a').value = 'bm25'; document.getElementById('preset-a').dispatchEvent(new Event('change'))")
    b.js("document.getElementById('preset-b').value = 'rrf'; document.getElementById('preset-b').dispatchEvent(new Event('change'))")
    b.type("#try-q", QUESTION)
    b.press("Enter")
    b.wait("document.querySelectorAll('.moves ol').length === 2")
    a_chunks, b_chunks = ([c["chunk_id"] for c in ask(server, QUESTION, o)["contexts"]][:10] for o in (WORDS, RRF))
    assert hits_of(b, 0) == a_chunks and hits_of(b, 1) == b_chunks
    marks = b.js("return [...document.querySelectorAll('.moves ol')[1].children].map(e => e.querySelector('.move').firstChild.textContent)")
    want = []
    for i, c in enumerate(b_chunks):
        n = a_chunks.index(c) - i if c in a_chunks else None
        want.append("新" if n is None else "▲%d" % n if n > 0 else "▼%d" % -n if n else "=")
    assert marks == want
    assert b.count(".moves ol:first-of-type .gone") == len(set(a_chunks) - set(b_chunks))
    assert b.count(".moves path") == len(set(a_chunks) & set(b_chunks))
    assert b.count(".times dd") >= 5 and b.count(".answer .badge") >= 6
    # the address holds everything: another reader sees the same
    link = b.js("return location.hash")
    b = page(link, ".moves")
    assert hits_of(b, 0) == a_chunks and hits_of(b, 1) == b_chunks


def test_try_sends_single_settings_and_shows_a_refusal(page, server):
    b = page("#/try", "#try-q")
    b.click(".side-b summary")
    b.js("const e = document.getElementById('try-b-retrieval.bm25.k1'); e.value = '3'; e.dispatchEvent(new Event('change'))")
    b.js("const e = document.getElementById('try-b-generation.extract_sentences'); e.value = '1'; e.dispatchEvent(new Event('change'))")
    b.js("document.getElementById('preset-a').value = 'current'; document.getElementById('preset-a').dispatchEvent(new Event('change'))")
    sent = json.loads(b.text(".side-b details code"))
    assert sent == {"stages": {"dense": False, "reranking": False}, "retrieval": {"bm25": {"k1": 3}}, "generation": {"extract_sentences": 1}}
    b.type("#try-q", QUESTION)
    b.press("Enter")
    b.wait("document.querySelectorAll('.moves ol').length === 2")
    assert hits_of(b, 1) == [c["chunk_id"] for c in ask(server, QUESTION, sent)["contexts"]][:10]
    b.js("const e = document.getElementById('try-b-retrieval.bm25.k1'); e.value = '99'; e.dispatchEvent(new Event('change'))")
    b.click("#try-go")
    b.wait("document.querySelector('.answer .note.error')")
    assert "overrides.retrieval.bm25.k1" in b.text(".answer .note.error")
    assert any("400" in line for line in b.console())  # the browser notes the status itself


def test_try_takes_hostile_links_as_text(page):
    b = page("#/try?" + urllib.parse.urlencode({"q": "<img src=x onerror=window.pwned=1>", "a": "{not json", "b": '[1,{"a":2}]'}), ".answer")
    b.wait("document.querySelectorAll('.moves').length || document.querySelector('.note.error')")
    assert b.js("return window.pwned") is None


def test_try_swaps_and_works_by_keyboard(page):
    b = page(PAGES["try"][0], ".moves")
    before = hits_of(b, 0), hits_of(b, 1)
    b.js("document.querySelector('.page-try .head button').focus()")
    b.press("Enter")
    assert (hits_of(b, 1), hits_of(b, 0)) == before


# ---- Evaluate --------------------------------------------------------------------------------------------
def test_evaluate_agrees_with_the_command(page, server):
    p = subprocess.run([sys.executable, ROOT / "tools" / "eval_sample.py", "--url", server.url, "--json"], capture_output=True, text=True, timeout=300)
    assert p.returncode == 0, p.stderr
    want = json.loads(p.stdout)
    b = page("#/evaluate", "#ev-go")
    run(b, ["bm25", "current"])
    cells = b.js("return [...document.querySelectorAll('.ladder tbody tr')].map(r => [...r.children].map(c => c.firstChild.textContent))")
    assert len(cells) == 2
    row = cells[1]
    for column, name in ((1, "recall@1"), (2, "recall@5"), (3, "recall@10"), (4, "mrr@10")):
        assert abs(float(row[column]) - 100 * want[name]) <= 100 / want["questions"], (name, row, want[name])
    assert abs(float(row[6]) - 100 * want["found_when_answerable"]) <= 100 / want["questions"] * 2
    assert abs(float(row[7]) - 100 * want["not_found_when_unanswerable"]) <= 100 / 15
    assert b.count(".ladder small") >= 5


def test_evaluate_lists_questions_and_opens_one_in_try(page, server):
    b = page("#/evaluate", "#ev-go")
    run(b, ["bm25", "dense", "current"])
    total = server.request("GET", "/v1/labelled/sample")[1]["count"]
    table = "[...document.querySelectorAll('.page-evaluate .table')].at(-1)"
    assert b.js("return %s.querySelectorAll('tbody tr').length" % table) == total
    counts = {}
    for f in ("gained", "lost", "missed", "wrong"):
        b.js("const e = document.getElementById('ev-filter'); e.value = arguments[0]; e.dispatchEvent(new Event('change'))", f)
        counts[f] = b.js("return %s.querySelectorAll('tbody tr').length" % table)
        assert str(counts[f]) in b.text(".page-evaluate .bar [role=status].quiet") or counts[f] == 0
    assert counts["missed"] < total and counts["gained"] + counts["lost"] < total, counts
    b.js("const e = document.getElementById('ev-filter'); e.value = 'all'; e.dispatchEvent(new Event('change'))")
    text = b.js("return %s.querySelector('tbody button').textContent" % table)
    b.js("%s.querySelector('tbody button').click()" % table)
    b.wait("document.querySelector('.moves')")
    assert b.js("return document.getElementById('try-q').value") == text
    b.go("#/evaluate", ".ladder tbody tr")  # what was measured is still there
    assert b.count(".ladder tbody tr") == 3


def test_evaluate_can_be_stopped(page):
    b = page("#/evaluate", "#ev-go")
    b.cdp("Network.enable")
    b.cdp("Network.emulateNetworkConditions", offline=False, latency=60, downloadThroughput=-1, uploadThroughput=-1)
    try:
        b.click("#ev-go")
        b.wait("document.querySelector('#ev-stop') && document.querySelector('.progress .meter')")
        assert b.js("return document.activeElement.id") == "ev-stop"
        b.press("Enter")
        b.wait("document.querySelector('#ev-go') && document.querySelector('.note.warn')")
    finally:
        b.cdp("Network.emulateNetworkConditions", offline=False, latency=0, downloadThroughput=-1, uploadThroughput=-1)


def test_evaluate_uploads_checks_and_deletes(page, server, tmp_path):
    bad = tmp_path / "my set.jsonl"
    bad.write_text('{"query": "a", "relevant": ["x"]}\n{"query": }\n{"relevant": []}\n[1]\n{"query": "b", "relevant": "x"}\n', "utf-8")
    good = tmp_path / "my table.csv"
    good.write_text('\ufeffquery,relevant,must_contain,kind\r\n白金卡年费多少？,annual-fees.csv|overview.md,3600,plain\r\n'
                    '"What, ""exactly"",\nis the weather on Mars?",,,unanswerable\r\n', "utf-8")
    b = page("#/evaluate", "#ev-go")
    b.click("#ev-upload")
    b.type("#ev-file", str(bad))
    b.wait("document.querySelector('#ev-said li')")
    said = b.js("return [...document.querySelectorAll('#ev-said li')].map(e => e.textContent)")
    assert [s[:5] for s in said] == ["第 2 行", "第 3 行", "第 4 行", "第 5 行"]
    assert b.js("return document.getElementById('ev-name').value") == "my-set"
    b.click("dialog button.primary")
    assert b.count("dialog") == 1 and server.request("GET", "/v1/labelled/my-set")[0] == 404
    b.js("document.getElementById('ev-name').value = ''")
    b.type("#ev-file", str(good))
    b.wait("document.getElementById('ev-name').value === 'my-table'")
    b.click("dialog button.primary")
    b.wait("!document.querySelector('dialog') && document.getElementById('ev-set').value === 'my-table'")
    stored = server.request("GET", "/v1/labelled/my-table")[1]["questions"]
    assert stored[0]["relevant"] == [{"doc": "annual-fees.csv", "must_contain": ["3600"]}, {"doc": "overview.md", "must_contain": ["3600"]}]
    assert stored[1]["query"] == 'What, "exactly",\nis the weather on Mars?' and stored[1]["answerable"] is False
    run(b, ["bm25"])
    assert b.js("return document.querySelector('.ladder tbody td').textContent") in ("100.0", "0.0")
    b.js("document.querySelector('[aria-label=删除问题集]').click()")
    b.wait("document.querySelector('dialog .danger')")
    b.click("dialog .danger")
    b.wait("!document.querySelector('dialog')")
    assert server.request("GET", "/v1/labelled/my-table")[0] == 404


def test_metrics_are_those_of_ragd_eval(page, server, tmp_path):
    """Grades, several relevant documents, ties broken by the run file: both must say the same to the last digit printed."""
    rng, words = random.Random(7), ["card", "fee", "points", "travel", "gold", "limit", "bank", "rate", "gift", "miles", "hotel", "cash"]
    docs = {"d%d" % i: " ".join(rng.choices(words, k=12)) for i in range(150)}
    queries = {"q%d" % i: " ".join(rng.sample(words, 3)) for i in range(60)}
    qrels = {q: {d: rng.choice([1, 1, 2, 3]) for d in rng.sample(sorted(docs), rng.randint(1, 12))} for q in queries}
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps({"_id": d, "title": "", "text": t}) + "\n" for d, t in docs.items()))
    (tmp_path / "queries.jsonl").write_text("".join(json.dumps({"_id": q, "text": t}) + "\n" for q, t in queries.items()))
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join("%s\t%s\t%d\n" % (q, d, g) for q in qrels for d, g in qrels[q].items()))
    p = conftest.ragd("eval", "--dataset", tmp_path, "--legs", "bm25", "--json", "--run", tmp_path / "run.txt")
    assert p.returncode == 0, p.err
    want = json.loads(p.out)["rows"][0]["metrics"]
    ranked = {q: [] for q in queries}
    for line in (tmp_path / "run.txt").read_text().splitlines():
        ranked[line.split()[0]].append(line.split()[2])
    cases = [[[qrels[q].get(d, 0) for d in ranked[q]], list(qrels[q].values())] for q in queries]
    b = page("#/evaluate", "#ev-go")
    got = b.js_async("""const [cases, done] = arguments;
        import('/console/metrics.js').then(m => {
          const all = cases.map(([grades, ideal]) => m.measure(grades, ideal));
          const out = m.intervals(m.METRICS.map(name => all.map(x => x[name])));
          done(Object.fromEntries(m.METRICS.map((name, i) => [name, out[i]])));
        })""", cases)
    for name, (value, low, high) in got.items():
        w = want[name]
        assert abs(value - w["value"]) < 1e-6 and abs(low - w["low"]) < 1e-6 and abs(high - w["high"]) < 1e-6, (name, value, low, high, w)


# ---- Health ----------------------------------------------------------------------------------------------
def test_health_shows_the_server(page, server):
    b = page("#/health", ".config tbody tr")
    info = server.request("GET", "/v1/info")[1]
    text = b.js("return document.querySelector('main').innerText")
    assert info["version"] in text and info["build"]["compiler"] in text and "可以服务" in text and "default" in text
    assert b.count(".config tbody tr") == len(server.request("GET", "/v1/config")[1]["values"])
    b.type("#he-find", "bm25.k1")
    b.wait("document.querySelectorAll('.config tbody tr').length === 1")
    assert "retrieval.bm25.k1" in b.text(".config tbody")
    b.js("const e = document.getElementById('he-find'); e.value = ''; e.dispatchEvent(new Event('input'))")
    b.click("#he-changed")
    keys = b.js("return [...document.querySelectorAll('.config tbody th')].map(e => e.textContent)")
    assert "listen" in keys and "retrieval.bm25.k1" not in keys


def test_health_refreshes_without_drawing_what_is_the_same(page, server):
    b = page("#/health", ".config tbody tr")
    b.wait("document.querySelector('.sections .table tbody tr') && document.querySelector('.kv dd')")
    b.js("window.kept = [...document.querySelectorAll('.config tr, .tiles li, .kv')]; document.getElementById('he-find').focus()")
    asked = server.request("GET", "/v1/stats")[1]["queries"]["ok"]
    server.request("POST", "/v1/query", {"query": QUESTION})
    server.request("POST", "/v1/query", {"query": QUESTION})
    b.wait("document.querySelector('.numbers dd').textContent.replace(/\\D/g, '') === '%d'" % (asked + 2), seconds=15, what="the next look")
    assert b.js("return window.kept.filter(e => !e.isConnected).length") <= 1  # a figure of the index may move
    assert b.js("return window.kept.filter(e => e.matches('.config tr')).every(e => e.isConnected)")
    assert b.js("return document.activeElement.id") == "he-find"


def test_latencies_are_the_histograms_quantiles(page, server):
    b = page("#/health", ".config tbody tr")
    text = server.request("GET", "/metrics", headers={"Accept": "text/plain"})[1].decode()
    got = b.js_async("""const [text, done] = arguments;
        import('/console/health.js').then(m => { const l = m.latencies(text); done({n: l.total.count, p: [.5, .95, .99].map(x => l.total.quantile(x))}); })""", text)
    stats = server.request("GET", "/v1/stats")[1]
    assert got["n"] == stats["queries"]["ok"]
    assert got["p"] == sorted(got["p"]) and all(p > 0 for p in got["p"])


def test_health_says_what_a_key_may_not(browser, tmp_path):
    if harness.missing():
        pytest.skip(harness.missing())
    config = tmp_path / "ragd.yaml"
    config.write_text("auth: {keys: [{name: q, key_env: Q_KEY, scopes: [query]}]}\n")
    s = conftest.Server(tmp_path / "data", "--config", config, env={"Q_KEY": "query-only-key-0123456789"}).ready()
    try:
        url = "http://127.0.0.1:%d" % s.port
        browser.open(url + "/console/style.css")
        browser.js("localStorage.clear(); sessionStorage.setItem('ragd.key', 'query-only-key-0123456789')")
        browser.open(url + "/#/health")
        browser.wait("document.querySelector('.note.warn') && document.querySelector('.tiles li')")
        assert "admin" in browser.text(".note.warn")
        browser.console()  # the browser notes the 403
        s.process.kill()
        s.process.wait()
        browser.wait("document.querySelector('.head .down')", seconds=15)
        assert browser.count(".tiles li") >= 3  # what was seen last stays
    finally:
        s.stop()


def test_health_shows_models_money_and_breakers(browser, tmp_path):
    if harness.missing():
        pytest.skip(harness.missing())
    with Generation(tmp_path, {"small": "cite=1", "medium": "fail=http_500"}, budget={"daily_cny": 10, "monthly_cny": 100},
                    breaker={"failures": 1, "open_s": 60}) as g:
        g.server.request("POST", "/v1/query", {"query": "白金卡年费多少？"})
        fresh(browser, "http://127.0.0.1:%d" % g.server.port, "#/health", ".money .meter")
        browser.wait("document.querySelector('[aria-labelledby=he-models] tbody .num').textContent !== '–'")
        text = browser.js("return document.querySelector('[aria-labelledby=he-models]').innerText")
        assert "small" in text and "0.2 / 0.4" in text and "¥10" in text and "¥100" in text
        assert browser.js("return document.documentElement.scrollWidth <= innerWidth")
        assert browser.console() == []
