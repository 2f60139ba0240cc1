"""The labelled sample is the regression set: what a newcomer asks must be found (contract: Recall@5 >= .85)."""
import collections
import json
import pathlib
import subprocess
import sys
import urllib.parse

import conftest
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import eval_sample  # noqa: E402

SAMPLE = ROOT / "sample"
NOT_FOR_READERS = ("下次例会再定", "remote interpreters", "已作废，以正式表为准", "¥999")  # a comment each, a hidden sheet


def lines(name):
    return [json.loads(line) for line in (SAMPLE / name).read_text("utf-8").splitlines()]


def labelled():
    """Everything of the sample with labels: questions, and the turns of dialogues."""
    turns = [{"id": f"{d['id']}.{n}", **t} for d in lines("dialogues.jsonl") for n, t in enumerate(d["turns"], 1)]
    return lines("questions.jsonl") + turns


@pytest.fixture
def texts(data, serve):
    """{path below docs: what the server extracted from it, with its title}"""
    assert conftest.ragd("ingest", "--data", data, SAMPLE / "docs").returncode == 0
    s = serve().ready()
    status, listed = s.request("GET", "/v1/collections/default/documents?limit=100")
    assert status == 200 and not listed["has_more"]
    out = {}
    for d in listed["documents"]:
        status, doc = s.request("GET", "/v1/collections/default/documents/" + urllib.parse.quote(d["id"], safe=""))
        assert status == 200
        out[str(pathlib.Path(doc["source"]).relative_to(SAMPLE / "docs"))] = doc["title"] + "\n" + doc["text"]
    return out


def evaluate(data, env=None):
    p = subprocess.run([sys.executable, ROOT / "tools" / "eval_sample.py", "--ragd", str(conftest.BIN), "--data", str(data),
                        "--json"], capture_output=True, text=True, timeout=300, env=conftest.clean_env(env))
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


def test_every_document_is_read_and_nothing_that_is_not_for_readers(texts):
    files = {str(p.relative_to(SAMPLE / "docs")) for p in (SAMPLE / "docs").rglob("*") if p.is_file()}
    assert set(texts) == files
    new = "".join(texts[n] for n in ("zh/sales/visit-training.docx", "en/sales/branch-guide.docx", "zh/sales/q1-targets.xlsx"))
    assert "，80分及格" in new and "past 12 months" in new and "5秒是指心里默数到五" in new
    assert [s for s in NOT_FOR_READERS if s in new] == []


def test_every_label_stands_in_a_document(texts):
    wrong = []
    for q in labelled():
        for e in q["relevant"]:
            text = eval_sample.plain(texts.get(e["doc"], ""))
            wrong += [(q["id"], e["doc"], m) for m in e["must_contain"] if eval_sample.plain(m) not in text]
        sources = [eval_sample.folded(texts.get(e["doc"], "")) for e in q["relevant"]]
        wrong += [(q["id"], "answer", a) for a in q["answer"] if not any(eval_sample.folded(a) in s for s in sources)]
    assert wrong == []


def test_labels_are_complete():
    questions, dialogues = lines("questions.jsonl"), lines("dialogues.jsonl")
    ids = [x["id"] for x in questions + dialogues]
    assert len(set(ids)) == len(ids)
    assert len({q["text"] for q in questions}) == len(questions)
    kinds = collections.Counter(q["kind"] for q in questions)
    assert kinds == {"plain": 94, "unanswerable": 26, "utterance": 16, "synonym": 15, "mixed": 12, "typo": 10}
    for q in questions:
        assert bool(q["relevant"]) == bool(q["answer"]) == (q["kind"] != "unanswerable"), q["id"]
        assert q["lang"] in ("zh", "en", "mixed") and q["complexity"] in ("simple", "medium", "complex")
        assert q.get("need", "all") == "all"
    assert len(dialogues) == 4 and {d["lang"] for d in dialogues} == {"zh", "en"}
    assert all(3 <= len(d["turns"]) <= 4 and all(t["relevant"] and t["answer"] for t in d["turns"]) for d in dialogues)


def test_made_files_are_what_their_sources_give(tmp_path):
    """tools/make_sample_files.py writes the same bytes as those in the repository."""
    subprocess.run([sys.executable, ROOT / "tools" / "make_sample_files.py", tmp_path], check=True, capture_output=True)
    made = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(made) == 8
    for p in made:
        assert p.read_bytes() == (SAMPLE / "docs" / p.relative_to(tmp_path)).read_bytes(), p.name
        assert p.stat().st_size < 150_000


def test_answers_are_compared_without_width_space_and_case():
    one = {"answer": ["3600元", "¥3,600"]}
    assert eval_sample.containment(one, "主卡年费 ３６００ 元/年。[1]") == 1
    assert eval_sample.containment(one, "主卡年费360元。") == 0
    assert eval_sample.containment({"answer": ["30 days", "¥50"], "need": "all"}, "Within **30 DAYS**.") == .5
    assert eval_sample.f1(one, "3600元[1]") == 1
    assert eval_sample.f1({"answer": ["two nights"]}, "two nights, pay one") == pytest.approx(2 * 2 / 6)
    assert eval_sample.f1(one, "") == 0
    assert eval_sample.source_format({"relevant": [{"doc": "a.md"}, {"doc": "b.pdf"}]}) == "several"


def test_sample_questions_by_words_and_meaning(data):
    models = conftest.default_model()
    if not models:
        pytest.skip("the default model is not in the cache: make model")
    env = {"RAGD_MODELS": str(models)}
    p = conftest.ragd("ingest", "--data", data, ROOT / "sample" / "docs", env=env, timeout=300)
    assert p.returncode == 0 and "chunks embedded" in p.out, p.err
    r = evaluate(data, env)
    # Measured 2026-11-30 on 173 questions: recall@1 .753, recall@5 .950, synonyms' recall@1 .733, .pdf recall@5 .950,
    # .docx .983, answer .649, found .769 and, of the 26 unanswerable, not found .692. Gates are about .04 below, groups
    # of few questions two questions below.
    assert r["recall@1"] >= .70 and r["recall@5"] >= .91
    assert r["groups"]["kind synonym"]["recall@1"] >= .6
    assert r["groups"]["source pdf"]["recall@5"] >= .85 and r["groups"]["source docx"]["recall@5"] >= .9
    assert r["answer"] >= .6
    assert r["found_when_answerable"] >= .72
    assert r["not_found_when_unanswerable"] >= .6


def test_sample_questions(data):
    assert conftest.ragd("ingest", "--data", data, ROOT / "sample" / "docs").returncode == 0
    r = evaluate(data)
    # Measured 2026-11-30: recall@5 .922, .pdf 1, .docx .967, answer .665, found .837, complexity .861; of the
    # unanswerable, most of them close to the domain, .577 are not found.
    assert r["questions"] == len(lines("questions.jsonl"))
    assert r["recall@5"] >= .89
    assert r["groups"]["source pdf"]["recall@5"] >= .9 and r["groups"]["source docx"]["recall@5"] >= .9
    assert r["answer"] >= .62
    assert r["found_when_answerable"] >= .79
    assert r["not_found_when_unanswerable"] >= .5
    assert r["complexity_accuracy"] >= .8


def test_acceptance_cases_of_the_analyser(serve):
    s = serve().ready()
    for question, verdict in (("年费", "simple"), ("请详细对比百夫长卡和白金卡的权益差异", "complex")):
        status, answer = s.request("POST", "/v1/query", {"query": question})
        assert status == 200 and answer["complexity"] == verdict
