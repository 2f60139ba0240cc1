#!/usr/bin/env python3
"""A folder of Markdown files and a questions.jsonl ({"text", "doc"}) as a judged set in BEIR form, for `ragd eval`.

usage: tools/markdown_set.py FOLDER OUT"""
import json
import pathlib
import sys


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "corpus.jsonl", "w", encoding="utf-8") as f:
        for path in sorted(folder.rglob("*.md")):
            if path.parent == folder:  # its README is no page
                continue
            text = path.read_text("utf-8")
            title = next((line[2:].strip() for line in text.splitlines() if line.startswith("# ")), "")
            f.write(json.dumps({"_id": path.relative_to(folder).as_posix(), "title": title, "text": text}, ensure_ascii=False) + "\n")
    questions = [json.loads(line) for line in open(folder / "questions.jsonl", encoding="utf-8")]
    with open(out / "queries.jsonl", "w", encoding="utf-8") as f, open(out / "qrels.tsv", "w", encoding="utf-8") as g:
        g.write("query-id\tcorpus-id\tscore\n")
        for i, q in enumerate(questions):
            f.write(json.dumps({"_id": str(i), "text": q["text"]}, ensure_ascii=False) + "\n")
            for doc in q["doc"] if isinstance(q["doc"], list) else [q["doc"]]:
                g.write(f"{i}\t{doc}\t1\n")


if __name__ == "__main__":
    main()
