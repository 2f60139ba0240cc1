#!/usr/bin/env python3
"""What the size, the overlap and the borders of chunks do to what is found, at the same number of tokens handed over.

  tools/chunking.py articles DIR... [--split train|dev] [--every N [--from K]] [--articles N]
  tools/chunking.py pages FOLDER
  tools/chunking.py sample
  for all: [--ragd FILE] [--legs bm25|hybrid|full] [--sizes 64,128,...] [--overlaps 0,8,4] [--styles headings,windows]
           [--budgets 300,600,1200,600:3] [--around 0,64,...] [--limit N] [--vectors DIR]

articles: DIR is a set with paragraphs (corpus.jsonl), questions, and the sentence or two of a paragraph that hold the
answer (corpus_chunks.jsonl, qrels_chunks.tsv), such as cmrc2018, drcd and squad. Paragraphs of one title become one
document. Held: the share of those sentences' characters that the first chunks hold, as many chunks as fit in the budget;
an answer of a few words somewhere in them is held with about this probability.
pages: FOLDER has Markdown files and a questions.jsonl that names the page of each (tools/markdown_set.py). A page stands
where its best chunk stands.
sample: sample/docs, ingested anew for each setting, with a server. Held: an entry of `relevant` whose strings are all in
the passages of its document (with title and headings) that fit in the budget; "need": "all" as in eval_sample.py.

A passage costs its text, its title and headings, and 10 tokens, as in a prompt; text that is there already costs nothing;
the last one is cut where the budget ends if a third of it fits. --overlaps: 0 none, 8 an eighth of the size, 4 a quarter.
--around N: each passage takes up to N tokens of its section before and behind it along, to an end of a sentence; the
others keep what is left of the budget. Differences are against the first setting, paired by question, with 95 %
bootstrap intervals. Standard library only.
"""
import argparse
import bisect
import collections
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

import eval_sample

ROOT = pathlib.Path(__file__).resolve().parent.parent
MARKS, HEADING = 10, 16  # tokens, as src/stages/generation/prompt_pack.c
ENDS = re.compile(r"[。！？!?\n]|\.(?=\s)")
HITS = 64


def clean_env(**more):
    return {**{k: v for k, v in os.environ.items() if not k.startswith("RAGD_") or k == "RAGD_MODELS"}, **more}


def read(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def write(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)


def pairs(path):
    with open(path, encoding="utf-8") as f:
        next(f)
        return [line.rstrip("\n").split("\t")[:2] for line in f]


# ---- tokens: text_token_count ----

def is_cjk(c):
    return ("\u3400" <= c <= "\u4dbf" or "\u4e00" <= c <= "\u9fff" or "\u3041" <= c <= "\u30ff" and c not in "\u30a0\u30fb"
            or "\uac00" <= c <= "\ud7a3" or c in "\u3005\u3007" or "\u3105" <= c <= "\u312f" or "\uf900" <= c <= "\ufaff"
            or "\uff66" <= c <= "\uffdc" or "\U00020000" <= c <= "\U000323af")


def quarters(c):
    """A character's share of a token, in quarters: a token each for ideographs, one for four bytes of the rest."""
    return 4 if is_cjk(c) else len(c.encode())


def count(s):
    return -(-sum(map(quarters, s)) // 4)


class Text:
    """A document, with its length in tokens up to each character."""

    def __init__(self, text):
        self.text = text
        self.upto = [0]
        for c in text:
            self.upto.append(self.upto[-1] + quarters(c))
        self.borders = [0, len(text)]  # of sections

    def put_borders(self, headings):
        at = [m.start() for m in re.finditer(r"^.*$", self.text, re.M) if m.group().strip() in headings]
        self.borders = sorted({0, *at, len(self.text)})

    def cost(self, start, end):
        return (self.upto[end] - self.upto[start]) / 4

    def reach(self, start, tokens):
        """The last place that is at most so many tokens behind (or, negative, before) start."""
        wanted = self.upto[start] + 4 * tokens
        if tokens >= 0:
            return bisect.bisect_right(self.upto, wanted) - 1
        return bisect.bisect_left(self.upto, wanted)

    def around(self, start, end, tokens):
        """start and end moved apart to ends of sentences within so many tokens, in the section."""
        low = self.borders[bisect.bisect_right(self.borders, start) - 1]
        high = self.borders[bisect.bisect_left(self.borders, end)]
        first, last = max(low, self.reach(start, -tokens)), min(high, self.reach(end, tokens))
        if first > low:
            first = next((m.end() for m in ENDS.finditer(self.text, first, start)), start)
        if last < high:
            last = max((m.end() for m in ENDS.finditer(self.text, end, last)), default=end)
        return first, last


# ---- a context: what fits in a budget ----

def missing(spans, start, end):
    """What of start..end is not in the spans, which are in order and apart."""
    out = []
    for a, b in spans:
        if b <= start or a >= end:
            continue
        if a > start:
            out.append((start, a))
        start = max(start, b)
    return out + [(start, end)] * (start < end)


def merged(spans):
    out = []
    for a, b in sorted(spans):
        if out and a <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], b))
        else:
            out.append((a, b))
    return out


