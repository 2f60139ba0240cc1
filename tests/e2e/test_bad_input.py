"""What the world does to a data folder and a server: each a clear error or the service goes on, nothing lost."""
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import threading
import time
import zipfile

import pytest
from conftest import BIN, clean_env, ragd


def fill(data, n=20, prefix="d"):
    lines = "".join(json.dumps({"id": f"{prefix}{i}", "text": f"document number {i} about the {prefix}{i} card"}) + "\n"
                    for i in range(n))
    p = ragd("ingest", "--data", data, "--json", "-", stdin=lines)
    assert p.returncode == 0, p.err
    return [f"{prefix}{i}" for i in range(n)]


def hits(s, query):
    status, o = s.request("POST", "/v1/search", {"query": query, "top_k": 100})
    assert status == 200, o
    return {h["document_id"] for h in o["hits"]}


def wait_for(what, seconds=20):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(.05)


def clear_error(p, *words):
    """Exit status 1, one line that says what failed, why and where."""
    assert p.returncode == 1, (p.returncode, p.out, p.err)
    lines = [line for line in p.err.splitlines() if line.startswith("ragd: ")]
    assert len(lines) == 1, p.err
    for w in words:
        assert w in lines[0], (w, lines[0])


# ---- questions ------------------------------------------------------------------------------------------------
def test_questions_of_every_bad_kind(data):
    fill(data)
    for text in ("", " \t "):
        assert ragd("query", "--data", data, text).returncode == 2
    p = ragd("query", "--data", data, b"\xff\xfe broken".decode("utf-8", "surrogateescape"))
    assert p.returncode == 2 and "UTF-8" in p.err
    p = ragd("query", "--data", data, "x" * 100000)
    assert p.returncode in (1, 2) and p.err.startswith("ragd: query: ")
    p = ragd("query", "--data", data, "card \x01\x02 three")
    assert p.returncode in (0, 2)
    for name in ("..", "../../etc", "a/b", "x" * 65, "", "名字"):
        p = ragd("query", "--data", data, "--collection", name, "card")
        assert p.returncode in (1, 2) and p.err.startswith("ragd: query: "), name
        assert ragd("ingest", "--data", data, "--collection", name, "-", stdin='{"text":"x"}').returncode == 2, name


def test_lines_of_every_bad_kind(data):
    lines = [b'{"text":""}', b'{"id":"","text":"x"}', b'{"id":"a\\u0000b","text":"x"}', b'{"text":"x","text":"y"}', b'[1]', b'7',
             b'{"text":5}', b'{"id":7,"text":"x"}', b'{"text":"x","metadata":[1]}', b'{"text":"\xff"}', b'{"text":"x"} trailing',
             b'{"text":"x","metadata":{"a":{"b":1}}}', b'{"id":"' + b"x" * 600 + b'","text":"x"}',
             b'{"text":' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"text":"x","metadata":{"n":1e999}}', b'{"documents":[]}']
    p = ragd("ingest", "--data", data, "--json", "-", stdin=b"\n".join([b'{"id":"good","text":"fine"}', *lines, b'{"id":"last","text":"fine"}']))
    o = json.loads(p.out)
    assert p.returncode == 1 and o["added"] >= 2 and o["failed"] >= len(lines) - 2
    assert all(e["path"].startswith("stdin:") and e["reason"] for e in o["errors"])
    assert o["added"] + o["failed"] == len(lines) + 2


