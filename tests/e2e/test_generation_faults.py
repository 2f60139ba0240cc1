"""The fault matrix: each way an upstream may fail, with another model and without one, streamed and not.

Whatever happens, every client gets a right answer or a marked extract in time, the attempts, the breaker and the bill are
what the rules say, and everything is as before when the fault is over."""
import contextlib
import socket
import ssl
import subprocess
import threading
import time

import pytest

from generation_config import CLOCKS, Generation, config, count_tokens, nano, nano_of, outcomes
from llmsim import Sim

HEALTHY = "ttft_ms=5,tps=0,cite=1"
QUERY_MS = 200  # query timeout of a simple question
MARGIN_MS = 3000  # a loaded machine


class Fault:
    """outcomes: of the attempts of the model that fails; reason: degraded_reason when nobody else is there; counted: an
    attempt of it counts for the breaker; cut: text came before it failed, so nobody else is asked."""

    def __init__(self, spec, expected, reason, counted=True, cut=False):
        self.spec, self.outcomes, self.reason, self.counted, self.cut = spec, expected, reason, counted, cut


ONCE_REPEATED, TWICE_REPEATED = 2, 3  # what answers wrongly is likely to do so again
FAULTS = {
    "http_500": Fault("fail=http_500", ["http_500"] * TWICE_REPEATED, "upstream_error"),
    "http_503": Fault("fail=http_503", ["http_503"] * TWICE_REPEATED, "upstream_error"),
    "http_429": Fault("fail=http_429", ["http_429"] * TWICE_REPEATED, "rate_limited"),
    "http_429_after_soon": Fault("fail=http_429_after,after=0.3", ["http_429"] * TWICE_REPEATED, "rate_limited"),
    "http_429_after_late": Fault("fail=http_429_after,after=60,after_as=seconds", ["http_429"], "rate_limited"),
    "http_429_after_date": Fault("fail=http_429_after,after=60,after_as=date", ["http_429"], "rate_limited"),
    "http_402": Fault("fail=http_402", ["quota"], "upstream_error"),
    "quota": Fault("fail=quota", ["quota"], "upstream_error"),
    "http_400": Fault("fail=http_400", ["http_400"], "upstream_error", counted=False),
    "http_401": Fault("fail=http_401", ["http_401"], "upstream_error", counted=False),
    "context": Fault("fail=context", ["context"], "upstream_error", counted=False),
    "refuse": Fault("fail=refuse", ["cut"] * TWICE_REPEATED, "upstream_error"),
    "garbage": Fault("fail=garbage", ["garbage"] * ONCE_REPEATED, "upstream_error"),
    "html": Fault("fail=html", ["garbage"] * ONCE_REPEATED, "upstream_error"),
    "empty": Fault("fail=empty,ttft_ms=5", ["empty"], "upstream_error"),
    "no_headers": Fault("fail=no_headers", ["timeout"], "timeout"),
    "slow": Fault("ttft_ms=5000", ["timeout"], "timeout"),
    "slow_headers": Fault("fail=slow_headers,ttft_ms=5000", ["timeout"], "timeout"),
    "drip": Fault("fail=drip", ["timeout"], "timeout"),
    "comments_only": Fault("fail=comments_only", ["timeout"], "timeout"),
    "stall_first": Fault("fail=stall,at=0,ttft_ms=5", ["timeout"], "timeout"),
    "cut_first": Fault("fail=cut,at=0,ttft_ms=5", ["cut"] * TWICE_REPEATED, "upstream_error"),
    "cut_first_rst": Fault("fail=cut,at=0,ttft_ms=5,cut=rst", ["cut"] * TWICE_REPEATED, "upstream_error"),
    "bad_json_first": Fault("fail=bad_json,at=0,ttft_ms=5", ["garbage"] * ONCE_REPEATED, "upstream_error"),
    "error_first": Fault("fail=error_in_stream,at=0,ttft_ms=5", ["error_in_stream"] * ONCE_REPEATED, "upstream_error"),
    "stall": Fault("fail=stall,at=8,ttft_ms=5", ["stall"], "cut", counted=False, cut=True),
    "cut": Fault("fail=cut,at=8,ttft_ms=5", ["cut"], "cut", counted=False, cut=True),
    "cut_rst": Fault("fail=cut,at=8,ttft_ms=5,cut=rst", ["cut"], "cut", counted=False, cut=True),
    "bad_json": Fault("fail=bad_json,at=8,ttft_ms=5", ["garbage"], "cut", counted=False, cut=True),
    "error": Fault("fail=error_in_stream,at=8,ttft_ms=5", ["error_in_stream"], "cut", counted=False, cut=True),
    "no_done": Fault("fail=no_done,ttft_ms=5,tps=0", ["cut"], "cut", counted=False, cut=True),
}


