"""The commands of the contract: results, outputs, exit statuses, with and without a server on the folder."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import pytest
from conftest import BIN, ROOT, clean_env, ragd


def ingest_json(*args, **kw):
    p = ragd("ingest", "--json", *args, **kw)
    assert p.out.count("\n") == 1, p.out + p.err
    return p.returncode, json.loads(p.out)


def counts(o):
    return o["added"], o["updated"], o["unchanged"], o["failed"]


# ---- help and usage -------------------------------------------------------------------------------------------
def test_version_and_help():
    assert re.fullmatch(r"ragd \d+\.\d+\.\d+\S*\n", ragd("--version").out)
    assert ragd("version").out == ragd("--version").out
    overview = ragd("help")
    assert overview.returncode == 0
    for name in "serve ingest query eval config verify help version".split():
        assert re.search(rf"^  {name} ", overview.out, re.M)
        one = ragd("help", name)
        assert one.returncode == 0 and one.out.startswith(f"usage: ragd {name}")
    assert ragd("ingest", "--help").out == ragd("help", "ingest").out


@pytest.mark.parametrize("args, said", [
    ([], "usage: ragd COMMAND"),
    (["ingset"], "did you mean 'ingest'"),
    (["srve"], "did you mean 'serve'"),
    (["xyzzy"], "no such command"),
    (["help", "xyzzy"], "no such command"),
    (["query"], "no question"),
    (["query", "  "], "no question"),
    (["query", "--colection", "x", "q"], "unknown option --colection"),
    (["query", "--collection"], "--collection wants a value"),
    (["query", "--json=1", "q"], "--json takes no value"),
    (["ingest"], "no path"),
    (["ingest", "--collection", "../x", "/tmp"], "--collection ../x"),
    (["eval"], "no data set"),
    (["eval", "--dataset", "x", "--legs", "sparse"], "use bm25, dense, hybrid or full"),
    (["serve", "now"], "unexpected argument now"),
    (["config", "--show", "--print-default"], "one of"),
    (["serve", "--listen", "nonsense"], "is not HOST:PORT"),
    (["serve", "--profile", "fast"], "is not one of"),
])
def test_usage_errors_say_what_to_do(args, said, tmp_path):
    p = ragd(*args, cwd=tmp_path)
    assert p.returncode == 2 and said in p.err and p.out == ""
    assert not args or p.err.startswith("ragd: ")
    assert os.listdir(tmp_path) == []


# ---- ingest and query -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("served", [False, True])
def test_ingest_is_idempotent_and_reports(data, docs, serve, served):
    server = serve() if served else None
    assert ingest_json("--data", data, docs) == (0, {"added": 3, "updated": 0, "unchanged": 0, "failed": 0, "skipped": 0,
                                                      "chunks": 4, "errors": []})
    assert counts(ingest_json("--data", data, docs)[1]) == (0, 0, 3, 0)
    (docs / "card.md").write_text("# 白金卡\n\n年费改为2600元。\n", "utf-8")
    assert counts(ingest_json("--data", data, docs)[1]) == (0, 1, 2, 0)
    p = ragd("query", "--data", data, "--json", "白金卡年费多少？")
    answer = json.loads(p.out)
    assert p.returncode == 0 and "2600" in json.dumps(answer["contexts"], ensure_ascii=False)
    assert answer["contexts"][0]["document_id"] == str((docs / "card.md").resolve())[1:].replace("/", ":")
    assert answer["contexts"][0]["source"] == str((docs / "card.md").resolve())
    text = ragd("query", "--data", data, "白金卡年费多少？")
    assert text.returncode == 0 and "confidence" in text.out
    explained = ragd("query", "--data", data, "--explain", "--json", "白金卡年费多少？")
    assert {"analysis", "retrieval", "generation"} <= set(json.loads(explained.out)["explain"])
    assert "analysis" in ragd("query", "--data", data, "--explain", "白金卡年费多少？").out
    if server:
        assert server.stop() == 0
    assert ragd("verify", "--data", data).returncode == 0


def test_both_ways_give_the_same(data, docs, serve, tmp_path):
    """With a server on the folder and without: the same documents, ids, versions, chunks, hits."""
    lines = "".join(json.dumps({"id": f"n{i}", "title": f"Note {i}", "text": f"note number {i} about cards",
                                "metadata": {"n": i}}) + "\n" for i in range(150)) + "broken\n"

    def fill(folder):
        got = [ingest_json("--data", folder, docs), ingest_json("--data", folder, "-", stdin=lines)]
        p = ragd("query", "--data", folder, "--json", "note 77 cards")
        return got, [(c["chunk_id"], c["title"], c["text"], c["metadata"]) for c in json.loads(p.out)["contexts"]]

    alone = fill(tmp_path / "alone")
    serve()
    assert fill(data) == alone
    (status, o) = alone[0][1]
    assert status == 1 and counts(o) == (150, 0, 0, 1) and o["errors"][0]["path"] == "stdin:151"


def test_json_lines_from_a_pipe_that_stays_open(data):
    """What has arrived is written while the pipe is still open."""
    p = subprocess.Popen([str(BIN), "ingest", "--data", str(data), "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, env=clean_env())
    p.stdin.write(b'{"id":"a","text":"first"}\n')
    p.stdin.flush()
    end = time.monotonic() + 10
    import sqlite3
    while True:
        try:
            db = sqlite3.connect(f"file:{data}/ragd.db?mode=ro", uri=True)
            n = db.execute("select count(*) from documents").fetchone()[0]
            db.close()
            if n:
                break
        except sqlite3.OperationalError:
            pass
        assert time.monotonic() < end
        time.sleep(.05)
    out, err = p.communicate(timeout=20)
    assert p.returncode == 0, err


def test_folders_links_and_types(data, docs):
    (docs / ".hidden.md").write_text("secret")
    (docs / ".git").mkdir()
    (docs / ".git" / "x.md").write_text("x")
    (docs / "photo.png").write_bytes(b"\x89PNG")
    os.symlink(docs, docs / "sub" / "loop")
    os.symlink(docs / "card.md", docs / "again.md")
    os.mkfifo(docs / "pipe.txt")
    os.symlink(docs / "nowhere", docs / "dangling.md")
    status, o = ingest_json("--data", data, docs, docs / "card.md")
    assert counts(o) == (3, 0, 0, 1) and o["skipped"] == 2 and status == 1
    assert o["errors"] == [{"path": str(docs / "dangling.md"), "reason": "No such file or directory"}]
    status, o = ingest_json("--data", data, docs / "photo.png", docs / "pipe.txt", docs / "gone.md", docs / "card.md")
    assert status == 1 and counts(o) == (0, 0, 1, 3)
    assert "not supported" in o["errors"][0]["reason"] and "neither a file nor a folder" in o["errors"][1]["reason"]
    p = ragd("ingest", "--data", data, docs / "gone.md")
    assert p.returncode == 1 and f"ragd: ingest: {docs}/gone.md: No such file or directory" in p.err


def test_ids_of_strange_names_differ(data, tmp_path):
    d = tmp_path / "odd"
    (d / "a").mkdir(parents=True)
    names = ["a/b.md", "a:b.md", "a=3ab.md", "中 文.md", "per%cent.md", "new\nline.md", "x" * 240 + ".md"]
    for n in names:
        (d / n).write_text("text " + n)
    (d / "bad-").mkdir()
    with open(os.fsencode(d) + b"/bad-/\xff\xfe.md", "w") as f:
        f.write("bytes")
    deep = d
    for _ in range(6):
        deep = deep / ("深" * 60)
    deep.mkdir(parents=True)
    (deep / "one.md").write_text("one")
    (deep / "two.md").write_text("two")
    status, o = ingest_json("--data", data, d)
    assert (status, counts(o)) == (0, (len(names) + 3, 0, 0, 0)), o
    assert counts(ingest_json("--data", data, d)[1]) == (0, 0, len(names) + 3, 0)


def test_collections(data, docs):
    assert counts(ingest_json("--data", data, "--collection", "sales", docs)[1]) == (3, 0, 0, 0)
    assert json.loads(ragd("query", "--data", data, "--collection", "sales", "--json", "points").out)["contexts"]
    assert json.loads(ragd("query", "--data", data, "--json", "points").out)["found"] is False
    p = ragd("query", "--data", data, "--collection", "nope", "points")
    assert p.returncode == 1 and "nope" in p.err


def test_query_without_data_says_so(data):
    p = ragd("query", "--data", data, "hello")
    assert p.returncode == 1 and "ragd ingest" in p.err and not data.exists()


def test_progress_only_on_a_terminal(data, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    for i in range(1000):
        (many / f"{i}.md").write_text(f"# Note {i}\n\ntext {i}\n")
    master, slave = pty.openpty()
    p = subprocess.Popen([str(BIN), "ingest", "--data", str(data), str(many)], stderr=slave, stdout=subprocess.PIPE,
                         env=clean_env())
    os.close(slave)
    seen = b""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if select.select([master], [], [], .2)[0]:
            try:
                chunk = os.read(master, 4096)
            except OSError:
                break
            if not chunk:
                break
            seen += chunk
        elif p.poll() is not None:
            break
    out, _ = p.communicate(timeout=30)
    os.close(master)
    assert p.returncode == 0 and b"added 1000" in out
    assert b"ingest [" in seen or float(re.search(rb"([\d.]+) s\)", out).group(1)) < 1.3
    assert ragd("ingest", "--data", data, many).err == ""


# ---- serve ----------------------------------------------------------------------------------------------------
def test_one_owner_a_folder(data, serve):
    s = serve()
    p = ragd("serve", "--data", data, "--listen", "127.0.0.1:0")
    assert p.returncode == 1 and "in use by process" in p.err and str(s.port) in p.err
    lock = data / "LOCK"
    assert lock.stat().st_mode & 0o777 == 0o600
    assert data.stat().st_mode & 0o077 == 0
    assert s.stop() == 0
    assert serve().stop(signal.SIGINT) == 0


def test_port_taken_is_a_clear_error(data, serve, tmp_path):
    s = serve()
    p = ragd("serve", "--data", tmp_path / "other", "--listen", f"127.0.0.1:{s.port}")
    assert p.returncode == 1 and p.err.count("ragd: serve: ") == 1 and str(s.port) in p.err


def test_commands_need_no_key_of_their_own(data, docs, serve):
    conf = data.parent / "c.yaml"
    conf.write_text("auth:\n  keys:\n    - {name: crm, key_env: CRM_KEY, scopes: [query]}\n")
    s = serve("--config", conf, env={"CRM_KEY": "a-long-secret"})
    assert s.request("POST", "/v1/query", {"query": "x"})[0] == 401
    assert s.request("POST", "/v1/query", {"query": "x"}, {"Authorization": "Bearer a-long-secret"})[0] == 200
    assert s.request("GET", "/v1/config", None, {"X-API-Key": "a-long-secret"})[0] == 403
    assert counts(ingest_json("--data", data, docs)[1]) == (3, 0, 0, 0)
    assert ragd("query", "--data", data, "points").returncode == 0
    assert "a-long-secret" not in s.log_text()


def test_missing_key_stops_the_start(data):
    conf = data.parent / "c.yaml"
    conf.write_text("auth: {keys: [{name: crm, key_env: CRM_KEY}, {name: b, key_file: /nope}]}\n")
    p = ragd("serve", "--data", data, "--config", conf, "--listen", "127.0.0.1:0")
    assert p.returncode == 1 and "CRM_KEY is not set" in p.err and "/nope" in p.err


def test_hangup_rereads_the_log_level(data, serve):
    conf = data.parent / "c.yaml"
    conf.write_text("log: {level: warn}\n")
    # "serving" is an info line: wait for the port by LOCK instead
    conf.write_text("log: {level: info}\n")
    s = serve("--config", conf)
    conf.write_text("log: {level: loud}\n")
    s.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "not reloaded" in s.log_text())
    conf.write_text("log: {level: debug}\nlimits: {queries: 9}\n")
    s.process.send_signal(signal.SIGHUP)
    wait_for(lambda: '"configuration reloaded","log.level":"debug","restart_needed":true' in s.log_text())
    assert s.request("GET", "/health/live")[0] == 200
    assert s.stop() == 0


def wait_for(what, seconds=10):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(.02)


def test_stop_finishes_what_is_in_flight(data, serve):
    s = serve()
    p = subprocess.Popen([str(BIN), "ingest", "--data", str(data), "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, env=clean_env())
    lines = b"".join(b'{"id":"d%d","text":"%s"}\n' % (i, b"words and more words. " * 200) for i in range(2000))
    import threading
    t = threading.Thread(target=lambda: p.communicate(lines, timeout=60))
    t.start()
    time.sleep(.3)
    assert s.stop() == 0
    t.join()
    assert ragd("verify", "--data", data).returncode == 0


# ---- verify ---------------------------------------------------------------------------------------------------
def test_verify_finds_damage(data, docs):
    ingest_json("--data", data, docs)
    ok = json.loads(ragd("verify", "--data", data, "--json").out)
    assert ok["ok"] and ok["documents"] == 3 and ok["segment_files"] >= 1 and ok["findings"] == []
    seg = next((data / "segments").glob("*.seg"))
    raw = bytearray(seg.read_bytes())
    raw[len(raw) // 2] ^= 1
    seg.write_bytes(raw)
    p = ragd("verify", "--data", data, "--json")
    assert p.returncode == 1 and json.loads(p.out)["findings"][0]["what"] == str(seg)
    p = ragd("verify", "--data", data)
    assert p.returncode == 1 and str(seg) in p.out and "rebuilt" in p.err
    assert ragd("verify", "--data", data.parent / "nope").returncode == 1


def test_verify_reads_the_manifest(data, docs):
    ingest_json("--data", data, docs)
    manifest = data / "segments" / "MANIFEST"
    good = manifest.read_text()
    assert ragd("verify", "--data", data).returncode == 0
    for bad, said in [("{", "manifest"), (good.replace('"ragd_manifest":1', '"ragd_manifest":99'), "version 99 is newer")]:
        manifest.write_text(bad)
        p = ragd("verify", "--data", data, "--json")
        assert p.returncode == 1
        (one,) = json.loads(p.out)["findings"]
        assert one["what"] == str(manifest) and said in one["why"]
    manifest.write_text(good)
    seg = next((data / "segments").glob("*.seg"))
    seg.unlink()
    (one,) = json.loads(ragd("verify", "--data", data, "--json").out)["findings"]
    assert one == {"what": str(seg), "why": "named by MANIFEST, but missing"}


def test_server_keeps_the_limits_of_the_configuration(data, serve, tmp_path):
    conf = tmp_path / "c.yaml"
    conf.write_text("ingest: {max_file_mb: 1}\n")
    s = serve("--config", conf)
    s.request("PUT", "/v1/collections/default", {})
    text = "words and more. " * 70000
    assert s.request("POST", "/v1/collections/default/documents", {"id": "a", "text": text})[0] == 413
    assert s.request("POST", "/v1/collections/default/documents", {"id": "a", "text": text[:900000]})[0] == 201


# ---- the sample -----------------------------------------------------------------------------------------------
def test_sample_loads(data):
    status, o = ingest_json("--data", data, ROOT / "sample" / "docs")
    assert status == 0 and o["failed"] == 0 and o["added"] >= 40
