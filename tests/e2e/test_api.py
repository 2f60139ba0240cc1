"""The HTTP API of a real server over the sample: shapes, documents, filters, streams, keys, guards, limits."""
import http.client
import json
import re
import shutil
import signal
import subprocess
import threading
import time
from urllib.parse import quote

import pytest

import conftest

DOCS = "/v1/collections/default/documents"


class Server(conftest.Server):
    """With the answer's headers kept, and bodies as bytes, text or JSON."""

    def call(self, method, path, body=None, headers=None, raw=False):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            if body is not None and not isinstance(body, (bytes, str)):
                body = json.dumps(body)
            h = {"Content-Type": "application/json"} if body is not None else {}
            h.update(headers or {})
            c.request(method, path, body.encode() if isinstance(body, str) else body, h)
            r = c.getresponse()
            data = r.read()
            self.headers = {k.lower(): v for k, v in r.getheaders()}
            if raw or not self.headers.get("content-type", "").startswith("application/json"):
                return r.status, data
            return r.status, json.loads(data) if data else None
        finally:
            c.close()

    def get(self, path, **kw):
        return self.call("GET", path, **kw)

    def post(self, path, body, **kw):
        return self.call("POST", path, body, **kw)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    data = tmp_path_factory.mktemp("api") / "data"
    assert conftest.ragd("ingest", "--data", data, conftest.ROOT / "sample" / "docs").returncode == 0
    s = Server(data).ready()
    yield s
    s.stop()


def error_of(answer):
    status, body = answer
    e = body["error"]
    assert set(e) >= {"type", "message", "param", "code", "request_id"}
    return status, e


def test_query_has_the_promised_shape(server):
    status, a = server.post("/v1/query", {"query": "白金卡年费多少？", "explain": True})
    assert status == 200
    assert set(a) >= {"id", "answer", "found", "confidence", "citations", "contexts", "cache_hit", "complexity", "model",
                      "source", "degraded", "degraded_reason", "cost_cny", "usage", "timings_ms"}
    assert a["found"] and "3600" in a["answer"] and a["source"] == "extract" and a["degraded"] is False
    assert 0 <= a["confidence"] <= 1 and a["complexity"] == "simple"
    for c in a["citations"]:
        assert set(c) >= {"n", "document_id", "version", "chunk_id", "title", "heading_path", "start", "end"}
        assert f"[{c['n']}]" in a["answer"]
        _, doc = server.get(f"{DOCS}/{quote(c['document_id'], safe='')}?version={c['version']}")
        assert doc["text"][c["start"]:c["end"]].strip()
    assert {"analysis", "retrieval", "generation", "total"} <= set(a["timings_ms"])
    assert {"analysis", "retrieval", "generation"} <= set(a["explain"])
    assert server.headers["x-request-id"]


def test_cited_text_is_in_the_answer(server):
    _, a = server.post("/v1/query", {"query": "挂失电话是多少"})
    squeeze = lambda t: re.sub(r"\W+", "", t)
    for c in a["citations"]:
        _, doc = server.get(f"{DOCS}/{quote(c['document_id'], safe='')}")
        quoted = squeeze(doc["text"][c["start"]:c["end"]])
        assert quoted[-12:] in squeeze(a["answer"])


def test_unanswerable_is_said_plainly(server):
    for q in ("明天上海天气怎么样？", "Who won the football world cup in 1998?", "how do I bake sourdough bread"):
        status, a = server.post("/v1/query", {"query": q})
        assert status == 200 and a["found"] is False and a["citations"] == [] and a["answer"]


def test_stream_sends_context_tokens_done(server):
    status, body = server.post("/v1/query", {"query": "How do I redeem points for miles?", "stream": True})
    assert status == 200 and server.headers["content-type"].startswith("text/event-stream")
    events = [dict(l.split(": ", 1) for l in block.split("\n") if ": " in l) for block in body.decode().split("\n\n") if block.strip()]
    names = [e["event"] for e in events]
    assert names[0] == "context" and names[-1] == "done" and names.count("token") >= 1
    done = json.loads(events[-1]["data"])
    assert "".join(json.loads(e["data"])["text"] for e in events if e["event"] == "token") == done["answer"]


