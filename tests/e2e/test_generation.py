"""Answers by a model on real sockets: what the reader gets, what it costs, whom a hang-up or a slow reader holds up."""
import concurrent.futures
import contextlib
import json
import re
import socket
import sqlite3
import threading
import time

import pytest

from generation_config import CLOCKS, COMPLEX, SIMPLE, Events, Generation, check_answer, nano, nano_of, outcomes

MARK = re.compile(r"\[(\d{1,3})\]")
FAST = "ttft_ms=5,tps=0"
PATIENT = {"timeouts": {"first_token_ms": 20000, "answer_ms": 20000}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A server for the tests that leave nothing behind: three models that answer at once and cite."""
    specs = {m: FAST + ",cite=1" for m in ("large", "medium", "small")}
    with Generation(tmp_path_factory.mktemp("generation"), specs) as g:
        yield g


@pytest.fixture
def g(shared):
    for m in ("large", "medium", "small"):
        shared.sim.set(m, FAST + ",cite=1")
    return shared


def says(g, tmp_path, text, model="small"):
    """The model says this, piece by piece, and nothing else."""
    file = tmp_path / "says.txt"
    file.write_text(text, "utf-8")
    g.sim.set(model, f"{FAST},text={file}")


# ---- the answer ----------------------------------------------------------------------------------------------------

def test_an_answer_by_a_model(g):
    a = g.ask(explain=True)
    assert a["source"] == "primary" and a["model"] == "small" and a["complexity"] == "simple"
    assert a["found"] is True and a["supported"] is True and 0 <= a["confidence"] <= 1
    assert [c["n"] for c in a["citations"]] == [1, 2, 3] == [int(n) for n in MARK.findall(a["answer"])]
    assert a["usage"] == {"prompt_tokens": a["usage"]["prompt_tokens"], "completion_tokens": 40,
                          "total_tokens": a["usage"]["prompt_tokens"] + 40, "cached_tokens": 0}
    explained = a["explain"]["generation"]
    assert outcomes(a) == ["ok"] and explained["reason"] == "optimal" and explained["finish"] == "stop"
    assert explained["class"] == "small" and explained["max_tokens"] == 100 and a["timings_ms"]["generation"] > 0


def test_a_stream_is_the_same_answer(g):
    whole, e = g.ask(), g.stream()
    done = e.right()
    assert e.names.count("token") > 10 and e.names.index("token") == 1
    same = ("answer", "found", "supported", "confidence", "citations", "complexity", "model", "source", "degraded",
            "cost_cny", "usage")
    assert {k: done[k] for k in same} == {k: whole[k] for k in same}
    assert e.one("context")["contexts"] == whole["contexts"]


def test_the_context_comes_before_the_model_says_anything(g):
    g.sim.set("small", "ttft_ms=350,tps=0")
    with g.open() as s:
        events = iter(s)
        assert next(events)[0] == "context"
        g.sim.until(lambda n: n["models"]["small"]["open"] == 1)  # is asked, and has not answered
        assert Events([("context", {"contexts": []}), *events]).names[-1] == "done"


def test_the_class_follows_the_complexity(g):
    assert (g.ask(SIMPLE)["complexity"], g.ask(SIMPLE)["model"]) == ("simple", "small")
    complex_one = g.ask(COMPLEX, explain=True)
    assert (complex_one["complexity"], complex_one["model"]) == ("complex", "large")
    assert complex_one["explain"]["generation"]["max_tokens"] == 800


def test_marks_are_checked_before_anyone_sees_them(g):
    g.sim.set("small", FAST + ",cite=bad,tokens=100")
    e = g.stream(explain=True)
    done = e.right()
    shown = done["explain"]["generation"]["passages"]
    assert done["explain"]["generation"]["dropped_citations"] >= 1
    for text in (e.text, done["answer"]):
        assert "[9]" not in text and "[abc]" in text  # no passage has 9; the other is no mark
        assert all(1 <= int(n) <= shown for n in MARK.findall(text))
    assert [c["n"] for c in done["citations"]] == [1]  # "[" and "1]" came in two pieces
    assert all("[9" not in d["text"] for event, d in e.all if event == "token")


def test_the_model_says_that_the_documents_do_not_answer(g, tmp_path):
    says(g, tmp_path, "[0]")
    e = g.stream()
    done = e.right()
    assert done["found"] is False and done["citations"] == [] and done["answer"] == "现有文档中没有找到这个问题的答案。"
    assert done["source"] == "primary" and not done["degraded"] and done["supported"] is True
    says(g, tmp_path, "[0] 资料没有说。")
    assert (a := g.ask())["found"] is False and a["answer"] == "资料没有说。"


def test_words_without_a_mark_are_not_supported(g, tmp_path):
    says(g, tmp_path, "白金卡年费大概是三千多元。")
    a = g.ask()
    assert a["answer"] == "白金卡年费大概是三千多元。"
    assert (a["found"], a["supported"], a["citations"], a["degraded"]) == (True, False, [], False)


def test_an_answer_that_is_cut_at_max_tokens_says_so(g):
    g.sim.set("small", FAST + ",tokens=500")
    a = g.ask(explain=True)
    assert a["usage"]["completion_tokens"] == 100 and a["explain"]["generation"]["finish"] == "length"


# ---- the prompt ------------------------------------------------------------------------------------------------------

def test_rules_come_first_and_do_not_change(g):
    g.ask(SIMPLE)
    g.ask("金卡的年费是多少？")
    one, two = (b["messages"] for b in g.sim.bodies()[-2:])
    assert [m["role"] for m in one] == ["system", "user"] == [m["role"] for m in two]
    assert one[0] == two[0] and one[1] != two[1]
    assert SIMPLE in one[1]["content"] and SIMPLE not in one[0]["content"]


def test_a_collection_has_its_own_system_prompt(g):
    own = "你是白金卡专线的顾问，称呼客户为您。"
    document = {"id": "fee", "text": "白金卡年费是3600元，首年免年费。"}
    assert g.server.request("PUT", "/v1/collections/vip", {"settings": {"system_prompt": own}})[0] in (200, 201)
    assert g.server.request("POST", "/v1/collections/vip/documents", document)[0] == 201
    try:
        g.ask(collection="vip")
        system = g.sim.bodies()[-1]["messages"][0]["content"]
        assert system.startswith(own) and "[0]" in system  # our rules stay
        g.ask()
        assert own not in g.sim.bodies()[-1]["messages"][0]["content"]
    finally:
        g.server.request("DELETE", "/v1/collections/vip")


# ---- money -------------------------------------------------------------------------------------------------------------

def test_the_cost_is_tokens_times_price(tmp_path):
    """Answer, ledger, metrics and the upstream agree to the nano-CNY."""
    with Generation(tmp_path, {"large": FAST, "medium": FAST, "small": FAST}) as g:
        said = {}
        for question in (SIMPLE, COMPLEX, "如何修改账单日？", SIMPLE):
            a, done = g.ask(question), g.stream(question).right()
            for x in (a, done):
                assert nano_of(x) == nano(x["model"], x["usage"]["prompt_tokens"], x["usage"]["completion_tokens"])
                said[x["model"]] = said.get(x["model"], 0) + nano_of(x)
        rows = g.ledger()
        assert len(rows) == 8 and all(r["outcome"] == "ok" and not r["counted_here"] and r["cost"] <= r["reserved"] for r in rows)
        assert said == {m: g.bill(m) for m in said} and len(said) == 3
        assert said == {m: sum(r["cost"] for r in rows if r["model"] == m) for m in said}
        assert g.metric("production_rag_cost_cny_total", service="llm") == pytest.approx(sum(said.values()) / 1e9)
        for model, s in g.sim.stats()["models"].items():
            if model in said:
                assert g.metric("ragd_llm_tokens_total", model=model, type="prompt") == s["billed_prompt"]
                assert g.metric("ragd_llm_tokens_total", model=model, type="completion") == s["billed_completion"]


@pytest.mark.parametrize("usage", ["cached", "cached_deepseek"])
def test_tokens_that_the_upstream_had_kept_cost_less(tmp_path, usage):
    model = {"name": "small", "class": "small", "price": {"input": .2, "cached_input": .05, "output": .4}}
    with Generation(tmp_path, {"small": f"{FAST},usage={usage},cached_pct=50"}, llm={"models": [model]}) as g:
        a, s = g.ask(), g.sim.stats("small")
        assert a["usage"]["cached_tokens"] == s["billed_cached"] > 0
        cost = (s["billed_prompt"] - s["billed_cached"]) * 200 + s["billed_cached"] * 50 + s["billed_completion"] * 400
        assert nano_of(a) == cost == g.ledger()[0]["cost"]


def test_an_answer_is_recorded_with_model_and_cost_and_can_be_judged(tmp_path):
    with Generation(tmp_path, {"small": FAST + ",cite=1"}) as g:
        a = g.ask()
        body = {"query_id": a["id"], "type": "thumbs_up", "chunk_ids": [a["citations"][0]["chunk_id"]]}
        status, stored = g.server.request("POST", "/v1/feedback", body)
        assert status == 200 and stored["stored"] is True
        done = g.stream().right()
        assert g.server.request("POST", "/v1/feedback", {"query_id": done["id"], "type": "thumbs_down"})[0] == 200
    db = sqlite3.connect(g.data / "history.db")
    rows = db.execute("SELECT id, model, cost_nano, source, query, answer FROM queries ORDER BY n").fetchall()
    db.close()
    assert rows == [(x["id"], "small", nano_of(x), "primary", SIMPLE, x["answer"]) for x in (a, done)]


# ---- who waits for whom ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("spec", ["ttft_ms=15000", "ttft_ms=5,tps=2,tokens=80"], ids=["waiting", "speaking"])
def test_a_hang_up_reaches_the_upstream(tmp_path, stream, spec):
    with Generation(tmp_path, {"small": spec}, llm=PATIENT) as g:
        s = g.open(stream=stream)
        g.sim.until(lambda n: n["models"]["small"]["open"] == 1 and (spec[8] == "1" or n["models"]["small"]["tokens_sent"] >= 1))
        s.close()
        closed = time.monotonic()
        n = g.sim.until(lambda n: n["models"]["small"]["client_closed"] == 1)["models"]["small"]
        assert time.monotonic() - closed < 1
        assert n["tokens_sent"] < 20 and n["open"] == 0
        (row,) = g.ledger()
        assert row["outcome"] == "canceled" and row["counted_here"] == 1 and row["prompt"] > 0
        assert abs(row["completion"] - n["tokens_sent"]) <= 1 and g.breaker("small")["failures"] == 0
        g.sim.set("small", FAST)
        assert g.ask()["model"] == "small"


def rss_bytes(g):
    with open(f"/proc/{g.server.process.pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) << 10


class Flood:
    """An upstream that answers as fast as it is read: `pieces` times `piece`, whatever max_tokens says. accepted: bytes that
    its connections took so far, little of them lying in buffers of the kernel on this side."""

    def __init__(self, piece, pieces):
        self.piece, self.pieces, self.accepted, self.closed = piece, pieces, 0, False
        self.size = len(self.event()) * pieces
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"
        threading.Thread(target=self.accept, daemon=True).start()

    def event(self):
        return b"data: " + json.dumps({"choices": [{"delta": {"content": self.piece}}]}).encode() + b"\n\n"

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.answer, args=(self.listener.accept()[0],), daemon=True).start()

    def answer(self, conn):
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32768)
        event, at_once = self.event(), max(1, 65536 // len(self.event()))
        try:
            with conn:
                conn.recv(65536)
                conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
                for at in range(0, self.pieces, at_once):
                    raw = event * min(at_once, self.pieces - at)
                    conn.sendall(raw)
                    self.accepted += len(raw)
                conn.sendall(b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
                             b'data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":90}}\n\ndata: [DONE]\n\n')
        except OSError:
            self.closed = True

    def stop(self):
        self.listener.close()


def at_rest(value, quiet_s):
    """value(), once it is more than 0 and has not changed for so long."""
    last, since, end = None, time.monotonic(), time.monotonic() + 30
    while time.monotonic() < end:
        if value() != last:
            last, since = value(), time.monotonic()
        elif last and time.monotonic() - since > quiet_s:
            return last
        time.sleep(.05)
    raise AssertionError(f"does not come to rest: {last}")


def test_a_reader_who_does_not_read_holds_the_upstream_back(tmp_path):
    """Longer than the silence that an upstream is allowed: this silence is the reader's."""
    flood = Flood("01234567", 250000)  # 13 MB there, 11 MB here; the kernel's buffers on the way take 4 and more
    with Generation(tmp_path, {"small": ""}, sim=flood, generation={"output_tokens": [32768, 32768, 32768]}) as g:
        before = rss_bytes(g)
        with g.open(receive_buffer=8192, explain=True) as s:
            held_at = at_rest(lambda: flood.accepted, 2 * CLOCKS["inter_token_ms"] / 1000)
            assert held_at < flood.size * .75
            assert rss_bytes(g) - before < 12 << 20
            assert g.health()["dependencies"]["llm"]["at_work"] == 1
            s.widen(4 << 20)  # 11 MB through the small one would take minutes
            e = Events(s)
        done = e.one("done")
        assert not done["degraded"], str(done["explain"]["generation"]["attempts"])
        assert e.text == done["answer"] == flood.piece * flood.pieces
        assert done["usage"]["completion_tokens"] == 90


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_an_upstream_that_does_not_stop_is_stopped(tmp_path, stream):
    flood = Flood("0123456789abcdef" * 64, 200000)  # 200 MB
    with Generation(tmp_path, {"small": ""}, sim=flood) as g:
        before = rss_bytes(g)
        a = g.stream(explain=True).right() if stream else g.ask(explain=True)
        assert a["model"] == "small" and a["explain"]["generation"]["finish"] == "length" and 100 < len(a["answer"]) < 65536
        assert rss_bytes(g) - before < 12 << 20
        at_rest(lambda: flood.closed, .1)


def test_more_generations_than_allowed_wait_and_none_is_lost(tmp_path):
    with Generation(tmp_path, {"small": "ttft_ms=50,tps=0"}, limits={"generations": 2}, llm=PATIENT) as g:
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda i: g.stream().right() if i % 2 else g.ask(), range(12)))
        assert all(a["model"] == "small" and not a["degraded"] for a in answers)
        s = g.sim.stats("small")
        assert s["completed"] == 12 and s["most_open"] == 2


