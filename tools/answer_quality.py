#!/usr/bin/env python3
"""What the extract answers against where, and with what words, the answer stands; and what is refused.

  tools/answer_quality.py --data $DATASETS --build build [--split train|dev] [--limit 1500] [--answers DIR]
                          [--model FILE.ragm --vectors DIR]

Passages: cmrc2018 and drcd say which sentence or two (about 100 characters) of the paragraph hold the answer, squad says
it for its dev questions. Quoted: some sentence of the extract lies in them. F1: characters (words in English) of the
extract against them. Front: the few words before the first sentence; in the passage or not.

Answers: rgb-zh and multihop have answer strings (dev only). --answers names a folder of NAME.jsonl, lines of
{"_id", "answer": [strings]} for questions of the split (written by hand, or taken from the sets' originals). Holds: one
of the strings is in the extract. F1 of the whole extract, of its front (the few words, else the first sentence), and of
the first sentence of the first cited paragraph against the nearest string.

Refused: answerable questions of the split; dev questions of squad that have no answer; questions asked of another set's
collection in the same language. --fit with --answers prints the weights of answer_span.c instead, and how right the fronts
are when the judged set is left out of the fit. Standard library only.
"""
import argparse
import collections
import json
import os
import re
import subprocess
import tempfile

from calibrate import build_driver, dot, sigmoid, solve

FRONT = re.compile(r"\*\*([^*]*)\*\*(?:——| — )")
MARK = re.compile(r"\s*\[\d+\]|\*\*[^*]*\*\*(：|: |——| — )|\n+(- )?")
FAR = {"cmrc2018": "drcd", "drcd": "cmrc2018", "squad": "scifact"}


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


def normal(s):
    """Without white space, punctuation and case."""
    return re.sub(r"[^\w%.]|_", "", s.lower())


def front_of(text):
    """(the few words or None, they or the first sentence)."""
    m = FRONT.match(text)
    said = re.split(r"\s*\[\d+\]", MARK.sub(lambda m: m.group(0) if "[" in m.group(0) else "", text))[0]
    return (m.group(1), m.group(1)) if m else (None, said)


def first_sentence(text):
    m = re.search(r"[。！？]|[.!?](?=\s)", text)
    return text[:m.end()] if m else text


def run(driver, directory, corpus, queries, qrels, limit, mode="answers"):
    with tempfile.TemporaryDirectory() as d:
        for name, path in (("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels.tsv", qrels)):
            os.symlink(os.path.abspath(os.path.join(directory, path)), os.path.join(d, name))
        out = subprocess.run(driver[:1] + [mode, d, "corpus.jsonl", "queries.jsonl", "qrels.tsv", str(limit)] + driver[1:],
                             check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = out.stdout.splitlines()
    return [json.loads(line) for line in lines] if mode == "answers" else lines, out.stderr.strip()


def against_chunks(driver, data, name, split, limit):
    d = os.path.join(data, name)
    train = split == "train"
    qrels = "qrels_train.tsv" if train else "qrels.tsv"
    gold_of = dict(pairs(os.path.join(d, "qrels_train_chunks.tsv" if train else "qrels_chunks.tsv")))
    chunks = {c["_id"]: c["text"] for c in read(os.path.join(d, "corpus_chunks.jsonl"))}
    first = {c["_id"]: first_sentence(c["text"]) for c in read(os.path.join(d, "corpus.jsonl"))}
    answers, note = run(driver, d, "corpus.jsonl", "queries_train.jsonl" if train else "queries.jsonl", qrels, limit)
    n = quoted = best = base = fronts = right = 0
    f = fb = length = 0.0
    for a in answers:
        gold = chunks.get(gold_of.get(a["id"], ""), "")
        if not gold:
            continue
        n += 1
        g = squeeze(gold)
        few, _ = front_of(a["text"])
        fronts += few is not None
        right += few is not None and normal(few) in normal(gold)
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
    print("%-9s %-5s n %4d  quoted %.1f %% (first sentence quoted %.1f %%)  F1 %.3f  characters %.0f  front %.1f %%, of these in "
          "the passage %.1f %% | first sentence of the first cited paragraph: %.1f %%, F1 %.3f | %s" % (
              name, split, n, 100 * quoted / n, 100 * best / n, f / n, length / n, 100 * fronts / n, 100 * right / max(fronts, 1),
              100 * base / n, fb / n, note))


def strings(x):
    return [y for v in x for y in strings(v)] if isinstance(x, list) else [str(x)]


def run_answered(driver, data, name, split, gold, limit, mode="answers"):
    """Only the questions that gold has answers of."""
    d = os.path.join(data, name)
    train = split == "train"
    with tempfile.TemporaryDirectory() as tmp:
        rows = [q for q in read(os.path.join(d, "queries_train.jsonl" if train else "queries.jsonl")) if q["_id"] in gold]
        path = os.path.join(tmp, "queries.jsonl")
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)
        return run(driver, d, "corpus.jsonl", path, "qrels_train.tsv" if train else "qrels.tsv", limit, mode)