# ---- files ----------------------------------------------------------------------------------------------------
def xlsx(path, sheet, strings=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as z:
        z.writestr("[Content_Types].xml", '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
                   '<Default Extension="xml" ContentType="application/xml"/></Types>')
        z.writestr("xl/workbook.xml", '<?xml version="1.0"?><workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" '
                   'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets>'
                   '<sheet name="S" sheetId="1" r:id="rId1"/></sheets></workbook>')
        z.writestr("xl/_rels/workbook.xml.rels", '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
                   '<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/>'
                   '</Relationships>')
        if strings:
            z.writestr("xl/sharedStrings.xml", strings)
        with z.open("xl/worksheets/sheet1.xml", "w") as f:
            for piece in sheet:
                f.write(piece)


def bomb(path):
    row = b'<row><c t="inlineStr"><is><t>' + b"A" * 100000 + b"</t></is></c></row>"
    head = b'<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    xlsx(path, [head, *[row * 10] * 200, b"</sheetData></worksheet>"])


def entities(path):
    laughs = "".join(f'<!ENTITY l{i} "{("&l%d;" % (i - 1)) * 10}">' for i in range(1, 12))
    xlsx(path, [b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData><row><c t="s"><v>0</v></c>'
                b"</row></sheetData></worksheet>"],
         f'<?xml version="1.0"?><!DOCTYPE sst [<!ENTITY l0 "lol">{laughs}]><sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
         "<si><t>&l11;</t></si></sst>")


@pytest.mark.parametrize("served", [False, True])
def test_hostile_files_fail_alone(data, tmp_path, serve, served):
    d = tmp_path / "in"
    d.mkdir()
    (d / "good.md").write_text("# Good\n\nA fine document about cards.\n")
    bomb(d / "bomb.xlsx")
    entities(d / "entities.xlsx")
    (d / "cut.xlsx").write_bytes((d / "entities.xlsx").read_bytes()[:200])
    (d / "broken.json").write_text('{"a": [1, 2')
    (d / "deep.json").write_text("[" * 100000)
    (d / "noise.txt").write_bytes(bytes(range(256)) * 50)
    s = serve() if served else None
    p = ragd("ingest", "--data", data, "--json", d, timeout=120)
    o = json.loads(p.out)
    failed = {pathlib.Path(e["path"]).name for e in o["errors"]}
    assert p.returncode == 1 and {"bomb.xlsx", "entities.xlsx", "cut.xlsx", "broken.json", "deep.json"} <= failed, o
    assert "good.md" not in failed and all(e["reason"] for e in o["errors"])
    if s:
        assert hits(s, "fine document")
        assert s.stop() == 0
    assert ragd("verify", "--data", data).returncode == 0


def test_files_vanish_during_ingest(data, tmp_path):
    d = tmp_path / "many"
    d.mkdir()
    for i in range(1500):
        (d / f"{i:04}.md").write_text(f"# Note {i}\n\ntext {i}\n")
    p = subprocess.Popen([str(BIN), "ingest", "--data", str(data), "--json", str(d)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         env=clean_env())
    wait_for(lambda: (data / "ragd.db").exists() or p.poll() is not None)
    time.sleep(.1)
    for i in range(1499, 1199, -1):
        (d / f"{i:04}.md").unlink()
    out, err = p.communicate(timeout=120)
    o = json.loads(out)
    assert o["added"] + o["failed"] in range(1200, 1501) and o["added"] >= 1200, o
    if o["failed"]:
        assert p.returncode == 1 and all("No such file" in e["reason"] for e in o["errors"])
    assert ragd("verify", "--data", data).returncode == 0
    for f in d.iterdir():
        f.unlink()
    p = ragd("ingest", "--data", data, "--json", d)
    assert p.returncode == 0 and json.loads(p.out)["added"] == 0


# ---- the data folder ------------------------------------------------------------------------------------------
def unshared():
    return shutil.which("unshare") and subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not unshared(), reason="no user namespaces: cannot mount a small disk")
def test_disk_full_for_a_command(tmp_path):
    """4 MiB of disk, 20 MiB of documents: those that fit are kept, the rest is named, the folder is whole."""
    disk = tmp_path / "disk"
    disk.mkdir()
    lines = tmp_path / "big.jsonl"
    with open(lines, "w") as f:
        for i in range(400):
            f.write(json.dumps({"id": f"d{i}", "text": f"unique{i} " + "words that fill the disk. " * 2000}) + "\n")
    script = ('mount -t tmpfs -o size=4m tmpfs "$1" || exit 77\n'
              '"$2" ingest --data "$1/data" --json - < "$3"; echo "rc $?"\n'
              '"$2" verify --data "$1/data"; echo "rc $?"\n'
              'rm -f "$1/data/filler"; "$2" query --data "$1/data" --json unique0; echo "rc $?"\n')
    p = subprocess.run(["unshare", "-rm", "sh", "-c", script, "sh", str(disk), str(BIN), str(lines)], capture_output=True, text=True,
                       env=clean_env(), timeout=120)
    if p.returncode == 77:
        pytest.skip("cannot mount a tmpfs")
    lines = p.stdout.splitlines()
    if not lines[0].startswith("{"):
        pytest.fail(p.stdout + p.stderr)
    o = json.loads(lines[0])
    assert lines[1] == "rc 1" and o["failed"] > 0 and o["added"] + o["failed"] == 400
    assert any("full" in e["reason"].lower() or "space" in e["reason"].lower() for e in o["errors"]), o["errors"][:3]
    assert "rc 0" in lines[2:4], p.stdout + p.stderr


@pytest.mark.skipif(not unshared(), reason="no user namespaces: cannot mount a small disk")
def test_disk_full_for_a_server(data, serve, tmp_path):
    """The server refuses with 507, keeps answering, and has every document it acknowledged."""
    import conftest
    disk = tmp_path / "disk"
    disk.mkdir()
    wrapper = tmp_path / "wrapped"
    wrapper.write_text(f'#!/bin/sh\nexec unshare -rm sh -c \'mount -t tmpfs -o size=6m tmpfs "$0" || exit 77; exec "$@"\' "{disk}" "{BIN}" "$@"\n')
    wrapper.chmod(0o755)
    real, conftest.BIN = conftest.BIN, wrapper
    try:
        s = serve(folder=disk / "data")
    except (AssertionError, FileNotFoundError) as e:
        pytest.skip(f"cannot mount a tmpfs: {e}")
    finally:
        conftest.BIN = real
    kept, refused = [], None
    for i in range(400):
        status, o = s.request("POST", "/v1/collections/default/documents",
                              {"id": f"d{i}", "text": f"unique{i} " + "words that fill the disk. " * 2000})
        if status in (200, 201):
            kept.append(i)
        else:
            refused = refused or (status, o)
            if len(kept) and i > kept[-1] + 5:
                break
    assert refused and refused[0] in (500, 507), refused
    assert refused[0] == 507 and refused[1]["error"]["message"], refused
    assert len(kept) > 5
    for i in kept:
        assert s.request("GET", f"/v1/collections/default/documents/d{i}")[0] == 200
    assert f"d{kept[-1]}" in hits(s, f"unique{kept[-1]}")
    assert s.request("GET", "/health/live")[0] == 200
    assert s.stop() == 0


def cannot_write():
    """A prefix under which even root is bound by file permissions; None where it cannot be had."""
    if os.geteuid() != 0:
        return []
    prefix = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
    ok = shutil.which("setpriv") and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0
    return prefix if ok else None


@pytest.mark.skipif(cannot_write() is None, reason="root here is bound by no permission")
def test_read_only_folder(data):
    fill(data)
    wal_before = sorted(p.name for p in data.iterdir())
    for p in [data, *data.rglob("*")]:
        p.chmod(0o555 if p.is_dir() else 0o444)
    try:
        for args in (["ingest", "--data", data, "-"], ["query", "--data", data, "card"],
                     ["serve", "--data", data, "--listen", "127.0.0.1:0"]):
            p = subprocess.run([*cannot_write(), str(BIN), *map(str, args)], input=b'{"text":"x"}', capture_output=True, env=clean_env(),
                               timeout=30)
            p.out, p.err = p.stdout.decode(), p.stderr.decode()
            clear_error(p, str(data), "ermission denied")
        assert sorted(p.name for p in data.iterdir()) == wal_before
        p = subprocess.run([*cannot_write(), str(BIN), "query", "--data", str(data / "below"), "x"], capture_output=True, env=clean_env())
        assert p.returncode == 1
    finally:
        for p in [data, *data.rglob("*")]:
            p.chmod(0o755 if p.is_dir() else 0o644)
    assert json.loads(ragd("query", "--data", data, "--json", "d7").out)["contexts"]


def test_database_of_a_newer_version(data):
    fill(data)
    db = sqlite3.connect(data / "ragd.db")
    version = db.execute("pragma user_version").fetchone()[0]
    db.execute(f"pragma user_version = {version + 1}")
    db.commit()
    db.close()
    for args in (["serve", "--listen", "127.0.0.1:0"], ["query", "card"], ["ingest", "-"]):
        clear_error(ragd(args[0], "--data", data, *args[1:], stdin="{}"), "newer than this ragd")
    assert ragd("verify", "--data", data).returncode == 1
    db = sqlite3.connect(data / "ragd.db")
    db.execute(f"pragma user_version = {version}")
    db.commit()
    db.close()
    assert ragd("verify", "--data", data).returncode == 0  # untouched


def test_something_that_is_no_database(data):
    data.mkdir()
    (data / "ragd.db").write_bytes(b"not a database at all, but long enough to be looked at" * 100)
    clear_error(ragd("query", "--data", data, "x"), "database")
    assert (data / "ragd.db").read_bytes().startswith(b"not a database")
    f = data.parent / "file"
    f.write_text("x")
    clear_error(ragd("ingest", "--data", f, "-", stdin="{}"), str(f))


def segments(data):
    return sorted((data / "segments").glob("*.seg"))


def test_segment_of_a_newer_version(data, serve):
    """A newer ragd wrote it: refused by name, and nothing of it is touched; or rebuilt from the database."""
    ids = fill(data)
    seg = segments(data)[0]
    raw = bytearray(seg.read_bytes())
    struct.pack_into("<I", raw, 8, struct.unpack_from("<I", raw, 8)[0] + 1)
    seg.write_bytes(raw)
    p = ragd("verify", "--data", data)
    assert p.returncode == 1 and "newer" in p.out
    p = ragd("query", "--data", data, "--json", "document")
    if p.returncode:
        clear_error(p, "newer", "segment")
        assert seg.read_bytes() == raw
    else:
        assert len(json.loads(p.out)["contexts"]) > 0
        s = serve()
        wait_for(lambda: hits(s.ready(), "document") == set(ids))


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "gone", "manifest"])
def test_damaged_index_is_rebuilt_while_serving(data, serve, damage):
    ids = set(fill(data, 60))
    for seg in segments(data):
        raw = bytearray(seg.read_bytes())
        if damage == "flipped":
            raw[len(raw) // 3] ^= 0x10
            seg.write_bytes(raw)
        elif damage == "cut":
            seg.write_bytes(raw[: len(raw) // 2])
        elif damage == "empty":
            seg.write_bytes(b"")
        elif damage == "gone":
            seg.unlink()
    if damage == "manifest":
        (data / "segments" / "MANIFEST").write_bytes(b"{broken")
    s = serve()
    assert s.request("GET", "/health/live")[0] == 200
    s.ready()
    assert hits(s, "document") == ids
    if damage != "manifest":
        assert '"level":"warn"' in s.log_text()
    assert s.stop() == 0
    assert ragd("verify", "--data", data).returncode == 0
    s = serve()
    assert hits(s.ready(), "document") == ids


def test_many_servers_race_for_one_folder(data):
    """One wins, the others say who holds it; none of them harms the folder."""
    fill(data)
    ps = [subprocess.Popen([str(BIN), "serve", "--data", str(data), "--listen", "127.0.0.1:0"], stdout=subprocess.DEVNULL,
                           stderr=subprocess.PIPE, env=clean_env()) for _ in range(6)]
    try:
        wait_for(lambda: sum(p.poll() is not None for p in ps) == 5)
        time.sleep(.2)
        alive = [p for p in ps if p.poll() is None]
        assert len(alive) == 1
        for p in ps:
            if p is not alive[0]:
                assert p.returncode == 1 and b"in use by" in p.stderr.read()
        assert json.loads(ragd("query", "--data", data, "--json", "d7").out)["contexts"]
        alive[0].send_signal(signal.SIGTERM)
        assert alive[0].wait(20) == 0
    finally:
        for p in ps:
            if p.poll() is None:
                p.kill()
            p.wait()
            p.stderr.close()


def test_stale_lock_of_a_killed_server(data, serve):
    fill(data)
    s = serve()
    s.process.kill()
    s.process.wait()
    assert (data / "LOCK").read_text()
    assert json.loads(ragd("query", "--data", data, "--json", "d7").out)["contexts"]
    assert serve().request("GET", "/health/live")[0] == 200


# ---- connections ----------------------------------------------------------------------------------------------
def test_3000_open_connections(data, serve):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 3400:
        pytest.skip("too few descriptors for the test itself")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 3400), hard))
    fill(data)
    s = serve().ready()
    open_ones = []
    try:
        for i in range(3000):
            c = socket.create_connection(("127.0.0.1", s.port), timeout=10)
            if i % 3 == 0:
                c.sendall(b"POST /v1/query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le")  # and no more
            open_ones.append(c)
        began = time.monotonic()
        assert "d7" in hits(s, "d7")
        assert time.monotonic() - began < 2
        status, o = s.request("POST", "/v1/query", {"query": "d7 card"})
        assert status == 200
        p = ragd("query", "--data", data, "--json", "d7")
        assert p.returncode == 0
    finally:
        for c in open_ones:
            c.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "d7" in hits(s, "d7")
    assert s.stop() == 0


