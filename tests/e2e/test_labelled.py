"""/v1/labelled: sets of labelled questions, over HTTP and from the command line."""
import concurrent.futures
import http.client
import json
import os
import pathlib
import signal

import pytest

from conftest import ragd

SAMPLE = pathlib.Path(__file__).resolve().parents[2] / "sample" / "questions.jsonl"
SET = {"collection": "default", "questions": [
    {"query": "白金卡年费多少？", "relevant": ["card.md", {"doc": "fees.csv", "must_contain": ["3600"]}], "answer": "3600元", "kind": "plain"},
    {"query": "What is the weather on Mars?", "relevant": []}]}
LINES = {"Content-Type": "application/x-ndjson"}


def put(s, name, body=SET, **kw):
    return s.request("PUT", "/v1/labelled/" + name, body, **kw)


def test_a_set_lives(serve):
    s = serve().ready()
    assert s.request("GET", "/v1/labelled") == (200, {"sets": []})
    status, r = put(s, "mine")
    assert status == 201 and r["questions"] == 2 and r["collection"] == "default" and r["updated_ms"] > 1.7e12
    assert put(s, "mine")[0] == 200
    status, r = s.request("GET", "/v1/labelled")
    assert [x["name"] for x in r["sets"]] == ["mine"] and r["sets"][0]["questions"] == 2
    status, r = s.request("GET", "/v1/labelled/mine")
    assert status == 200 and r["name"] == "mine" and r["count"] == 2
    assert r["questions"][0] == {"query": "白金卡年费多少？", "answer": "3600元", "kind": "plain", "answerable": True,
                                 "relevant": [{"doc": "card.md"}, {"doc": "fees.csv", "must_contain": ["3600"]}]}
    assert r["questions"][1]["answerable"] is False
    back = {"collection": r["collection"], "questions": r["questions"]}
    assert put(s, "again", back)[0] == 201
    assert s.request("GET", "/v1/labelled/again")[1]["questions"] == r["questions"]
    assert s.request("DELETE", "/v1/labelled/mine") == (200, {"name": "mine", "deleted": True})
    assert s.request("DELETE", "/v1/labelled/mine")[0] == 404
    status, r = s.request("GET", "/v1/labelled/mine")
    assert status == 404 and r["error"]["code"] == "labelled_not_found"


def test_lines_and_the_sample(serve):
    s = serve().ready()
    body = SAMPLE.read_bytes()
    status, r = put(s, "sample", body, headers=LINES)
    assert status == 201, r
    assert r["questions"] == len([x for x in body.splitlines() if x.strip()])
    questions = s.request("GET", "/v1/labelled/sample")[1]["questions"]
    first = json.loads(body.splitlines()[0])
    assert questions[0]["query"] == first["text"] and questions[0]["relevant"] == first["relevant"]
    status, r = s.request("PUT", "/v1/labelled/cards?collection=cards", b'{"query":"a"}\n', LINES)
    assert status == 201 and r["collection"] == "cards"


