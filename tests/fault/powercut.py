#!/usr/bin/env python3
"""Power-cut test: every acknowledged document survives a cut at any moment.

A server runs under tests/fault/powercut_shim.c, which records the order of writes and syncs; this script adds an
ACK record for each document the server acknowledged. Then, for many cut points, the data folder is rebuilt as a
disk could hold it: everything synced is there; what was written but not synced is dropped, or kept in a random
part (whole 512-byte sectors); directory changes that no directory sync covered are dropped, or kept up to a
random one. `ragd verify` must find the folder whole and every acknowledged document must be in it, unchanged.

The same check must fail when syncs do nothing, which is what SQLite's synchronous=OFF makes of them: the last
step replays the record without its syncs and expects acknowledged documents to be lost.

usage: powercut.py --ragd build/ragd --shim build/powercut_shim.so [--cuts 120] [--seed 1]
"""
import argparse, http.client, json, os, random, shutil, socket, sqlite3, struct, subprocess, sys, tempfile, time

CREATE, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, MKDIR, ACK = 1, 2, 3, 4, 5, 6, 7, 100


class Inode:
    def __init__(self):
        self.durable = b""       # content at the last sync
        self.pending = []        # (offset, bytes) or ("truncate", length) since then
        self.now = bytearray()

    def apply(self, target, change):
        if change[0] == "truncate":
            n = change[1]
            del target[n:]
            target.extend(b"\0" * (n - len(target)))
        else:
            at, data = change
            target.extend(b"\0" * (at - len(target)))
            target[at:at + len(data)] = data

    def change(self, c):
        self.pending.append(c)
        self.apply(self.now, c)

    def sync(self):
        self.durable, self.pending = bytes(self.now), []

    def after_cut(self, rng, mode):
        if mode == "strict":
            return self.durable
        out = bytearray(self.durable)
        for c in self.pending:
            if c[0] == "truncate":
                if rng.random() < .5:
                    self.apply(out, c)
                continue
            at, data = c
            for i in range(0, len(data), 512):
                if rng.random() < .5:
                    self.apply(out, (at + i, data[i:i + 512]))
        return bytes(out)


class Disk:
    """Directories are sets of names; a change to one is durable once that directory was synced."""

    def __init__(self, root):
        self.names = {}                       # path -> Inode, as the process sees it
        self.durable_names = {}               # path -> Inode, as synced
        self.pending = {}                     # directory -> [(op, path, inode)]
        self.dirs = {root}

    def note(self, directory, op):
        self.pending.setdefault(directory, []).append(op)

    def step(self, op, path, second, number, ignore_sync):
        parent = os.path.dirname(path)
        if op == CREATE:
            self.names[path] = Inode()
            self.note(parent, ("add", path, self.names[path]))
        elif op == WRITE and path in self.names:
            self.names[path].change((number, second))
        elif op == TRUNCATE and path in self.names:
            self.names[path].change(("truncate", number))
        elif op == SYNC and not ignore_sync:
            if path in self.names:
                self.names[path].sync()
            for change in self.pending.pop(path, []):
                self.name_change(self.durable_names, change)
        elif op == RENAME:
            to = second.decode()
            inode = self.names.pop(path)
            self.names[to] = inode
            self.note(parent, ("move", path, to, inode))
        elif op == UNLINK:
            self.names.pop(path, None)
            self.note(parent, ("remove", path))
        elif op == MKDIR:
            self.dirs.add(path)

    @staticmethod
    def name_change(names, c):
        if c[0] == "add":
            names[c[1]] = c[2]
        elif c[0] == "remove":
            names.pop(c[1], None)
        else:
            names.pop(c[1], None)
            names[c[2]] = c[3]

    def after_cut(self, rng, mode):
        names = dict(self.durable_names)
        if mode == "random":
            for changes in self.pending.values():
                for c in changes[:rng.randint(0, len(changes))]:
                    self.name_change(names, c)
        return {p: i.after_cut(rng, mode) for p, i in names.items()}


def read_log(path):
    with open(path, "rb") as f:
        data = f.read()
    at, out = 0, []
    while at + 17 <= len(data):
        op, a, b, number = struct.unpack_from("<BIIQ", data, at)
        at += 17
        out.append((op, data[at:at + a].decode(), data[at + a:at + a + b], number))
        at += a + b
    return out


def write_ack(log, doc_id, text):
    a, b = doc_id.encode(), text.encode()
    with open(log, "ab") as f:
        f.write(struct.pack("<BIIQ", ACK, len(a), len(b), 0) + a + b)


