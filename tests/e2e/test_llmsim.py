"""The scripted upstream does what its specs say: the other tests stand on it."""
import contextlib
import http.client
import json
import select
import socket
import time

import pytest

from llmsim import Sim

FAST = "ttft_ms=5,tps=1000,tokens=8"


@pytest.fixture(scope="module")
def process():
    with Sim({"m": FAST, "other": "lang=en," + FAST}) as s:
        yield s


@pytest.fixture
def sim(process):
    process.set("m", FAST)
    process.set("default", FAST)
    process.reset()
    return process


def body(model="m", stream=True, **more):
    extra = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "年费多少abcde"}], **extra, **more})


def ask(sim, timeout=20, headers=None, **kw):
    """The response, not yet read, and its connection for a `with`."""
    c = http.client.HTTPConnection("127.0.0.1", sim.port, timeout=timeout)
    c.request("POST", "/v1/chat/completions", body(**kw).encode(), headers or {})
    return c.getresponse(), contextlib.closing(c)


def read_all(r):
    """What came, and how it ended: "end", "cut", "reset", "silent"."""
    got = b""
    try:
        while chunk := r.read1(65536):
            got += chunk
        return got, "end"
    except http.client.IncompleteRead as e:
        return got + e.partial, "cut"
    except ConnectionResetError:
        return got, "reset"
    except TimeoutError:
        return got, "silent"


def events(raw):
    return [e[6:] for e in raw.decode().split("\n\n") if e.startswith("data: ")]


def parse(raw):
    """Text, finish reasons, usages, and whether [DONE] came last."""
    all_, text, finish, usage = events(raw), "", [], []
    for e in all_:
        if e == "[DONE]":
            continue
        o = json.loads(e)
        for c in o.get("choices", []):
            text += c["delta"].get("content", "")
            finish += [c["finish_reason"]] if c["finish_reason"] else []
        usage += [o["usage"]] if "usage" in o else []
    return text, finish, usage, bool(all_) and all_[-1] == "[DONE]"


def stream(sim, spec=None, timeout=20, **kw):
    if spec is not None:
        sim.set("m", f"{FAST},{spec}")
    r, c = ask(sim, timeout, **kw)
    with c:
        assert r.status == 200
        return read_all(r)


def test_a_stream_is_whole_and_counted(sim):
    raw, how = stream(sim)
    text, finish, usage, done = parse(raw)
    assert (text, finish, done, how) == ("这张卡首年免年费", ["stop"], True, "end")
    assert usage == [{"prompt_tokens": 6, "completion_tokens": 8, "total_tokens": 14}]  # 4 characters, 5 bytes
    n = sim.stats("m")
    assert (n["requests"], n["completed"], n["tokens_sent"], n["open"], n["faults"]) == (1, 1, 8, 0, {})
    assert (n["billed_prompt"], n["billed_completion"], n["billed_cached"]) == (6, 8, 0)
    assert sim.stats()["total"]["requests"] == 1 and sim.stats("other")["requests"] == 0


def test_the_other_ways_to_ask(sim):
    r, c = ask(sim, stream=False)
    with c as c:
        o = json.loads(r.read())
        assert o["choices"] == [{"index": 0, "message": {"role": "assistant", "content": "这张卡首年免年费"},
                                 "finish_reason": "stop"}]
        assert o["usage"]["completion_tokens"] == 8
        # the same connection, max_tokens, an unknown name
        c.request("POST", "/v1/chat/completions", body("nobody", max_tokens=3).encode())
        text, finish, usage, done = parse(c.getresponse().read())
        assert (text, finish, usage[0]["completion_tokens"], done) == ("这张卡", ["length"], 3, True)
        c.request("GET", "/v1/models")
        assert [m["id"] for m in json.loads(c.getresponse().read())["data"]] == ["m", "other"]
        # no usage unless it is asked for; content in parts
        c.request("POST", "/v1/chat/completions", json.dumps(
            {"model": "other", "stream": True, "messages": [{"content": [{"type": "text", "text": "\\u5e74费"}]}]}))
        text, _, usage, _ = parse(c.getresponse().read())
        assert text == "The card has no annual fee in" + " its" and usage == []
    s = sim.stats()
    assert s["models"]["default"]["requests"] == 1 and s["connections_open"] >= 1
    assert s["models"]["other"]["billed_completion"] == 8
    r, c = ask(sim, headers={"Connection": "close"})
    with c:
        assert r.getheader("Connection") == "close" and read_all(r)[1] == "end"


