"""ragd doctor: healthy, and each problem provoked for real."""
import contextlib
import fcntl
import http.server
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

import conftest
from conftest import ragd
from llmsim import Sim


def doctor(data, *args, env=None, status=None):
    """The findings as (check, status, message, advice), and the whole object."""
    p = ragd("doctor", "--data", data, "--json", *args, env=env)
    o = json.loads(p.out)
    assert p.out.count("\n") == 1 and set(o) == {"ok", "problems", "warnings", "checks"}
    for c in o["checks"]:
        assert set(c) == {"check", "status", "message", "advice"} and c["message"] and c["status"] in ("ok", "warning", "problem")
    assert p.returncode == (0 if o["ok"] else 1), p.out
    for name, word in (("problems", "problem"), ("warnings", "warning")):
        assert o[name] == sum(c["status"] == word for c in o["checks"])
    if status is not None:
        assert p.returncode == status, p.out
    return o["checks"]


def of(checks, check):
    return [c for c in checks if c["check"] == check]


def one(checks, check, status, *words):
    """The only finding of this check with that status whose message or advice has the words."""
    found = [c for c in of(checks, check) if c["status"] == status and all(w in f"{c['message']} {c['advice']}" for w in words)]
    assert len(found) == 1, (check, status, words, of(checks, check))
    return found[0]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def listen():
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def conf(tmp_path, listen):
    """conf(**sections) writes a configuration (JSON is YAML) on a free port, without a model of vectors."""
    def write(**sections):
        f = tmp_path / "c.yaml"
        f.write_text(json.dumps({"listen": listen, "embedding": {"provider": "none"}, **sections}))
        f.chmod(0o600)
        return f
    return write


@pytest.fixture
def filled(data, docs):
    assert ragd("ingest", "--data", data, docs).returncode == 0
    return data


# ---- healthy ----------------------------------------------------------------------------------------------------
def test_healthy_folder_changes_nothing(filled, conf):
    before = {p.name: p.read_bytes() for p in filled.rglob("*") if p.is_file() and not p.name.endswith(("-wal", "-shm"))}
    checks = doctor(filled, "--config", conf(), status=0)
    for check in ("configuration", "keys", "cpu", "clock", "data folder", "lock", "address", "model", "upstream"):
        assert of(checks, check), check
    one(checks, "database", "ok", "ragd.db: sound")
    one(checks, "segments", "ok", "every checksum right")
    assert all(c["status"] != "problem" and (c["advice"] is None) == (c["status"] == "ok") for c in checks)
    assert before == {p.name: p.read_bytes() for p in filled.rglob("*") if p.is_file() and not p.name.endswith(("-wal", "-shm"))}


def test_text_output_and_usage(filled, conf):
    p = ragd("doctor", "--data", filled, "--config", conf())
    assert p.returncode == 0 and p.out.splitlines()[-1].startswith("0 problems, ")
    assert all(line.split()[0] in ("ok", "warning", "problem", "->") for line in p.out.splitlines()[:-2])
    assert all(len(line) < 300 for line in p.out.splitlines())
    assert ragd("doctor", "surplus").returncode == 2 and ragd("doctor", "--nonsense").returncode == 2
    assert "doctor" in ragd("help").out and "--json" in ragd("help", "doctor").out


def test_folder_that_is_not_there_yet(data, conf):
    one(doctor(data, "--config", conf(), status=0), "data folder", "ok", "not there yet")
    assert not data.exists()


def test_beside_a_server(filled, serve, conf):
    s = serve().ready()
    checks = doctor(filled, "--config", conf(auth={"keys": [{"name": "a", "key_env": "A_KEY", "scopes": ["query"]}]}),
                    env={"A_KEY": "secret-of-a"}, status=0)
    one(checks, "lock", "ok", f"http://127.0.0.1:{s.port}")
    one(checks, "server", "ok", f"http://127.0.0.1:{s.port}", "index ok")
    one(checks, "database", "ok", "ragd.db: sound")
    assert not of(checks, "address")
    assert "secret-of-a" not in json.dumps(checks)
    assert s.request("GET", "/health")[0] == 200


def hold(folder, address):
    """LOCK as somebody who is alive keeps it; to be closed."""
    f = open(folder / "LOCK", "w")
    fcntl.flock(f, fcntl.LOCK_EX)
    f.write(f"4711\n{'a' * 64}\n{address}\n")
    f.flush()
    return f


def test_beside_a_command_and_a_server_that_hangs(filled, conf):
    with hold(filled, ""):
        one(doctor(filled, "--config", conf(), status=0), "lock", "warning", "4711")
    with hold(filled, f"http://127.0.0.1:{free_port()}"):
        one(doctor(filled, "--config", conf(), status=1), "server", "problem", "no answer")
    with upstream(None) as u, hold(filled, u.url[:-3]):
        one(doctor(filled, "--config", conf(), status=1), "server", "problem", "no answer")


