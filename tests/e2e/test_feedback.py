"""POST /v1/feedback on a real server: what is taken, what is refused and why, whose questions one may judge, what is kept."""
import re
import sqlite3

import pytest

import conftest

ROUTE = "/v1/feedback"


def ask(server, headers=None):
    status, a = server.request("POST", "/v1/query", {"query": "白金卡年费多少？"}, headers)
    assert status == 200 and a["contexts"]
    return a


def error_of(answer, status):
    got, body = answer
    assert got == status, body
    e = body["error"]
    assert set(e) >= {"type", "message", "param", "code", "request_id"}
    return e


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("feedback")
    (folder / "card.md").write_text("# 白金卡\n\n## 年费\n\n白金卡年费是3600元，首年免年费。\n", "utf-8")
    assert conftest.ragd("ingest", "--data", folder / "data", folder / "card.md").returncode == 0
    s = conftest.Server(folder / "data").ready()
    yield s
    s.stop()


def test_every_type_is_taken_right_behind_the_answer(server):
    for extra in ({"type": "thumbs_up"}, {"type": "thumbs_down", "comment": "不对\n第二行", "user_id": "u-1"},
                  {"type": "rating", "rating": 5}, {"type": "clicked"}, {"type": "skipped"}):
        a = ask(server)
        chunk = a["contexts"][0]["chunk_id"]
        if extra["type"] == "clicked":
            extra["chunk_id"] = chunk
        elif extra["type"] == "skipped":
            extra["chunk_ids"] = [c["chunk_id"] for c in a["contexts"]]
            extra["chunk_id"] = chunk
        status, body = server.request("POST", ROUTE, {"query_id": a["id"], **extra})
        assert (status, body) == (200, {"stored": True, "query_id": a["id"]})


@pytest.mark.parametrize("body,status,param", [
    (b"", 400, None), (b"[]", 400, None), (b'{"query_id":"q","query_id":"r","type":"thumbs_up"}', 400, None),
    ({"type": "thumbs_up"}, 400, "query_id"), ({"query_id": "", "type": "thumbs_up"}, 400, "query_id"),
    ({"query_id": 7, "type": "thumbs_up"}, 400, "query_id"), ({"query_id": "q" * 513, "type": "thumbs_up"}, 413, "query_id"),
    ({"query_id": "q"}, 400, "type"), ({"query_id": "q", "type": "up"}, 400, "type"), ({"query_id": "q", "type": 1}, 400, "type"),
    ({"query_id": "q", "type": "rating"}, 400, "rating"), ({"query_id": "q", "type": "rating", "rating": 0}, 400, "rating"),
    ({"query_id": "q", "type": "rating", "rating": 6}, 400, "rating"),
    ({"query_id": "q", "type": "rating", "rating": 4.5}, 400, "rating"),
    ({"query_id": "q", "type": "thumbs_up", "rating": 5}, 400, "rating"),
    ({"query_id": "q", "type": "clicked"}, 400, "chunk_ids"), ({"query_id": "q", "type": "skipped", "chunk_ids": []}, 400, "chunk_ids"),
    ({"query_id": "q", "type": "clicked", "chunk_ids": "a#0"}, 400, "chunk_ids"),
    ({"query_id": "q", "type": "clicked", "chunk_ids": [1]}, 400, "chunk_ids"),
    ({"query_id": "q", "type": "clicked", "chunk_ids": ["a#0"] * 101}, 413, "chunk_ids"),
    ({"query_id": "q", "type": "clicked", "chunk_id": "c" * 600}, 413, "chunk_id"),
    ({"query_id": "q", "type": "thumbs_up", "comment": "x" * 4097}, 413, "comment"),
    ({"query_id": "q", "type": "thumbs_up", "user_id": "a\nb"}, 400, "user_id"),
    ({"query_id": "q", "type": "thumbs_up", "score": 1}, 400, "score"),
])
def test_bad_feedback_names_the_field(server, body, status, param):
    headers = {"Content-Type": "application/json"} if isinstance(body, bytes) else None
    assert error_of(server.request("POST", ROUTE, body, headers), status)["param"] == param


def test_other_types_and_methods(server):
    assert error_of(server.request("POST", ROUTE, b"a=b", {"Content-Type": "text/plain"}), 415)
    assert error_of(server.request("GET", ROUTE), 405)