def in_time(ask):
    began = time.monotonic()
    a = ask()
    assert (time.monotonic() - began) * 1000 < QUERY_MS + CLOCKS["answer_ms"] + CLOCKS["inter_token_ms"] + MARGIN_MS
    return a


def check_breaker(g, fault, asked):
    """After so many questions to it, five failures in a row at the most."""
    b = g.breaker("small")
    failures = asked * len(fault.outcomes) if fault.counted else 0
    if failures < 5:
        assert (b["state"], b["failures"], b["times_opened"], b["retry_in_ms"]) == ("closed", failures, 0, 0)
    else:
        assert b["state"] == "open" and b["times_opened"] == 1 and b["retry_in_ms"] > 0


def check_money(g, answers):
    """Each answer says what its calls cost; where the upstream said what it used, that is what it cost; else the tokens are
    counted here: the prompt and the text that came, nothing when it was refused."""
    rows = g.ledger()
    assert sum(map(nano_of, answers)) == sum(r["cost"] for r in rows)
    refused = {"quota", "context", *(f"http_{n}" for n in range(400, 600))}  # one word for them all in the ledger
    assert [r["outcome"] for r in rows] == ["http_error" if o in refused else o for a in answers for o in outcomes(a)
                                            if o != "breaker"]
    prompts = {}
    for b in g.sim.bodies():
        prompts.setdefault(b["model"], set()).add(sum(count_tokens(m["content"]) for m in b["messages"]))
    sent = g.sim.stats()["models"]
    for model in {r["model"] for r in rows}:
        of_model = [r for r in rows if r["model"] == model]
        for r in of_model:
            assert r["cost"] == nano(model, r["prompt"], r["completion"]) <= r["reserved"]
            assert not r["counted_here"] or r["prompt"] in prompts[model]
        if all(not r["counted_here"] for r in of_model):
            assert sum(r["cost"] for r in of_model) == g.bill(model)
        assert sum(r["completion"] for r in of_model) == sent[model]["billed_completion"]


@pytest.mark.parametrize("others", [("medium",), ()], ids=["two", "alone"])
@pytest.mark.parametrize("name", FAULTS)
def test_fault(tmp_path, name, others):
    fault = FAULTS[name]
    with Generation(tmp_path, {"small": fault.spec, **{m: HEALTHY for m in others}}) as g:
        a = in_time(lambda: g.ask(explain=True))
        assert outcomes(a, "small") == fault.outcomes
        check_breaker(g, fault, 1)
        e = in_time(lambda: g.stream(explain=True))
        done = e.right()
        check_breaker(g, fault, 2)
        for x in (a, done):
            explained = x["explain"]["generation"]
            assert outcomes(x)[-1] == "ok" if others and not fault.cut else len(outcomes(x)) == len(outcomes(x, "small"))
            if others and not fault.cut:
                assert (x["model"], x["source"], x["degraded"]) == ("medium", "fallback", False)
                assert explained["reason"] == fault.reason and x["usage"]["completion_tokens"] == 40
            else:
                assert x["source"] == "extract" and x["degraded_reason"] in (fault.reason, "breaker"), x
        assert a["degraded_reason"] in (None, fault.reason)
        if fault.cut:
            assert e.text and e.text not in done["answer"] and e.one("degraded")["replaces"] is True
        elif not others:
            assert e.text == "" and e.one("degraded")["replaces"] is False
        check_money(g, [a, done])
        if name.startswith("http_429_after_soon"):
            starts = [x["start_ms"] for x in a["explain"]["generation"]["attempts"]]
            assert starts[1] - starts[0] >= 300 and starts[2] - starts[1] >= 300


# ---- before there is HTTP ---------------------------------------------------------------------------------------------

@contextlib.contextmanager
def closed_port():
    with socket.socket() as s:  # bound, not listening
        s.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{s.getsockname()[1]}/v1"


@contextlib.contextmanager
def no_such_host():
    yield "https://no-such-host.invalid/v1"


@contextlib.contextmanager
def nobody_accepts():
    with socket.socket() as s, contextlib.ExitStack() as waiting:
        s.bind(("127.0.0.1", 0))
        s.listen(0)
        for _ in range(4):  # more than the queue takes
            c = waiting.enter_context(socket.socket())
            c.setblocking(False)
            c.connect_ex(s.getsockname())
        time.sleep(.1)
        yield f"http://127.0.0.1:{s.getsockname()[1]}/v1"