def test_names_that_are_no_utf8(tmp_path, conf):
    folder = os.fsencode(tmp_path / "kb-") + b"\xff\xfe"
    os.mkdir(folder)
    p = ragd("doctor", "--config", conf(), "--json", "--data", os.fsdecode(folder))
    one(json.loads(p.stdout)["checks"], "configuration", "problem", "data")
    segments = tmp_path / "data" / "segments"
    segments.mkdir(parents=True)
    (pathlib.Path(os.fsdecode(os.fsencode(segments) + b"/\xff\xfe.seg"))).write_bytes(b"x" * 100)
    one(doctor(tmp_path / "data", "--config", conf(), status=1), "segments", "problem", "??.seg")


# ---- configuration ----------------------------------------------------------------------------------------------
def test_configuration_errors_are_all_shown(data, tmp_path):
    f = tmp_path / "bad.yaml"
    f.write_text("listn: 127.0.0.1:1\nretrieval:\n  top: 3\nlimits: {queries: -1}\n")
    checks = doctor(data, "--config", f, status=1)
    found = [c["message"] for c in of(checks, "configuration") if c["status"] == "problem"]
    assert len(found) >= 3 and any("bad.yaml:1:" in m and "listn" in m for m in found)
    one(doctor(data, "--config", tmp_path / "none.yaml", status=1), "configuration", "problem", "none.yaml")


def test_missing_keys_are_named(data, conf):
    checks = doctor(data, "--config", conf(auth={"keys": [{"name": "crm", "key_env": "CRM_KEY", "scopes": ["query"]}]}), status=1)
    one(checks, "keys", "problem", "crm", "CRM_KEY", "not set")


def test_files_that_others_may_read_or_change(data, conf, tmp_path):
    key = tmp_path / "key"
    key.write_text("12345678-secret")
    key.chmod(0o644)
    f = conf(auth={"keys": [{"name": "crm", "key_file": str(key), "scopes": ["query"]}]})
    f.chmod(0o666)
    checks = doctor(data, "--config", f, status=0)
    one(checks, "file modes", "warning", str(key), "read the key")
    one(checks, "file modes", "warning", str(f), "change the configuration")
    assert "12345678-secret" not in json.dumps(checks)


def test_without_keys_only_loopback(data, conf):
    one(doctor(data, "--config", conf(), "--listen", f"0.0.0.0:{free_port()}", status=1), "configuration", "problem", "auth.keys")


def test_unknown_time_zone_and_few_descriptors(data, conf):
    import resource
    checks = doctor(data, "--config", conf(budget={"timezone": "Mars/Olympus"}), status=1)
    assert any("Mars/Olympus" in c["message"] for c in checks if c["status"] == "problem")
    p = ragd("doctor", "--data", data, "--config", conf(), "--json",
             preexec=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)))
    one(json.loads(p.out)["checks"], "descriptors", "warning", "256")


# ---- the folder -------------------------------------------------------------------------------------------------
def flip(path, at):
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0xFF
    path.write_bytes(raw)


