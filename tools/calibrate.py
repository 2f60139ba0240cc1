#!/usr/bin/env python3
"""Fits the constants of src/stages/fusion/calibrate.c on training questions only.

  tools/calibrate.py --data $DATASETS --build build [--limit 2500] [--model FILE.ragm --vectors DIR]

Answerable: the training questions of cmrc2018, drcd, squad and scifact over their corpora, and over small
collections of 60 paragraphs cut out of them. Not answerable: the same questions with every chunk of their
paragraph taken out of the ranking (near), and asked of another set's collection in the same language (far).
Prints the constants, the floor, refusals, and a reliability table. Standard library only.
"""
import argparse
import collections
import json
import math
import os
import random
import subprocess
import tempfile

SETS = {  # corpus, judgments of the training questions
    "cmrc2018": ("corpus_chunks.jsonl", "qrels_train_chunks.tsv"),
    "drcd": ("corpus_chunks.jsonl", "qrels_train_chunks.tsv"),
    "squad": ("corpus_chunks.jsonl", "qrels_train.tsv"),
    "scifact": ("corpus.jsonl", "qrels_train.tsv"),
}
FAR = {"cmrc2018": "drcd", "drcd": "cmrc2018", "squad": "scifact", "scifact": "squad"}
PKGS = "icu-uc icu-i18n libxml-2.0 libarchive libcrypto libxxhash jansson sqlite3 libmicrohttpd libcurl yaml-0.1"
TOP, SMALL_PARAGRAPHS, SMALL_COLLECTIONS, WRONGLY_REFUSED = 5, 60, 8, 0.05
MOST_SPREADS, LEAST_SPREADS = 4.0, -2.0
# The training collections speak of something else in every paragraph, so their best chunk stands out far more than one of a
# handbook on a single subject, in two languages and with much said twice. A small weight travels; the fitted one (3.7) does not.
STANDOUT_SHRINK = 300.0
UNKNOWN_SHARE = 0.5  # of an unknown term's mass: as in calibrate.c


def build_driver(build):
    out = os.path.join(build, "answer_driver")
    flags = subprocess.check_output(["pkg-config", "--cflags", "--libs"] + PKGS.split(), text=True).split()
    here = os.path.dirname(os.path.abspath(__file__))
    cmd = ["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-iquote", os.path.join(here, "../src"), "-o", out,
           os.path.join(here, "answer_driver.c"), os.path.join(build, "libragd.a")]
    subprocess.check_call(cmd + flags + ["-lstemmer", "-lm", "-pthread"])
    return out


Row = collections.namedtuple("Row", "id idf_mass known_mass kind mean spread hits")
Hit = collections.namedtuple("Hit", "bm25 coverage cosine fused chunk paragraph")


def paragraph(chunk_id):
    return chunk_id.split("#")[0]


def read_qrels(path, unit=paragraph):
    """Relevant paragraphs by question; with unit=str, chunks."""
    rel = collections.defaultdict(set)
    with open(path) as f:
        next(f)
        for line in f:
            q, d = line.split("\t")[:2]
            rel[q].add(unit(d))
    return rel


def run_features(driver, corpus, queries, qrels, limit, model=None, vectors=None):
    """A Row a question; without a model the dense leg does not run."""
    with tempfile.TemporaryDirectory() as d:
        for name, path in (("corpus.jsonl", corpus), ("queries.jsonl", queries), ("qrels.tsv", qrels)):
            os.symlink(os.path.abspath(path), os.path.join(d, name))
        text = subprocess.check_output([driver, "features", d, "corpus.jsonl", "queries.jsonl", "qrels.tsv",
                                        str(limit)] + ([model, vectors] if model else []), text=True)
    rows = []
    for line in text.splitlines():
        p = line.split("\t")
        hits = [Hit(float(p[i]), float(p[i + 1]), float(p[i + 2]), float(p[i + 3]), p[i + 4], paragraph(p[i + 4]))
                for i in range(9, len(p) - 4, 5)]
        rows.append(Row(p[0], float(p[3]), float(p[4]), p[6], float(p[7]), float(p[8]), hits))
    return rows