def test_connections_beyond_the_limit_are_refused_at_once(data, serve):
    conf = data.parent / "c.yaml"
    conf.write_text("limits: {connections: 40, queries: 10}\n")
    s = serve("--config", conf).ready()
    open_ones, refused = [], 0
    for _ in range(120):
        try:
            c = socket.create_connection(("127.0.0.1", s.port), timeout=5)
            open_ones.append(c)
        except OSError:
            refused += 1
    for c in open_ones[80:]:
        c.settimeout(5)
        try:
            c.sendall(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            got = c.recv(200)
            refused += not got or b" 503 " in got
        except OSError:
            refused += 1
    assert refused
    for c in open_ones:
        c.close()
    wait_for(lambda: alive(s))
    assert s.stop() == 0


def alive(s):
    try:
        return s.request("GET", "/health/live", timeout=3)[0] == 200
    except OSError:
        return False


def test_clients_that_hang_up_mid_request(data, serve):
    fill(data)
    s = serve().ready()

    def rude(i):
        for _ in range(20):
            try:
                c = socket.create_connection(("127.0.0.1", s.port), timeout=5)
                body = b'{"query":"d7 card","stream":true}'
                c.sendall(b"POST /v1/query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                          % (len(body) + i % 2) + body)
                c.close()
            except OSError:
                pass

    threads = [threading.Thread(target=rude, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert "d7" in hits(s, "d7")
    assert s.stop() == 0
