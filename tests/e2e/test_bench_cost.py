"""ragd bench cost: the figures are those of real prompts, and of real answers where an upstream gives them."""
import json

import pytest

from conftest import ROOT, ragd
from llmsim import Sim

NAMES = ["baseline", "balanced", "latency", "throughput", "cost"]
PRICES = {"large": (1.4, 2.8), "medium": (.7, 1.4), "small": (.2, .4)}
QUESTIONS = ROOT / "sample" / "questions.jsonl"


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "data"
    r = ragd("ingest", "--data", folder, ROOT / "sample" / "docs")
    assert r.returncode == 0, r.err
    return folder


def report(folder, *args, questions=QUESTIONS, **kw):
    r = ragd("bench", "cost", "--data", folder, "--questions", questions, "--json", *args, **kw)
    assert r.returncode == 0, r.err
    j = json.loads(r.out)
    assert [x["name"] for x in j["rows"]] == NAMES
    return j, {x["name"]: x for x in j["rows"]}


@pytest.fixture(scope="module")
def simulated(sample):
    return report(sample)


def test_every_profile_costs_less_than_the_baseline(simulated):
    j, rows = simulated
    assert j["answers"] == "extract" and j["questions"] == len(QUESTIONS.read_text("utf-8").splitlines())
    assert rows["baseline"]["classes"] == {"small": 0, "medium": 0, "large": 1} and rows["baseline"]["share"] == 1
    for name in NAMES[1:]:
        assert 0 < rows[name]["share"] < 1
        assert rows[name]["answer_tokens"]["mean"] > 10 and rows[name]["answer_tokens"]["p95"] > rows[name]["answer_tokens"]["p50"]
        assert rows[name]["share_p5"] <= rows[name]["share_each_once"] <= rows[name]["share_p95"]
        assert sum(rows[name]["classes"].values()) == pytest.approx(1, abs=1e-5)
    assert rows["cost"]["share"] < rows["balanced"]["share"]


def test_what_is_promised_is_compared(simulated):
    rows = simulated[1]
    for name, share, cny in (("balanced", .4, .13), ("cost", .25, .08)):
        p, x = rows[name]["promised"], rows[name]
        assert (p["share"], p["at_200_tokens_cny_per_1000"]) == (share, cny)
        assert p["share_kept"] == (x["share"] <= share)
        assert p["at_200_tokens_kept"] == (x["at_200_tokens_cny_per_1000"] < cny)
        assert p["cache_hit_rate_needed"] == pytest.approx(max(0, 1 - cny / x["cny_per_1000"]), abs=1e-4)
    assert "promised" not in rows["latency"]


def test_the_same_run_gives_the_same_figures(sample, simulated):
    assert report(sample)[0] == simulated[0]


def test_one_question_costs_what_its_tokens_cost(sample, tmp_path):
    """With one question and N tokens of answer, cost is price x tokens, to the last digit."""
    f = tmp_path / "one.txt"
    f.write_text("白金卡年费多少？\n", "utf-8")
    rows = report(sample, "--output-tokens", "50", questions=f)[1]
    for name, x in rows.items():
        (cls,) = [c for c, part in x["classes"].items() if part == 1]
        price, prompt = PRICES[cls], x["prompt_tokens"]["mean"]
        assert x["answer_tokens"]["mean"] == 50
        assert x["cny_per_1000"] == pytest.approx((prompt * price[0] + 50 * price[1]) / 1000, abs=2e-6)
        assert x["at_200_tokens_cny_per_1000"] == pytest.approx((200 * price[0] + 50 * price[1]) / 1000, abs=2e-6)
        assert x["rules_tokens"] < x["shortest_prompt_tokens"]["mean"] <= prompt


def test_the_output_budget_bounds_assumed_answers(sample, tmp_path):
    f = tmp_path / "one.txt"
    f.write_text("白金卡年费多少？\n", "utf-8")
    rows = report(sample, "--output-tokens", "9000", questions=f)[1]
    assert rows["balanced"]["answer_tokens"]["mean"] == 100


