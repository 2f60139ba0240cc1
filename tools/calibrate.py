#!/usr/bin/env python3
"""Fits the constants of src/stages/generation/calibrate.c.

usage: calibrate.py --ragd build/ragd --datasets $DATASETS [--questions 600]

Training questions only. Answerable: train questions of cmrc2018, drcd, squad and scifact over their own
collection. Unanswerable: the same questions after the paragraphs that answer them were left out of the
collection (near the domain), and train questions of another set of the same language (out of domain).
A server runs for each collection; the features come from `explain`. Prints the weights, the refusal rates at a
range of floors, and a reliability table over a held-out half of the questions.
"""
import argparse, gzip, http.client, json, math, os, random, socket, subprocess, sys, tempfile, time

SETS = [("cmrc2018", "zh", "corpus_chunks.jsonl", "qrels_train_chunks.tsv"), ("drcd", "zh", "corpus_chunks.jsonl", "qrels_train_chunks.tsv"),
        ("squad", "en", "corpus_chunks.jsonl", "qrels_train.tsv"), ("scifact", "en", "corpus.jsonl", "qrels_train.tsv")]


def read_jsonl(path):
    with (gzip.open(path, "rt") if path.endswith(".gz") else open(path)) as f:
        return [json.loads(l) for l in f if l.strip()]


def read_qrels(path):
    out = {}
    with open(path) as f:
        for l in f:
            p = l.split()
            if len(p) >= 3 and p[-1].lstrip("-").isdigit() and int(p[-1]) > 0:
                out.setdefault(p[0], set()).add(p[1] if len(p) == 3 else p[2])
    return out


class Server:
    def __init__(self, ragd, corpus, tmp):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        data = os.path.join(tmp, f"data{self.port}")
        lines = "".join(json.dumps({"id": d["_id"], "title": d.get("title", ""), "text": d["text"]}) + "\n" for d in corpus if d["text"].strip())
        subprocess.run([ragd, "ingest", "--data", data, "-"], input=lines.encode(), check=True, stdout=subprocess.DEVNULL)
        self.p = subprocess.Popen([ragd, "serve", "--data", data, "--listen", f"127.0.0.1:{self.port}"],
                                  stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for _ in range(1000):
            try:
                self.c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
                self.c.request("GET", "/health/ready")
                if self.c.getresponse().read() is not None:
                    return
            except OSError:
                time.sleep(.02)

    def features(self, question):
        self.c.request("POST", "/v1/search", json.dumps({"query": question, "explain": True, "top_k": 5}), {"Content-Type": "application/json"})
        a = json.loads(self.c.getresponse().read())
        e = a["explain"]["retrieval"]
        if not a["hits"] or not e["idf_mass"]:
            return None, []
        h = a["hits"][0]
        mass = e["idf_mass"]
        return ([1, h["scores"]["coverage"], h["scores"]["bm25"] / (mass * 1.9), e["known_mass"] / mass],
                [x["document_id"] for x in a["hits"]])

    def stop(self):
        self.p.terminate()
        self.p.wait(30)


def fit(rows, steps=3000, rate=2.0, ridge=1e-3):
    w = [0.0] * 4
    pos = sum(y for _, y in rows)
    cw = {1: len(rows) / 2 / pos, 0: len(rows) / 2 / (len(rows) - pos)}
    for _ in range(steps):
        g = [ridge * x for x in w]
        for x, y in rows:
            p = 1 / (1 + math.exp(-sum(a * b for a, b in zip(w, x))))
            for i in range(4):
                g[i] += cw[y] * (p - y) * x[i] / len(rows)
        w = [a - rate * b for a, b in zip(w, g)]
        w[1:] = [max(0.0, v) for v in w[1:]]        # monotone: more coverage is never worse
    return w


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--ragd", default="build/ragd")
    ap.add_argument("--datasets", default=os.environ.get("DATASETS", ""))
    ap.add_argument("--questions", type=int, default=500)
    a = ap.parse_args()
    rng = random.Random(5)
    loaded = {}
    for name, lang, corpus, qrels in SETS:
        base = os.path.join(a.datasets, name)
        rel = read_qrels(os.path.join(base, qrels))
        q = [x for x in read_jsonl(os.path.join(base, "queries_train.jsonl")) if x["_id"] in rel]
        rng.shuffle(q)
        loaded[name] = (lang, read_jsonl(os.path.join(base, corpus)), rel, q[:a.questions])
    rows = []                                        # (features, label, kind, right chunk in the top 5)
    with tempfile.TemporaryDirectory() as tmp:
        for name, (lang, corpus, rel, qs) in loaded.items():
            same = lambda chunk, r: chunk in r or chunk.split("#")[0] in r
            half = qs[:len(qs) // 2]
            gone = set().union(*(rel[q["_id"]] for q in half))
            gone_docs = {g.split("#")[0] for g in gone}
            for left_out in (False, True):
                docs = [d for d in corpus if not (left_out and d["_id"].split("#")[0] in gone_docs)]
                s = Server(a.ragd, docs, tmp)
                if not left_out:
                    for q in qs:
                        f, top = s.features(q["text"])
                        if f:
                            rows.append((f, 1, name, any(same(c, rel[q["_id"]]) for c in top)))
                    for other, (l2, _, _, q2) in loaded.items():
                        if other != name and l2 == lang:
                            for q in q2[:a.questions // 2]:
                                f, _ = s.features(q["text"])
                                if f:
                                    rows.append((f, 0, f"{other} over {name}", False))
                else:
                    for q in half:
                        f, _ = s.features(q["text"])
                        if f:
                            rows.append((f, 0, f"{name} left out", False))
                s.stop()
    rng.shuffle(rows)
    train, held = rows[::2], rows[1::2]
    w = fit([(f, y) for f, y, _, ok in train if y == 0 or ok])
    print("weights: " + ", ".join(f"{x:.2f}F" for x in w))
    p = lambda f: 1 / (1 + math.exp(-sum(x * y for x, y in zip(w, f))))
    print("\nfloor   answerable refused (right chunk in top 5)   left out refused   out of domain refused")
    for floor in [x / 20 for x in range(2, 16)]:
        rate = lambda sel: sum(p(f) < floor for f, *_ in sel) / max(1, len(sel))
        print(f"{floor:.2f}    {rate([r for r in held if r[1] and r[3]]):10.3f}   {rate([r for r in held if 'left' in r[2]]):30.3f}"
              f" {rate([r for r in held if 'over' in r[2]]):20.3f}")
    print("\nconfidence   questions   answered by the top 5")
    for lo in range(10):
        sel = [r for r in held if lo / 10 <= p(r[0]) < (lo + 1) / 10 + (lo == 9)]
        if sel:
            print(f"{lo / 10:.1f}-{(lo + 1) / 10:.1f} {len(sel):14d} {sum(r[3] for r in sel) / len(sel):16.2f}")
    for kind in sorted({r[2] for r in rows}):
        sel = [r for r in rows if r[2] == kind]
        print(f"{kind:24} {len(sel):5d} mean confidence {sum(p(r[0]) for r in sel) / len(sel):.2f}")


main()
