#!/usr/bin/env python3
"""What the extract quotes against where the answer stands, over whole paragraphs.

  tools/answer_quality.py --data $DATASETS --build build [--split train|dev] [--limit 1500] [--model FILE.ragm --vectors DIR]

cmrc2018 and drcd say which sentence or two (about 100 characters) of the paragraph hold the answer; squad says it for
its dev questions only. Quoted: some sentence of the extract lies in them. F1: characters (words in English) of the
extract against them. Beside it, the first sentence of the best paragraph. rgb-zh and multihop have answer strings
(dev only): contained in the extract or not. Standard library only.
"""
import argparse
import collections
import json
import os
import re
import subprocess
import tempfile

from calibrate import build_driver

MARK = re.compile(r"\s*\[\d+\]|\*\*[^*]*\*\*(：|: )|\n+(- )?")


def read(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def pairs(path):
    with open(path) as f:
        next(f)
        return [line.split("\t")[:2] for line in f]


def squeeze(s):
    return re.sub(r"\s+", "", s)


def units(s):
    return re.findall(r"[a-z0-9]+|[\u3400-\u9fff]", s.lower())


def f1(a, b):
    a, b = collections.Counter(units(a)), collections.Counter(units(b))
    both = sum((a & b).values())
    return 2 * both / (sum(a.values()) + sum(b.values())) if both else 0.0


def first_sentence(text):
    m = re.search(r"[。！？]|[.!?](?=\s)", text)
    return text[:m.end()] if m else text


def run(driver, directory, corpus, queries, qrels, limit):
    with tempfile.TemporaryDirectory() as d:
        for name, path in (("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels.tsv", qrels)):
            os.symlink(os.path.abspath(os.path.join(directory, path)), os.path.join(d, name))
        out = subprocess.run(driver[:1] + ["answers", d, "corpus.jsonl", "queries.jsonl", "qrels.tsv", str(limit)] + driver[1:],
                             check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return [json.loads(line) for line in out.stdout.splitlines()], out.stderr.strip()


def against_chunks(driver, data, name, split, limit):
    d = os.path.join(data, name)
    train = split == "train"
    qrels = "qrels_train.tsv" if train else "qrels.tsv"
    gold_of = dict(pairs(os.path.join(d, "qrels_train_chunks.tsv" if train else "qrels_chunks.tsv")))
    chunks = {c["_id"]: c["text"] for c in read(os.path.join(d, "corpus_chunks.jsonl"))}
    first = {c["_id"]: first_sentence(c["text"]) for c in read(os.path.join(d, "corpus.jsonl"))}
    answers, note = run(driver, d, "corpus.jsonl", "queries_train.jsonl" if train else "queries.jsonl", qrels, limit)
    n = quoted = best = base = 0
    f = fb = length = 0.0
    for a in answers:
        gold = chunks.get(gold_of.get(a["id"], ""), "")
        if not gold:
            continue
        n += 1
        g = squeeze(gold)
        said = [squeeze(p) for p in re.split(r"\[\d+\]", MARK.sub(lambda m: m.group(0) if "[" in m.group(0) else "", a["text"]))]
        said = [s for s in said if len(s) >= 6]
        inside = [s in g or g in s for s in said]
        quoted += any(inside)
        top = first.get(a["cited"][0], "") if a["cited"] else ""
        base += bool(top) and squeeze(top) in g
        best += bool(inside) and inside[0]
        f += f1(MARK.sub("", a["text"]), gold) if a["found"] else 0
        fb += f1(top, gold)
        length += len(MARK.sub("", a["text"]))
    print("%-9s %-5s n %4d  quoted %.1f %% (first sentence quoted %.1f %%)  F1 %.3f  characters %.0f | first sentence of "
          "the first cited paragraph: %.1f %%, F1 %.3f | %s" % (name, split, n, 100 * quoted / n, 100 * best / n, f / n,
                                                             length / n, 100 * base / n, fb / n, note))


def against_strings(driver, data, name, limit):
    d = os.path.join(data, name)
    answers, note = run(driver, d, "corpus.jsonl", "queries.jsonl", "qrels.tsv", limit)
    gold = {q["_id"]: q["answer"] for q in read(os.path.join(d, "queries.jsonl"))}
    first = {c["_id"]: first_sentence(c["text"]) for c in read(os.path.join(d, "corpus.jsonl"))}
    n = held = base = 0
    for a in answers:
        g = gold[a["id"]]
        g = [squeeze(str(x)).lower() for x in (g if isinstance(g, list) else [g])]
        n += 1
        held += any(x and x in squeeze(a["text"]).lower() for x in g)
        top = first.get(a["cited"][0], "") if a["cited"] else ""
        base += any(x and x in squeeze(top).lower() for x in g)
    print("%-9s dev   n %4d  holds the answer %.1f %% | first sentence %.1f %% | %s" % (name, n, 100 * held / n, 100 * base / n, note))


def refusals(driver, data, limit):
    d = os.path.join(data, "squad")
    with tempfile.TemporaryDirectory() as tmp:
        rows = read(os.path.join(d, "queries_unanswerable.jsonl"))
        with open(os.path.join(tmp, "qrels.tsv"), "w") as f:
            f.write("query-id\tcorpus-id\tscore\n")
            f.writelines("%s\t%s\t1\n" % (r["_id"], r["near"]) for r in rows)
        answers, _ = run(driver, d, "corpus.jsonl", "queries_unanswerable.jsonl", os.path.join(tmp, "qrels.tsv"), limit)
    print("squad unanswerable (dev): refused %.1f %% of %d" % (100 * sum(not a["found"] for a in answers) / len(answers), len(answers)))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", required=True)
    ap.add_argument("--build", default="build")
    ap.add_argument("--split", default="train", choices=["train", "dev"])
    ap.add_argument("--limit", type=int, default=1500)
    ap.add_argument("--model", help="packed model: both legs")
    ap.add_argument("--vectors", help="folder that keeps passage vectors")
    args = ap.parse_args()
    driver = [build_driver(args.build)] + ([args.model, args.vectors] if args.model else [])
    for name in ("cmrc2018", "drcd") + (("squad",) if args.split == "dev" else ()):
        against_chunks(driver, args.data, name, args.split, args.limit)
    if args.split == "dev":
        against_strings(driver, args.data, "rgb-zh", args.limit)
        against_strings(driver, args.data, "multihop", args.limit)
        refusals(driver, args.data, args.limit)


if __name__ == "__main__":
    main()