def header_cost(hit):
    path = [hit["title"], *hit["heading_path"][-3:]]
    return MARKS + sum(min(HEADING, count(p)) for p in path if p)


def pack(hits, texts, budget, around):
    """{document: spans} of the first hits that fit."""
    held = collections.defaultdict(list)
    left, passages = budget
    for h in hits:
        t = texts[h["document"]]
        start, end = (h["start"], h["end"]) if not around else t.around(h["start"], h["end"], around)
        new = missing(held[h["document"]], start, end)
        if not new:
            continue
        if passages == 0:
            break
        passages -= 1
        left -= header_cost(h)
        whole = sum(t.cost(a, b) for a, b in new)
        if left <= 0 or whole > left and left * 3 < whole:
            break
        for a, b in new:
            b = b if t.cost(a, b) <= left else t.reach(a, left)
            left -= t.cost(a, b)
            held[h["document"]].append((a, b))
        held[h["document"]] = merged(held[h["document"]])
        if left < 1:
            break
    return held


# ---- settings and their comparison ----

def settings(args):
    """(style, size, overlap) in the order asked for."""
    for style in args.styles:
        for size in args.sizes:
            for part in args.overlaps:
                yield style, size, size // part if part else 0


def interval(values, seed=1):
    rng, n = random.Random(seed), len(values)
    means = sorted(sum(rng.choices(values, k=n)) / n for _ in range(500))
    return means[12], means[487]


def label(style, size, overlap, around=0):
    return f"{style:8} {size:4} {overlap:4}" + (f" +{around:<4}" if around else "      ")


def report(rows, names):
    """rows: [(label, chunks, {name: values by question})], the first one is the base."""
    print(f"{'style':8} {'size':>4} {'over':>4}       {'chunks':>7}" + "".join(f"{n:>9}" for n in names)
          + f"   {names[1]} against the first")
    base, at = rows[0][2], names[1]
    for name, chunks, values in rows:
        means = [100 * sum(values[n]) / len(values[n]) for n in names]
        diff = [x - y for x, y in zip(values[at], base[at])]
        low, high = interval(diff) if any(diff) else (0, 0)
        print(f"{name} {chunks:7}" + "".join(f"{m:9.1f}" for m in means)
              + f"   {100 * sum(diff) / len(diff):+5.1f} [{100 * low:+.1f}, {100 * high:+.1f}]", flush=True)


# ---- ragd eval ----

def evaluate(args, directory, style, size, overlap):
    """(JSON of the run, {question: hits})"""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as f:
        p = subprocess.run([args.ragd, "eval", "--json", "--dataset", directory, "--legs", args.legs, "--chunk",
                            "--chunk-style", style, "--hits", f.name, *(["--vectors", args.vectors] if args.vectors else [])],
                           stdout=subprocess.PIPE, text=True, check=False,
                           env=clean_env(RAGD_CHUNKING_SIZE_TOKENS=str(size), RAGD_CHUNKING_OVERLAP_TOKENS=str(overlap)))
        if p.returncode:
            sys.exit(p.returncode)
        hits = {q["query"]: q["hits"] for q in read(f.name)}
    for found in hits.values():
        for h in found:
            h["heading_path"] = h["heading_path"].split("\x1f") if h["heading_path"] else []
    return json.loads(p.stdout), hits


# ---- articles ----