def test_an_upstream_is_asked_and_its_usage_counts(sample, tmp_path):
    f = tmp_path / "some.jsonl"
    texts = ["白金卡年费多少？", "怎么用积分兑换里程？", "请详细对比百夫长卡和白金卡的权益差异", "客户说太贵了"]
    f.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts), "utf-8")
    before = {p.name for p in sample.iterdir()}
    with Sim({"default": "ttft_ms=0,tps=0,tokens=30"}) as sim:
        j, rows = report(sample, "--upstream", sim.url + "/", questions=f)
        total = sim.stats()["total"]
    assert j["answers"] == "models" and total["requests"] == 4 * len(NAMES)
    for x in rows.values():
        assert x["answer_tokens"] == {"mean": 30, "p50": 30, "p95": 30} and x["degraded"] == 0
    weighted = sum(x["prompt_tokens"]["mean"] for x in rows.values())
    assert weighted * 2 < total["billed_prompt"] < weighted * 8  # four questions, about a quarter of the weight each
    assert {p.name for p in sample.iterdir()} == before  # its accounts are nobody's


def test_a_call_that_fails_is_told(sample, tmp_path):
    f = tmp_path / "some.txt"
    f.write_text("白金卡年费多少？\n请详细对比百夫长卡和白金卡的权益差异\n", "utf-8")
    with Sim({"default": "ttft_ms=0,tps=0,tokens=30", "large": "fail=http_400"}) as sim:
        rows = report(sample, "--upstream", sim.url, questions=f)[1]
    assert rows["baseline"]["fallback"] == 2 and rows["baseline"]["classes"]["large"] == 0
    with Sim({"default": "fail=http_400"}) as sim:
        r = ragd("bench", "cost", "--data", sample, "--questions", f, "--upstream", sim.url)
    assert r.returncode == 1 and "no model answered" in r.err


def test_configured_models_and_prices_count(sample, tmp_path):
    f = tmp_path / "one.txt"
    f.write_text("白金卡年费多少？\n", "utf-8")
    config = tmp_path / "ragd.yaml"
    with Sim({"default": "ttft_ms=0,tps=0,tokens=30"}) as sim:
        config.write_text(f"llm:\n  base_url: {sim.url}\n  models:\n"
                          "    - {name: only, class: medium, price: {input: 10, output: 20}}\n", "utf-8")
        rows = report(sample, "--config", config, "--output-tokens", "simulated", questions=f)[1]
        assert sim.stats()["total"]["requests"] == 0
        called = report(sample, "--config", config, questions=f)[1]
        assert sim.stats()["total"]["requests"] == len(NAMES)
    x = rows["balanced"]
    assert x["classes"]["medium"] == 1 and "promised" not in x
    assert x["cny_per_1000"] == pytest.approx(
        (x["prompt_tokens"]["mean"] * 10 + x["answer_tokens"]["mean"] * 20) / 1000, abs=2e-6)
    assert called["balanced"]["answer_tokens"]["mean"] == 30
    assert json.loads(ragd("report", "--data", sample, "--json").out)["spend"]["calls"] == len(NAMES)


def test_text_says_what_is_assumed(sample):
    r = ragd("bench", "cost", "--data", sample, "--questions", QUESTIONS)
    assert r.returncode == 0, r.err
    assert "no model was asked; assumed: as long as the extract" in r.out
    assert "promised with full contexts" in r.out and "balanced   at most 40 %" in r.out


@pytest.mark.parametrize("args, status, why", [
    ([], 2, "There is cost"),
    (["stress"], 2, "no such mode"),
    (["cost", "--output-tokens", "0"], 2, "1 to 32768"),
    (["cost", "--output-tokens", "12x"], 2, "1 to 32768"),
    (["cost", "--upstream", "localhost"], 2, "base URL"),
    (["cost", "extra"], 2, "takes no arguments"),
])
def test_usage(args, status, why):
    r = ragd("bench", *args)
    assert r.returncode == status and why in r.err


@pytest.mark.parametrize("text, why", [
    ("", "no questions"), ('{"text": 5}\n', ":1: no \"text\""), ('a\n{"text"\n', ":2: "), ("x" * 9000, "8192")])
def test_bad_questions(sample, tmp_path, text, why):
    f = tmp_path / "q"
    f.write_text(text, "utf-8")
    r = ragd("bench", "cost", "--data", sample, "--questions", f)
    assert r.returncode == 1 and why in r.err


def test_no_questions_to_find(sample, tmp_path):
    r = ragd("bench", "cost", "--data", sample, cwd=tmp_path)
    assert r.returncode == 2 and "--questions" in r.err


def test_a_server_holds_the_folder(serve, data, docs):
    assert ragd("ingest", "--data", data, docs).returncode == 0
    serve().ready()
    r = ragd("bench", "cost", "--data", data, "--questions", QUESTIONS)
    assert r.returncode == 1 and "stop it" in r.err and "--data" in r.err