def accept_each(listener, serve):
    """serve(connection) in a thread for each, until the listener is closed."""
    def one(conn):
        with contextlib.suppress(OSError), conn:
            serve(conn)

    def loop():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()
    threading.Thread(target=loop, daemon=True).start()


@contextlib.contextmanager
def no_tls():
    """Takes the handshake for a request, as a plain HTTP server does."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        accept_each(s, lambda c: c.recv(4096) and c.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
        yield f"https://127.0.0.1:{s.getsockname()[1]}/v1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    p = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", folder / "key.pem", "-out",
                        folder / "cert.pem"], capture_output=True)
    assert p.returncode == 0, p.stderr
    return folder


ANSWER = (b'data: {"choices":[{"delta":{"content":"3600\xe5\x85\x83[1]"}}]}\n\n'
          b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
          b'data: {"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":10}}\n\ndata: [DONE]\n\n')


@contextlib.contextmanager
def tls_upstream(folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")

    def serve(conn):
        with context.wrap_socket(conn, server_side=True) as c:
            if c.recv(65536):
                c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + ANSWER)
    with socket.create_server(("127.0.0.1", 0)) as s:
        accept_each(s, serve)
        yield f"https://localhost:{s.getsockname()[1]}/v1"


def of_two(bad, good, others, **provider):
    """Configuration: small at `bad`, the others at `good`."""
    c = config("", ("small", *others))
    del c["llm"]["base_url"]
    c["llm"]["providers"] = [{"name": "bad", "base_url": bad, **provider}, {"name": "good", "base_url": good}]
    for m in c["llm"]["models"]:
        m["provider"] = "bad" if m["name"] == "small" else "good"
    return c


def unreachable(certificate):
    return {"refused": (closed_port, [["refused"] * 3], ["upstream_error"]),
            "no_name": (no_such_host, [["resolve"] * 3, ["connect_timeout"]], ["upstream_error", "timeout"]),
            "no_tls": (no_tls, [["tls"]], ["upstream_error"]),
            "self_signed": (lambda: tls_upstream(certificate), [["tls"]], ["upstream_error"]),
            "nobody_accepts": (nobody_accepts, [["connect_timeout"]], ["timeout"])}


@pytest.mark.parametrize("others", [("medium",), ()], ids=["two", "alone"])
@pytest.mark.parametrize("name", ["refused", "no_name", "no_tls", "self_signed", "nobody_accepts"])
def test_unreachable(tmp_path, certificate, name, others):
    place, expected, reasons = unreachable(certificate)[name]
    with place() as url, Sim({m: HEALTHY for m in others}) as sim:
        with Generation(tmp_path, {}, sim=sim, configuration=of_two(url, sim.url, others)) as g:
            a = in_time(lambda: g.ask(explain=True))
            assert outcomes(a, "small") in expected
            assert g.breaker("small")["failures"] == len(outcomes(a, "small"))
            e = in_time(lambda: g.stream(explain=True))
            for x in (a, e.right()):
                if others:
                    assert (x["model"], x["source"], x["degraded"]) == ("medium", "fallback", False)
                else:
                    assert x["source"] == "extract" and x["degraded_reason"] in (*reasons, "breaker")
            rows = g.ledger()
            assert [r["cost"] for r in rows if r["model"] == "small"] == [0] * sum(r["model"] == "small" for r in rows)
            assert sum(r["cost"] for r in rows) == nano_of(a) + nano_of(e.one("done")) == g.bill(*others, "small")


def test_its_certificate_is_taken_with_ca_file(tmp_path, certificate):
    with tls_upstream(certificate) as url:
        c = of_two(url, "http://127.0.0.1:9/v1", (), ca_file=str(certificate / "cert.pem"))
        with Generation(tmp_path, {}, sim=Sim({}), configuration=c) as g:
            a = g.ask(explain=True)
            assert a["answer"] == "3600元[1]" and outcomes(a) == ["ok"] and nano_of(a) == nano("small", 100, 10)


# ---- breakers -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["http_500", "http_402", "no_headers", "garbage"])
def test_a_breaker_opens_and_closes_by_itself(tmp_path, name):
    fault = FAULTS[name]
    with Generation(tmp_path, {"small": fault.spec, "medium": HEALTHY}, breaker={"open_s": 1}) as g:
        tried = 0
        while g.breaker("small")["state"] == "closed":
            a = g.ask(explain=True)
            tried += sum(o != "breaker" for o in outcomes(a, "small"))
            assert a["model"] == "medium" and tried <= 5
        opened = time.monotonic()
        assert tried == 5 == g.sim.stats("small")["requests"]
        assert g.breaker("small")["times_opened"] == 1 and g.health()["dependencies"]["llm"]["status"] == "partial"
        assert g.metric("ragd_llm_breaker_state", model="small") == 2
        a = g.ask(explain=True)
        if time.monotonic() - opened < .9:
            assert outcomes(a, "small") == ["breaker"] and a["model"] == "medium"
            assert a["explain"]["generation"]["reason"] == "breaker" and g.sim.stats("small")["requests"] == 5
        g.sim.set("small", HEALTHY)
        time.sleep(max(0, opened + 1.05 - time.monotonic()))
        assert g.ask()["model"] == "small" and g.breaker("small")["state"] == "half_open"
        assert g.ask()["model"] == "small"
        b = g.breaker("small")
        assert (b["state"], b["failures"], b["times_opened"]) == ("closed", 0, 1)
        assert g.health()["dependencies"]["llm"]["status"] == "ok"


def test_a_probe_that_fails_opens_again(tmp_path):
    with Generation(tmp_path, {"small": "fail=http_402"}, breaker={"open_s": 1}) as g:
        for _ in range(5):
            assert g.ask()["degraded_reason"] == "upstream_error"
        assert g.breaker("small")["state"] == "open" and g.health()["dependencies"]["llm"]["status"] == "down"
        assert g.health()["status"] == "ok" and g.ask()["degraded_reason"] == "breaker"
        time.sleep(1.05)
        assert g.ask()["degraded_reason"] == "upstream_error"
        assert g.breaker("small")["state"] == "open" and g.breaker("small")["times_opened"] == 2
        assert g.sim.stats("small")["requests"] == 6


@pytest.mark.parametrize("name", ["http_400", "cut", "stall"])
def test_what_does_not_count_opens_no_breaker(tmp_path, name):
    with Generation(tmp_path, {"small": FAULTS[name].spec, "medium": HEALTHY}) as g:
        for _ in range(6):
            g.ask()
        b = g.breaker("small")
        assert (b["state"], b["failures"]) == ("closed", 0) and g.sim.stats("small")["requests"] == 6


def test_the_retry_budget_ends_a_storm(tmp_path):
    with Generation(tmp_path, {"small": "fail=http_500"}, breaker={"failures": 1000}) as g:
        for _ in range(30):
            assert g.ask()["source"] == "extract"
        retries = g.metric("ragd_llm_retries_total")
        assert 10 <= retries < 60 and g.sim.stats("small")["requests"] == 30 + retries


# ---- everything at once, and the end of it ---------------------------------------------------------------------------------

def test_an_upstream_that_goes_away_and_comes_back(tmp_path):
    with Generation(tmp_path, {"small": HEALTHY}, breaker={"open_s": 1}) as g:
        assert g.ask()["source"] == "primary"
        g.sim.stop()
        assert [in_time(g.ask)["source"] for _ in range(4)] == ["extract"] * 4
        assert g.breaker("small")["state"] == "open"
        g.sim.start()
        time.sleep(1.05)
        assert [g.ask()["source"] for _ in range(3)] == ["primary"] * 3
        assert g.breaker("small")["state"] == "closed"


def test_no_budget_no_call(tmp_path):
    with Generation(tmp_path, {"small": HEALTHY, "large": HEALTHY}, budget={"daily_cny": 0.0001}) as g:
        for x in (g.ask(explain=True), g.stream(explain=True).right()):
            assert x["degraded_reason"] == "budget_exceeded" and x["cost_cny"] == 0
        assert g.sim.stats()["total"]["requests"] == 0 and all(r["cost"] == 0 for r in g.ledger())


def test_wrong_usage_is_booked_as_it_was_said(tmp_path):
    with Generation(tmp_path, {"small": HEALTHY + ",usage=wrong"}) as g:
        a = g.ask()
        s = g.sim.stats("small")
        assert nano_of(a) == nano("small", s["billed_prompt"], s["billed_completion"]) == g.ledger()[0]["cost"]
        assert s["billed_completion"] == 180


def test_without_usage_tokens_are_counted_here(tmp_path):
    with Generation(tmp_path, {"small": HEALTHY + ",usage=none"}) as g:
        a = g.ask()
        (row,) = g.ledger()
        (body,) = g.sim.bodies()
        assert row["counted_here"] == 1 and row["prompt"] == sum(count_tokens(m["content"]) for m in body["messages"])
        assert row["completion"] == a["usage"]["completion_tokens"] > 20 and nano_of(a) == row["cost"] > 0
