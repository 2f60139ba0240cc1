#!/usr/bin/env python3
"""Ingest rate, start-up time, memory and query latency at 100,000 chunks.

usage: bench/latency.py [--ragd build/ragd] [--datasets $DATASETS] [--chunks 100000] [--dense] [--json]

Reads crud-news-100k (corpus.jsonl.gz, queries.jsonl). One server on a free loopback port in a temporary
folder; stops by itself. Prints the CPU's name, medians and p99s; a noisy machine shows in the p99s.
--dense: with the default model; the chunks' vectors come ready from the data set (vectors.i8, scales.f32, of the same
model) and are put into the database, since embedding 100,000 chunks takes half an hour; questions run the full encoder.
"""
import argparse, array, gzip, http.client, json, multiprocessing, os, socket, sqlite3, statistics, struct, subprocess, sys
import tempfile, time

MODEL = "multilingual-e5-small"


def cpu_name():
    with open("/proc/cpuinfo") as f:
        text = f.read()
    name = next((l.split(":", 1)[1].strip() for l in text.splitlines() if l.startswith("model name")), "unknown")
    flags = next((l for l in text.splitlines() if l.startswith("flags")), "")
    wide = [f for f in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if f" {f}" in flags]
    return f"{name} ({', '.join(wide)})"


