"""`ragd eval` against an independent implementation, and what it promises."""
import gzip
import json
import math
import random
import subprocess
import sys

import pytest
from conftest import ROOT, ragd

PYTREC = ["pytrec_eval-terrier==0.5.7", "numpy==1.26.4"]
NAMES = {"recall@1": "recall_1", "recall@5": "recall_5", "recall@10": "recall_10", "recall@30": "recall_30",
         "ndcg@10": "ndcg_cut_10"}

SCORER = """
import json, sys, pytrec_eval
qrels, run = {}, {}
for line in open(sys.argv[1]):
    q, d, g = line.rstrip().split("\\t")
    if g.isdigit():
        qrels.setdefault(q, {})[d] = int(g)
qrels = {q: r for q, r in qrels.items() if any(r.values())}
for line in open(sys.argv[2]):
    q, _, d, _, s, _ = line.split()
    run.setdefault(q, {})[d] = float(s)
first10 = {q: dict(sorted(r.items(), key=lambda x: -x[1])[:10]) for q, r in run.items()}
measure = pytrec_eval.RelevanceEvaluator(qrels, {"recall.1,5,10,30", "ndcg_cut.10"}).evaluate(run)
rank = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(first10)
for q in rank:
    measure[q].update(rank[q])
print(json.dumps(measure))
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """300 short texts, 60 graded queries; some judged documents are not in the corpus, some queries find nothing."""
    d = tmp_path_factory.mktemp("beir")
    rng = random.Random(5)
    words = [a + b for a in ("card", "fee", "point", "bank", "loan", "rate") for b in ("", "ing", "ology", "ette", "ward", "ix")]
    corpus = [{"_id": f"d{i}", "title": rng.choice(words), "text": " ".join(rng.choices(words, k=rng.randint(3, 30)))}
              for i in range(300)]
    (d / "corpus.jsonl").write_text("".join(json.dumps(c) + "\n" for c in corpus))
    with gzip.open(d / "queries.jsonl.gz", "wt") as f:
        for i in range(60):
            text = " ".join(rng.choices(words, k=3)) if i else "zzz unknown words"
            f.write(json.dumps({"_id": f"q{i}", "text": text}) + "\n")
    with open(d / "qrels.tsv", "w") as f:
        f.write("query-id\tcorpus-id\tscore\n")
        for i in range(59):
            for doc in rng.sample(range(310), rng.randint(1, 25)):
                f.write(f"q{i}\td{doc}\t{rng.choice([0, 1, 1, 2, 3])}\n")
    return d


def rows(*args):
    p = ragd("eval", "--json", *args)
    assert p.returncode == 0, p.err
    return json.loads(p.out)


def test_numbers_match_pytrec_eval(dataset, tmp_path):
    run = tmp_path / "run.txt"
    o = rows("--dataset", dataset, "--run", run)
    venv = tmp_path / "venv"
    try:
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, capture_output=True, timeout=120)
        subprocess.run([str(venv / "bin" / "pip"), "install", "-q", "--disable-pip-version-check",
                        "--only-binary=:all:", *PYTREC], check=True, capture_output=True, timeout=180)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as e:
        pytest.skip(f"{PYTREC[0]} cannot be installed here: {e}")
    p = subprocess.run([str(venv / "bin" / "python"), "-c", SCORER, str(dataset / "qrels.tsv"), str(run)],
                       capture_output=True, text=True, timeout=60)
    assert p.returncode == 0, p.stderr
    theirs = json.loads(p.stdout)
    n = o["queries"]
    assert len(theirs) <= n <= len(theirs) + 1  # the query that finds nothing is in no run file
    ours = {k: v["value"] for k, v in o["rows"][0]["metrics"].items()}
    for name, their in [*NAMES.items(), ("mrr@10", "recip_rank")]:
        mean = sum(m[their] for m in theirs.values()) / n
        assert math.isclose(ours[name], mean, abs_tol=2e-6), (name, ours[name], mean)


def test_run_file_is_complete_and_falls(dataset, tmp_path):
    run = tmp_path / "run.txt"
    rows("--dataset", dataset, "--run", run)
    last = {}
    for line in run.read_text().splitlines():
        q, q0, doc, rank, score, tag = line.split()
        assert (q0, tag) == ("Q0", "ragd") and doc.startswith("d")
        before = last.get(q, (0, math.inf))
        assert int(rank) == before[0] + 1 and float(score) < before[1]
        last[q] = (int(rank), float(score))
    assert max(r for r, _ in last.values()) == 100


def test_same_numbers_every_time_and_gz(dataset, tmp_path):
    a, b = rows("--dataset", dataset), rows("--dataset", dataset, "--legs", "full")
    assert a["rows"][0]["metrics"] == b["rows"][0]["metrics"]
    for m in a["rows"][0]["metrics"].values():
        assert m["low"] <= m["value"] <= m["high"]
    for name in ("corpus.jsonl", "qrels.tsv"):
        (tmp_path / (name + ".gz")).write_bytes(gzip.compress((dataset / name).read_bytes()))
    (tmp_path / "q2.jsonl").write_bytes(gzip.decompress((dataset / "queries.jsonl.gz").read_bytes()))
    c = rows("--dataset", tmp_path, "--queries", "q2.jsonl")
    assert c["rows"][0]["metrics"] == a["rows"][0]["metrics"]


def test_ablation_has_a_row_for_each_configuration(dataset):
    o = rows("--dataset", dataset, "--ablation")
    names = [r["name"] for r in o["rows"]]
    assert len(names) >= 5 and len(set(names)) == len(names) and names[0] == "full"
    p = ragd("eval", "--dataset", dataset, "--ablation")
    assert p.returncode == 0 and all(n in p.out for n in names) and "paired" in p.out
    chunked = rows("--dataset", dataset, "--chunk")
    assert chunked["documents"] == 300


def test_broken_sets_are_named(tmp_path):
    p = ragd("eval", "--dataset", tmp_path)
    assert p.returncode == 1 and "corpus.jsonl" in p.err
    (tmp_path / "corpus.jsonl").write_text('{"_id":"a","text":"x"}\n{"_id":1}\n')
    p = ragd("eval", "--dataset", tmp_path)
    assert p.returncode == 1 and "corpus.jsonl:2:" in p.err
    (tmp_path / "corpus.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00broken")
    (tmp_path / "corpus.jsonl").unlink()
    p = ragd("eval", "--dataset", tmp_path)
    assert p.returncode == 1 and p.err.startswith("ragd: eval: ")


@pytest.mark.skipif(not (ROOT / "sample" / "questions.jsonl").exists(), reason="no sample questions")
def test_sample_questions(data):
    """The regression set of the repository: tools/eval_sample.py on the sample documents."""
    from conftest import BIN
    assert ragd("ingest", "--data", data, ROOT / "sample" / "docs").returncode == 0
    p = subprocess.run([sys.executable, str(ROOT / "tools" / "eval_sample.py"), "--ragd", str(BIN), "--data", str(data),
                        "--json"], capture_output=True, text=True, timeout=120)
    assert p.returncode == 0, p.stderr
    o = json.loads(p.stdout)
    assert o["questions"] >= 60 and o["recall@5"] >= .85, o