def small_collections(data, name, tmp):
    """Corpora of 60 paragraphs and the training questions on them."""
    corpus, qrels = SETS[name]
    chunks = collections.defaultdict(list)
    with open(os.path.join(data, name, corpus), encoding="utf-8") as f:
        for line in f:
            chunks[paragraph(json.loads(line)["_id"])].append(line)
    rel = read_qrels(os.path.join(data, name, qrels))
    by_paragraph = collections.defaultdict(list)
    for q, ds in rel.items():
        for d in ds:
            by_paragraph[d].append(q)
    texts = {}
    with open(os.path.join(data, name, "queries_train.jsonl"), encoding="utf-8") as f:
        for line in f:
            texts[json.loads(line)["_id"]] = line
    rng = random.Random(5)
    asked = sorted(d for d in by_paragraph if d in chunks)
    for k in range(SMALL_COLLECTIONS):
        pick = rng.sample(asked, SMALL_PARAGRAPHS)
        paths = [os.path.join(tmp, "%s.%d.%s" % (name, k, x)) for x in ("corpus", "queries", "qrels")]
        with open(paths[0], "w", encoding="utf-8") as f:
            f.writelines(line for d in pick for line in chunks[d])
        qs = sorted({q for d in pick for q in by_paragraph[d]})
        with open(paths[1], "w", encoding="utf-8") as f:
            f.writelines(texts[q] for q in qs)
        with open(paths[2], "w") as f:
            f.write("query-id\tcorpus-id\tscore\n")
            f.writelines("%s\t%s\t1\n" % (q, d) for q in qs for d in sorted(rel[q]))
        yield paths


# ---- features: the same as in calibrate.c ----
def tail_cosine(row, hits):
    """Mean of the candidates' cosines from the eleventh to the thirtieth."""
    tail = sorted((h.cosine for h in hits), reverse=True)[10:30]
    return sum(tail) / len(tail) if tail else row.mean


def hit_features(row, hit, tail):
    asked = row.known_mass + UNKNOWN_SHARE * (row.idf_mass - row.known_mass)
    held = hit.coverage * row.idf_mass
    words = [held / asked, min(hit.bm25 / asked, 1.5)] if asked > 0 else [0.0, 0.0]
    x = [1.0] + words
    if row.spread > 0:  # the dense leg ran
        x.append(max(LEAST_SPREADS, min((hit.cosine - tail) / row.spread, MOST_SPREADS)) / MOST_SPREADS)
    return x + [math.log(1 + held)]


def question_features(row, hits):
    return hit_features(row, hits[0], tail_cosine(row, hits))


def sigmoid(z):
    return 1 / (1 + math.exp(-z)) if z > -30 else 0.0


def dot(w, x):
    return sum(a * b for a, b in zip(w, x))


def solve(a, b):
    n = len(b)
    m = [row[:] + [v] for row, v in zip(a, b)]
    for i in range(n):
        p = max(range(i, n), key=lambda r: abs(m[r][i]))
        m[i], m[p] = m[p], m[i]
        for r in range(n):
            if r != i:
                f = m[r][i] / m[i][i]
                m[r] = [x - f * y for x, y in zip(m[r], m[i])]
    return [m[i][n] / m[i][i] for i in range(n)]


def fit(samples, shrink, steps=12):
    """Logistic regression by Newton's method; samples: (weight, features, label); shrink: of each weight."""
    n = len(samples[0][1])
    w = [0.0] * n
    for _ in range(steps):
        grad = [s * v for s, v in zip(shrink, w)]
        hess = [[shrink[i] if i == j else 0.0 for j in range(n)] for i in range(n)]
        for s, x, y in samples:
            p = sigmoid(dot(w, x))
            d, h = s * (p - y), s * max(p * (1 - p), 1e-6)
            for i in range(n):
                grad[i] += d * x[i]
                for j in range(n):
                    hess[i][j] += h * x[i] * x[j]
        w = [a - b for a, b in zip(w, solve(hess, grad))]
    negative = [i for i in range(1, n) if w[i] < 0]
    if not negative:
        return w
    # More of a feature must never score less: without the worst one, once more.
    drop = min(negative, key=lambda i: w[i])
    w = fit([(s, x[:drop] + x[drop + 1:], y) for s, x, y in samples], shrink[:drop] + shrink[drop + 1:], steps)
    return w[:drop] + [0.0] + w[drop:]


def questions(rows, rel):
    """(kind, features): found, missed, near, for each question."""
    for row in rows:
        hits = row.hits
        if hits:
            hit = any(h.paragraph in rel[row.id] for h in hits[:TOP])
            yield "found" if hit else "missed", question_features(row, hits)
        left = [h for h in hits if h.paragraph not in rel[row.id]]
        if left:
            yield "near", question_features(row, left)


def hits_with_labels(rows, rel):
    """The score leaves the mass out: what a chunk holds of a one-word question is all there is to hold."""
    return [(hit_features(r, h, tail_cosine(r, r.hits))[:-1], 1 if h.paragraph in rel[r.id] else 0) for r in rows for h in r.hits[:10]]


