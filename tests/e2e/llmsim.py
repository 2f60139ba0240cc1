"""The scripted upstream of tests/llmsim as a process of a test; tests/llmsim/main.c says what a spec may hold.

    with Sim({"small": "ttft_ms=10,fail=http_500@0.2"}) as sim:
        ... sim.url is the base URL, "http://127.0.0.1:PORT/v1" ...
        sim.set("small", "fail=stall,at=3")
        assert sim.stats()["models"]["small"]["client_closed"] == 1
"""
import http.client
import json
import os
import pathlib
import select
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("LLMSIM_BIN", ROOT / "build" / "llmsim")).resolve()


class Sim:
    """models: {name: spec}; keep_bodies: bodies() has the last 100 requests; port 0: a free one. Starts at once."""

    def __init__(self, models=None, keep_bodies=True, port=0):
        self.models, self.keep_bodies, self.port, self.process = dict(models or {}), keep_bodies, port, None
        self.start()

    def start(self):
        """After stop(): again, at the same port and with the models as they were given."""
        args = [str(BIN), "--stdin-guard", "--port", str(self.port), *(["--keep-bodies"] if self.keep_bodies else []),
                "--models", *(f"{name}={spec}" for name, spec in self.models.items())]
        self.process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if not select.select([self.process.stdout], [], [], 20)[0]:
            self.stop()
            raise AssertionError("llmsim says nothing")
        line = self.process.stdout.readline().decode()
        if not line.startswith("llmsim listening on "):
            raise AssertionError(f"llmsim did not start: exit {self.stop()}")
        self.port = int(line.rsplit(":", 1)[1])

    def stop(self):
        """The exit status; None when it was not running."""
        if not self.process:
            return None
        process, self.process = self.process, None
        process.terminate()
        process.stdin.close()
        try:
            return process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(10)
        finally:
            process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def request(self, method, path, body=None):
        """Status and JSON body of a control route."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            c.request(method, path, None if body is None else json.dumps(body))
            r = c.getresponse()
            return r.status, json.loads(r.read())
        finally:
            c.close()

    def _ok(self, *request):
        status, body = self.request(*request)
        assert status == 200, body
        return body

    def set(self, model, spec):
        self._ok("POST", "/sim/set", {"model": model, "spec": spec})

    def reset(self):
        self._ok("POST", "/sim/reset")

    def stats(self, model=None):
        """Everything, or the counters of one model."""
        s = self._ok("GET", "/sim/stats")
        return s["models"][model] if model else s

    def bodies(self):
        return self._ok("GET", "/sim/bodies")["bodies"]

    def until(self, condition, timeout=20):
        """The statistics, as soon as condition(stats) holds."""
        end = time.monotonic() + timeout
        while True:
            s = self.stats()
            if condition(s):
                return s
            assert time.monotonic() < end, s
            time.sleep(.01)