def test_document_life(server):
    text = "云杉银行的测试条款：每月第三个星期二免手续费。"
    status, d = server.post(DOCS, {"id": "life/测试?#1", "text": text, "metadata": {"year": 2026, "tags": ["a", "b"], "ok": True}})
    assert status == 201 and d["version"] == 1 and d["chunks"] == 1
    path = f"{DOCS}/{quote('life/测试?#1', safe='')}"
    status, got = server.get(path)
    assert status == 200 and got["text"] == text and got["metadata"]["year"] == 2026
    assert server.post(DOCS, {"id": "life/测试?#1", "text": text, "metadata": {"year": 2026, "tags": ["a", "b"], "ok": True}})[0] == 200
    status, d = server.post(DOCS, {"id": "life/测试?#1", "text": text + "另有规定的除外。", "metadata": {"year": 2027}})
    assert status == 200 and d["version"] == 2
    _, s = server.post("/v1/search", {"query": "星期二 手续费", "filters": {"year": {"gte": 2027}}})
    assert [h["document_id"] for h in s["hits"]] == ["life/测试?#1"] and s["hits"][0]["metadata"] == {"year": 2027}
    _, v = server.get(path + "/versions")
    assert [x["version"] for x in v["versions"]] == [2, 1]
    assert server.get(path + "?version=1")[1]["text"] == text
    assert server.call("DELETE", path)[0] in (200, 204)
    assert error_of(server.get(path))[0] == 404
    _, s = server.post("/v1/search", {"query": "星期二 手续费", "filters": {"year": {"gte": 2027}}})
    assert s["hits"] == []


def test_batch_reports_each_document(server):
    status, r = server.post(DOCS, {"documents": [{"id": "b1", "text": "批量第一份。"}, {"id": "b2", "text": "   "}, {"id": "b3", "text": "批量第三份。"}]})
    assert status in (200, 207)
    assert len(r["results"]) == 3 and "error" in json.dumps(r["results"][1])
    assert server.get(f"{DOCS}/b1")[0] == 200 and server.get(f"{DOCS}/b2")[0] == 404
    status, r = server.call("DELETE", DOCS, {"filters": {"document_id": ["b1", "b3"]}})
    assert status == 200 and r["deleted"] == 2
    assert error_of(server.call("DELETE", DOCS, {"filters": {}}))[0] == 400


def test_multipart_upload(server):
    b = "xxBOUNDARYxx"
    body = (f"--{b}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"prices.csv\"\r\n\r\n卡种,年费\r\n测试卡,77元\r\n\r\n"
            f"--{b}\r\nContent-Disposition: form-data; name=\"id\"\r\n\r\nup1\r\n--{b}--\r\n").encode()
    status, d = server.call("POST", DOCS, body, headers={"Content-Type": f"multipart/form-data; boundary={b}"})
    assert status == 201 and d["id"] == "up1" and d["chunks"] == 1
    _, s = server.post("/v1/search", {"query": "测试卡年费", "filters": {"document_id": "up1"}})
    assert "年费: 77元" in s["hits"][0]["text"]
    server.call("DELETE", f"{DOCS}/up1")


def test_collections(server):
    assert server.call("PUT", "/v1/collections/sales", {})[0] == 201
    assert server.call("PUT", "/v1/collections/sales", {})[0] == 200
    assert "sales" in [c["name"] for c in server.get("/v1/collections")[1]["collections"]]
    status, a = server.post("/v1/query", {"query": "年费", "collection": "sales"})
    assert status == 200 and a["found"] is False
    assert server.call("DELETE", "/v1/collections/sales")[0] in (200, 204)
    status, e = error_of(server.post("/v1/query", {"query": "年费", "collection": "sales"}))
    assert status == 404 and e["code"] == "collection_not_found"
    assert error_of(server.call("PUT", "/v1/collections/..%2Fx", {}))[0] == 400


def test_lists_are_paged(server):
    seen, after = [], ""
    while True:
        _, page = server.get(f"{DOCS}?limit=7&after={quote(after, safe='')}")
        seen += [d["id"] for d in page["documents"]]
        if len(page["documents"]) < 7:
            break
        after = page["documents"][-1]["id"]
    assert len(seen) == len(set(seen)) >= 40


@pytest.mark.parametrize("body,param", [
    ("", None), ("{", None), ("[]", None), ('{"query":"a"} x', None), ('{"query":"a","query":"b"}', None),
    ('{"query":""}', "query"), ('{"query":"   "}', "query"), ('{"query":5}', "query"), ('{"query":"a","top_k":0}', "top_k"),
    ('{"query":"a","top_k":"5"}', "top_k"), ('{"query":"a","min_score":2}', "min_score"), ('{"query":"a","nope":1}', "nope"),
    ('{"query":"a","filters":{"x":{"like":"y"}}}', "filters"), ('{"query":"a","filters":[]}', "filters"),
    ('{"query":"a","stream":"yes"}', "stream"),
    ('{"query":"a\\u0000b"}', None), (b'{"query":"\xff\xfe"}', None), ('{"query":' + "[" * 100 + "]" * 100 + "}", None),
    ('{"query":1e999}', None),
])
def test_bad_requests_name_the_field(server, body, param):
    status, e = error_of(server.post("/v1/query", body))
    assert status == 400, e
    if param:
        assert (e["param"] or "").startswith(param), e