def record_run(ragd, shim, data, log, n_docs):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = dict(os.environ, LD_PRELOAD=shim, POWERCUT_DIR=data, POWERCUT_LOG=log)
    p = subprocess.Popen([ragd, "serve", "--data", data, "--listen", f"127.0.0.1:{port}"], env=env,
                         stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        for _ in range(400):
            try:
                c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                c.request("GET", "/health/ready")
                if c.getresponse().read() is not None:
                    break
            except OSError:
                time.sleep(.02)
        for i in range(n_docs):
            doc_id = f"d{i % (n_docs * 2 // 3)}"           # a third are second versions
            text = f"第{i}号文件 版本{i}。" + "年费三千六百元，积分可以兑换里程。" * (1 + i % 40)
            c.request("POST", "/v1/collections/default/documents", json.dumps({"id": doc_id, "text": text}),
                      {"Content-Type": "application/json"})
            r = c.getresponse()
            body = r.read()
            if r.status not in (200, 201):
                sys.exit(f"powercut: the server answered {r.status}: {body[:200]}")
            write_ack(log, doc_id, text)
        p.terminate()
        p.wait(30)
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()


def check_cut(ragd, root, records, cut, mode, rng, ignore_sync):
    """Problems found in the folder as a cut after `cut` records leaves it."""
    disk, acked = Disk(root), {}
    for op, path, second, number in records[:cut]:
        if op == ACK:
            acked[path] = second.decode()
        else:
            disk.step(op, path, second, number, ignore_sync)
    if not acked:
        return []
    with tempfile.TemporaryDirectory() as tmp:
        for path, content in disk.after_cut(rng, mode).items():
            to = os.path.join(tmp, os.path.relpath(path, root))
            os.makedirs(os.path.dirname(to), exist_ok=True)
            with open(to, "wb") as f:
                f.write(content)
        v = subprocess.run([ragd, "verify", "--data", tmp], capture_output=True, text=True, timeout=60)
        if v.returncode:
            return [f"verify: {(v.stderr or v.stdout).strip()[:300]}"]
        problems = []
        try:
            db = sqlite3.connect(os.path.join(tmp, "ragd.db"))
            have = dict(db.execute("SELECT d.id, v.text FROM documents d JOIN versions v ON v.seq=d.seq"))
            db.close()
        except sqlite3.Error as e:
            return [f"database: {e}"]
        for doc_id, text in acked.items():
            if doc_id not in have:
                problems.append(f"{doc_id} is gone")
            elif have[doc_id] != text and not newer(have[doc_id], text):
                problems.append(f"{doc_id} is an older version")
        return problems


def newer(have, acked):
    """A version written after the acknowledged one may be durable before its own acknowledgement."""
    number = lambda t: int(t.split("版本")[1].split("。")[0])
    return number(have) > number(acked)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--ragd", default="build/ragd")
    ap.add_argument("--shim", default="build/powercut_shim.so")
    ap.add_argument("--cuts", type=int, default=120)
    ap.add_argument("--docs", type=int, default=150)
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    rng = random.Random(a.seed)
    ragd, shim = os.path.abspath(a.ragd), os.path.abspath(a.shim)
    with tempfile.TemporaryDirectory() as tmp:
        data, log = os.path.join(tmp, "data"), os.path.join(tmp, "log")
        os.mkdir(data)
        record_run(ragd, shim, data, log, a.docs)
        records = read_log(log)
        acks = sum(1 for r in records if r[0] == ACK)
        syncs = sum(1 for r in records if r[0] == SYNC)
        print(f"powercut: {len(records)} operations, {syncs} syncs, {acks} acknowledged documents")
        if acks < a.docs or syncs < a.docs / 4:
            sys.exit("powercut: the record is too short to mean anything")
        first = next(i for i, r in enumerate(records) if r[0] == ACK)
        failed = 0
        for n in range(a.cuts):
            cut = rng.randint(first + 1, len(records))
            mode = "strict" if n % 2 else "random"
            for p in check_cut(ragd, data, records, cut, mode, rng, False):
                print(f"powercut: cut after operation {cut} ({mode}): {p}")
                failed += 1
        lost = sum(1 for n in range(6)
                   if check_cut(ragd, data, records, rng.randint(len(records) // 2, len(records)), "strict", rng, True))
        print(f"powercut: {a.cuts} cuts, {failed} problems; without syncs {lost} of 6 cuts lose documents")
        if lost < 6:
            sys.exit("powercut: the check does not notice missing syncs")
        sys.exit(1 if failed else 0)


main()
