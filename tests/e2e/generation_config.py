"""What the tests of generation share: a scripted upstream, a server that asks it, streams read event by event, the ledger.

    with Generation(folder, {"small": "cite=1", "medium": ""}) as g:
        a = g.ask("白金卡年费多少？")
        assert a["cost_cny"] * 1e9 == g.bill("small")
"""
import contextlib
import http.client
import json
import pathlib
import re
import shutil
import socket
import sqlite3
import tempfile
import time

import conftest
import openapi_check
from llmsim import Sim

SAMPLE = pathlib.Path(__file__).resolve().parents[2] / "sample" / "docs"
PRICES = {"large": (1.4, 2.8), "medium": (0.7, 1.4), "small": (0.2, 0.4)}  # CNY per million tokens: input, output
SIMPLE = "白金卡年费多少？"
COMPLEX = "请详细对比百夫长卡和白金卡的权益差异"
# Whole tests take seconds with these; what they bound is bounded by the same code with the real ones.
CLOCKS = {"connect_ms": 200, "first_token_ms": 400, "inter_token_ms": 400, "answer_ms": 3000}
RETRY = {"attempts": 3, "initial_ms": 50, "factor": 2, "max_ms": 200}

CJK = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_sample_data = {}


def nano(model, prompt, completion):
    """Exact: each price is a whole number of nano-CNY a token."""
    price_in, price_out = (round(p * 1000) for p in PRICES[model])
    return prompt * price_in + completion * price_out


def nano_of(answer):
    return round(answer["cost_cny"] * 1e9)


def count_tokens(text):
    """As ragd counts where nobody tells: a CJK character is one, of other text four bytes are."""
    other = CJK.sub("", text)
    return len(text) - len(other) + (len(other.encode()) + 3) // 4


def fill(data):
    """The sample documents as a data folder: ingested once a run, copied for each test."""
    if "folder" not in _sample_data:
        keep = tempfile.TemporaryDirectory(prefix="ragd-generation-")
        folder = pathlib.Path(keep.name) / "data"
        p = conftest.ragd("ingest", "--data", folder, SAMPLE, timeout=300)
        assert p.returncode == 0, p.err
        _sample_data.update(keep=keep, folder=folder)
    shutil.copytree(_sample_data["folder"], data)


def config(base_url, models=("small",), **sections):
    """One provider; sections replace or extend what is here, one level deep. JSON is YAML."""
    c = {"embedding": {"provider": "none"},
         "llm": {"base_url": base_url, "timeouts": CLOCKS,
                 "models": [{"name": m, "class": m, "price": dict(zip(("input", "output"), PRICES[m]))} for m in models]},
         "retry": RETRY}
    for name, values in sections.items():
        c[name] = {**c.get(name, {}), **values} if isinstance(values, dict) else values
        if isinstance(values, dict):
            c[name] = {k: v for k, v in c[name].items() if v is not None}
    return c


def ledger_rows(data):
    """All calls, as dicts, from a copy: the server has the file."""
    copy = pathlib.Path(data).parent / "ledger-copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for name in ("ledger.db", "ledger.db-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy(pathlib.Path(data) / name, copy / name)
    db = sqlite3.connect(copy / "ledger.db")
    try:
        db.row_factory = sqlite3.Row
        db.text_factory = lambda raw: raw.decode("utf-8", "replace")
        return [dict(r) for r in db.execute("SELECT * FROM calls ORDER BY id")]
    finally:
        db.close()



