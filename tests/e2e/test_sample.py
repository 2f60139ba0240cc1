"""The labelled sample is the regression set: what a newcomer asks must be found (contract: Recall@5 >= .85)."""
import json
import pathlib
import subprocess
import sys

import conftest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_sample_questions(data):
    assert conftest.ragd("ingest", "--data", data, ROOT / "sample" / "docs").returncode == 0
    p = subprocess.run([sys.executable, ROOT / "tools" / "eval_sample.py", "--ragd", str(conftest.BIN), "--data", str(data),
                        "--json"], capture_output=True, text=True, timeout=120, env=conftest.clean_env())
    assert p.returncode == 0, p.stderr
    r = json.loads(p.stdout)
    assert r["questions"] >= 60
    assert r["recall@5"] >= .85
    assert r["found_when_answerable"] >= .75
    assert r["not_found_when_unanswerable"] >= .7
    assert r["complexity_accuracy"] >= .8


def test_acceptance_cases_of_the_analyser(serve):
    s = serve().ready()
    for question, verdict in (("年费", "simple"), ("请详细对比百夫长卡和白金卡的权益差异", "complex")):
        status, answer = s.request("POST", "/v1/query", {"query": question})
        assert status == 200 and answer["complexity"] == verdict