def test_who_waits_for_a_generation_too_long_gets_the_extract(tmp_path):
    clocks = {"first_token_ms": 5000, "inter_token_ms": 5000, "answer_ms": 600}
    with Generation(tmp_path, {"small": "ttft_ms=5,tps=20,tokens=60"}, limits={"generations": 1}, llm={"timeouts": clocks}) as g:
        with g.open() as first:
            first.until("token")
            a = g.ask()
            assert a["source"] == "extract" and a["degraded_reason"] == "busy" and a["cost_cny"] == 0
            assert first.until("done")["model"] == "small"


# ---- operation -------------------------------------------------------------------------------------------------------------

def test_the_key_goes_to_the_upstream_and_nowhere_else(tmp_path):
    key = "sk-5up3rs3cr3t-0123456789abcdef"
    with Generation(tmp_path, {"small": FAST}, env={"UP_KEY": key, "RAGD_LOG_LEVEL": "debug"}, llm={"api_key_env": "UP_KEY"}) as g:
        g.ask()
        assert g.sim.stats()["last_request"]["authorization"] is True
        g.sim.set("small", "fail=http_401")
        g.ask(explain=True)
        for path in ("/v1/config", "/metrics", "/health", "/v1/info", "/v1/stats"):
            status, body = g.server.request("GET", path)
            assert status == 200 and key not in (body.decode() if isinstance(body, bytes) else repr(body)), path
        assert all(key not in repr(b) for b in g.sim.bodies())
    assert key not in g.server.log_text()
    for file in g.data.rglob("*"):
        assert not file.is_file() or key.encode() not in file.read_bytes(), file


