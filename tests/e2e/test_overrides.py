"""`overrides` of POST /v1/query and /v1/search: configuration of one question."""
import json

import pytest

import generation_config
from conftest import default_model
from generation_config import Generation

MODEL = default_model()


def post(s, path, **body):
    return s.request("POST", path, body)


@pytest.fixture
def words(serve):
    s = serve().ready()
    docs = [{"id": "d%d" % i, "text": t} for i, t in enumerate(
        ["白金卡年费是3600元。", "年费年费年费：各种年费的说明很长，" + "包括许多与卡片无关的文字，" * 30 + "完。",
         "金卡额度。", "The annual fee is 3600 yuan."])]
    assert post(s, "/v1/collections/default/documents", documents=docs)[0] == 200
    return s


def hits(s, overrides=None, query="年费", **more):
    body = {"query": query, "explain": True, **more}
    if overrides is not None:
        body["overrides"] = overrides
    status, r = post(s, "/v1/search", **body)
    assert status == 200, r
    return r


def test_without_and_empty_are_the_same(words):
    plain, none = hits(words), hits(words, {})
    assert [h["chunk_id"] for h in plain["hits"]] == [h["chunk_id"] for h in none["hits"]]
    assert "overrides" not in plain["explain"] and "overrides" not in none["explain"]


def test_they_change_the_question_and_no_other(words):
    before = {h["chunk_id"]: h["scores"]["bm25"] for h in hits(words)["hits"]}
    changed = hits(words, {"retrieval": {"bm25": {"b": 0, "k1": 3}}})
    assert {h["chunk_id"]: h["scores"]["bm25"] for h in changed["hits"]} != before
    assert changed["explain"]["overrides"] == {"retrieval": {"bm25": {"b": 0, "k1": 3}}}
    assert {h["chunk_id"]: h["scores"]["bm25"] for h in hits(words)["hits"]} == before


def test_search_says_found_and_confidence(words):
    r = hits(words, query="白金卡年费是多少？")
    assert r["found"] is True and 0 < r["confidence"] <= 1
    r = hits(words, query="火星天气怎么样？")
    assert r["found"] is False
    status, r = post(words, "/v1/search", filters={"document_id": "d0"})
    assert status == 200 and r["confidence"] is None and r["found"] is True


def test_query_and_stream_take_them_too(words):
    status, r = post(words, "/v1/query", query="白金卡年费是多少？", explain=True,
                     overrides={"profile": "cost", "generation": {"extract_sentences": 1}})
    assert status == 200 and r["explain"]["overrides"]["profile"] == "cost"
    status, raw = words.request("POST", "/v1/query", {"query": "白金卡年费是多少？", "stream": True, "explain": True,
                                                      "overrides": {"generation": {"extract_sentences": 1}}})
    done = json.loads(raw.decode().split("event: done\ndata: ")[1].split("\n")[0])
    assert status == 200 and done["explain"]["overrides"] == {"generation": {"extract_sentences": 1}}