def load_articles(args, directory):
    """(documents, {question: (text, document, start, end)}): paragraphs glued by title, answers by their place."""
    d = pathlib.Path(directory)
    articles, where = collections.OrderedDict(), {}
    for p in read(d / "corpus.jsonl"):
        key = p["title"] or p["_id"]
        a = articles.setdefault(key, {"_id": p["_id"], "title": p["title"], "text": ""})
        a["text"] += "\n\n" if a["text"] else ""
        where[p["_id"]] = (key, len(a["text"]), p["text"])
        a["text"] += p["text"]
    passages = {c["_id"]: c["text"] for c in read(d / "corpus_chunks.jsonl")}
    train = args.split == "train"
    gold = dict(pairs(d / ("qrels_train_chunks.tsv" if train else "qrels_chunks.tsv")))
    asked = dict.fromkeys(where[c.split("#")[0]][0] for c in gold.values())
    kept = set(list(asked)[:args.articles]) if args.articles else set(articles)
    questions = {}
    for q in read(d / ("queries_train.jsonl" if train else "queries.jsonl")):
        if q["_id"] not in gold:
            continue
        key, offset, text = where[gold[q["_id"]].split("#")[0]]
        at = text.find(passages[gold[q["_id"]]])
        if at >= 0 and key in kept:
            end = offset + at + len(passages[gold[q["_id"]]])
            questions[q["_id"]] = (q["text"], articles[key]["_id"], offset + at, end)
    chosen = list(questions)[args.first::args.every]
    if args.limit and len(chosen) > args.limit:
        chosen = [chosen[i * len(chosen) // args.limit] for i in range(args.limit)]
    return [articles[k] for k in articles if k in kept], {q: questions[q] for q in chosen}


def held_share(spans, start, end):
    return 1 - sum(b - a for a, b in missing(spans, start, end)) / (end - start)


def articles(args):
    total = collections.OrderedDict()
    for directory in args.where:
        docs, questions = load_articles(args, directory)
        texts = {d["_id"]: Text(d["text"]) for d in docs}
        print(f"\n{directory} {args.split}: {len(docs)} documents of {sum(t.upto[-1] for t in texts.values()) / 4 / len(docs):.0f} "
              f"tokens, {len(questions)} questions, {args.legs}")
        rows = []
        with tempfile.TemporaryDirectory() as tmp:
            write(os.path.join(tmp, "corpus.jsonl"), docs)
            write(os.path.join(tmp, "queries.jsonl"), [{"_id": q, "text": v[0]} for q, v in questions.items()])
            with open(os.path.join(tmp, "qrels.tsv"), "w", encoding="utf-8") as f:
                f.writelines(["query-id\tcorpus-id\tscore\n"] + [f"{q}\t{v[1]}\t1\n" for q, v in questions.items()])
            for setting in settings(args):
                run, hits = evaluate(args, tmp, *setting)
                check_places(hits, texts)
                for around in args.around:
                    values = {held_name(b): [held_share(pack(hits[q], texts, b, around)[doc], start, end)
                                            for q, (_, doc, start, end) in questions.items()] for b in args.budgets}
                    rows.append((label(*setting, around), run["chunks"], values))
        report(rows, [held_name(b) for b in args.budgets])
        for name, chunks, values in rows:
            total.setdefault(name, []).append([sum(v) / len(v) for v in values.values()])
    if len(args.where) > 1:
        print("\nmean of the sets")
        for name, means in total.items():
            print(name + "        " + "".join(f"{100 * sum(m) / len(m):9.1f}" for m in zip(*means)))


def check_places(hits, texts):
    """Extraction must have left the text as it is: places are compared."""
    for found in hits.values():
        for h in found[:1]:
            if texts[h["document"]].text[h["start"]:h["end"]] != h["text"]:
                sys.exit(f"chunking: {h['document']}: the text was changed by extraction")


# ---- pages ----

def pages(args):
    rows = []
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run([sys.executable, ROOT / "tools" / "markdown_set.py", args.where[0], tmp], check=True)
        right = collections.defaultdict(set)
        for q, doc in pairs(os.path.join(tmp, "qrels.tsv")):
            right[q].add(doc)
        for setting in settings(args):
            run, hits = evaluate(args, tmp, *setting)
            values = collections.OrderedDict((n, []) for n in ("page@1", "mrr@10", "page@5"))
            for q, docs in right.items():
                order = list(dict.fromkeys(h["document"] for h in hits[q]))
                rank = next((i for i, d in enumerate(order, 1) if d in docs), HITS)
                values["page@1"].append(float(rank == 1))
                values["page@5"].append(float(rank <= 5))
                values["mrr@10"].append(1 / rank if rank <= 10 else 0.0)
            rows.append((label(*setting), run["chunks"], values))
    report(rows, list(values))


# ---- sample ----

def call(url, path, body=None):
    request = urllib.request.Request(url + path, json.dumps(body).encode() if body else None, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as r:
        return json.load(r)


def documents(url):
    """{document id: (path, Text)}"""
    out, after = {}, ""
    while True:
        page = call(url, "/v1/collections/default/documents?limit=100" + (after and "&after=" + urllib.parse.quote(after, safe="")))
        for d in page["documents"]:
            doc = call(url, "/v1/collections/default/documents/" + urllib.parse.quote(d["id"], safe=""))
            out[d["id"]] = (doc["source"], Text(doc["text"]))
        if not page["has_more"]:
            return out
        after = page["documents"][-1]["id"]


def search(url, text):
    hits = call(url, "/v1/search", {"query": text, "top_k": HITS})["hits"]
    return [{"document": h["document_id"], **{k: h[k] for k in ("start", "end", "title", "heading_path", "text")}} for h in hits]


def entry_held(entry, held, docs, hits):
    """All strings of an entry in the passages of its document."""
    said = ""
    for doc, spans in held.items():
        source, t = docs[doc]
        if source.endswith("/" + entry["doc"]):
            said += "".join(t.text[a:b] for a, b in spans)
            said += "".join(h["title"] + "".join(h["heading_path"]) for h in hits
                            if h["document"] == doc and not missing(spans, h["start"], h["end"]))
    said = eval_sample.plain(said)
    return all(eval_sample.plain(m) in said for m in entry["must_contain"])


def question_held(question, hits, docs, budget, around):
    held = pack(hits, {d: t for d, (_, t) in docs.items()}, budget, around)
    found = [entry_held(e, held, docs, hits) for e in question["relevant"]]
    return sum(found) / len(found) if question.get("need") == "all" else float(any(found))


def sample(args):
    questions = [q for q in read(ROOT / "sample" / "questions.jsonl") if q["relevant"]][args.first::args.every]
    rows = []
    for style, size, overlap in settings(args):
        if style != "headings":
            continue  # a server cuts as ingest does
        with tempfile.TemporaryDirectory() as data:
            subprocess.run([args.ragd, "ingest", "--data", data, str(ROOT / "sample" / "docs")], check=True,
                           stdout=subprocess.DEVNULL,
                           env=clean_env(RAGD_CHUNKING_SIZE_TOKENS=str(size), RAGD_CHUNKING_OVERLAP_TOKENS=str(overlap)))
            server = eval_sample.Server(args.ragd, data)
            try:
                docs = documents(server.url)
                chunks = sum(d["chunks"] for d in call(server.url, "/v1/collections/default/documents?limit=100")["documents"])
                found = [search(server.url, q["text"]) for q in questions]
                answers = [call(server.url, "/v1/query", {"query": q["text"]}) for q in questions]
            finally:
                server.close()
        for doc, (_, t) in docs.items():
            t.put_borders({p for hits in found for h in hits if h["document"] == doc for p in h["heading_path"]})
        extract = [eval_sample.containment(q, a["answer"]) if q.get("answer") else 0.0 for q, a in zip(questions, answers)]
        for around in args.around:
            values = {held_name(b): [question_held(q, h, docs, b, around) for q, h in zip(questions, found)] for b in args.budgets}
            rows.append((label(style, size, overlap, around), chunks, {**values, "extract": extract}))
    report(rows, [*map(held_name, args.budgets), "extract"])


def held_name(budget):
    return f"@{budget[0]}" + (f":{budget[1]}" if budget[1] > 0 else "")


def numbers(s):
    return [int(x) for x in s.split(",")]


def budgets(s):
    return [(int(t), int(n or -1)) for t, _, n in (x.partition(":") for x in s.split(","))]


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("what", choices=("articles", "pages", "sample"))
    ap.add_argument("where", nargs="*")
    ap.add_argument("--ragd", default=str(ROOT / "build" / "ragd"))
    ap.add_argument("--split", choices=("train", "dev"), default="dev")
    ap.add_argument("--every", type=int, default=1, help="of the questions, every so many")
    ap.add_argument("--from", type=int, default=0, dest="first", help="from this one on")
    ap.add_argument("--articles", type=int, default=0, help="only the first so many documents that are asked about")
    ap.add_argument("--limit", type=int, default=0, help="at most so many questions a set, taken evenly")
    ap.add_argument("--legs", default="bm25")
    ap.add_argument("--sizes", type=numbers, default=[256, 64, 128, 192, 384, 512])
    ap.add_argument("--overlaps", type=numbers, default=[8, 0, 4])
    ap.add_argument("--styles", type=lambda s: s.split(","), default=["headings", "windows"])
    ap.add_argument("--budgets", type=budgets, default=budgets("300,600,1200,600:3"), help="tokens, or tokens:passages")
    ap.add_argument("--around", type=numbers, default=[0])
    ap.add_argument("--vectors")
    args = ap.parse_intermixed_args()
    if args.what != "sample" and not args.where:
        ap.error(f"{args.what}: which folder?")
    {"articles": articles, "pages": pages, "sample": sample}[args.what](args)


if __name__ == "__main__":
    main()