def auc(pos, neg):
    ranked = sorted([(v, 1) for v in pos] + [(v, 0) for v in neg])
    seen, total = 0, 0
    for _, label in ranked:
        if label:
            total += seen
        else:
            seen += 1
    return total / (len(pos) * len(neg))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", required=True)
    ap.add_argument("--build", default="build")
    ap.add_argument("--limit", type=int, default=2500)
    ap.add_argument("--model", help="packed model: calibrates the two legs together")
    ap.add_argument("--vectors", help="folder that keeps passage vectors")
    args = ap.parse_args()
    dense = [args.model, args.vectors] if args.model else []
    driver = build_driver(args.build)

    groups = {}  # (set, size) -> [(kind, features)]
    hits_of = {}
    for name, (corpus, qrels) in SETS.items():
        at = os.path.join(args.data, name)
        rel = read_qrels(os.path.join(at, qrels))
        queries = os.path.join(at, "queries_train.jsonl")
        rows = run_features(driver, os.path.join(at, corpus), queries, os.path.join(at, qrels), args.limit, *dense)
        groups[name, "whole"] = list(questions(rows, rel))
        hits_of[name, "whole"] = hits_with_labels(rows, rel)
        other = FAR[name]
        far = os.path.join(args.data, other)
        rows = run_features(driver, os.path.join(far, SETS[other][0]), queries, os.path.join(at, qrels), args.limit, *dense)
        groups[name, "whole"] += [("far", question_features(r, r.hits)) for r in rows if r.hits]
        no_hit = sum(1 for r in rows if not r.hits)
        small, small_hits = [], []
        with tempfile.TemporaryDirectory() as tmp:
            for c, q, r in small_collections(args.data, name, tmp):
                rows, rel = run_features(driver, c, q, r, 0, *dense), read_qrels(r)
                small += questions(rows, rel)
                small_hits += hits_with_labels(rows, rel)
        groups[name, "small"] = small
        hits_of[name, "small"] = small_hits
        print("%s: %d whole (%d without a hit far away), %d small" % (name, len(groups[name, "whole"]), no_hit, len(small)))

    samples = []
    for g in groups.values():
        n = collections.Counter(k for k, _ in g)
        for kind, x in g:  # each collection weighs the same, answerable as much as not
            same = {"found": n["found"], "missed": 0, "near": n["near"] + n["far"], "far": n["near"] + n["far"]}[kind]
            if same:
                samples.append((1000.0 / same, x, 1 if kind == "found" else 0))
    words_only = [1e-9, 2.0, 2.0, 2.0]
    shrink = words_only[:3] + [STANDOUT_SHRINK] + words_only[3:] if dense else words_only
    w = fit(samples, shrink)
    print("confidence: " + ", ".join("%.3f" % v for v in w))
    found_all = sorted((sigmoid(dot(w, x)), 1.0 / sum(k == "found" for k, _ in g))
                       for g in groups.values() for kind, x in g if kind == "found")
    share, floor = 0.0, 0.0
    for p, s in found_all:
        share += s / len(groups)
        if share > WRONGLY_REFUSED:
            floor = p
            break
    print("floor: %.3f" % floor)
    print("\nset       size   found refused  missed refused  near refused  far refused  auc near  auc far")
    for (name, size), g in groups.items():
        p = collections.defaultdict(list)
        for kind, x in g:
            p[kind].append(sigmoid(dot(w, x)))
        rate = {k: 100.0 * sum(v < floor for v in p[k]) / len(p[k]) if p[k] else float("nan") for k in ("found", "missed", "near", "far")}
        print("%-9s %-6s %9.1f %%     %9.1f %%   %9.1f %%   %9.1f %%      %.3f    %s" %
              (name, size, rate["found"], rate["missed"], rate["near"], rate["far"], auc(p["found"], p["near"]),
               "%.3f" % auc(p["found"], p["far"]) if p["far"] else "-"))
    print("\nreliability, weighted as fitted: found as much as near and far together, each collection the same")
    bins = [[0, 0.0, 0.0, 0.0] for _ in range(10)]
    for s, x, y in samples:
        v = sigmoid(dot(w, x))
        b = bins[min(int(v * 10), 9)]
        b[0] += 1
        b[1] += s
        b[2] += s * v
        b[3] += s * y
    for i, (n, s, v, y) in enumerate(bins):
        if n:
            print("| %.1f to %.1f | %d | %.2f | %.2f |" % (i / 10, i / 10 + 0.1, n, v / s, y / s))

    samples = [(2000.0 / len(g), x, y) for g in hits_of.values() for x, y in g]
    wh = fit(samples, shrink[:-1])
    print("\nscore: " + ", ".join("%.3f" % v for v in wh))
    for (name, size), g in hits_of.items():
        p = [sigmoid(dot(wh, x)) for x, _ in g]
        print("%-9s %-6s mean score %.3f, relevant %.3f, auc %.3f" % (
            name, size, sum(p) / len(p), sum(y for _, y in g) / len(g),
            auc([v for v, (_, y) in zip(p, g) if y], [v for v, (_, y) in zip(p, g) if not y])))


if __name__ == "__main__":
    main()
