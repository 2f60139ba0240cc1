#!/usr/bin/env python3
"""Scores the labelled questions of the sample: what is retrieved, what is answered, and whether `found` is right.

    tools/eval_sample.py --url http://127.0.0.1:8001            # a server that holds sample/docs
    tools/eval_sample.py --ragd build/ragd --data DIR           # or start one on DIR for the time being

A chunk is relevant to an entry of `relevant` when it is of that document and its text, with title and headings,
contains every string of must_contain. A question counts as answered within k when an entry has a relevant chunk
among the first k contexts; with "need": "all" its recall is the share of entries that have one.

An answer contains a span when its characters, without spaces, widths and case, hold the span's; with "need": "all"
the score is the share of spans it contains. F1 compares words of Latin script, numbers and single ideographs of the
answer with those of a span (the best one counts; with "need": "all" all of them together): a long answer that holds
the span scores 1 in containment and little in F1.
"""
import argparse
import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unicodedata
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
CUTS = (1, 3, 5, 10)


class Server:
    """`ragd serve` on a folder, for as long as the questions take."""

    def __init__(self, ragd, data):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([ragd, "serve", "--data", data, "--listen", "127.0.0.1:0"], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log,
                                        env={k: v for k, v in os.environ.items() if not k.startswith("RAGD_") or k == "RAGD_MODELS"})
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            self.log.seek(0)
            m = re.search(rb'"msg":"serving","url":"([^"]+)"', self.log.read())
            if m:
                self.url = m.group(1).decode()
                if ready(self.url):
                    return
            time.sleep(.05)
        self.close()
        self.log.seek(0)
        sys.exit("eval_sample: the server did not start: " + self.log.read().decode("utf-8", "replace"))

    def close(self):
        self.process.terminate()
        self.process.wait(30)


def ready(url):
    try:
        with urllib.request.urlopen(url + "/health/ready", timeout=10) as r:
            return r.status == 200
    except (urllib.error.URLError, OSError):
        return False


def ask(url, key, collection, text):
    body = json.dumps({"query": text, "collection": collection, "top_k": max(CUTS)}).encode()
    head = {"Content-Type": "application/json", **({"Authorization": "Bearer " + key} if key else {})}
    with urllib.request.urlopen(urllib.request.Request(url + "/v1/query", body, head), timeout=30) as r:
        return json.load(r)


def plain(s):
    return re.sub(r"\s+", "", s)


def folded(s):
    """Without what does not tell answers apart: width, case, spaces."""
    return plain(unicodedata.normalize("NFKC", s).casefold())


def spoken(answer):
    """The answer's words without the marks that are not part of what it says: [n] and bold."""
    return re.sub(r"\[\d+\]|\*\*", "", answer)


def containment(question, answer):
    text = folded(spoken(answer))
    held = [folded(span) in text for span in question["answer"]]
    return sum(held) / len(held) if question.get("need") == "all" else float(any(held))


def tokens(s):
    s = unicodedata.normalize("NFKC", s).casefold()
    return collections.Counter(re.findall(r"\d+(?:[.,]\d+)*|[a-z]+|[\u3400-\u9fff]", s))


def f1(question, answer):
    got = tokens(spoken(answer))
    wanted = [" ".join(question["answer"])] if question.get("need") == "all" else question["answer"]
    best = 0.0
    for want in map(tokens, wanted):
        common = sum((got & want).values())
        best = max(best, 2 * common / ((got.total() + want.total()) or 1))
    return best


def source_format(question):
    """The file type of a question's sources; `several` when they differ, `none` without any."""
    types = {pathlib.PurePath(e["doc"]).suffix[1:] for e in question["relevant"]}
    return types.pop() if len(types) == 1 else "several" if types else "none"


def is_relevant(context, entry):
    place = context.get("source") or context["document_id"]
    if not (place == entry["doc"] or place.endswith("/" + entry["doc"])
            or context["document_id"].endswith(":" + entry["doc"].replace("/", ":"))):
        return False
    text = plain(context["title"] + " " + " ".join(context["heading_path"]) + " " + context["text"])
    return all(plain(m) in text for m in entry["must_contain"])


