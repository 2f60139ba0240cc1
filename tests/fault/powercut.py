#!/usr/bin/env python3
"""Power-cut test: every acknowledged change survives a cut at any moment.

A server runs under tests/fault/powercut_shim.c, which records the order of writes and syncs; this script adds an
ACK record for each put and each deletion that the server acknowledged. Then, for many cut points, the data folder
is rebuilt as a disk could hold it: everything synced is there; what was written but not synced is, by the mode,
  strict   dropped
  sectors  kept in random 512-byte sectors
  blocks   kept in random 4096-byte blocks
  prefix   kept up to a random write of each file
Directory changes that no directory sync covered are dropped (strict) or kept up to a random one. `ragd verify` must
find the folder whole, every document must be what was last acknowledged (or the one change in flight at the cut),
and for some cuts a server is started on the folder and asked.

Two checks of the check itself:
- replaying the whole record must give the folder byte for byte: the shim misses nothing;
- when syncs do nothing from the first acknowledgement on, as SQLite's synchronous=OFF has it, acknowledged
  documents must be found lost.

usage: powercut.py --ragd build/ragd --shim build/powercut_shim.so [--cuts 200] [--starts 10] [--seed 1]
"""
import argparse, http.client, json, os, random, shutil, socket, sqlite3, struct, subprocess, sys, tempfile, time

CREATE, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, MKDIR, ACK = 1, 2, 3, 4, 5, 6, 7, 100


class Inode:
    def __init__(self):
        self.durable = bytearray()  # content at the last sync
        self.pending = []           # (offset, bytes) or ("truncate", length) since then
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
        for c in self.pending:
            self.apply(self.durable, c)
        self.pending = []

    def after_cut(self, rng, mode):
        out = bytearray(self.durable)
        if mode == "strict":
            return bytes(out)
        if mode == "prefix":
            for c in self.pending[:rng.randint(0, len(self.pending))]:
                self.apply(out, c)
            return bytes(out)
        unit = 512 if mode == "sectors" else 4096
        for c in self.pending:
            if c[0] == "truncate":
                if rng.random() < .5:
                    self.apply(out, c)
                continue
            at, data = c
            i = 0
            while i < len(data):                            # whole units of the disk, wherever the write began
                n = min(unit - (at + i) % unit, len(data) - i)
                if rng.random() < .5:
                    self.apply(out, (at + i, data[i:i + n]))
                i += n
        return bytes(out)


DIRECTORY = object()


class Disk:
    """Directories are sets of names; a change to one is durable once that directory was synced."""

    def __init__(self, root):
        self.root = root
        self.names = {}                       # path -> Inode or DIRECTORY, as the process sees it
        self.durable_names = {}               # the same, as synced
        self.pending = {}                     # directory -> changes since its last sync

    def change(self, directory, c):
        self.name_change(self.names, c)
        self.pending.setdefault(directory, []).append(c)

    def step(self, op, path, second, number, syncs_work=True):
        parent = os.path.dirname(path)
        if op == CREATE:
            self.change(parent, ("add", path, Inode()))
        elif op == MKDIR:
            self.change(parent, ("add", path, DIRECTORY))
        elif op == UNLINK:
            self.change(parent, ("remove", path))
        elif op == RENAME:
            to = second.decode()
            if os.path.dirname(to) != parent:
                sys.exit(f"powercut: {path} moves to another folder, which this test does not model")
            self.change(parent, ("move", path, to, self.names[path]))
        elif op == WRITE and path in self.names:
            self.names[path].change((number, second))
        elif op == TRUNCATE and path in self.names:
            self.names[path].change(("truncate", number))
        elif op == SYNC and syncs_work:
            if isinstance(self.names.get(path), Inode):
                self.names[path].sync()
            for c in self.pending.pop(path, []):
                self.name_change(self.durable_names, c)

    @staticmethod
    def name_change(names, c):
        names.pop(c[1], None)
        if c[0] == "add":
            names[c[1]] = c[2]
        elif c[0] == "move":
            names[c[2]] = c[3]

    def after_cut(self, rng, mode):
        """{path: bytes}"""
        names = dict(self.durable_names)
        if mode != "strict":
            for changes in self.pending.values():
                for c in changes[:rng.randint(0, len(changes))]:
                    self.name_change(names, c)
        def reachable(path):
            parent = os.path.dirname(path)
            return parent == self.root or (names.get(parent) is DIRECTORY and reachable(parent))
        return {p: i.after_cut(rng, mode) for p, i in names.items() if i is not DIRECTORY and reachable(p)}


