#!/usr/bin/env python3
"""What ragd adds to a model's streamed answer, beside two gateways, paired in one run.

usage: bench/gateway.py [--install] [--build build] [--blocks 10] [--sequential 50] [--concurrent 160] [--seed 1] [--json]
       bench/gateway.py --many 500 [--build build] [--query TEXT]

Four ways to the same scripted upstream (llmsim: 20 ms to the first token, then 20 tokens at 1000 a second): straight to
it; ragd's POST /v1/query, which also retrieves from the sample documents, reserves the money in a durable ledger, checks
the citations and writes the history; Portkey's gateway; LiteLLM's proxy. Each block measures all four in random order,
one request after the other and then 16 at once, with bench/streams on connections that stay open. Overhead is what a
system takes beyond straight, within the same block; ratios are medians over the blocks.

--many: so many streams of ragd at once, 1000 tokens each at 50 a second: gaps, CPU time, memory a stream, and how late the
upstream itself was (worst_late_ms), as one JSON object.

Needs build/ragd, build/llmsim, build/streams. The peers are pinned and live in BUILD/peers; --install puts them there
(npm, pip). One that is missing or does not start is named and left out."""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
import venv

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bench"))
from latency import cpu_name, free_port, pct  # noqa: E402

# With a newer @hono/node-server it answers every stream with 500 (its issue 1389).
PORTKEY = {"dependencies": {"@portkey-ai/gateway": "1.15.2"}, "overrides": {"@hono/node-server": "1.13.8"}}
SPEC = "ttft_ms=20,tps=1000,tokens=20"
KEY = "sk-" + secrets.token_hex(32)  # LiteLLM's proxy wants one
MODELS = {"large": 1.4, "medium": .7, "small": .2}  # CNY per million input tokens; output is twice that
AT_ONCE = 16
MANY = "ttft_ms=300,tps=50,tokens=1000"


def install(peers):
    node = peers / "node"
    node.mkdir(parents=True, exist_ok=True)
    (node / "package.json").write_text(json.dumps(PORTKEY))
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=node, check=True)
    venv.create(peers / "venv", with_pip=True)
    subprocess.run([peers / "venv/bin/pip", "install", "-q", "-r", ROOT / "bench/requirements-gateway.txt"], check=True)


def answers(port, path):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        c.request("GET", path)
        return c.getresponse().status == 200
    except OSError:
        return False
    finally:
        c.close()