def test_durable_before_the_answer(serve, data):
    s = serve().ready()
    assert put(s, "mine")[0] == 201
    s.process.send_signal(signal.SIGKILL)
    s.process.wait(10)
    s = serve().ready()
    assert s.request("GET", "/v1/labelled/mine")[1]["count"] == 2
    assert sorted(os.listdir(data / "labelled")) == ["mine.json"]
    assert (data / "labelled" / "mine.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["%2e", ".hidden", "a%2Fb", "..%2f..%2fetc", "a%20b", "%E5%B9%B4", "a" * 65, "a%0ab", "a%5cb"])
def test_names_stay_in_the_folder(serve, data, name):
    s = serve().ready()
    for method in ("GET", "PUT", "DELETE"):
        status, r = s.request(method, "/v1/labelled/" + name, SET if method == "PUT" else None)
        assert status in (400, 404), r
    assert not (data / "labelled").exists()


@pytest.mark.parametrize("body,param", [
    (b"", None), (b"[", None), (b"[]", None), (b"{}", "questions"), (b'{"questions":[]}', "questions"),
    (b'{"questions":[{"query":"a"}],"name":"b"}', "name"),
    (b'{"questions":[{"query":7}]}', "questions[0].query"),
    (b'{"questions":[{"query":"a","relevant":[{"doc":""}]}]}', "questions[0].relevant.doc"),
    (b'{"questions":[{"query":"a","relevant":[7]}]}', "questions[0].relevant"),
    (b'{"questions":[{"query":"a","answer":{"x":1}}]}', "questions[0].answer"),
    (b'{"questions":[{"query":"a"},{"query":"a","query":"b"}]}', None),
    (b'{"collection":"../x","questions":[{"query":"a"}]}', "collection"),
    (b'{"questions":[{"query":"\xff"}]}', None),
    (b'{"questions":' + b"[" * 100 + b"]" * 100 + b"}", None),
])
def test_bad_sets_are_refused(serve, data, body, param):
    s = serve().ready()
    status, r = put(s, "bad", body, headers={"Content-Type": "application/json"})
    assert status == 400, r
    assert param is None or r["error"]["param"] == param
    assert s.request("GET", "/v1/labelled")[1]["sets"] == []


def test_bad_lines_are_named(serve):
    s = serve().ready()
    status, r = put(s, "bad", b'{"query":"a"}\n\n{"query":"b",}\n', headers=LINES)
    assert status == 400 and r["error"]["param"] == "line 3"
    status, r = put(s, "bad", b'{"query":"a"}\n{"question":"b"}\n', headers=LINES)
    assert status == 400 and "line 2" in r["error"]["message"] and "question" in r["error"]["message"]
    assert put(s, "bad", b'{"query":"a"}', headers={"Content-Type": "text/csv"})[0] == 415


def test_sizes(serve):
    s = serve().ready()
    line = b'{"query":"q"}\n'
    assert put(s, "big", line * 10000, headers=LINES)[0] == 201
    assert put(s, "big", line * 10001, headers=LINES)[0] == 413
    assert put(s, "big", line + b" " * (8 << 20), headers=LINES)[0] == 413
    assert put(s, "big", b'{"questions":[' + b" " * (8 << 20) + b"]}", headers={"Content-Type": "application/json"})[0] == 413
    assert s.request("GET", "/v1/labelled/big")[1]["count"] == 10000


def test_changes_at_once_leave_whole_sets(serve):
    s = serve().ready()
    bodies = [{"questions": [{"query": "q%d" % i}] * (1 + i * 50)} for i in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(x[0] in (200, 201) for x in pool.map(lambda b: put(s, "same", b), bodies * 4))
    r = s.request("GET", "/v1/labelled/same")[1]
    assert r["count"] == len(r["questions"]) and len({q["query"] for q in r["questions"]}) == 1


def test_scopes_and_collections(serve, tmp_path):
    env = {"K_QUERY": "query-key-0123456789", "K_INGEST": "ingest-key-0123456789", "K_ONE": "one-key-01234567890"}
    config = tmp_path / "ragd.yaml"
    config.write_text("auth:\n  keys:\n    - {name: q, key_env: K_QUERY, scopes: [query]}\n"
                      "    - {name: i, key_env: K_INGEST, scopes: [ingest]}\n"
                      "    - {name: o, key_env: K_ONE, scopes: [query, ingest], collections: [one]}\n")
    s = serve("--config", config, env=env)
    key = {k: {"Authorization": "Bearer " + v} for k, v in env.items()}
    assert s.request("GET", "/v1/labelled")[0] == 401
    assert put(s, "a", headers=key["K_QUERY"] | {"Content-Type": "application/json"}, body=json.dumps(SET).encode())[0] == 403
    assert put(s, "a", headers=key["K_INGEST"] | {"Content-Type": "application/json"}, body=json.dumps(SET).encode())[0] == 201
    assert s.request("GET", "/v1/labelled/a", headers=key["K_QUERY"])[0] == 200
    assert s.request("DELETE", "/v1/labelled/a", headers=key["K_QUERY"])[0] == 403
    one = key["K_ONE"] | {"Content-Type": "application/json"}
    assert s.request("GET", "/v1/labelled", headers=one)[1]["sets"] == []
    assert s.request("GET", "/v1/labelled/a", headers=one)[0] == 403
    assert put(s, "a", json.dumps({**SET, "collection": "one"}).encode(), headers=one)[0] == 403
    assert s.request("DELETE", "/v1/labelled/a", headers=one)[0] == 403
    assert put(s, "b", json.dumps({**SET, "collection": "one"}).encode(), headers=one)[0] == 201
    assert [x["name"] for x in s.request("GET", "/v1/labelled", headers=one)[1]["sets"]] == ["b"]


def test_a_client_that_goes_away_stores_nothing(serve):
    s = serve().ready()
    c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=10)
    c.putrequest("PUT", "/v1/labelled/half")
    c.putheader("Content-Length", "1000")
    c.endheaders()
    c.send(b'{"questions":[{"query":"a"}')
    c.close()
    assert s.request("GET", "/v1/labelled/half")[0] == 404


def test_the_command_with_and_without_a_server(serve, data, tmp_path):
    p = ragd("ingest", "--data", data, "--labelled", "sample", SAMPLE)
    assert p.returncode == 0 and "in the set sample" in p.out, p.err
    s = serve().ready()
    n = s.request("GET", "/v1/labelled/sample")[1]["count"]
    one = tmp_path / "one.json"
    one.write_text(json.dumps(SET), "utf-8")
    p = ragd("ingest", "--data", data, "--labelled", "one", "--collection", "cards", "--json", one)
    assert p.returncode == 0 and json.loads(p.out) == {"name": "one", "collection": "default", "questions": 2}, p.err  # the file says so
    assert s.request("GET", "/v1/labelled/one")[1]["collection"] == "default"
    assert n == s.request("GET", "/v1/labelled")[1]["sets"][1]["questions"]
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"query":"a"}\n{"query":\n')
    for name, file, status, says in (("one", bad, 1, "line 2"), ("../x", one, 2, "--labelled"), ("one", tmp_path / "no", 1, "no"),
                                     ("one", "-", 2, "one file")):
        p = ragd("ingest", "--data", data, "--labelled", name, file)
        assert p.returncode == status and says in p.err, p.err
    s.stop()
    p = ragd("ingest", "--data", data, "--labelled", "one", bad)
    assert p.returncode == 1 and "line 2" in p.err