def is_right(words, gold):
    """F1 of .75 and more with an accepted string, or one contains the other at .4 and more."""
    return any(f1(words, x) >= .75 or (f1(words, x) >= .4 and (normal(x) in normal(words) or normal(words) in normal(x)))
               for x in gold)


def fit(samples, ridge=1.0, steps=15):
    """Logistic regression by Newton's method, the first feature a constant; samples: (features, label)."""
    n = len(samples[0][0])
    shrink = [1e-6] + [ridge] * (n - 1)
    w = [0.0] * n
    for _ in range(steps):
        grad = [r * v for r, v in zip(shrink, w)]
        hess = [[shrink[i] if i == j else 0.0 for j in range(n)] for i in range(n)]
        for x, y in samples:
            p = sigmoid(dot(w, x))
            h = max(p * (1 - p), 1e-6)
            for i in range(n):
                grad[i] += (p - y) * x[i]
                for j in range(n):
                    hess[i][j] += h * x[i] * x[j]
        w = [a - b for a, b in zip(w, solve(hess, grad))]
    return w


def fit_fronts(driver, data, split, golds):
    cases = collections.defaultdict(lambda: collections.defaultdict(list))  # set, question: (features, right)
    for name, gold in golds.items():
        for line in run_answered(driver, data, name, split, gold, 0, "spans")[0]:
            p = line.split("\t")
            cases[name][p[0]].append(([float(v) for v in p[4:-1]], is_right(p[-1], gold[p[0]])))
    flat = {name: [c for cs in qs.values() for c in cs] for name, qs in cases.items()}
    print("weights: " + ", ".join("%.2f" % v for v in fit([c for cs in flat.values() for c in cs])))
    best = []
    for name, qs in cases.items():
        w = fit([c for other, cs in flat.items() if other != name for c in cs])
        best += [max((sigmoid(dot(w, x)), y) for x, y in cs) for cs in qs.values()]
    n = sum(len(g) for g in golds.values())
    for least in (.45, .5, .55, .6, .7, .8):
        shown = [y for p, y in best if p >= least]
        print("at least %.2f: %.0f %% of %d questions, %.0f %% right" % (least, 100 * len(shown) / n, n, 100 * sum(shown) / max(len(shown), 1)))


