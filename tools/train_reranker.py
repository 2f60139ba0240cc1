#!/usr/bin/env python3
"""Weights of the default reranker (src/stages/reranking/reranking.c) from `ragd eval --rerank-rows` files.

usage: tools/train_reranker.py NAME=FILE...      one file a collection; training questions only

The order is by fused + sum of weight x (feature - mean over the candidates) + weight x (MaxSim - mean) / spread. Every
weight is one of a coarse grid; they are found one coordinate at a time for the largest mean gain in nDCG@10 over the
collections plus half of the worst collection's, less PENALTY for each unit of weight: small weights win ties, and no
collection pays for the others. The same is done with each collection left out, and the gain on the one left out is
printed: that is what to believe. Needs numpy.
"""

import sys

import numpy

FEATURES = ["coverage", "sentence", "nearness", "phrase", "heading", "name", "numbers", "length", "late"]
GRID = [0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3]
PENALTY = 0.3  # points of nDCG for a weight of 1
MOST = 20


def load(path):
    """queries x MOST arrays: grade, fused, features without their mean; unused places have fused -inf."""
    queries = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            cells = line.rstrip("\n").split("\t")
            queries.setdefault(cells[0], []).append(cells[2:])
    grade = numpy.zeros((len(queries), MOST))
    fused = numpy.full((len(queries), MOST), -numpy.inf)
    x = numpy.zeros((len(queries), MOST, len(FEATURES)))
    for i, rows in enumerate(queries.values()):
        rows = sorted(rows, key=lambda r: -float(r[1]))[:MOST]
        n = len(rows)
        grade[i, :n] = [float(r[0]) for r in rows]
        fused[i, :n] = [float(r[1]) for r in rows]
        values = numpy.array([[float(v) for v in r[3:]] for r in rows])
        x[i, :n, :-1] = values - values.mean(axis=0)
        late = numpy.array([float(r[2]) if r[2] != "-" else numpy.nan for r in rows])
        if not numpy.isnan(late).all():
            late = (late - numpy.nanmean(late)) / max(numpy.nanstd(late), 1e-6)
            x[i, :n, -1] = numpy.nan_to_num(late)
    return grade, fused, x


def ndcg(data, weights):
    """Over the candidates: what is not among them no order can mend."""
    grade, fused, x = data
    order = numpy.argsort(-(fused + x @ weights), axis=1, kind="stable")[:, :10]
    discount = 1 / numpy.log2(numpy.arange(2, 12))
    got = numpy.take_along_axis(grade, order, axis=1) @ discount
    ideal = -numpy.sort(-grade, axis=1)[:, :10] @ discount
    return 100 * numpy.mean(got / numpy.maximum(ideal, 1e-9))


def objective(sets, base, weights):
    gains = [ndcg(data, weights) - base[name] for name, data in sets.items()]
    return numpy.mean(gains) + 0.5 * min(0, min(gains)) - PENALTY * weights.sum()


def fit(sets, base, allowed):
    weights = numpy.zeros(len(FEATURES))
    best = objective(sets, base, weights)
    for _ in range(6):
        before = weights.copy()
        for f in allowed:
            for value in GRID:
                trial = weights.copy()
                trial[f] = value
                score = objective(sets, base, trial)
                if score > best + 1e-6:
                    best, weights = score, trial
        if (weights == before).all():
            break
    return weights


def show(weights):
    return " ".join("%s %.2f" % (name, w) for name, w in zip(FEATURES, weights) if w)


def report(title, sets, base, allowed):
    print("\n" + title)
    weights = fit(sets, base, allowed)
    print("  all: %s" % show(weights))
    for name, data in sets.items():
        others = {k: v for k, v in sets.items() if k != name}
        held = fit(others, base, allowed)
        print("  %-12s %+.2f with it, %+.2f left out: %s"
              % (name, ndcg(data, weights) - base[name], ndcg(data, held) - base[name], show(held)))


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sets = dict((a.split("=", 1)[0], load(a.split("=", 1)[1])) for a in sys.argv[1:])
    base = {name: ndcg(data, numpy.zeros(len(FEATURES))) for name, data in sets.items()}
    for name, value in base.items():
        print("%-12s %d questions, fused order %.2f" % (name, len(sets[name][0]), value))
    words = range(len(FEATURES) - 1)
    report("features alone", sets, base, words)
    report("late interaction alone", sets, base, [len(FEATURES) - 1])
    report("both", sets, base, [len(FEATURES) - 1, *words])


if __name__ == "__main__":
    main()