os.environ["RAGD_MODELS"] = "/nonexistent"  # the store and the segments are what is tested


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


class Server:
    def __init__(self, ragd, data, env=None):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.p = subprocess.Popen([ragd, "serve", "--data", data, "--listen", f"127.0.0.1:{port}"], env=env,
                                  stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for _ in range(500):
            if self.p.poll() is not None:
                break
            try:
                if self.call("GET", "/health/ready")[0] == 200:
                    return
            except OSError:
                self.c.close()
            time.sleep(.02)
        self.kill()
        raise RuntimeError("the server did not get ready")

    def call(self, method, path, body=None):
        self.c.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"})
        r = self.c.getresponse()
        return r.status, r.read()

    def stop(self):
        self.p.terminate()
        try:
            self.p.wait(30)
        finally:
            self.kill()

    def kill(self):
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()


def record_run(ragd, shim, data, log, n_docs, rng):
    """Puts, replaces and deletes, one at a time. A deletion is acknowledged as the empty text. One document is so
    large that segment files and their manifest are written before the server stops."""
    server = Server(ragd, data, dict(os.environ, LD_PRELOAD=shim, POWERCUT_DIR=data, POWERCUT_LOG=log))
    there = set()
    try:
        for i in range(n_docs):
            doc_id = f"d{rng.randrange(n_docs * 2 // 3)}"
            if doc_id in there and rng.random() < .3:
                text = ""
                there.remove(doc_id)
                status, body = server.call("DELETE", f"/v1/collections/default/documents/{doc_id}")
            else:
                text = f"第{i}号文件。" + "年费三千六百元，积分可以兑换里程。" * (1 + i % 40)
                if i == n_docs // 4:
                    text += "".join(f"\n\n第{n}节，" + "积分可以兑换里程。" * 40 for n in range(5000))
                there.add(doc_id)
                status, body = server.call("POST", "/v1/collections/default/documents", {"id": doc_id, "text": text})
            if status not in (200, 201, 204):
                sys.exit(f"powercut: the server answered {status}: {body[:200]}")
            write_ack(log, doc_id, text)
        server.stop()
    finally:
        server.kill()


def check_complete(root, records):
    """The record, replayed to its end, is the folder: nothing reaches the disk past the shim."""
    disk = Disk(root)
    for op, path, second, number in records:
        if op != ACK:
            disk.step(op, path, second, number)
    replayed = {p: bytes(i.now) for p, i in disk.names.items() if i is not DIRECTORY}
    real = {}
    for folder, _, files in os.walk(root):
        for name in files:
            path = os.path.join(folder, name)
            if name != "LOCK" and not name.endswith("-shm"):
                with open(path, "rb") as f:
                    real[path] = f.read()
    for path in sorted(replayed.keys() | real.keys()):
        if replayed.get(path) != real.get(path):
            sys.exit(f"powercut: the record does not explain {path}: the shim misses a system call")


def stored(folder):
    db = sqlite3.connect(os.path.join(folder, "ragd.db"))
    try:
        return dict(db.execute("SELECT d.id, v.text FROM documents d JOIN versions v ON v.seq=d.seq"))
    finally:
        db.close()


def served(ragd, folder, doc_ids):
    server = Server(ragd, folder)
    try:
        answers = {d: server.call("GET", f"/v1/collections/default/documents/{d}") for d in doc_ids}
        return {d: json.loads(body)["text"] for d, (status, body) in answers.items() if status == 200}
    finally:
        server.kill()


def states_at(root, records, cuts, syncs_end=None):
    """(cut, disk, acknowledged) at each of the ascending cuts, in one pass over the record."""
    disk, acked, cuts = Disk(root), {}, list(cuts)
    for i, (op, path, second, number) in enumerate(records + [(ACK, "", b"", 0)]):
        while cuts and cuts[0] == i:
            yield cuts.pop(0), disk, acked
        if op == ACK:
            acked[path] = second.decode()
        else:
            disk.step(op, path, second, number, syncs_end is None or i < syncs_end)


def check_cut(ragd, root, records, cut, disk, acked, mode, rng, start=False):
    """(documents lost or stale, other problems) of the folder as a cut after `cut` records leaves it."""
    flying = next(((r[1], r[2].decode()) for r in records[cut:] if r[0] == ACK), (None, None))
    with tempfile.TemporaryDirectory() as tmp:
        for path, content in disk.after_cut(rng, mode).items():
            to = os.path.join(tmp, os.path.relpath(path, root))
            os.makedirs(os.path.dirname(to), exist_ok=True)
            with open(to, "wb") as f:
                f.write(content)
        v = subprocess.run([ragd, "verify", "--data", tmp], capture_output=True, text=True, timeout=60)
        if v.returncode:
            return [], [f"verify: {(v.stdout + v.stderr).strip()[:300]}"]
        try:
            have = served(ragd, tmp, acked) if start else stored(tmp)
        except (sqlite3.Error, RuntimeError, OSError) as e:
            return [], [str(e)]
        return [f"{d}: acknowledged {text[:12]!r}, found {have.get(d, '')[:12]!r}" for d, text in acked.items()
                if have.get(d, "") != text and (d, have.get(d, "")) != flying], []


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--ragd", default="build/ragd")
    ap.add_argument("--shim", default="build/powercut_shim.so")
    ap.add_argument("--cuts", type=int, default=200)
    ap.add_argument("--starts", type=int, default=10, help="cuts after which a server is started")
    ap.add_argument("--docs", type=int, default=200)
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    rng = random.Random(a.seed)
    ragd, shim = os.path.abspath(a.ragd), os.path.abspath(a.shim)
    with tempfile.TemporaryDirectory() as tmp:
        data, log = os.path.join(tmp, "data"), os.path.join(tmp, "log")
        os.mkdir(data)
        record_run(ragd, shim, data, log, a.docs, rng)
        records = read_log(log)
        acks = [i for i, r in enumerate(records) if r[0] == ACK]
        syncs = sum(1 for r in records if r[0] == SYNC)
        print(f"powercut: {len(records)} operations, {syncs} syncs, {len(acks)} acknowledged changes")
        if len(acks) < a.docs:
            sys.exit("powercut: the record is too short to mean anything")
        check_complete(data, records)
        if not any(r[0] == RENAME and r[2].endswith(b".seg") for r in records[:acks[-1]]):
            sys.exit("powercut: no segment file was written beside the documents")
        failed, modes = 0, ("strict", "sectors", "blocks", "prefix")
        cuts = sorted(rng.randint(acks[0] + 1, len(records)) for _ in range(a.cuts + a.starts))
        starts = set(rng.sample(range(len(cuts)), a.starts))
        for n, (cut, disk, acked) in enumerate(states_at(data, records, cuts)):
            mode = rng.choice(modes)
            lost, problems = check_cut(ragd, data, records, cut, disk, acked, mode, rng, n in starts)
            for p in (lost + problems)[:3]:
                print(f"powercut: cut after operation {cut} ({mode}): {p}")
            failed += bool(lost or problems)
        cuts = sorted(rng.randint(len(records) // 2, len(records)) for _ in range(6))
        noticed = sum(bool(check_cut(ragd, data, records, cut, disk, acked, "strict", rng)[0])
                      for cut, disk, acked in states_at(data, records, cuts, syncs_end=acks[0]))
        print(f"powercut: {a.cuts} cuts and {a.starts} starts after one, {failed} failed; "
              f"without syncs {noticed} of 6 cuts lose acknowledged documents")
        if noticed < 6:
            sys.exit("powercut: the check does not notice missing syncs")
        sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