@contextlib.contextmanager
def process(args, log, env=None, seconds=90, port=None, path="/", line=None):
    """Yields the port once it serves: `port` answers `path`, or the log shows `line` with the number."""
    with open(log, "wb") as out:
        p = subprocess.Popen([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                             env={**os.environ, **(env or {})})
    try:
        end = time.monotonic() + seconds
        while True:
            found = line and re.search(line, pathlib.Path(log).read_text("utf-8", "replace"))
            if found or (not line and answers(port, path)):
                yield int(found.group(1)) if found else port
                return
            if p.poll() is not None or time.monotonic() > end:
                raise RuntimeError(pathlib.Path(log).read_text("utf-8", "replace")[-500:].strip() or "it says nothing")
            time.sleep(.05)
    finally:
        p.terminate()
        try:
            p.wait(20)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()


def ragd(build, tmp, upstream, **more):
    config = {"data": str(tmp / "data"), "listen": "127.0.0.1:0", "embedding": {"provider": "none"}, "llm": {
        "base_url": upstream,
        "models": [{"name": m, "class": m, "price": {"input": x, "output": 2 * x}} for m, x in MODELS.items()]}, **more}
    file = tmp / "ragd.yaml"
    file.write_text(json.dumps(config))
    subprocess.run([build / "ragd", "ingest", "--config", file, ROOT / "sample/docs"], check=True, stdout=subprocess.DEVNULL)
    return process([build / "ragd", "serve", "--config", file], tmp / "ragd.log",
                   line=r'"msg":"serving","url":"http://127\.0\.0\.1:(\d+)"')


def portkey(build, tmp, upstream):
    port = free_port()
    server = build / "peers/node/node_modules/@portkey-ai/gateway/build/start-server.js"
    if not server.exists():
        raise RuntimeError("not installed; --install")
    return process(["node", server, f"--port={port}", "--headless"], tmp / "portkey.log", port=port,
                   env={"NODE_ENV": "production"})


def litellm(build, tmp, upstream):
    port = free_port()
    file = tmp / "litellm.yaml"
    file.write_text(json.dumps({"model_list": [{"model_name": "large", "litellm_params": {
        "model": "openai/large", "api_base": upstream, "api_key": "none"}}]}))
    server = build / "peers/venv/bin/litellm"
    if not server.exists():
        raise RuntimeError("not installed; --install")
    return process([server, "--config", file, "--host", "127.0.0.1", "--port", port, "--telemetry", "False"],
                   tmp / "litellm.log", port=port, path="/health/liveliness",
                   env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MASTER_KEY": KEY})


def start(name, make, stack, *args):
    try:
        return stack.enter_context(make(*args))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as e:
        print(f"gateway: {name} is left out: {e}", file=sys.stderr)
        return None


def measure(build, tmp, options, streams, requests):
    """[(first token, end)] in ms of complete answers; anything else ends the run."""
    samples = tmp / "samples"
    p = subprocess.run([build / "streams", "--streams", str(streams), "--requests", str(requests), "--timeout-s", "60",
                        "--samples", samples, *options], capture_output=True, text=True)
    if p.returncode:
        sys.exit(f"gateway: {options[-1]}: {p.stdout[:400]}{p.stderr}")
    rows = [[float(x) for x in line.split()] for line in samples.read_text().splitlines()]
    return [(r[2], r[3]) for r in rows]


def summary(blocks, direct, which):
    """which: 0 first token, 1 end. Of all samples, and paired by block."""
    mine = [[s[which] for s in b] for b in blocks]
    base = [[s[which] for s in b] for b in direct]
    every = sum(mine, [])
    return {"p50_ms": pct(every, .5), "p99_ms": pct(every, .99),
            "over_p50_ms": statistics.median(pct(m, .5) - pct(b, .5) for m, b in zip(mine, base)),
            "over_p99_ms": statistics.median(pct(m, .99) - pct(b, .99) for m, b in zip(mine, base)),
            "over_p50_by_block": [pct(m, .5) - pct(b, .5) for m, b in zip(mine, base)]}


def ratios(systems, peer):
    """ragd's overhead as a share of the peer's: of p50 the median over blocks, of p99 that of the medians over blocks (one
    noisy block does not decide; None: the peer's is not above zero)."""
    out = {}
    for what in ("first_token", "total"):
        ours, theirs = systems["ragd"][what], systems[peer][what]
        out[what] = {"p50": statistics.median(a / b for a, b in zip(ours["over_p50_by_block"], theirs["over_p50_by_block"])),
                     "p99": ours["over_p99_ms"] / theirs["over_p99_ms"] if theirs["over_p99_ms"] > 0 else None}
    return out


def show(res):
    print(f"{res['cpu']}; {res['blocks']} blocks; upstream {SPEC}")
    for mode in ("sequential", "concurrent"):
        r = res[mode]
        print(f"\n{mode}, {r['answers_of_each']} answers of each; ms")
        print(f"{'':10} {'total p50':>10} {'p99':>8} {'over p50':>9} {'over p99':>9}   {'token p50':>9} {'p99':>8} {'over p50':>9} {'over p99':>9}")
        for name, s in r["systems"].items():
            print(f"{name:10}", *(f"{s[w][k]:{n}.2f}" for w in ("total", "first_token") for k, n in (
                ("p50_ms", 10 if w == "total" else 11), ("p99_ms", 8), ("over_p50_ms", 9), ("over_p99_ms", 9))))
        for peer, x in r["ragd_to"].items():
            print(f"ragd's overhead / {peer}'s:", *(f"{what.replace('_', ' ')} {p} " + ("-" if v is None else f"{v:.2f}")
                                                    for what in ("total", "first_token") for p, v in x[what].items()))


def many(build, n, query):
    """n streams at once through ragd; what bench/streams saw, and the upstream's own lateness."""
    with contextlib.ExitStack() as stack:
        tmp = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sim = stack.enter_context(process([build / "llmsim", "--models", *(f"{m}={MANY}" for m in MODELS)], tmp / "sim.log",
                                          line=r"listening on 127\.0\.0\.1:(\d+)"))
        port = stack.enter_context(ragd(build, tmp, f"http://127.0.0.1:{sim}/v1", generation={"output_tokens": [1000] * 3},
                                        limits={"generations": n, "queries": max(1000, n)}))
        log = (tmp / "ragd.log").read_text("utf-8", "replace")
        pid = re.search(r'"msg":"serving".*"pid":(\d+)', log).group(1)
        call = [build / "streams", "--timeout-s", "180", *(["--query", query] if query else [])]
        address = f"127.0.0.1:{port}"
        subprocess.run([*call, address], check=True, stdout=subprocess.DEVNULL)  # the first of all opens files and caches
        p = subprocess.run([*call, "--streams", str(n), "--watch", pid, address], capture_output=True, text=True)
        res = json.loads(p.stdout)
        c = http.client.HTTPConnection("127.0.0.1", sim, timeout=5)
        c.request("GET", "/sim/stats")
        total = json.loads(c.getresponse().read())["total"]
        c.close()
    return {"cpu": cpu_name(), "cores": os.cpu_count(), **res, "upstream": {
        "spec": MANY, "worst_late_ms": total["worst_late_ms"], "most_open": total["most_open"]}}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    ap.add_argument("--install", action="store_true")
    ap.add_argument("--blocks", type=int, default=10)
    ap.add_argument("--sequential", type=int, default=50)
    ap.add_argument("--concurrent", type=int, default=160)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--json", action="store_true")
    ap.add_argument("--many", type=int)
    ap.add_argument("--query")
    a = ap.parse_args()
    build = a.build.resolve()
    if a.many:
        print(json.dumps(many(build, a.many, a.query)))
        return
    if a.install:
        install(build / "peers")
    with contextlib.ExitStack() as stack:
        tmp = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sim = stack.enter_context(process([build / "llmsim", "--models", *(f"{m}={SPEC}" for m in MODELS)], tmp / "sim.log",
                                          line=r"listening on 127\.0\.0\.1:(\d+)"))
        upstream = f"http://127.0.0.1:{sim}/v1"
        ways = {"direct": ["--direct", f"127.0.0.1:{sim}"]}
        port = start("ragd", ragd, stack, build, tmp, upstream) or sys.exit(1)
        ways["ragd"] = [f"127.0.0.1:{port}"]
        if port := start("portkey", portkey, stack, build, tmp, upstream):
            ways["portkey"] = ["--direct", "--header", "x-portkey-provider: openai", "--header",
                               f"x-portkey-custom-host: {upstream}", "--header", "Authorization: Bearer none", f"127.0.0.1:{port}"]
        if port := start("litellm", litellm, stack, build, tmp, upstream):
            ways["litellm"] = ["--direct", "--header", f"Authorization: Bearer {KEY}", f"127.0.0.1:{port}"]
        modes = {"sequential": (1, a.sequential), "concurrent": (AT_ONCE, a.concurrent)}
        got = {mode: {name: [] for name in ways} for mode in modes}
        for options in ways.values():
            measure(build, tmp, options, AT_ONCE, 100)  # warm
        draw = random.Random(a.seed)
        for _ in range(a.blocks):
            for mode, (streams, requests) in modes.items():
                for name in draw.sample(sorted(ways), len(ways)):
                    got[mode][name].append(measure(build, tmp, ways[name], streams, requests))
    res = {"cpu": cpu_name(), "cores": os.cpu_count(), "blocks": a.blocks, "upstream": SPEC}
    for mode, by_name in got.items():
        systems = {n: {w: summary(b, by_name["direct"], i) for i, w in enumerate(("first_token", "total"))}
                   for n, b in by_name.items()}
        res[mode] = {"answers_of_each": a.blocks * modes[mode][1], "systems": systems,
                     "ragd_to": {p: ratios(systems, p) for p in ("portkey", "litellm") if p in systems}}
    print(json.dumps(res)) if a.json else show(res)


if __name__ == "__main__":
    main()