def test_the_request_id_goes_on_to_the_upstream(g):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    g.ask(headers={"X-Request-Id": "order-4711", "traceparent": trace})
    last = g.sim.stats()["last_request"]
    assert last["x_request_id"] == "order-4711" and last["traceparent"].split("-")[1] == trace.split("-")[1]


def test_health_and_metrics_show_the_models(tmp_path):
    with Generation(tmp_path, {"small": FAST, "medium": FAST}, breaker={"failures": 3}) as g:
        g.ask()
        h = g.health()
        assert h["dependencies"]["llm"] == {"status": "ok", "models": 2, "at_work": 0, "budget": "ok"}
        assert h["breakers"] == {m: {"state": "closed", "failures": 0, "times_opened": 0, "retry_in_ms": 0} for m in ("small", "medium")}
        g.sim.set("small", "fail=http_500")
        g.ask()
        h = g.health()
        assert h["status"] == "ok" and h["dependencies"]["llm"]["status"] == "partial"
        assert h["breakers"]["small"]["state"] == "open" and h["breakers"]["small"]["times_opened"] == 1
        assert 0 < h["breakers"]["small"]["retry_in_ms"] <= 60000
        for name, labels, value in (
                ("ragd_llm_attempts_total", {"model": "small", "outcome": "ok"}, 1),
                ("ragd_llm_attempts_total", {"model": "small", "outcome": "http_500"}, 3),
                ("ragd_llm_attempts_total", {"model": "medium", "outcome": "ok"}, 1),
                ("production_rag_errors_total", {"component": "small", "error_type": "http_500"}, 3),
                ("ragd_llm_retries_total", {}, 2), ("ragd_llm_hedges_total", {}, 0), ("ragd_llm_calls", {}, 0),
                ("ragd_llm_breaker_state", {"model": "small"}, 2), ("ragd_llm_breaker_state", {"model": "medium"}, 0),
                ("ragd_llm_first_token_seconds_count", {"model": "small"}, 1),
                ("ragd_llm_first_token_seconds_count", {"model": "medium"}, 1),
                ("production_rag_query_total", {"status": "ok", "complexity": "simple"}, 2),
                ("production_rag_latency_seconds_count", {"stage": "generation", "complexity": "simple"}, 2)):
            assert g.metric(name, **labels) == value, name


def test_a_stop_lets_a_stream_end(tmp_path):
    with Generation(tmp_path, {"small": "ttft_ms=5,tps=20,tokens=30"}) as g:
        with g.open() as s:
            events = iter(s)
            first = [next(events), next(events)]
            g.server.process.terminate()
            e = Events([*first, *events])
        done = e.right()
        assert done["model"] == "small" and not done["degraded"] and done["usage"]["completion_tokens"] == 30
        assert g.server.stop() == 0
        (row,) = g.ledger()
        assert row["cost"] == nano_of(done)


def test_a_hedge_asks_the_next_model_when_the_first_is_late(tmp_path):
    with Generation(tmp_path, {"small": "ttft_ms=5000", "medium": FAST}, llm={**PATIENT, "hedge_ms": 100}) as g:
        a = check_answer(g.ask(explain=True))
        assert a["model"] == "medium" and a["source"] == "fallback" and not a["degraded"]
        assert outcomes(a, "small") == ["canceled"] and outcomes(a, "medium") == ["ok"]
        assert g.metric("ragd_llm_hedges_total") == 1
        g.sim.until(lambda n: n["models"]["small"]["client_closed"] == 1)
        assert nano_of(a) == sum(r["cost"] for r in g.ledger())