def test_limits_and_methods(server):
    assert error_of(server.post("/v1/query", {"query": "x" * (1 << 20)}))[0] in (400, 413)
    assert error_of(server.post("/v1/query", "query=a", headers={"Content-Type": "text/plain"}))[0] == 415
    assert error_of(server.call("DELETE", "/v1/query"))[0] == 405 and "POST" in server.headers["allow"]
    assert error_of(server.get("/nothing/here"))[0] == 404
    assert server.get("/health/live")[0] == 200


def test_guards_against_dns_rebinding(server):
    assert server.get("/v1/collections", headers={"Host": "evil.example"})[0] == 403
    assert server.get("/v1/collections", headers={"Origin": "http://evil.example"})[0] == 403
    assert server.get("/v1/collections", headers={"Host": f"localhost:{server.port}"})[0] == 200


def test_metrics_are_what_prometheus_reads(server):
    server.post("/v1/query", {"query": "年费"})
    status, text = server.get("/metrics", raw=True)
    text = text.decode()
    assert status == 200
    assert re.search(r'production_rag_query_total\{[^}]*status="ok"[^}]*\} [1-9]', text)
    for stage in ("total", "analysis", "retrieval", "generation"):
        assert f'stage="{stage}"' in text
    for edge in ("0.01", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"):
        assert re.search(rf'production_rag_latency_seconds_bucket\{{[^}}]*le="{re.escape(edge)}(\.0)?"', text), edge
    if shutil.which("promtool"):
        r = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        assert r.returncode == 0, r.stdout + r.stderr


def test_info_and_stats(server):
    assert server.get("/v1/info")[0] == 200
    status, s = server.get("/v1/stats")
    assert status == 200 and s
    status, h = server.get("/health")
    assert status == 200 and h


def test_keys_scopes_and_rates(tmp_path):
    cfg = tmp_path / "c.yaml"
    cfg.write_text("auth:\n  keys:\n"
                   "    - {name: reader, key_env: READER_KEY, scopes: [query], rate_per_s: 5}\n"
                   "    - {name: boss, key_env: BOSS_KEY, scopes: [query, ingest, admin]}\n")
    s = Server(tmp_path / "data", "--config", cfg, env={"READER_KEY": "reader-secret-1", "BOSS_KEY": "boss-secret-22"}).ready()
    try:
        reader, boss = {"Authorization": "Bearer reader-secret-1"}, {"X-API-Key": "boss-secret-22"}
        assert error_of(s.post("/v1/query", {"query": "a"}))[0] == 401
        assert error_of(s.post("/v1/query", {"query": "a"}, headers={"X-API-Key": "wrong"}))[0] == 401
        assert s.post("/v1/query", {"query": "a"}, headers=reader)[0] == 200
        assert error_of(s.post(DOCS, {"text": "b"}, headers=reader))[0] == 403
        assert s.post(DOCS, {"text": "b c d"}, headers=boss)[0] == 201
        status, cfg_json = s.get("/v1/config", headers=boss, raw=True)
        assert status == 200 and b"secret" not in cfg_json.replace(b"secret_", b"")
        codes = [s.post("/v1/query", {"query": "a"}, headers=reader)[0] for _ in range(30)]
        assert 429 in codes
        s.post("/v1/query", {"query": "a"}, headers=reader)
        assert s.get("/health")[0] == 200 and s.get("/metrics")[0] == 200 and s.get("/")[0] == 200
    finally:
        s.stop()
    assert "reader-secret-1" not in s.log_text()


def test_sigterm_finishes_what_is_in_flight(tmp_path):
    s = Server(tmp_path / "data").ready()
    results = []

    def writer(n):
        try:
            results.append(s.post(DOCS, {"id": f"f{n}", "text": f"文件{n}。" * 200})[0])
        except (OSError, http.client.HTTPException):
            results.append("refused")

    threads = [threading.Thread(target=writer, args=(n,)) for n in range(40)]
    for t in threads:
        t.start()
    time.sleep(.02)
    s.process.send_signal(signal.SIGTERM)
    for t in threads:
        t.join()
    assert s.process.wait(20) == 0
    acked = [n for n, r in enumerate(results) if r == 201]
    again = Server(tmp_path / "data").ready()
    try:
        have = {d["id"] for d in again.get(f"{DOCS}?limit=100")[1]["documents"]}
        assert len(have) >= len(acked)
    finally:
        again.stop()


def test_min_score_holds_for_the_answer_too(server):
    _, a = server.post("/v1/query", {"query": "白金卡年费多少？", "min_score": 0.5})
    assert a["found"] and all(c["score"] >= .5 for c in a["contexts"])
    _, a = server.post("/v1/query", {"query": "白金卡年费多少？", "min_score": 1})
    assert not a["found"] and a["contexts"] == [] and a["citations"] == []
