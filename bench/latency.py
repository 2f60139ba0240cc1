#!/usr/bin/env python3
"""Ingest rate, start-up time, memory and query latency at 100,000 chunks.

usage: bench/latency.py [--ragd build/ragd] [--datasets $DATASETS] [--chunks 100000] [--json]

Reads crud-news-100k (corpus.jsonl.gz, queries.jsonl). One server on a free loopback port in a temporary
folder; stops by itself. Prints the CPU's name, medians and p99s; a noisy machine shows in the p99s.
"""
import argparse, gzip, http.client, json, multiprocessing, os, socket, statistics, subprocess, sys, tempfile, time


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
    http_ms, inner = [], []
    for q in queries:
        ms, answer = ask(conn, path, {"query": q})
        http_ms.append(ms)
        inner.append(answer.get("timings_ms", {}).get("total", 0))
    return http_ms, inner


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
    ap.add_argument("--json", action="store_true")
    a = ap.parse_args()
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
            subprocess.run([a.ragd, "ingest", "--data", data, "-"], stdin=f, check=True, stdout=subprocess.DEVNULL)
        res["ingest_s"] = time.monotonic() - start
        res["ingest_chunks_per_s"] = a.chunks / res["ingest_s"]
        s = Server(a.ragd, data)
        try:
            res["ready_s"] = s.ready_s
            run_queries(s.port, queries[:100])
            http_ms, inner = run_queries(s.port, queries)
            res.update(http_p50_ms=statistics.median(http_ms), http_p99_ms=pct(http_ms, .99),
                       inner_p50_ms=statistics.median(inner), inner_p99_ms=pct(inner, .99))
            http_ms, _ = run_queries(s.port, queries, "/v1/search")
            res.update(search_p50_ms=statistics.median(http_ms), search_p99_ms=pct(http_ms, .99))
            res["rss_mb"] = rss_mb(s.p.pid)
            stop, out = multiprocessing.Event(), multiprocessing.Queue()
            t = multiprocessing.Process(target=inserts, args=(s.port, stop, out))
            t.start()
            busy, _ = run_queries(s.port, queries * 3, "/v1/search")
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
