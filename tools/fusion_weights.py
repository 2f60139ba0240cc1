#!/usr/bin/env python3
"""Chooses how the two legs are fused, on training questions only: cmrc2018, drcd, squad and scifact.

usage: tools/fusion_weights.py --data DIR --build build --model FILE.ragm --vectors DIR [--limit 1000]

Runs answer_driver on every set, whole and as collections of 60 paragraphs, and prints nDCG@10 by fusion: the mean of the
sets, and for each set left out, what the weight chosen on the others gives on it."""
import argparse
import collections
import math
import os
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import calibrate  # noqa: E402


def ndcg(order, relevant, n_relevant):
    gain = sum(1 / math.log2(i + 2) for i, h in enumerate(order[:10]) if h in relevant)
    ideal = sum(1 / math.log2(i + 2) for i in range(min(10, n_relevant)))
    return gain / ideal if ideal else 0.0


def scaled(values):
    low, high = min(values), max(values)
    return [(v - low) / (high - low) if high > low else 1.0 for v in values]


def convex(w):
    def order(hits, row):
        b, c = scaled([h.bm25 for h in hits]), scaled([h.cosine for h in hits])
        s = [w * y + (1 - w) * x for x, y in zip(b, c)]
        return sorted(range(len(hits)), key=lambda i: -s[i])
    return order


def convex_z(w):
    """Both legs in units of what unrelated chunks scatter: BM25 by the question's mass, cosines by the background."""
    def order(hits, row):
        asked = row.known_mass + calibrate.UNKNOWN_SHARE * (row.idf_mass - row.known_mass)
        s = [w * (h.cosine - row.mean) / row.spread / 10 + (1 - w) * h.bm25 / max(asked, 1e-6) for h in hits]
        return sorted(range(len(hits)), key=lambda i: -s[i])
    return order


def max_scaled(w):
    """BM25 by its best, cosines between the background and the best."""
    def order(hits, row):
        best, top = max(h.bm25 for h in hits), max(h.cosine for h in hits)
        s = [w * (h.cosine - row.mean) / max(top - row.mean, 1e-6) + (1 - w) * h.bm25 / max(best, 1e-6) for h in hits]
        return sorted(range(len(hits)), key=lambda i: -s[i])
    return order


def rrf(k, w):
    def order(hits, row):
        s = [0.0] * len(hits)
        for weight, key in ((1 - w, lambda i: -hits[i].bm25), (w, lambda i: -hits[i].cosine)):
            for rank, i in enumerate(sorted(range(len(hits)), key=key)):
                s[i] += weight / (k + 1 + rank)
        return sorted(range(len(hits)), key=lambda i: -s[i])
    return order


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", required=True)
    ap.add_argument("--build", default="build")
    ap.add_argument("--model", required=True)
    ap.add_argument("--vectors", required=True)
    ap.add_argument("--limit", type=int, default=1000)
    args = ap.parse_args()
    driver = calibrate.build_driver(args.build)
    ways = {"bm25": convex(0.0), "dense": convex(1.0)}
    for w in range(20, 95, 5):
        ways["convex .%02d" % w] = convex(w / 100)
        ways["max .%02d" % w] = max_scaled(w / 100)
        ways["z .%02d" % w] = convex_z(w / 100)
    for k in (10, 60):
        for w in range(30, 90, 10):
            ways["rrf %d .%d" % (k, w // 10)] = rrf(k, w / 100)
    result = collections.defaultdict(dict)  # way -> group -> nDCG
    by_kind = collections.defaultdict(lambda: collections.defaultdict(list))
    for name, (corpus, qrels) in calibrate.SETS.items():
        at = os.path.join(args.data, name)
        queries = os.path.join(at, "queries_train.jsonl")
        with tempfile.TemporaryDirectory() as tmp:
            parts = [("whole", os.path.join(at, corpus), queries, os.path.join(at, qrels), args.limit)]
            parts += [("small", c, q, r, 0) for c, q, r in calibrate.small_collections(args.data, name, tmp)]
            scores = collections.defaultdict(lambda: collections.defaultdict(list))
            for size, c, q, r, limit in parts:
                rows = calibrate.run_features(driver, c, q, r, limit, args.model, args.vectors)
                relevant = calibrate.read_qrels(r, str)
                for row in rows:
                    rel = relevant[row.id]
                    chunks = any("#" in r for r in rel)  # else paragraphs are judged, each by its best chunk
                    for way, order in ways.items():
                        ids = [row.hits[i].chunk if chunks else row.hits[i].paragraph for i in order(row.hits, row)] if row.hits else []
                        v = ndcg(list(dict.fromkeys(ids)), rel, len(rel))
                        scores[way][size].append(v)
                        by_kind[way][row.kind].append(v)
            for way in ways:
                for size, v in scores[way].items():
                    result[way][name, size] = 100 * statistics.mean(v)
        print(name, "done", file=sys.stderr)
    groups = sorted(result["bm25"])
    print("%-14s %6s  %s" % ("", "mean", "  ".join("%s %s" % g for g in groups)))
    ranked = sorted(ways, key=lambda w: -statistics.mean(result[w].values()))
    for way in ["bm25", "dense"] + ranked[:25]:
        print("%-14s %6.2f  %s" % (way, statistics.mean(result[way].values()),
                                   "  ".join("%*.2f" % (len(g[0]) + len(g[1]) + 1, result[way][g]) for g in groups)))
    print("\nleft out: chosen on the other sets, gives, best possible")
    for name in calibrate.SETS:
        rest = [g for g in groups if g[0] != name]
        own = [g for g in groups if g[0] == name]
        for kind in ("convex", "max", "z", "rrf"):
            some = [w for w in ways if w.startswith(kind)]
            chosen = max(some, key=lambda w: statistics.mean(result[w][g] for g in rest))
            best = max(some, key=lambda w: statistics.mean(result[w][g] for g in own))
            print("%-9s %-12s %.2f   %-12s %.2f" % (name, chosen, statistics.mean(result[chosen][g] for g in own), best,
                                                     statistics.mean(result[best][g] for g in own)))
    print("\nby kind of question: best convex weight")
    for kind in sorted(by_kind["bm25"]):
        some = [w for w in ways if w.startswith("convex")]
        best = max(some, key=lambda w: statistics.mean(by_kind[w][kind]))
        print("%-10s n %5d  bm25 %.2f  dense %.2f  %s %.2f" % (kind, len(by_kind[best][kind]), 100 * statistics.mean(by_kind["bm25"][kind]),
              100 * statistics.mean(by_kind["dense"][kind]), best, 100 * statistics.mean(by_kind[best][kind])))


if __name__ == "__main__":
    main()
