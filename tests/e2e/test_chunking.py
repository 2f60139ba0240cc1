"""`ragd eval --chunk --hits` and the tool that measures chunk sizes with them."""
import json
import subprocess
import sys

import pytest
from conftest import BIN, ROOT, clean_env, ragd

sys.path.insert(0, str(ROOT / "tools"))
import chunking  # noqa: E402

ANSWER = "港口在1894年11月开放。"


def article(n, answer):
    paragraph = "城市的街道很长，两边都是商店。The river has 3 bridges and a ferry. " * 6
    return [{"_id": f"a{n}-{i}", "title": f"城市{n}", "text": paragraph + (answer if i == 3 else "End.")} for i in range(6)]


@pytest.fixture
def paragraphs(tmp_path):
    d = tmp_path / "set"
    d.mkdir()
    chunking.write(d / "corpus.jsonl", article(1, ANSWER) + article(2, ""))
    chunking.write(d / "corpus_chunks.jsonl", [{"_id": "a1-3#7", "title": "城市1", "text": ANSWER}])
    chunking.write(d / "queries.jsonl", [{"_id": "q", "text": "港口什么时候开放？"}, {"_id": "unjudged", "text": "x"}])
    (d / "qrels_chunks.tsv").write_text("query-id\tcorpus-id\tscore\nq\ta1-3#7\t1\n")
    return d


def hits(tmp_path, documents, query, *args, size="64", overlap="0"):
    chunking.write(tmp_path / "corpus.jsonl", documents)
    chunking.write(tmp_path / "queries.jsonl", [{"_id": "q", "text": query}])
    (tmp_path / "qrels.tsv").write_text(f"query-id\tcorpus-id\tscore\nq\t{documents[0]['_id']}\t1\n")
    p = ragd("eval", "--dataset", tmp_path, "--legs", "bm25", "--chunk", "--hits", tmp_path / "hits.jsonl", *args,
             env={"RAGD_CHUNKING_SIZE_TOKENS": size, "RAGD_CHUNKING_OVERLAP_TOKENS": overlap})
    assert p.returncode == 0, p.err
    (line,) = chunking.read(tmp_path / "hits.jsonl")
    assert line["query"] == "q"
    return line["hits"]


def test_windows_have_the_size_and_the_overlap_in_the_tokens_of_the_tool(tmp_path):
    text = "高铁很快 trains are fast, ひらがな と 한국어 𠀀 😀 and more: 1,234.5 " * 20
    found = sorted(hits(tmp_path, [{"_id": "a", "title": "", "text": text.strip()}], "trains", "--chunk-style", "windows",
                        overlap="16"), key=lambda h: h["start"])
    assert found[0]["start"] == 0 and found[-1]["end"] == len(text.strip()) and len(found) > 5
    for a, b in zip(found, found[1:]):
        assert a["text"] == text[a["start"]:a["end"]]
        assert 62 <= chunking.count(a["text"]) <= 64  # white space at the ends is not part of it
        assert 12 <= chunking.count(text[b["start"]:a["end"]]) <= 18


def test_hits_have_place_and_headings_of_markdown(tmp_path):
    page = ("# One\n\nApples **are** red, and they grow on trees in many countries of the north.\n\n"
            "## Two \"quoted\"\n\nPears are green and sweet, 梨是绿的。\n")
    found = hits(tmp_path, [{"_id": "guide/a.md", "title": "One", "text": page}], "pears")
    assert found[0]["heading_path"].split("\x1f") == ["One", 'Two "quoted"'] and "梨是绿的" in found[0]["text"]
    assert found[0]["end"] - found[0]["start"] == len(found[0]["text"])
    assert (found[0]["title"], found[0]["document"], found[0]["ordinal"]) == ("One", "guide/a.md", 1)


def test_an_unknown_style_is_refused(tmp_path):
    p = ragd("eval", "--dataset", tmp_path, "--chunk", "--chunk-style", "pages")
    assert p.returncode == 2 and "use headings or windows" in p.err


def test_the_tool_tells_settings_apart(paragraphs):
    p = subprocess.run([sys.executable, ROOT / "tools" / "chunking.py", "articles", paragraphs, "--ragd", BIN, "--sizes", "64,512",
                        "--overlaps", "0,4", "--budgets", "100,1200"], capture_output=True, text=True, timeout=120, env=clean_env())
    assert p.returncode == 0, p.stderr
    assert "2 documents of" in p.stdout and "1 questions" in p.stdout
    rows = {tuple(line.split()[:3]): line.split() for line in p.stdout.splitlines() if line.startswith(("headings", "windows"))}
    assert len(rows) == 8
    assert rows["headings", "64", "0"][4:6] == ["100.0", "100.0"]
    assert rows["headings", "512", "0"][4] == "0.0"  # too long for the small budget
    assert int(rows["windows", "64", "16"][3]) > int(rows["windows", "64", "0"][3])


def test_a_context_is_packed_as_a_prompt():
    t = chunking.Text("一二三四五六七八九十。" * 10)
    hit = {"document": "d", "title": "", "heading_path": []}
    first, second = {**hit, "start": 0, "end": 11}, {**hit, "start": 11, "end": 33}
    pack = lambda hits, *budget, around=0: chunking.pack(hits, {"d": t}, budget, around)["d"]  # noqa: E731
    assert pack([first, second], 100, -1) == [(0, 33)]
    assert pack([first, first, second], 100, 2) == [(0, 33)]  # what is there already is no passage
    assert pack([first, second], 100, 1) == [(0, 11)]
    assert pack([second], 20, -1) == [(11, 21)]  # cut
    assert pack([second], 15, -1) == []          # less than a third would fit
    assert pack([second], 100, -1, around=12) == [(0, 44)]
    t.borders = [0, 11, 33, 110]
    assert pack([second], 100, -1, around=12) == [(11, 33)]
    assert chunking.missing([(2, 4), (6, 8)], 0, 10) == [(0, 2), (4, 6), (8, 10)]
    assert chunking.held_share([(0, 5)], 0, 10) == .5


def test_count_is_the_servers():
    assert [chunking.count(s) for s in ("", "a", "abcd", "abcde", "汉字", "é", "汉a", "汉。")] == [0, 1, 1, 2, 2, 1, 2, 2]
    assert json.dumps(chunking.missing([], 1, 1)) == "[]"