def test_bad_requests(sim):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", sim.port, timeout=20)) as c:
        for bad in ("", "{", '{"model":"m"}', '{"messages":[]}', "[" * 100 + "]" * 100):
            c.request("POST", "/v1/chat/completions", bad)
            r = c.getresponse()
            assert r.status == 400 and json.loads(r.read())["error"]["type"] == "invalid_request_error", bad
        c.request("GET", "/nothing")
        assert c.getresponse().status == 404
    for spec in ("ttft_ms", "ttft_ms=x", "fail=nothing", "fail=stall@2", "tokens=-1", "text=/nonexistent/x", "lang=fr"):
        assert sim.request("POST", "/sim/set", {"model": "m", "spec": spec})[0] == 400, spec
    with socket.create_connection(("127.0.0.1", sim.port), timeout=20) as s:
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n")
        assert b" 413 " in s.recv(4096)
    assert stream(sim)[1] == "end"


def test_headers_and_bodies_are_seen(sim):
    r, c = ask(sim, headers={"Authorization": "Bearer secret-key", "X-Request-Id": "r-1", "traceparent": "00-aa-bb-01"})
    with c:
        read_all(r)
    s = sim.stats()
    assert s["last_request"] == {"authorization": True, "x_request_id": "r-1", "traceparent": "00-aa-bb-01"}
    assert "secret-key" not in json.dumps(s)
    assert [b["model"] for b in sim.bodies()] == ["m"]
    sim.reset()
    assert sim.bodies() == [] and sim.stats("m")["requests"] == 0


@pytest.mark.parametrize("kind,status,code", [
    ("http_500", 500, "internal"), ("http_503", 503, "overloaded"), ("http_429", 429, "rate_limit_exceeded"),
    ("http_400", 400, "invalid_value"), ("http_401", 401, "invalid_api_key"), ("http_402", 402, "insufficient_balance"),
    ("quota", 429, "insufficient_quota"), ("context", 400, "context_length_exceeded")])
def test_refusals(sim, kind, status, code):
    sim.set("m", f"{FAST},fail={kind}")
    for streamed in (True, False):
        r, c = ask(sim, stream=streamed)
        with c:
            assert r.status == status and json.loads(r.read())["error"]["code"] == code
            assert r.getheader("Retry-After") is None
    n = sim.stats("m")
    assert n["faults"] == {kind: 2} and n["completed"] == 0 and n["calls_billed"] == 0 and n["open"] == 0


def test_retry_after(sim):
    seen = {}
    for form in ("both", "seconds", "ms", "date"):
        sim.set("m", f"fail=http_429_after,after=1.5,after_as={form}")
        r, c = ask(sim)
        with c:
            assert r.status == 429
            seen[form] = r.getheader("Retry-After"), r.getheader("retry-after-ms")
    assert seen["both"] == ("2", "1500") and seen["seconds"] == ("2", None) and seen["ms"] == (None, "1500")
    assert seen["date"][0].endswith(" GMT")


def test_no_http_at_all(sim):
    sim.set("m", "fail=refuse")
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        ask(sim)
    sim.set("m", "fail=garbage")
    with pytest.raises(http.client.BadStatusLine):
        ask(sim)
    sim.set("m", "fail=html")
    r, c = ask(sim)
    with c:
        assert r.status == 200 and r.getheader("Content-Type") == "text/html" and b"<html>" in r.read()
    sim.set("m", "fail=no_headers")
    with pytest.raises(TimeoutError):
        ask(sim, timeout=.3)
    s = sim.until(lambda s: s["total"]["client_closed"] == 1)
    assert s["total"]["faults"] == {"refuse": 1, "garbage": 1, "html": 1, "no_headers": 1} and s["total"]["open"] == 0
    assert s["total"]["calls_billed"] == 0