class Stream:
    """A question with stream: true on a socket of its own, that may be read, left unread or closed at any moment."""

    def __init__(self, port, body, headers=None, receive_buffer=0, timeout=30):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        raw = json.dumps(body).encode()
        head = "".join(f"{k}: {v}\r\n" for k, v in (headers or {}).items())
        self.socket.sendall(f"POST /v1/query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{head}"
                            f"Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
        self.response = None

    def widen(self, receive_buffer):
        """From now on read with a larger buffer."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        if self.response:
            self.response.close()
        self.socket.close()

    def __iter__(self):
        """(event, data) one after the other, until the end of the body."""
        if not self.response:
            self.response = http.client.HTTPResponse(self.socket, method="POST")
            self.response.begin()
            assert self.response.status == 200, self.response.read()
            assert self.response.getheader("Content-Type").startswith("text/event-stream")
        event = data = None
        while True:
            line = self.response.readline()
            if not line:
                return
            line = line.decode().rstrip("\n")
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: "):
                data = json.loads(line[6:])
            elif not line and event:
                openapi_check.check_event("/v1/query", event, data)
                yield event, data
                event = data = None

    def until(self, name):
        """The data of the next such event."""
        for event, data in self:
            if event == name:
                return data
        raise AssertionError(f"no {name} came")


class Events:
    """A stream that was read to its end: what came, sorted."""

    def __init__(self, events):
        self.all = list(events)
        self.names = [e for e, _ in self.all]
        self.text = "".join(d["text"] for e, d in self.all if e == "token")

    def one(self, name):
        found = [d for e, d in self.all if e == name]
        assert len(found) == 1, (name, self.names)
        return found[0]

    def right(self):
        """What holds for every answer; returns done."""
        done = self.one("done")
        assert self.names[0] == "context" and self.names[-1] == "done", self.names
        if "degraded" in self.names:
            d = self.one("degraded")
            assert self.names[-2] == "degraded" and done["degraded"] and done["source"] == "extract"
            assert d["answer"] == done["answer"] and d["reason"] == done["degraded_reason"]
            assert d["replaces"] == ("token" in self.names)
        else:
            assert not done["degraded"] and self.text == done["answer"]
        check_answer({**done, "contexts": self.one("context")["contexts"]})
        return done


def check_answer(a):
    """A right answer or a marked degraded one."""
    assert a["answer"] and (a["degraded"] == (a["source"] == "extract")) and (a["degraded_reason"] is not None) == a["degraded"]
    assert (a["model"] is None) == a["degraded"]
    chunks = {c["chunk_id"] for c in a["contexts"]}
    assert all(c["chunk_id"] in chunks and f"[{c['n']}]" in a["answer"] for c in a["citations"]), a
    return a


class Generation:
    """models: {name: spec of the upstream}, each of its own class; sections of the configuration by keyword. `data` may
    be a folder that is filled already. configuration: the whole of it, instead."""

    def __init__(self, folder, models, env=None, configuration=None, preexec=None, sim=None, **sections):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.data.exists():
            fill(self.data)
        self.sim = sim or Sim(models)
        self.env, self.preexec = env, preexec
        self.file = self.folder / "ragd.yaml"
        self.file.write_text(json.dumps(configuration or config(self.sim.url, tuple(models), **sections)), "utf-8")
        try:
            self.start()
        except BaseException:
            self.sim.stop()
            raise

    def start(self):
        self.server = conftest.Server(self.data, "--config", self.file, env=self.env, preexec=self.preexec).ready()

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        try:
            if kind is None:
                assert self.server.stop() == 0, self.server.log_text()
        finally:
            if self.server.process.poll() is None:
                self.server.process.kill()
                self.server.process.wait()
            self.sim.stop()

    def ask(self, query=SIMPLE, timeout=30, headers=None, **body):
        status, a = self.server.request("POST", "/v1/query", {"query": query, **body}, headers, timeout)
        assert status == 200, a
        return check_answer(a)

    def open(self, query=SIMPLE, headers=None, receive_buffer=0, **body):
        return Stream(self.server.port, {"query": query, "stream": True, **body}, headers, receive_buffer)

    def stream(self, query=SIMPLE, **body):
        with self.open(query, **body) as s:
            return Events(s)

    def health(self):
        return self.server.request("GET", "/health")[1]

    def breaker(self, model):
        return self.health()["breakers"][model]

    def metric(self, name, **labels):
        """The value of a series; None when there is none."""
        want = {f'{k}="{v}"' for k, v in labels.items()}
        for line in self.server.request("GET", "/metrics")[1].decode().splitlines():
            head, _, value = line.rpartition(" ")
            series, _, rest = head.partition("{")
            if series == name and want <= set(rest.rstrip("}").split(",")):
                return float(value)
        return None

    def bill(self, *models):
        """What the upstream asks for, in nano-CNY."""
        s = self.sim.stats()["models"]
        return sum(nano(m, s[m]["billed_prompt"], s[m]["billed_completion"]) for m in models or PRICES if m in s)

    def ledger(self, timeout=20):
        """The calls in the ledger once none is open any more."""
        end, seen = time.monotonic() + timeout, None
        while time.monotonic() < end:
            try:
                seen = ledger_rows(self.data)
                if all(r["state"] for r in seen):
                    return seen
            except sqlite3.DatabaseError as e:  # copied while it was written
                seen = e
            time.sleep(.05)
        raise AssertionError(f"calls stay open in the ledger: {seen!r}")


def outcomes(answer, model=None):
    """Of the attempts in explain: all, or those of one model."""
    attempts = answer["explain"]["generation"]["attempts"]
    return [a["outcome"] for a in attempts if model in (None, a["model"])]