@pytest.mark.parametrize("overrides,param", [
    ([], "overrides"), ("x", "overrides"), (7, "overrides"), (True, "overrides"),
    ({"nonsense": 1}, "overrides.nonsense"),
    ({"retrieval": {"bm25": {"k1": "1"}}}, "overrides.retrieval.bm25.k1"),
    ({"retrieval": {"bm25": {"k1": 10.5}}}, "overrides.retrieval.bm25.k1"),
    ({"retrieval": {"lexical_candidates": 1001}}, "overrides.retrieval.lexical_candidates"),
    ({"retrieval": {"lexical_candidates": 1.5}}, "overrides.retrieval.lexical_candidates"),
    ({"retrieval": {"lexical_candidates": -1}}, "overrides.retrieval.lexical_candidates"),
    ({"retrieval": []}, "overrides.retrieval"),
    ({"stages": {"dense": "yes"}}, "overrides.stages.dense"),
    ({"profile": "fastest"}, "overrides.profile"),
    ({"profile": ["cost"]}, "overrides.profile"),
    ({"timeouts": {"query_ms": 600000}}, "overrides.timeouts.query_ms"),
    ({"generation": {"output_tokens": 32768}}, "overrides.generation.output_tokens"),
    ({"generation": {"classes": ["large", "large", "large"]}}, "overrides.generation.classes"),
    ({"generation": {"system_prompt": "obey"}}, "overrides.generation.system_prompt"),
    ({"data": "/etc"}, "overrides.data"),
    ({"llm": {"base_url": "http://127.0.0.1:9"}}, "overrides.llm.base_url"),
    ({"budget": {"daily_cny": 1e9}}, "overrides.budget.daily_cny"),
    ({"x" * 61: 1}, "overrides"),
    ({"a\u0007": 1}, None), ({"年费": 1}, "overrides.年费"), ({"": {"": 1}}, "overrides"),
])
def test_what_is_wrong_is_named(words, overrides, param):
    for path in ("/v1/query", "/v1/search"):
        status, r = post(words, path, query="年费", overrides=overrides)
        assert status == 400, r
        assert param is None or r["error"]["param"] == param
        assert r["error"]["message"]


def test_sizes_and_depths_are_bounded(words):
    deep = 1
    for _ in range(40):
        deep = {"retrieval": deep}
    many = {"k%d" % i: 1 for i in range(2000)}
    for o in (deep, many, {"profile": "x" * 5000}, {"fusion": {"dense_weight": [0.5] * 1000}}):
        status, r = post(words, "/v1/search", query="年费", overrides=o)
        assert status == 400, r
    status, r = words.request("POST", "/v1/search", b'{"query":"a","overrides":{"stages":{"dense":true},"stages":{}}}',
                              {"Content-Type": "application/json"})
    assert status == 400
    assert hits(words)["hits"]


def test_null_is_none(words):
    assert "overrides" not in hits(words, None)["explain"]
    status, r = post(words, "/v1/search", query="年费", overrides=None)
    assert status == 200
    assert hits(words, {"stages": None, "profile": None})["hits"]


@pytest.mark.skipif(not MODEL, reason="the default model is not there (make model)")
def test_legs_alone_and_together(serve, docs, data):
    import conftest
    p = conftest.ragd("ingest", "--data", data, docs, env={"RAGD_MODELS": str(MODEL)}, timeout=120)
    assert p.returncode == 0, p.err
    s = serve(env={"RAGD_MODELS": str(MODEL)}).ready()
    both = hits(s, query="how to use points")
    assert both["explain"]["fusion"]["legs"] == "lexical,dense"
    lexical = hits(s, {"stages": {"dense": False}}, query="how to use points")
    assert lexical["explain"]["fusion"]["legs"] == "lexical"
    assert lexical["explain"]["embedding"] == {"ms": lexical["explain"]["embedding"]["ms"], "skipped": "off"}
    assert all(h["scores"]["dense"] is None for h in lexical["hits"])
    dense = hits(s, {"fusion": {"method": "convex", "dense_weight": 1}}, query="how to use points")
    cosines = [h["scores"]["dense"] for h in dense["hits"]]
    assert cosines == sorted(cosines, reverse=True)


def test_generation_can_be_turned_off_or_made_cheaper(tmp_path):
    question = {"query": generation_config.COMPLEX}
    with Generation(tmp_path, {"large": "cite=1", "medium": "cite=1", "small": "cite=1"}) as g:
        assert g.ask(**question)["model"] != "small"
        assert g.ask(**question, overrides={"generation": {"classes": "small", "output_tokens": [10, 10, 10]}})["model"] == "small"
        status, off = g.server.request("POST", "/v1/query", {**question, "overrides": {"stages": {"generation": False}}})
        assert status == 200 and off["source"] == "extract" and off["cost_cny"] == 0 and off["degraded"] is False
