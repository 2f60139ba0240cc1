"""The real binary on a folder of its own: nothing is faked, every wait is bounded."""
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

import openapi_check

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("RAGD_BIN", ROOT / "build" / "ragd")).resolve()
FOREIGN = ("SILICONFLOW_", "OPENAI_", "REDIS_URL", "DATABASE_URL", "QDRANT_URL", "DAILY_BUDGET_CNY",
           "SEMANTIC_CACHE_THRESHOLD", "CORS_ORIGINS", "LOG_LEVEL", "RAGD_")


openapi_check.install()


def fail_undescribed(outcome):
    """An answer that the API description does not have fails the test that got it."""
    found = openapi_check.take()
    if found and outcome.excinfo is None:
        raise AssertionError("not as src/api/openapi.json describes:\n" + "\n".join(found[:20]))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    fail_undescribed((yield))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    fail_undescribed((yield))


def clean_env(env=None):
    """The environment without what ragd reads, and `env` on top. No model: a test that wants one names it."""
    base = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    return {**base, "RAGD_MODELS": "/nonexistent", **(env or {})}


def default_model():
    """The folder of the cache that holds the default model, as `make model` leaves it; None when it is not there."""
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    folder = pathlib.Path(os.environ.get("RAGD_MODELS") or home / "ragd" / "models")
    return folder if (folder / "multilingual-e5-small.ragm").exists() else None


def ragd(*args, stdin=None, env=None, cwd=None, timeout=60, preexec=None):
    """Runs a command; .out and .err are text."""
    p = subprocess.run([str(BIN), *map(str, args)], input=stdin if stdin is None or isinstance(stdin, bytes)
                       else stdin.encode(), capture_output=True, env=clean_env(env), cwd=cwd, timeout=timeout,
                       preexec_fn=preexec, stdin=subprocess.DEVNULL if stdin is None else None)
    p.out = p.stdout.decode("utf-8", "replace")
    p.err = p.stderr.decode("utf-8", "replace")
    return p


class Server:
    def __init__(self, data, *args, env=None, preexec=None):
        self.data = pathlib.Path(data)
        self.log_path = self.data.parent / (self.data.name + ".log")
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen([str(BIN), "serve", "--data", str(data), "--listen", "127.0.0.1:0", *map(str, args)],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=clean_env(env),
                                        preexec_fn=preexec)
        self.port = self._port()
        openapi_check.watch(self.port, self.process)

    def _port(self):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError("the server ended: " + self.log_text())
            m = re.search(r'"msg":"serving","url":"http://127\.0\.0\.1:(\d+)"', self.log_text())
            if m:
                return int(m.group(1))
            time.sleep(.02)
        raise AssertionError("the server did not start: " + self.log_text())

    def log_text(self):
        return self.log_path.read_text("utf-8", "replace")

    def request(self, method, path, body=None, headers=None, timeout=30):
        """(status, parsed body or bytes)"""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            head = dict(headers or {})
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
                head.setdefault("Content-Type", "application/json")
            c.request(method, path, body, head)
            r = c.getresponse()
            raw = r.read()
            if "json" in (r.getheader("Content-Type") or ""):
                return r.status, json.loads(raw)
            return r.status, raw
        finally:
            c.close()

    def ready(self):
        end = time.monotonic() + 20
        while self.request("GET", "/health/ready")[0] != 200:
            assert time.monotonic() < end, "the server did not get ready"
            time.sleep(.05)
        return self

    def stop(self, sig=signal.SIGTERM):
        """The exit status after a graceful end."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("the server did not stop: " + self.log_text()) from None
        self.log.close()
        return self.process.returncode


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def serve(data):
    """serve(*args) starts a server on `data`; it is stopped at the end."""
    started = []

    def start(*args, folder=data, **kw):
        s = Server(folder, *args, **kw)
        started.append(s)
        return s

    yield start
    for s in started:
        if s.process.poll() is None:
            s.process.kill()
            s.process.wait()


@pytest.fixture
def docs(tmp_path):
    """A small folder of documents."""
    d = tmp_path / "docs"
    (d / "sub").mkdir(parents=True)
    (d / "card.md").write_text("# 白金卡\n\n## 年费\n\n白金卡年费是3600元，首年免年费。\n", "utf-8")
    (d / "sub" / "points.txt").write_text("Points are redeemed in the app. 1000 points are worth 5 yuan.\n", "utf-8")
    (d / "sub" / "fees.csv").write_text("card,fee\nPlatinum,3600\nGold,600\n", "utf-8")
    return d