def test_streams_that_end_badly(sim):
    raw, how = stream(sim, "fail=cut,at=3")
    assert (parse(raw)[0], how) == ("这张卡", "cut")
    raw, how = stream(sim, "fail=cut,at=3,cut=rst")
    assert (parse(raw)[0], how) == ("这张卡", "reset")
    raw, how = stream(sim, "fail=cut,at=0")
    assert (parse(raw)[0], how) == ("", "cut")
    raw, how = stream(sim, "fail=error_in_stream,at=2")
    assert how == "end" and "error" in json.loads(events(raw)[-1]) and len(events(raw)) == 4
    raw, how = stream(sim, "fail=no_done")
    assert how == "end" and parse(raw) == ("这张卡首年免年费", [], [], False)
    raw, how = stream(sim, "fail=empty")
    assert how == "end" and parse(raw) == ("", ["stop"], [{"prompt_tokens": 6, "completion_tokens": 0,
                                                           "total_tokens": 6}], True)
    raw, how = stream(sim, "fail=bad_json,at=2")
    e = events(raw)
    assert how == "end" and json.loads(e[2])["choices"][0]["delta"]["content"] == "张"
    for bad in e[3:9]:
        with pytest.raises(ValueError):
            json.loads(bad)
    raw, how = stream(sim, "fail=huge,at=1")
    assert how == "end" and len(json.loads(events(raw)[2])["choices"][0]["delta"]["content"]) == 2 << 20
    n = sim.stats("m")
    assert n["billed_completion"] == 3 + 3 + 0 + 2 + 8 + 0 + 2 + 8 == n["tokens_sent"]


def test_streams_that_hang(sim):
    raw, how = stream(sim, "fail=stall,at=2", timeout=.4)
    assert (parse(raw)[0], how) == ("这张", "silent")
    s = sim.until(lambda s: s["models"]["m"]["client_closed"] == 1)["models"]["m"]
    assert s["close_ms_last"] >= 300 and s["billed_completion"] == 2 and s["billed_prompt"] == 6
    raw, how = stream(sim, "fail=drip,drip_ms=40", timeout=.02)
    assert events(raw)[1:] == [] or "content" not in events(raw)[1]
    sim.set("m", "fail=comments_only,ping_ms=5")
    r, c = ask(sim)
    with c:
        got = b""
        while got.count(b": ping\n\n") < 5:
            got += r.read1(65536)
        assert got.replace(b": ping\n\n", b"") == b""
    sim.until(lambda s: s["models"]["m"]["client_closed"] == 3)
    sim.set("m", "fail=slow_headers,ttft_ms=300,tokens=1")
    start = time.monotonic()
    r, c = ask(sim)
    with c:
        assert time.monotonic() - start >= .29
        assert parse(read_all(r)[0])[0] == "这"


def test_drip_says_the_same_in_the_end(sim):
    raw, how = stream(sim, "fail=drip,drip_ms=1,tokens=1")
    assert how == "end" and parse(raw)[0] == "这" and parse(raw)[3]
    sim.set("m", "fail=drip,drip_ms=1,tokens=1")
    r, c = ask(sim, stream=False)
    with c:
        assert json.loads(r.read())["choices"][0]["message"]["content"] == "这"


def test_whole_answers_that_fail(sim):
    def whole(spec, timeout=20):
        sim.set("m", f"{FAST},{spec}")
        r, c = ask(sim, timeout, stream=False)
        with c:
            try:
                return r.read()
            except http.client.IncompleteRead:
                return "cut"
            except TimeoutError:
                return "silent"
    assert whole("fail=cut") == "cut"
    assert whole("fail=stall", .3) == "silent"
    assert "error" in json.loads(whole("fail=error_in_stream"))
    with pytest.raises(ValueError):
        json.loads(whole("fail=bad_json"))
    assert json.loads(whole("fail=no_done"))["choices"][0]["finish_reason"] is None
    assert json.loads(whole("fail=empty"))["choices"][0]["message"]["content"] == ""


def test_usage(sim):
    def usage(spec, **kw):
        u = parse(stream(sim, spec, **kw)[0])[2]
        return u[0] if u else None
    assert usage("usage=none") is None
    assert usage("usage=cached")["prompt_tokens_details"] == {"cached_tokens": 3}
    u = usage("usage=cached_deepseek,cached_pct=100")
    assert (u["prompt_cache_hit_tokens"], u["prompt_cache_miss_tokens"]) == (6, 0)
    u = usage("usage=wrong")
    assert (u["prompt_tokens"], u["completion_tokens"]) == (112, 116)
    assert usage("over=5", max_tokens=4)["completion_tokens"] == 9
    n = sim.stats("m")
    assert n["billed_cached"] == 9 and n["billed_completion"] == 8 + 8 + 8 + 116 + 9
    assert n["billed_prompt"] == 4 * 6 + 112


