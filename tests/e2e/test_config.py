"""`ragd config`: template, check, show."""
import json
import re

from conftest import ragd


def test_template_is_accepted_and_says_everything(tmp_path):
    t = ragd("config", "--print-default")
    assert t.returncode == 0
    f = tmp_path / "ragd.yaml"
    f.write_text(t.out)
    assert ragd("config", "--check", f).returncode == 0
    # every line uncommented is the default configuration
    f.write_text("\n".join(re.sub(r"^( *)# ([a-z_0-9]+: )", r"\1\2", line) for line in t.out.splitlines()) + "\n")
    p = ragd("config", "--check", f)
    assert p.returncode == 0, p.err
    default = json.loads(ragd("config", "--show", "--json").out)["values"]
    given = json.loads(ragd("config", "--config", f, "--json").out)["values"]
    assert {k: v["value"] for k, v in default.items()} == {k: v["value"] for k, v in given.items()}
    assert all(v["origin"].startswith(str(f) + ":") for v in given.values())


def test_check_gives_every_error_with_its_line(tmp_path):
    f = tmp_path / "bad.yaml"
    f.write_text("listen: 8001\nretreival:\n  bm25: 1\ncache:\n  ttl_s: 60\nlimits:\n  queries: many\n")
    p = ragd("config", "--check", f)
    assert p.returncode == 1 and p.out == ""
    lines = p.err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"ragd: config: {f}:1:9: listen: ")
    assert lines[1].startswith(f"ragd: config: {f}:2:1: retreival: unknown key: did you mean 'retrieval'")
    assert lines[2].startswith(f"ragd: config: {f}:5:3: cache.ttl_s: not yet supported")
    assert lines[3].startswith(f"ragd: config: {f}:7:12: limits.queries: ")
    assert ragd("config", "--check", tmp_path / "none.yaml").returncode == 1


def test_show_names_origins_and_what_is_not_used(tmp_path):
    f = tmp_path / "c.yaml"
    f.write_text("profile: cost\n")
    p = ragd("config", "--show", "--config", f, "--data", "/x", env={
        "RAGD_LOG_LEVEL": "warn", "CORS_ORIGINS": "http://localhost:5173", "OPENAI_API_KEY": "sk-secret",
        "REDIS_URL": "redis://u:pw@h"})
    assert p.returncode == 0
    assert re.search(r'^data: "/x" +# flag --data$', p.out, re.M)
    assert re.search(rf'^profile: "cost" +# {f}:1$', p.out, re.M)
    assert re.search(r"^  queries: 500 +# profile cost$", p.out, re.M)
    assert re.search(r'^  level: "warn" +# environment RAGD_LOG_LEVEL$', p.out, re.M)
    assert re.search(r'^cors_origins: \["http://localhost:5173"\] +# environment CORS_ORIGINS$', p.out, re.M)
    assert "OPENAI_API_KEY: not used: no model is named" in p.out and "REDIS_URL: not used" in p.out
    assert "sk-secret" not in p.out and "pw" not in p.out


def test_an_upstream_of_the_first_adopters_is_shown_with_its_origin_and_without_its_key(tmp_path):
    env = {"SILICONFLOW_API_KEY": "sk-secret", "RAGD_LLM_MODEL": "vendor/chat", "DAILY_BUDGET_CNY": "12.5"}
    p = ragd("config", env=env)
    assert p.returncode == 0, p.err
    assert re.search(r'^  base_url: "https://api\.siliconflow\.cn/v1" +# environment SILICONFLOW_API_KEY$', p.out, re.M)
    assert re.search(r'^  api_key_env: "SILICONFLOW_API_KEY" +# environment SILICONFLOW_API_KEY$', p.out, re.M)
    assert re.search(r"^  daily_cny: 12\.5 +# environment DAILY_BUDGET_CNY$", p.out, re.M)
    assert "sk-secret" not in p.out
    f = tmp_path / "c.yaml"
    f.write_text("llm:\n  models:\n    - {name: a, price: {input: 0.000001, output: 2.8}}\n    - {name: a}\n")
    p = ragd("config", "--check", f, env=env)
    assert p.returncode == 1
    assert p.err.splitlines()[0].startswith(f"ragd: config: {f}:4:7: llm.models[1]: 'a' is the name or alias")
    f.write_text("llm:\n  models:\n    - {name: a, price: {input: 0.000001, output: 2.8}}\n")
    env.pop("RAGD_LLM_MODEL")
    o = json.loads(ragd("config", "--json", "--config", f, env=env).out)
    m = o["values"]["llm.models"]["value"][0]
    assert m["price"] == {"input": 1e-6, "cached_input": 1e-6, "output": 2.8} and m["class"] == "medium"
    assert o["values"]["llm.models"]["origin"] == f"{f}:3"
    assert "sk-secret" not in json.dumps(o)


def test_a_missing_upstream_key_is_named(tmp_path):
    f = tmp_path / "c.yaml"
    f.write_text("llm: {base_url: 'http://127.0.0.1:9/v1', model: m, api_key_env: NO_SUCH_KEY}\n")
    p = ragd("config", "--check", f)  # may be set elsewhere than here
    assert p.returncode == 0 and "NO_SUCH_KEY is not set" in p.err
    p = ragd("serve", "--config", f, "--data", tmp_path / "data", "--listen", "127.0.0.1:0")
    assert p.returncode == 1 and "NO_SUCH_KEY is not set" in p.err
    assert not (tmp_path / "data").exists()


def test_server_logs_what_is_not_used_and_shows_its_configuration(serve):
    s = serve(env={"OPENAI_API_KEY": "sk-secret"})
    status, o = s.request("GET", "/v1/config")
    assert status == 200 and o["values"]["limits.queries"]["value"] == 1000
    assert len(o["notes"]) == 1 and "OPENAI_API_KEY" in o["notes"][0]
    assert s.log_text().count("OPENAI_API_KEY") == 1 and "sk-secret" not in s.log_text()


def test_user_words_change_the_index(data, tmp_path):
    words = tmp_path / "words.txt"
    f = tmp_path / "c.yaml"
    f.write_text(f"text: {{user_words_file: {words}}}\n")
    p = ragd("query", "--data", data, "--config", f, "x")
    assert p.returncode == 1
    assert ragd("ingest", "--data", data, "-", stdin='{"id":"a","text":"小白领金卡权益"}\n').returncode == 0
    p = ragd("query", "--data", data, "--config", f, "小白领金卡")
    assert p.returncode == 1 and "text.user_words_file" in p.err
    words.write_text("# house terms\n小白领金卡\n", "utf-8")
    p = ragd("query", "--data", data, "--config", f, "--json", "--explain", "小白领金卡")
    assert p.returncode == 0, p.err
    o = json.loads(p.out)
    assert "小白领金卡" in [t["term"] for t in o["explain"]["analysis"]["terms"]]
    assert o["contexts"]
