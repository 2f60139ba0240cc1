"""Search by meaning: vectors that follow their documents, hybrid answers, /v1/embeddings, changing the model. The models are
tiny random ones: what is tested is the machinery, not what the vectors are good for."""
import base64
import json
import math
import pathlib
import signal
import struct
import threading
import time

import pytest
from conftest import ragd
from test_model import HIDDEN, make_folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with two packed models, one and two."""
    root = tmp_path_factory.mktemp("models")

    def other(named):
        shape, values = named["embeddings.word_embeddings.weight"]
        named["embeddings.word_embeddings.weight"] = shape, values[::-1]

    for name, change in (("one", None), ("two", other)):
        folder = make_folder(root / ("hf-" + name), change=change)
        p = ragd("model", "import", folder, "--name", name, env={"RAGD_MODELS": str(root)})
        assert p.returncode == 0, p.err
    return root


@pytest.fixture
def env(models):
    return {"RAGD_MODELS": str(models), "RAGD_EMBEDDING_MODEL": "one"}


def post_documents(server, first, last):
    docs = [{"id": f"d{i}", "text": f"年费 {i} is the b of a{'b' * (i % 7)}. 白金卡"} for i in range(first, last)]
    status, body = server.request("POST", "/v1/collections/default/documents", {"documents": docs})
    assert status in (200, 201), body


def embedding(server):
    return server.request("GET", "/v1/stats")[1]["embedding"]


def wait_for_vectors(server, n):
    end = time.monotonic() + 60
    while True:
        e = embedding(server)
        if e["vectors"] == n and e["missing"] == 0:
            return e
        assert time.monotonic() < end, e
        time.sleep(.05)


def test_vectors_follow_their_documents_and_survive_a_restart(serve, env):
    server = serve(env=env).ready()
    post_documents(server, 0, 40)
    e = wait_for_vectors(server, 40)
    assert e["embedded"] == 40 and e["tokens"] > 40 and e["failures"] == 0
    assert b"ragd_vectors_missing 0" in server.request("GET", "/metrics")[1]
    health = server.request("GET", "/health")[1]["dependencies"]["encoder"]
    assert health == {"status": "ok", "model": "one", "vectors_missing": 0}
    status, a = server.request("POST", "/v1/query", {"query": "年费 7", "explain": True})
    assert status == 200
    assert a["explain"]["embedding"]["dimensions"] == HIDDEN
    assert a["explain"]["fusion"]["legs"] == "lexical,dense"
    assert all(isinstance(c["scores"]["dense"], float) and 0 <= c["scores"]["fused"] <= 1.0001 for c in a["contexts"])
    assert a["timings_ms"]["embedding"] > 0
    server.stop()
    again = serve(env=env).ready()
    assert wait_for_vectors(again, 40)["embedded"] == 0
    post_documents(again, 40, 41)
    assert wait_for_vectors(again, 41)["embedded"] == 1


def test_the_exact_text_is_its_own_nearest(serve, env):
    """The same text as question and passage has cosine 1 in a model without prefixes."""
    server = serve(env=env).ready()
    post_documents(server, 0, 30)
    wait_for_vectors(server, 30)
    text = server.request("GET", "/v1/collections/default/documents/d11")[1]["text"]
    hits = server.request("POST", "/v1/search", {"query": text, "top_k": 30})[1]["hits"]
    best = max(hits, key=lambda h: h["scores"]["dense"])
    assert best["document_id"] == "d11" and best["scores"]["dense"] > .99


def test_a_kill_while_embedding_loses_nothing(serve, env):
    server = serve(env=env).ready()
    post_documents(server, 0, 300)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(20)
    again = serve(env=env).ready()
    wait_for_vectors(again, 300)
    assert ragd("verify", "--data", again.data, env=env).returncode == 0


def reranked_by(server):
    status, a = server.request("POST", "/v1/query", {"query": "年费 白金卡", "explain": True})
    assert status == 200, a
    return a["explain"]["reranking"]["parts"]


def test_late_interaction_is_turned_off_and_on_again(serve, env):
    off = {**env, "RAGD_RERANKING_LATE_INTERACTION": "false"}
    server = serve(env=env).ready()
    post_documents(server, 0, 40)
    assert wait_for_vectors(server, 40)["embedded"] == 40
    assert reranked_by(server) == "features,late_interaction"
    server.stop()
    without = serve(env=off).ready()
    assert wait_for_vectors(without, 40)["embedded"] == 0
    post_documents(without, 40, 60)
    assert wait_for_vectors(without, 60)["embedded"] == 20
    assert reranked_by(without) == "features"
    without.stop()
    again = serve(env=env).ready()
    assert wait_for_vectors(again, 60)["embedded"] == 20  # those that have no tokens yet
    assert reranked_by(again) == "features,late_interaction"
    again.stop()
    last = serve(env=env).ready()
    assert wait_for_vectors(last, 60)["embedded"] == 0
    assert ragd("verify", "--data", last.data, env=env).returncode == 0


def test_another_model_takes_over_while_the_old_one_serves(serve, env):
    server = serve(env=env).ready()
    post_documents(server, 0, 60)
    wait_for_vectors(server, 60)
    server.stop()
    slow = serve(env={**env, "RAGD_EMBEDDING_MODEL": "two", "RAGD_EMBEDDING_THREADS": "1"}).ready()
    roles = {m["name"]: m["role"] for m in slow.request("GET", "/v1/info")[1]["models"]}
    assert roles == {"two": "current", "one": "replaced"}
    status, a = slow.request("POST", "/v1/query", {"query": "年费", "explain": True})
    assert status == 200 and a["explain"]["fusion"]["legs"] == "lexical,dense"
    wait_for_vectors(slow, 60)
    end = time.monotonic() + 20
    while "the old one's are gone" not in slow.log_text():
        assert time.monotonic() < end
        time.sleep(.1)
    slow.stop()
    last = serve(env={**env, "RAGD_EMBEDDING_MODEL": "two"}).ready()
    assert [m["name"] for m in last.request("GET", "/v1/info")[1]["models"]] == ["two"]
    assert wait_for_vectors(last, 60)["embedded"] == 0


@pytest.mark.parametrize("setting, skipped", [({"RAGD_EMBEDDING_MODEL": "none-such"}, "no model"),
                                              ({"RAGD_STAGES_DENSE": "false"}, "off"),
                                              ({"RAGD_EMBEDDING_PROVIDER": "none"}, "off")])
def test_without_a_model_words_answer(serve, env, setting, skipped):
    server = serve(env={**env, **setting}).ready()
    post_documents(server, 0, 5)
    status, a = server.request("POST", "/v1/query", {"query": "年费", "explain": True})
    assert status == 200 and a["explain"]["embedding"]["skipped"] == skipped
    assert a["contexts"] and all(c["scores"]["dense"] is None for c in a["contexts"])
    assert ("search goes by words only" in server.log_text()) == (skipped == "no model")
    assert server.request("GET", "/health/ready")[1]["dependencies"]["encoder"] == {"status": skipped}
    status, e = server.request("POST", "/v1/embeddings", {"input": "a"})
    assert status == 503 and e["error"]["code"] == "no_model"
    assert server.request("GET", "/v1/info")[1]["models"] == []


@pytest.mark.parametrize("damage", [lambda b: b[:1000], lambda b: b"", lambda b: b"XXXX" + b[4:],
                                    lambda b: b[:8] + b"\xff\xff\xff\xff" + b[12:]])
def test_a_damaged_model_leaves_words(serve, env, models, tmp_path, damage):
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "one.ragm").write_bytes(damage((models / "one.ragm").read_bytes()))
    server = serve(env={**env, "RAGD_MODELS": str(bad)}).ready()
    post_documents(server, 0, 3)
    status, a = server.request("POST", "/v1/query", {"query": "年费"})
    assert status == 200 and a["contexts"]
    assert "search goes by words only" in server.log_text()


def test_a_folder_with_vectors_opens_without_the_model(serve, env):
    server = serve(env=env).ready()
    post_documents(server, 0, 20)
    wait_for_vectors(server, 20)
    server.stop()
    words = serve(env={**env, "RAGD_MODELS": "/nonexistent"}).ready()
    assert words.request("POST", "/v1/query", {"query": "年费"})[0] == 200
    words.stop()
    assert wait_for_vectors(serve(env=env).ready(), 20)["embedded"] == 0


def test_many_questions_at_once(serve, env):
    server = serve(env=env).ready()
    post_documents(server, 0, 30)
    wait_for_vectors(server, 30)
    alone = {q: server.request("POST", "/v1/search", {"query": q})[1]["hits"] for q in ("年费 3", "the b", "白金卡 a")}
    wrong = []

    def ask(q):
        for _ in range(20):
            status, a = server.request("POST", "/v1/search", {"query": q})
            if status != 200 or [h["chunk_id"] for h in a["hits"]] != [h["chunk_id"] for h in alone[q]]:
                wrong.append((q, status))

    threads = [threading.Thread(target=ask, args=(q,)) for q in list(alone) * 6]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
    assert server.request("GET", "/v1/stats")[1]["queries"]["concurrent"] == 0


def test_embeddings_in_openai_shape(serve, env):
    server = serve(env=env).ready()
    status, one = server.request("POST", "/v1/embeddings", {"input": "the b"})
    assert status == 200 and one["object"] == "list" and one["model"] == "one"
    assert one["usage"]["prompt_tokens"] == one["usage"]["total_tokens"] == 4  # [CLS] the b [SEP]
    v = one["data"][0]["embedding"]
    assert len(v) == HIDDEN and math.isclose(sum(x * x for x in v), 1, rel_tol=1e-4)
    texts = ["the b", "年费", "a"] * 11  # more than a slice
    status, many = server.request("POST", "/v1/embeddings", {"input": texts, "model": "one"})
    assert status == 200 and [d["index"] for d in many["data"]] == list(range(33))
    for i in range(0, 33, 3):
        assert all(math.isclose(x, y, abs_tol=1e-5) for x, y in zip(many["data"][i]["embedding"], v))
    status, packed = server.request("POST", "/v1/embeddings", {"input": "the b", "encoding_format": "base64"})
    assert list(struct.unpack(f"<{HIDDEN}f", base64.b64decode(packed["data"][0]["embedding"]))) == \
        [struct.unpack("<f", struct.pack("<f", x))[0] for x in v]
    status, short = server.request("POST", "/v1/embeddings", {"input": "the b", "dimensions": 8})
    w = short["data"][0]["embedding"]
    assert len(w) == 8 and math.isclose(sum(x * x for x in w), 1, rel_tol=1e-4)
    assert math.isclose(w[0] / w[1], v[0] / v[1], rel_tol=1e-3)


def test_documents_that_die_while_they_are_embedded(serve, env):
    server = serve(env=env).ready()
    for turn in range(8):
        post_documents(server, 0, 120)
        for i in range(turn % 3, 120, 3):
            server.request("DELETE", f"/v1/collections/default/documents/d{i}")
    left = server.request("GET", "/v1/stats")[1]["index"]["chunks"]
    wait_for_vectors(server, left)
    assert server.stop() == 0
    again = serve(env=env).ready()
    assert wait_for_vectors(again, left)["embedded"] == 0


def test_a_stop_does_not_wait_for_embeddings(serve, env):
    server = serve(env=env).ready()
    body = {"input": ["a b " * 4000] * 60}  # about a megabyte
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(server.request("POST", "/v1/embeddings", body, timeout=60)[0]))
               for _ in range(6)]
    for t in threads:
        t.start()
    end = time.monotonic() + 20
    while server.request("GET", "/v1/stats")[1]["queries"]["concurrent"] == 0:
        assert time.monotonic() < end
        time.sleep(.02)
    assert server.request("POST", "/v1/search", {"query": "a"})[0] == 200  # not behind them
    assert server.stop() == 0
    for t in threads:
        t.join()
    assert set(answers) <= {200, 503}


def test_embeddings_are_bounded_together(serve, env):
    server = serve(env=env).ready()
    status, e = server.request("POST", "/v1/embeddings", {"input": ["a" * 60000] * 18})
    assert status == 413 and e["error"]["param"] == "input"


@pytest.mark.parametrize("body, status, param", [
    ({}, 400, "input"), ({"input": []}, 400, "input"), ({"input": ""}, 400, "input"), ({"input": [1, 2]}, 400, "input"),
    ({"input": [[1, 2]]}, 400, "input"), ({"input": 5}, 400, "input"), ({"input": ["a"] * 2049}, 400, "input"),
    ({"input": "a" * 65537}, 400, "input"), ({"input": "a", "dimensions": 0}, 400, "dimensions"),
    ({"input": "a", "dimensions": HIDDEN + 1}, 400, "dimensions"), ({"input": "a", "dimensions": "8"}, 400, "dimensions"),
    ({"input": "a", "encoding_format": "hex"}, 400, "encoding_format"), ({"input": "a", "input_type": "x"}, 400, "input_type"),
    ({"input": "a", "model": "text-embedding-3-small"}, 404, "model"), ([1], 400, None)])
def test_embeddings_refuse_what_is_wrong(serve, env, body, status, param):
    server = serve(env=env).ready()
    got, e = server.request("POST", "/v1/embeddings", body)
    assert got == status and e["error"]["param"] == param, e


def test_ingest_embeds_and_can_leave_it(data, env, tmp_path):
    kb = tmp_path / "kb"
    kb.mkdir()
    for i in range(5):
        (kb / f"{i}.md").write_text(f"# Fee {i}\n\nthe annual fee is {i}\n", "utf-8")
    p = ragd("ingest", "--data", data, "--no-embed", kb, env=env)
    assert p.returncode == 0 and "embedded" not in p.out
    p = ragd("ingest", "--data", data, kb, env=env)
    assert p.returncode == 0 and "unchanged 5" in p.out and "5 chunks embedded" in p.out
    p = ragd("ingest", "--data", data, kb, env=env)
    assert "embedded" not in p.out
    p = ragd("query", "--data", data, "--json", "--explain", "annual fee", env=env)
    assert json.loads(p.out)["explain"]["fusion"]["legs"] == "lexical,dense"


@pytest.fixture
def judged(tmp_path):
    d = tmp_path / "set"
    d.mkdir()
    with open(d / "corpus.jsonl", "w", encoding="utf-8") as f:
        for i in range(50):
            f.write(json.dumps({"_id": f"c{i}", "title": "", "text": f"年费 {i} is the {'ab' * (i % 9)} of 白"}) + "\n")
    with open(d / "queries.jsonl", "w", encoding="utf-8") as f:
        for i in range(10):
            f.write(json.dumps({"_id": f"q{i}", "text": f"年费 {i} is the {'ab' * (i % 9)} of 白"}) + "\n")
    (d / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{i}\tc{i}\t1\n" for i in range(10)))
    return d


def test_eval_of_each_leg_and_vectors_that_are_kept(judged, env, tmp_path):
    kept = tmp_path / "kept"
    run = lambda *args: ragd("eval", "--dataset", judged, "--json", "--vectors", kept, *args, env=env)
    first = run("--legs", "dense")
    assert first.returncode == 0, first.err
    o = json.loads(first.out)
    assert o["model"] == "one" and o["embedded"] == 50 and o["rows"][0]["metrics"]["ndcg@10"]["value"] > .9
    second = json.loads(run("--legs", "hybrid", "--ablation").out)
    assert second["embedded"] == 0
    names = [r["name"] for r in second["rows"]]
    assert names[:7] == ["hybrid", "with features", "with late interaction", "full", "bm25", "dense", "hybrid, rrf"]
    assert second["rows"][5]["metrics"] == o["rows"][0]["metrics"]
    [file] = pathlib.Path(kept).iterdir()
    raw = file.read_bytes()
    file.write_bytes(raw[:-7])  # a run that was cut off: half a record
    assert json.loads(run("--legs", "dense").out)["embedded"] == 1
    file.write_bytes(raw[:8] + bytes([raw[8] ^ 1]) + raw[9:])
    p = run("--legs", "dense")
    assert p.returncode == 1 and "vectors of another model" in p.err


def test_eval_without_a_model(judged, env):
    p = ragd("eval", "--dataset", judged, "--legs", "dense", env={**env, "RAGD_MODELS": "/nonexistent"})
    assert p.returncode == 1 and "--legs dense wants a model" in p.err
    p = ragd("eval", "--dataset", judged, "--json", env={**env, "RAGD_MODELS": "/nonexistent"})
    assert p.returncode == 0 and "model" not in json.loads(p.out)