def test_marks_and_files(sim, tmp_path):
    assert "年费[1]。" in parse(stream(sim, "cite=1,tokens=60")[0])[0]
    pieces = [json.loads(e)["choices"][0]["delta"].get("content") for e in events(stream(sim, "cite=bad,tokens=60")[0])[:-2]]
    assert "[9]" in pieces and "[abc]" in pieces and "1]" == pieces[pieces.index("[") + 1]
    f = tmp_path / "answer.txt"
    f.write_text('He said "no".\n年费 \\ 100 元🙂\n')
    sim.set("m", f"text={f},tps=0")
    r, c = ask(sim)
    with c:
        assert parse(r.read())[0] == f.read_text()
    sim.set("m", f"text={f},tps=0,tokens=2")
    r, c = ask(sim)
    with c:
        assert parse(r.read())[0] == "He said"


def test_faults_are_drawn_the_same_way_for_a_seed(sim):
    def statuses(seed):
        sim.set("m", f"tps=0,ttft_ms=0,tokens=1,seed={seed},fail=http_500@0.3,fail=http_429@0.2")
        seen = []
        for _ in range(60):
            r, c = ask(sim, stream=False)
            with c:
                seen.append(r.status)
        return seen
    first = statuses(7)
    assert first == statuses(7) and first != statuses(8)
    assert {200, 500, 429} == set(first)


def test_pieces_are_never_early(sim):
    sim.set("m", "ttft_ms=100,tps=50,tokens=10,jitter_ms=10")
    start = time.monotonic()
    r, c = ask(sim)
    times = []
    with c:
        while chunk := r.read1(65536):
            times += [time.monotonic() - start] * sum('"content":"' in e and '"role"' not in e
                                                      for e in events(chunk))
    assert len(times) == 10
    assert all(t >= .1 + i / 50 for i, t in enumerate(times))


def test_a_client_that_does_not_read_holds_only_itself_up(sim):
    sim.set("m", "tokens=60000,tps=0,ttft_ms=0")
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        slow.settimeout(20)
        slow.connect(("127.0.0.1", sim.port))
        b = body()
        slow.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(b.encode())}\r\n\r\n{b}".encode())
        sim.until(lambda s: s["models"]["m"]["tokens_sent"] > 0)
        assert stream(sim, model="other")[1] == "end"
        assert sim.stats("m")["tokens_sent"] < 60000
        got = b""
        while b"[DONE]" not in got[-400:]:
            more = slow.recv(1 << 20)
            assert more
            got += more
    assert got.count(b'"content":"') == 60001
    assert sim.until(lambda s: s["models"]["m"]["completed"] == 1)["models"]["m"]["tokens_sent"] == 60000


def test_two_hundred_streams_at_once(sim):
    sim.set("m", "ttft_ms=1500,tps=50,tokens=20")
    b = body().encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(b)}\r\n\r\n".encode()
    poll, open_ = select.epoll(), {}
    try:
        for _ in range(200):
            s = socket.create_connection(("127.0.0.1", sim.port), timeout=20)
            s.sendall(head + b)
            s.setblocking(False)
            open_[s.fileno()] = [s, b""]
            poll.register(s, select.EPOLLIN)
        left, end = set(open_), time.monotonic() + 60
        while left:
            assert time.monotonic() < end
            for fd, _ in poll.poll(1):
                try:
                    got = open_[fd][0].recv(65536)
                except BlockingIOError:
                    continue
                open_[fd][1] += got
                if not got:
                    left.discard(fd)
                    poll.unregister(fd)
        assert all(raw.count(b'"content":"') == 21 and b"[DONE]" in raw for _, raw in open_.values())
    finally:
        for s, _ in open_.values():
            s.close()
        poll.close()
    n = sim.stats("m")
    assert (n["completed"], n["tokens_sent"], n["open"]) == (200, 4000, 0)
    assert n["most_open"] > 1 and n["worst_late_ms"] >= 0


def test_it_ends_when_told_or_left():
    s = Sim()
    port = s.port
    assert s.stop() == 0
    with pytest.raises(ConnectionRefusedError):
        s.port = port
        s.stats()
    s.start()
    assert s.port == port and s.stats()["total"]["requests"] == 0
    process = s.process
    process.stdin.close()
    assert process.wait(20) == 0
    s.process.stdout.close()
