#!/usr/bin/env python3
"""kill -9 test: the server is killed at random moments while documents are written, replaced and deleted.

After each kill `ragd verify` must find the folder whole; after the last start every acknowledged document must be
found by the API and by a search, and no acknowledged deletion may be undone.

usage: kill9.py --ragd build/ragd [--kills 30] [--seed 1]
"""
import argparse, http.client, json, os, random, signal, socket, subprocess, sys, tempfile, threading, time
from urllib.parse import quote


os.environ["RAGD_MODELS"] = "/nonexistent"  # the store and the segments are what is tested


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, ragd, data):
        self.port = free_port()
        self.p = subprocess.Popen([ragd, "serve", "--data", data, "--listen", f"127.0.0.1:{self.port}"],
                                  stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for _ in range(500):
            try:
                if self.call("GET", "/health/ready")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(.02)
        sys.exit("kill9: the server did not get ready")

    def call(self, method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            c.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()


def text_of(doc, n):
    return f"document {doc} revision{n} 年费三千六百元，积分可以兑换里程。" * (1 + n % 5)


class Writer(threading.Thread):
    """state[doc]: (the last acknowledged revision or 0, the revision in flight or None)"""

    def __init__(self, server, rng, state, docs):
        super().__init__()
        self.server, self.rng, self.state, self.docs = server, rng, state, docs

    def run(self):
        try:
            while True:
                doc = self.rng.choice(self.docs)
                acked, _, n = self.state.get(doc, (0, None, 0))
                if acked and self.rng.random() < .2:
                    self.state[doc] = (acked, 0, n)
                    status, _ = self.server.call("DELETE", f"/v1/collections/default/documents/{quote(doc)}")
                    if status in (200, 204):
                        self.state[doc] = (0, None, n)
                else:
                    n += 1
                    self.state[doc] = (acked, n, n)
                    status, _ = self.server.call("POST", "/v1/collections/default/documents",
                                                 {"id": doc, "text": text_of(doc, n)})
                    if status in (200, 201):
                        self.state[doc] = (n, None, n)
        except (OSError, http.client.HTTPException):
            pass                                            # killed


def check(server, state):
    problems = 0
    for doc, (acked, flying, _) in sorted(state.items()):
        status, body = server.call("GET", f"/v1/collections/default/documents/{quote(doc)}")
        have = json.loads(body)["text"] if status == 200 else None
        may = [text_of(doc, r) if r else None for r in {acked} | ({flying} if flying is not None else set())]
        if have not in may:
            print(f"kill9: {doc}: acknowledged revision {acked}, in flight {flying}, found {str(have)[:60]!r}")
            problems += 1
        status, body = server.call("POST", "/v1/search", {"query": f"document {doc}", "filters": {"document_id": doc}})
        hits = json.loads(body).get("hits", []) if status == 200 else []
        if bool(hits) != (have is not None):
            print(f"kill9: {doc}: stored {have is not None}, searchable {bool(hits)}")
            problems += 1
        state[doc] = (int(have.split("revision")[1].split(" ")[0]) if have else 0, None, state[doc][2])
    return problems


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--ragd", default="build/ragd")
    ap.add_argument("--kills", type=int, default=30)
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    rng = random.Random(a.seed)
    state, problems, ragd = {}, 0, os.path.abspath(a.ragd)
    with tempfile.TemporaryDirectory() as tmp:
        data = os.path.join(tmp, "data")
        for kill in range(a.kills):
            server = Server(ragd, data)
            problems += check(server, state)
            writers = [Writer(server, random.Random(rng.random()), state, [f"k{w}-{i}" for i in range(25)]) for w in range(3)]
            for w in writers:
                w.start()
            time.sleep(rng.uniform(.05, .5))
            server.p.send_signal(signal.SIGKILL)
            server.p.wait()
            for w in writers:
                w.join()
            v = subprocess.run([ragd, "verify", "--data", data], capture_output=True, text=True, timeout=60)
            if v.returncode:
                print(f"kill9: verify after kill {kill}: {(v.stderr or v.stdout).strip()[:300]}")
                problems += 1
        server = Server(ragd, data)
        problems += check(server, state)
        server.p.terminate()
        server.p.wait(30)
    print(f"kill9: {a.kills} kills, {len(state)} documents, {sum(s[2] for s in state.values())} writes, {problems} problems")
    sys.exit(1 if problems or not state else 0)


main()