def against_strings(driver, data, name, split, gold, limit):
    """gold: accepted strings by question."""
    d = os.path.join(data, name)
    answers, note = run_answered(driver, data, name, split, gold, limit)
    first = {c["_id"]: first_sentence(c["text"]) for c in read(os.path.join(d, "corpus.jsonl"))}
    c = collections.Counter()
    for a in answers:
        g = gold[a["id"]]
        top = first.get(a["cited"][0], "") if a["cited"] else ""
        few, front = front_of(a["text"])
        holds = [any(normal(x) and normal(x) in normal(t) for x in g) for t in (a["text"], top)]
        text = MARK.sub("", FRONT.sub("", a["text"]))
        best = [max(f1(t, x) for x in g) if a["found"] else 0 for t in (text, front, top)]
        close = few is not None and is_right(few, g)
        c.update(n=1, holds=holds[0], base=holds[1], length=len(text), front=few is not None, right=close,
                 f_whole=best[0], f_front=best[1], f_base=best[2])
    n = c["n"]
    print("%-9s %-5s n %4d  holds the answer %.1f %%  characters %.0f  F1 %.3f, of the front %.3f; few words in front %.1f %%, of these right %.1f %% | "
          "first sentence of the first cited paragraph: holds %.1f %%, F1 %.3f | %s" % (
              name, split, n, 100 * c["holds"] / n, c["length"] / n, c["f_whole"] / n, c["f_front"] / n, 100 * c["front"] / n,
              100 * c["right"] / max(c["front"], 1), 100 * c["base"] / n, c["f_base"] / n, note))


def refused(answers):
    return 100 * sum(not a["found"] for a in answers) / max(len(answers), 1)


def refusals(driver, data, split, limit):
    train = split == "train"
    queries, qrels = ("queries_train.jsonl", "qrels_train.tsv") if train else ("queries.jsonl", "qrels.tsv")
    for name, far in FAR.items():
        d = os.path.join(data, name)
        own, _ = run(driver, d, "corpus.jsonl", queries, qrels, limit)
        other, _ = run(driver, os.path.join(data, far), "corpus.jsonl", os.path.join(d, queries), os.path.join(d, qrels), limit)
        print("%-9s %-5s answerable refused %.1f %% of %d; asked of %s refused %.1f %% of %d" % (
            name, split, refused(own), len(own), far, refused(other), len(other)))
    if not train:
        d = os.path.join(data, "squad")
        with tempfile.TemporaryDirectory() as tmp:
            rows = read(os.path.join(d, "queries_unanswerable.jsonl"))
            with open(os.path.join(tmp, "qrels.tsv"), "w") as f:
                f.write("query-id\tcorpus-id\tscore\n")
                f.writelines("%s\t%s\t1\n" % (r["_id"], r["near"]) for r in rows)
            answers, _ = run(driver, d, "corpus.jsonl", "queries_unanswerable.jsonl", os.path.join(tmp, "qrels.tsv"), limit)
        print("squad unanswerable (dev): refused %.1f %% of %d" % (refused(answers), len(answers)))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", required=True)
    ap.add_argument("--build", default="build")
    ap.add_argument("--split", default="train", choices=["train", "dev"])
    ap.add_argument("--limit", type=int, default=1500)
    ap.add_argument("--answers", help="folder of NAME.jsonl with answer strings of questions of the split")
    ap.add_argument("--fit", action="store_true", help="with --answers: weights of what may stand in front")
    ap.add_argument("--model", help="packed model: both legs")
    ap.add_argument("--vectors", help="folder that keeps passage vectors")
    args = ap.parse_args()
    driver = [build_driver(args.build)] + ([args.model, args.vectors] if args.model else [])
    golds = {}
    for name in ("cmrc2018", "drcd", "squad") if args.answers else ():
        path = os.path.join(args.answers, name + ".jsonl")
        if os.path.exists(path):
            golds[name] = {q["_id"]: strings(q["answer"]) for q in read(path)}
    if args.fit:
        return fit_fronts(driver, args.data, args.split, golds)
    for name in ("cmrc2018", "drcd") + (("squad",) if args.split == "dev" else ()):
        against_chunks(driver, args.data, name, args.split, args.limit)
    for name, gold in golds.items():
        against_strings(driver, args.data, name, args.split, gold, 0)
    for name in ("rgb-zh", "multihop") if args.split == "dev" else ():
        gold = {q["_id"]: strings(q["answer"]) for q in read(os.path.join(args.data, name, "queries.jsonl"))}
        against_strings(driver, args.data, name, "dev", gold, args.limit)
    refusals(driver, args.data, args.split, args.limit)


if __name__ == "__main__":
    main()
