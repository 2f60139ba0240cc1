#!/usr/bin/python3
"""Two reference analysers under the same plain BM25, to compare ragd's own with.

  bigram   NFKC, lower case; runs of CJK characters as character bigrams (a lone one as itself), runs of other
           letters and digits as words
  words    NFKC, lower case; jieba's search mode (no HMM) for text with CJK characters, Snowball English for the other
           words; no stop list

BM25: k1 1.2, b 0.75, idf = ln(1 + (N - df + .5) / (df + .5)); a term counts as
often as the question has it, a document is its title and text. Prints nDCG@10 of each set with a 95 % bootstrap interval.

  tools/reference_analyzers.py $DATASETS/scifact $DATASETS/rgb-zh
  tools/reference_analyzers.py --corpus corpus_chunks.jsonl --qrels qrels_chunks.tsv $DATASETS/drcd
  tools/reference_analyzers.py --run out.trec ...      also writes the ranking ('{set}.{analyser}' as run tag)

Needs Debian's python3-jieba and python3-snowballstemmer."""
import argparse
import gzip
import heapq
import json
import logging
import math
import os
import random
import re
import unicodedata
from collections import Counter, defaultdict

import jieba
import snowballstemmer

jieba.setLogLevel(logging.WARNING)
STEM = snowballstemmer.stemmer("english")
CJK = "\u3005\u3007\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U000323af"
RUNS = re.compile(f"[{CJK}]+|[^\\W{CJK}_]+(?:['’][^\\W{CJK}_]+)*")
HAS_CJK = re.compile(f"[{CJK}]")
stems = {}


def stem(word):
    if word not in stems:
        stems[word] = STEM.stemWord(word)
    return stems[word]


def fold(text):
    return unicodedata.normalize("NFKC", text).lower()


def bigram(text):
    out = []
    for run in RUNS.findall(fold(text)):
        if HAS_CJK.match(run) and len(run) > 1:
            out += [run[i:i + 2] for i in range(len(run) - 1)]
        else:
            out.append(run)
    return out


def words(text):
    text = fold(text)
    if not HAS_CJK.search(text):
        return [stem(w.replace("’", "'")) for w in RUNS.findall(text)]
    out = []
    for w in jieba.cut_for_search(text, HMM=False):
        if HAS_CJK.search(w):
            out.append(w)
        else:
            out += [stem(x) for x in RUNS.findall(w)]
    return out


class Bm25:
    def __init__(self, docs, k1, b):
        self.k1, self.n = k1, len(docs)
        self.post = defaultdict(list)
        lens = []
        for d, terms in enumerate(docs):
            lens.append(len(terms))
            for t, tf in Counter(terms).items():
                self.post[t].append((d, tf))
        mean = sum(lens) / max(1, len(lens)) or 1
        self.norm = [k1 * (1 - b + b * n / mean) for n in lens]

    def top(self, terms, k):
        score = defaultdict(float)
        for t, n in Counter(terms).items():
            post = self.post.get(t, ())
            idf = n * math.log(1 + (self.n - len(post) + .5) / (len(post) + .5))
            for d, tf in post:
                score[d] += idf * tf * (self.k1 + 1) / (tf + self.norm[d])
        return heapq.nsmallest(k, score.items(), key=lambda x: (-x[1], x[0]))


def open_any(path):
    if not os.path.exists(path) and os.path.exists(path + ".gz"):
        path += ".gz"
    return gzip.open(path, "rt") if path.endswith(".gz") else open(path)


def load(folder, args):
    with open_any(os.path.join(folder, args.corpus)) as f:
        corpus = {o["_id"]: (o.get("title", "") + " " + o["text"]).strip() for o in map(json.loads, f)}
    rel = defaultdict(dict)
    with open_any(os.path.join(folder, args.qrels)) as f:
        for row in f:
            q, d, s = row.split()[:3]
            if s.isdigit() and int(s) > 0:
                rel[q][d] = int(s)
    with open_any(os.path.join(folder, args.queries)) as f:
        queries = {o["_id"]: o["text"] for o in map(json.loads, f) if o["_id"] in rel}
    return corpus, queries, rel


def ndcg(ranked, rel, k=10):
    gain = sum(rel.get(d, 0) / math.log2(i + 2) for i, d in enumerate(ranked[:k]))
    best = sum(r / math.log2(i + 2) for i, r in enumerate(sorted(rel.values(), reverse=True)[:k]))
    return gain / best


def interval(values, rounds=500):
    rng = random.Random(1)
    means = sorted(sum(rng.choices(values, k=len(values))) / len(values) for _ in range(rounds))
    return means[int(rounds * .025)], means[int(rounds * .975)]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", nargs="+")
    p.add_argument("--corpus", default="corpus.jsonl")
    p.add_argument("--queries", default="queries.jsonl")
    p.add_argument("--qrels", default="qrels.tsv")
    p.add_argument("--analyzer", choices=("bigram", "words"), help="only this one")
    p.add_argument("--k1", type=float, default=1.2)
    p.add_argument("--b", type=float, default=.75)
    p.add_argument("--run", help="append the rankings to this file, TREC format")
    args = p.parse_args()
    run = open(args.run, "a") if args.run else None
    for folder in args.folder:
        name = os.path.basename(os.path.normpath(folder))
        corpus, queries, rel = load(folder, args)
        ids = list(corpus)
        for analyse in (bigram, words):
            if args.analyzer and analyse.__name__ != args.analyzer:
                continue
            index = Bm25([analyse(t) for t in corpus.values()], args.k1, args.b)
            scores = []
            for q, text in queries.items():
                hits = index.top(analyse(text), 10)
                scores.append(ndcg([ids[d] for d, _ in hits], rel[q]))
                if run:
                    for rank, (d, s) in enumerate(hits, 1):
                        run.write(f"{q} Q0 {ids[d]} {rank} {s:.6f} {name}.{analyse.__name__}\n")
            lo, hi = interval(scores)
            print(f"{name:14} {analyse.__name__:7} nDCG@10 {100 * sum(scores) / len(scores):5.2f}"
                  f"  [{100 * lo:.2f}, {100 * hi:.2f}]  {len(scores)} questions, {len(ids)} documents", flush=True)


if __name__ == "__main__":
    main()