def test_damaged_segment(filled, serve, conf):
    s = serve().ready()
    s.stop()
    segments = sorted((filled / "segments").glob("*.seg"))
    assert segments
    flip(segments[0], segments[0].stat().st_size // 2)
    c = one(doctor(filled, "--config", conf(), status=1), "segments", "problem", segments[0].name)
    assert "nothing is lost" in c["advice"]
    segments[0].unlink()
    one(doctor(filled, "--config", conf(), status=1), "segments", "problem", "missing")
    (filled / "segments" / "MANIFEST").write_text("{")
    one(doctor(filled, "--config", conf(), status=1), "segments", "problem", "MANIFEST")


def test_damaged_and_encrypted_databases(filled, conf, serve):
    s = serve().ready()
    assert s.request("POST", "/v1/query", {"query": "fee"})[0] == 200
    s.stop()
    for name in ("ragd.db", "history.db"):
        whole = (filled / name).read_bytes()
        (filled / name).write_bytes(os.urandom(len(whole)))
        one(doctor(filled, "--config", conf(), status=1), "database", "problem", name, "encrypted")
        (filled / name).write_bytes(whole[:4096] + b"\xa5" * (len(whole) - 4096))
        one(doctor(filled, "--config", conf(), status=1), "database", "problem", name)
        (filled / name).write_bytes(whole)
        doctor(filled, "--config", conf(), status=0)


def test_database_of_a_newer_version(filled, conf):
    raw = bytearray((filled / "ragd.db").read_bytes())
    raw[60:64] = (999).to_bytes(4, "big")
    (filled / "ragd.db").write_bytes(raw)
    for wal in filled.glob("ragd.db-*"):
        wal.unlink()
    one(doctor(filled, "--config", conf(), status=1), "database", "problem", "newer")


def test_file_in_place_of_the_folder(tmp_path, conf):
    (tmp_path / "file").write_text("x")
    one(doctor(tmp_path / "file", "--config", conf(), status=1), "data folder", "problem", "not a folder")


def test_folder_with_wrong_rights(filled, conf):
    filled.chmod(0o777)
    one(doctor(filled, "--config", conf(), status=0), "data folder", "warning", "777")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, to run as somebody else")
def test_folder_of_somebody_else(filled, conf, tmp_path):
    f = conf()
    f.chmod(0o644)
    closed = [p for p in (tmp_path, *tmp_path.parents) if not p.stat().st_mode & 0o001]
    modes = [p.stat().st_mode & 0o7777 for p in closed]
    for p, mode in zip(closed, modes):
        p.chmod(mode | 0o055)
    try:
        p = subprocess.run(["setpriv", "--reuid", "65534", "--clear-groups", str(conftest.BIN), "doctor", "--json", "--data", str(filled),
                            "--config", str(f)], capture_output=True, text=True, env=conftest.clean_env(), timeout=60)
    finally:
        for folder, mode in zip(closed, modes):
            folder.chmod(mode)
    if not p.stdout:
        pytest.skip("the binary is out of reach for somebody else: " + p.stderr)
    one(json.loads(p.stdout)["checks"], "data folder", "problem", "belongs to user 0")
    assert p.returncode == 1


def test_a_file_from_the_future(filled, conf):
    os.utime(filled / "ragd.db", (time.time() + 86400,) * 2)
    one(doctor(filled, "--config", conf(), status=0), "clock", "warning", "ragd.db")


# ---- address ----------------------------------------------------------------------------------------------------
def test_port_of_another_program_and_of_another_ragd(data, conf, serve, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        one(doctor(data, "--config", conf(), "--listen", "127.0.0.1:%d" % s.getsockname()[1], status=1), "address", "problem",
            "another program")
    other = serve(folder=tmp_path / "other").ready()
    one(doctor(data, "--config", conf(), "--listen", f"127.0.0.1:{other.port}", status=1), "address", "problem", "another ragd")
    keys = conf(auth={"keys": [{"name": "a", "key_env": "A_KEY", "scopes": ["query"]}]})
    one(doctor(data, "--config", keys, "--listen", "192.0.2.1:80", env={"A_KEY": "secret-of-a"}, status=1), "address", "problem",
        "not an address of this machine")


# ---- the model --------------------------------------------------------------------------------------------------
def test_model_missing_damaged_and_whole(filled, conf, tmp_path):
    one(doctor(filled, "--config", conf(embedding={"provider": "local"}), status=0), "model", "warning", "make model")
    folder = conftest.default_model()
    bad = tmp_path / "models"
    bad.mkdir()
    (bad / "multilingual-e5-small.ragm").write_bytes(b"RAGM" + os.urandom(100000))
    env = {"RAGD_MODELS": str(bad)}
    one(doctor(filled, "--config", conf(embedding={"provider": "local"}), env=env, status=1), "model", "problem", "get it again")
    if not folder:
        pytest.skip("no model here: the rest needs one")
    env = {"RAGD_MODELS": str(folder)}
    checks = doctor(filled, "--config", conf(embedding={"provider": "local"}), env=env, status=0)
    one(checks, "model", "ok", "every byte verified", "length 1.0000")
    one(checks, "vectors", "warning", "collection default", "chunks have none")
    shutil.copy(folder / "multilingual-e5-small.ragm", bad / "multilingual-e5-small.ragm")
    flip(bad / "multilingual-e5-small.ragm", (bad / "multilingual-e5-small.ragm").stat().st_size // 2)
    one(doctor(filled, "--config", conf(embedding={"provider": "local"}), env={"RAGD_MODELS": str(bad)}, status=1), "model",
        "problem")


# ---- upstreams --------------------------------------------------------------------------------------------------
class Upstream(http.server.BaseHTTPRequestHandler):
    """GET /v1/models for the key `good`; what it was asked is kept."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        status, body = self.server.answer
        if status is None:
            time.sleep(8)
            return
        if status == 200 and self.headers.get("Authorization") != "Bearer good-key":
            status, body = 401, {"error": {"message": "bad key"}}
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_POST = do_GET

    def log_message(self, *args):
        pass


LIST = {"object": "list", "data": [{"id": "m-small"}, {"id": "m-large"}]}


@contextlib.contextmanager
def upstream(status=200, body=None, context=None):
    s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    s.daemon_threads = True
    s.asked, s.answer = [], (status, LIST if body is None else body)
    if context:
        s.socket = context.wrap_socket(s.socket, server_side=True)
    t = threading.Thread(target=s.serve_forever, daemon=True)
    t.start()
    s.url = f"http{'s' if context else ''}://127.0.0.1:{s.server_port}/v1"
    try:
        yield s
    finally:
        s.shutdown()
        s.server_close()


def with_llm(conf, url, model="m-small", **more):
    return conf(llm={"base_url": url, "api_key_env": "UP_KEY", "models": [{"name": "small", "model": model, "class": "small",
                                                                          "price": {"input": 1, "output": 2}}], **more})


GOOD = {"UP_KEY": "good-key"}


def test_upstream_answers(data, conf):
    with upstream() as u:
        checks = doctor(data, "--config", with_llm(conf, u.url), env=GOOD, status=0)
        one(checks, "upstream", "ok", "takes the key")
        assert u.asked == [("/v1/models", "Bearer good-key")]  # once, and nothing that is paid for
        one(doctor(data, "--config", with_llm(conf, u.url, "m-gone"), env=GOOD, status=0), "upstream", "warning", "m-gone")
        checks = doctor(data, "--config", with_llm(conf, u.url), env={"UP_KEY": "wrong-key"}, status=1)
        one(checks, "upstream", "problem", "401", "not accepted")
        assert "wrong-key" not in json.dumps(checks)
        u.asked.clear()
        one(doctor(data, "--config", with_llm(conf, u.url), status=1), "keys", "problem", "UP_KEY")
        assert not u.asked


def test_scripted_upstream(data, conf):
    with Sim({"m-small": ""}) as sim:
        checks = doctor(data, "--config", with_llm(conf, sim.url), env=GOOD)
        assert of(checks, "upstream")
        assert sim.stats()["models"]["m-small"].get("requests", 0) == 0


@pytest.mark.parametrize("status, body, level, word", [(404, {}, "warning", "base_url"), (429, {}, "warning", "limit"),
                                                      (500, {}, "problem", "HTTP 500"), (200, {"hello": 1}, "warning", "list of models")])
def test_upstream_refuses(data, conf, status, body, level, word):
    with upstream(status, body) as u:
        one(doctor(data, "--config", with_llm(conf, u.url), env=GOOD), "upstream", level, word)


def test_upstreams_that_cannot_be_reached_are_asked_at_the_same_time(data, conf):
    with upstream(None) as u, upstream(None) as v:
        f = conf(llm={"providers": [{"name": "silent", "base_url": u.url}, {"name": "mute", "base_url": v.url},
                                    {"name": "closed", "base_url": f"http://127.0.0.1:{free_port()}/v1"},
                                    {"name": "nowhere", "base_url": "http://no-such-host.invalid/v1"}],
                      "models": [{"name": n, "model": "m", "provider": n, "class": "small", "price": {"input": 1, "output": 1}}
                                 for n in ("silent", "mute", "closed", "nowhere")]})
        began = time.monotonic()
        checks = doctor(data, "--config", f, status=1)
        assert time.monotonic() - began < 11
        one(checks, "upstream", "problem", "silent", "no answer")
        one(checks, "upstream", "problem", "mute", "no answer")
        one(checks, "upstream", "problem", "closed", "no connection")
        one(checks, "upstream", "problem", "nowhere", "does not resolve")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for 127.0.0.1 of its own making, good for 10 days."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl")
    d = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "10", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", d / "key.pem", "-out", d / "cert.pem"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(d / "cert.pem", d / "key.pem")
    return context, d / "cert.pem"


def test_tls(data, conf, certificate):
    context, ca = certificate
    with upstream(context=context) as u:
        one(doctor(data, "--config", with_llm(conf, u.url), env=GOOD, status=1), "upstream", "problem", "TLS", "ca_file")
        checks = doctor(data, "--config", with_llm(conf, u.url, ca_file=str(ca)), env=GOOD, status=0)
        one(checks, "upstream", "ok", "takes the key")
        one(checks, "certificate", "warning", "renewed")


def test_budget_that_is_used_up(data, conf, serve, docs):
    assert ragd("ingest", "--data", data, docs).returncode == 0
    with Sim({"m-small": ""}) as sim:
        f = with_llm(conf, sim.url)
        s = serve("--config", f, env=GOOD).ready()
        assert s.request("POST", "/v1/query", {"query": "白金卡年费多少？"})[0] == 200
        s.stop()
    c = json.loads(f.read_text())
    one(doctor(data, "--config", f, env=GOOD), "budget", "ok", "this day")
    f.write_text(json.dumps({**c, "budget": {"daily_cny": 0.0001, "monthly_cny": 1000}}))
    one(doctor(data, "--config", f, env=GOOD, status=1), "budget", "problem", "this day", "extracts")