def recall(question, contexts, k):
    found = [any(is_relevant(c, e) for c in contexts[:k]) for e in question["relevant"]]
    return sum(found) / len(found) if question.get("need") == "all" else float(any(found))


def score(question, answer):
    r = {"id": question["id"], "text": question["text"], "kind": question["kind"], "complexity": question["complexity"],
         "source": source_format(question),
         "said": answer["complexity"], "found": answer["found"], "should": bool(question["relevant"]),
         "confidence": answer["confidence"], "ms": answer["timings_ms"]["total"]}
    if question["relevant"]:
        for k in CUTS:
            r[f"recall@{k}"] = recall(question, answer["contexts"], k)
        first = next((i for i, c in enumerate(answer["contexts"][:10], 1)
                      if any(is_relevant(c, e) for e in question["relevant"])), 0)
        r["mrr@10"] = 1 / first if first else 0.0
        r["answer"] = containment(question, answer["answer"])
        r["f1"] = f1(question, answer["answer"])
    return r


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else None


def summary(results):
    rated = [r for r in results if r["should"]]
    out = {"questions": len(results)}
    for name in [f"recall@{k}" for k in CUTS] + ["mrr@10", "answer", "f1"]:
        out[name] = mean(r[name] for r in rated)
    out["found_accuracy"] = mean(r["found"] == r["should"] for r in results)
    out["found_when_answerable"] = mean(r["found"] for r in rated)
    out["not_found_when_unanswerable"] = mean(not r["found"] for r in results if not r["should"])
    out["complexity_accuracy"] = mean(r["said"] == r["complexity"] for r in results)
    return out


def show(name, s):
    cells = [s[f"recall@{k}"] for k in CUTS] + [
        s[name] for name in ("mrr@10", "answer", "f1", "found_accuracy", "complexity_accuracy")]
    print(f"{name:22}{s['questions']:>5}" + "".join("       -" if v is None else f"{v:8.3f}" for v in cells))


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--url")
    ap.add_argument("--key", help="API key, where the server wants one")
    ap.add_argument("--ragd", default=str(ROOT / "build" / "ragd"))
    ap.add_argument("--data", default="data")
    ap.add_argument("--collection", default="default")
    ap.add_argument("--questions", default=str(ROOT / "sample" / "questions.jsonl"))
    ap.add_argument("--json", action="store_true")
    ap.add_argument("--failures", action="store_true", help="list what went wrong")
    args = ap.parse_args()
    questions = [json.loads(line) for line in open(args.questions, encoding="utf-8") if line.strip()]
    server = None if args.url else Server(args.ragd, args.data)
    try:
        url = args.url or server.url
        results = [score(q, ask(url, args.key, args.collection, q["text"])) for q in questions]
    finally:
        if server:
            server.close()
    total = summary(results)
    groups = collections.OrderedDict()
    for key in ("kind", "complexity", "source"):
        for r in results:
            groups.setdefault(f"{key} {r[key]}", []).append(r)
    if args.json:
        print(json.dumps({**total, "groups": {g: summary(rs) for g, rs in groups.items()}, "results": results},
                         ensure_ascii=False))
        return
    print(f"{'':22}{'n':>5}" + "".join(f"{'R@' + str(k):>8}" for k in CUTS)
          + "".join(f"{name:>8}" for name in ("MRR@10", "answer", "F1", "found", "complex")))
    show("all", total)
    for g, rs in groups.items():
        show(g, summary(rs))
    print(f"\nfound when answerable {total['found_when_answerable']:.3f}, "
          f"not found when unanswerable {total['not_found_when_unanswerable']:.3f}, "
          f"mean {mean(r['ms'] for r in results):.2f} ms a question")
    if args.failures:
        for r in results:
            if r["found"] != r["should"] or r["should"] and min(r["recall@5"], r["answer"]) < 1:
                print(f"{r['id']} {r['kind']:12} found {r['found']!s:5} (should {r['should']!s:5}) recall@5 "
                      f"{r.get('recall@5', 0):.2f} answer {r.get('answer', 0):.2f} confidence {r['confidence']:.2f}  {r['text']}")


if __name__ == "__main__":
    main()