def pct(xs, p):
    xs = sorted(xs)
    return xs[min(len(xs) - 1, int(len(xs) * p))]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def rss_mb(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(next(l for l in f if l.startswith("VmRSS")).split()[1]) / 1024


def put_vectors(ragd, data, base, n):
    """The data set's vectors as vectors of record of the default model."""
    info = json.loads(subprocess.check_output([ragd, "model", "info", MODEL, "--json"], text=True))
    dims = info["dims"]
    with open(os.path.join(base, "vectors.i8"), "rb") as f:
        rows = array.array("b", f.read())
    with open(os.path.join(base, "scales.f32"), "rb") as f:
        scales = array.array("f", f.read())
    db = sqlite3.connect(os.path.join(data, "ragd.db"))
    db.execute("PRAGMA foreign_keys=ON")
    with gzip.open(os.path.join(base, "corpus.jsonl.gz"), "rt") as f:
        number = {json.loads(line)["_id"]: i for i, line in enumerate(f) if i < n}
    model = db.execute("INSERT INTO models(digest, name, dims) VALUES(?, ?, ?) RETURNING id",
                       (bytes.fromhex(info["digest"]), MODEL, dims)).fetchone()[0]
    pack = struct.Struct(f"<{dims}e").pack
    for doc, seq, ordinal in db.execute("SELECT d.id, c.seq, c.ordinal FROM documents d JOIN chunks c ON c.seq=d.seq").fetchall():
        i = number[doc]
        vector = pack(*[x * scales[i] for x in rows[i * dims:(i + 1) * dims]])
        db.execute("INSERT INTO vectors(seq, ordinal, model, vector) VALUES(?, ?, ?, ?)", (seq, ordinal, model, vector))
    db.commit()
    db.close()


def wait_for_vectors(port):
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(3000):
        conn.request("GET", "/v1/stats")
        e = json.loads(conn.getresponse().read())["embedding"]
        if e["vectors"] and not e["missing"]:
            return e
        time.sleep(.1)
    sys.exit("bench: the vectors are not there after five minutes")


class Server:
    def __init__(self, ragd, data):
        self.port = free_port()
        start = time.monotonic()
        self.log = open(os.path.join(data, "..", "serve.log"), "ab")
        self.p = subprocess.Popen([ragd, "serve", "--data", data, "--listen", f"127.0.0.1:{self.port}"], stderr=self.log,
                                  stdout=self.log)
        while True:
            try:
                c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                c.request("GET", "/health/ready")
                if c.getresponse().status == 200:
                    break
            except OSError:
                pass
            if self.p.poll() is not None or time.monotonic() - start > 120:
                sys.exit("the server did not start; see serve.log")
            time.sleep(0.005)
        self.ready_s = time.monotonic() - start

    def stop(self):
        self.p.terminate()
        self.p.wait(60)


def ask(conn, path, body):
    start = time.perf_counter()
    conn.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    r = conn.getresponse()
    data = r.read()
    ms = (time.perf_counter() - start) * 1000
    if r.status not in (200, 201):
        raise RuntimeError(f"{r.status} {data[:200]}")
    return ms, json.loads(data)


def run_queries(port, queries, path="/v1/query"):
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    http_ms, inner, encoder = [], [], []
    for q in queries:
        ms, answer = ask(conn, path, {"query": q})
        http_ms.append(ms)
        inner.append(answer["timings_ms"]["total"])
        encoder.append(answer["timings_ms"].get("embedding", 0))
    return http_ms, inner, encoder


def inserts(port, stop, out):
    """One document every 10 ms, in a process of its own: a thread would share the interpreter lock with the
    queries and show its 5 ms switch interval as their p99."""
    counts = []
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while not stop.is_set():
        n = len(counts)
        ms, _ = ask(conn, "/v1/collections/default/documents",
                    {"id": f"live-{n}", "text": f"第{n}条新到的消息：本行今日发布了信用卡权益更新通知，编号{n}。"})
        counts.append(ms)
        time.sleep(0.01)
    out.put(counts)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--ragd", default="build/ragd")
    ap.add_argument("--datasets", default=os.environ.get("DATASETS", ""))
    ap.add_argument("--chunks", type=int, default=100000)
    ap.add_argument("--dense", action="store_true")
    ap.add_argument("--json", action="store_true")
    a = ap.parse_args()
    if not a.dense:
        os.environ["RAGD_STAGES_DENSE"] = "false"
    base = os.path.join(a.datasets, "crud-news-100k")
    if not os.path.isdir(base):
        sys.exit("bench: set DATASETS to the folder that holds crud-news-100k")
    with tempfile.TemporaryDirectory() as tmp:
        data = os.path.join(tmp, "data")
        lines = os.path.join(tmp, "docs.jsonl")
        with gzip.open(os.path.join(base, "corpus.jsonl.gz"), "rt") as f, open(lines, "w") as out:
            for i, l in enumerate(f):
                if i >= a.chunks:
                    break
                d = json.loads(l)
                out.write(json.dumps({"id": d["_id"], "title": d.get("title", ""), "text": d["text"]}, ensure_ascii=False) + "\n")
        with open(os.path.join(base, "queries.jsonl")) as f:
            queries = [json.loads(l)["text"] for l in f]
        res = {"cpu": cpu_name(), "chunks": a.chunks}
        start = time.monotonic()
        with open(lines, "rb") as f:
            subprocess.run([a.ragd, "ingest", "--no-embed", "--data", data, "-"], stdin=f, check=True, stdout=subprocess.DEVNULL)
        res["ingest_s"] = time.monotonic() - start
        res["ingest_chunks_per_s"] = a.chunks / res["ingest_s"]
        if a.dense:
            put_vectors(a.ragd, data, base, a.chunks)
            start = time.monotonic()
            s = Server(a.ragd, data)
            e = wait_for_vectors(s.port)
            res.update(vectors_from_store_s=time.monotonic() - start, embedded=e["embedded"], vector_mb=e["vector_bytes"] / 1e6)
            s.stop()  # writes the companions
        s = Server(a.ragd, data)
        try:
            res["ready_s"] = s.ready_s
            if a.dense:
                wait_for_vectors(s.port)
            run_queries(s.port, queries[:100])
            http_ms, inner, encoder = run_queries(s.port, queries)
            res.update(http_p50_ms=statistics.median(http_ms), http_p99_ms=pct(http_ms, .99),
                       inner_p50_ms=statistics.median(inner), inner_p99_ms=pct(inner, .99))
            if a.dense:
                res.update(encoder_p50_ms=statistics.median(encoder),
                           http_beyond_encoder_p50_ms=statistics.median(x - y for x, y in zip(http_ms, encoder)))
            http_ms, _, _ = run_queries(s.port, queries, "/v1/search")
            res.update(search_p50_ms=statistics.median(http_ms), search_p99_ms=pct(http_ms, .99))
            res["rss_mb"] = rss_mb(s.p.pid)
            stop, out = multiprocessing.Event(), multiprocessing.Queue()
            t = multiprocessing.Process(target=inserts, args=(s.port, stop, out))
            t.start()
            busy, _, _ = run_queries(s.port, queries * 3, "/v1/search")
            stop.set()
            counts = out.get()
            t.join()
            res.update(search_p99_beside_inserts_ms=pct(busy, .99), p99_ratio=pct(busy, .99) / res["search_p99_ms"],
                       inserts=len(counts), insert_p50_ms=statistics.median(counts))
        finally:
            s.stop()
    if a.json:
        print(json.dumps(res))
    else:
        for k, v in res.items():
            print(f"{k:32} {v:.3f}" if isinstance(v, float) else f"{k:32} {v}")


if __name__ == "__main__":
    main()