def test_what_is_not_known_is_not_found(server):
    a = ask(server)
    e = error_of(server.request("POST", ROUTE, {"query_id": a["id"] + "0", "type": "thumbs_up"}), 404)
    assert (e["param"], e["code"]) == ("query_id", "query_not_found")
    e = error_of(server.request("POST", ROUTE, {"query_id": a["id"], "type": "clicked", "chunk_id": "nothing#9"}), 404)
    assert (e["param"], e["code"]) == ("chunk_id", "chunk_not_found")
    shown = a["contexts"][0]["chunk_id"]
    e = error_of(server.request("POST", ROUTE, {"query_id": a["id"], "type": "clicked", "chunk_ids": [shown, "nothing#9"]}), 404)
    assert (e["param"], e["code"]) == ("chunk_ids", "chunk_not_found")


def test_it_is_counted(server):
    def counted():
        text = server.request("GET", "/metrics")[1].decode()
        n = re.search(r'^ragd_feedback_total\{type="thumbs_up"\} (\d+)$', text, re.M)
        return int(n.group(1)), re.search(r"^ragd_satisfaction (\S+)$", text, re.M)

    a = ask(server)
    before, _ = counted()
    assert server.request("POST", ROUTE, {"query_id": a["id"], "type": "thumbs_up"})[0] == 200
    after, satisfaction = counted()
    assert after == before + 1 and 0 < float(satisfaction.group(1)) <= 1


def test_a_key_judges_its_own_questions_only(tmp_path, serve, docs):
    cfg = tmp_path / "c.yaml"
    cfg.write_text("auth:\n  keys:\n"
                   "    - {name: one, key_env: ONE_KEY, scopes: [query]}\n"
                   "    - {name: two, key_env: TWO_KEY, scopes: [query]}\n"
                   "    - {name: in, key_env: IN_KEY, scopes: [ingest]}\n"
                   "    - {name: boss, key_env: BOSS_KEY, scopes: [admin]}\n")
    assert conftest.ragd("ingest", "--data", tmp_path / "data", docs).returncode == 0
    keys = {n: f"{n}-secret-123456" for n in ("one", "two", "in", "boss")}
    s = serve("--config", cfg, env={f"{n.upper()}_KEY": k for n, k in keys.items()}).ready()
    auth = {n: {"Authorization": f"Bearer {k}"} for n, k in keys.items()}
    body = {"query_id": ask(s, auth["one"])["id"], "type": "thumbs_up"}
    assert s.request("POST", ROUTE, body)[0] == 401
    assert s.request("POST", ROUTE, body, auth["in"])[0] == 403
    e = error_of(s.request("POST", ROUTE, body, auth["two"]), 404)
    assert (e["param"], e["code"]) == ("query_id", "query_not_found")
    assert s.request("POST", ROUTE, body, auth["one"])[0] == 200
    assert s.request("POST", ROUTE, body, auth["boss"])[0] == 200


def test_what_was_answered_survives_kill_and_says_no_comment_in_the_log(tmp_path, serve, docs, data):
    assert conftest.ragd("ingest", "--data", data, docs).returncode == 0
    s = serve().ready()
    a = ask(s)
    assert s.request("POST", ROUTE, {"query_id": a["id"], "type": "rating", "rating": 1, "comment": "SECRET-COMMENT",
                                     "user_id": "SECRET-USER"})[0] == 200
    s.process.kill()  # at once: it was durable before it was answered
    s.process.wait()
    db = sqlite3.connect(data / "history.db")
    rows = db.execute("SELECT id, type, rating, comment, feedback.user_id FROM feedback JOIN queries"
                      " ON feedback.query = queries.n").fetchall()
    db.close()
    assert rows == [(a["id"], "rating", 1, "SECRET-COMMENT", "SECRET-USER")]
    assert "SECRET" not in s.log_text() and a["id"] in s.log_text() and "白金卡年费多少" in s.log_text()
    s = serve().ready()
    assert s.request("POST", ROUTE, {"query_id": a["id"], "type": "thumbs_up"})[0] == 200


def test_without_a_history_there_is_no_feedback(serve, data, docs):
    assert conftest.ragd("ingest", "--data", data, docs).returncode == 0
    s = serve(env={"RAGD_HISTORY_ENABLED": "false"}).ready()
    e = error_of(s.request("POST", ROUTE, {"query_id": ask(s)["id"], "type": "thumbs_up"}), 404)
    assert e["code"] == "history_off" and "history.enabled" in e["message"]
    assert not (data / "history.db").exists()
