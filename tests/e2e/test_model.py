"""`ragd model` on tiny model folders that are made here: what it prints, what it refuses, what it leaves behind."""
import json
import math
import os
import pathlib
import random
import resource
import shutil
import signal
import struct
import subprocess

import pytest
from conftest import BIN, clean_env, ragd

HIDDEN, LAYERS, HEADS, INNER, WORDS, POSITIONS = 32, 2, 4, 64, 60, 40


def tensors(xlmr, seed=1):
    """{name: (shape, floats)} of a random encoder."""
    r = random.Random(seed)

    def t(*shape, around=0.0):
        return shape, [around + r.uniform(-.2, .2) for _ in range(math.prod(shape))]

    out = {"embeddings.word_embeddings.weight": t(WORDS, HIDDEN),
           "embeddings.position_embeddings.weight": t(POSITIONS, HIDDEN),
           "embeddings.token_type_embeddings.weight": t(1 if xlmr else 2, HIDDEN),
           "embeddings.LayerNorm.weight": t(HIDDEN, around=1), "embeddings.LayerNorm.bias": t(HIDDEN)}
    for i in range(LAYERS):
        p = f"encoder.layer.{i}."
        for name, n, k in (("attention.self.query", HIDDEN, HIDDEN), ("attention.self.key", HIDDEN, HIDDEN),
                           ("attention.self.value", HIDDEN, HIDDEN), ("attention.output.dense", HIDDEN, HIDDEN),
                           ("intermediate.dense", INNER, HIDDEN), ("output.dense", HIDDEN, INNER)):
            out[p + name + ".weight"], out[p + name + ".bias"] = t(n, k), t(n)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            out[p + name + ".weight"], out[p + name + ".bias"] = t(HIDDEN, around=1), t(HIDDEN)
    return out


def write_safetensors(path, named):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (shape, values) in named.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)


def template(first, last):
    return {"type": "TemplateProcessing", "pair": [],
            "single": [{"SpecialToken": {"id": first[0], "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": last[0], "type_id": 0}}],
            "special_tokens": {t: {"id": t, "ids": [i], "tokens": [t]} for t, i in (first, last)}}


def tokenizer(xlmr):
    special = lambda names: [{"id": i, "content": n, "special": True} for i, n in enumerate(names)]
    if xlmr:
        names = ["<s>", "<pad>", "</s>", "<unk>"]
        pieces = [[n, 0] for n in names] + [["▁", -2.5], ["▁the", -3.5], ["a", -4], ["b", -4], ["年费", -5], ["。", -4]]
        return {"added_tokens": special(names), "normalizer": None,
                "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True},
                "post_processor": template(("<s>", 0), ("</s>", 2)),
                "model": {"type": "Unigram", "unk_id": 3, "vocab": pieces}}
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    pieces = names + ["the", "a", "b", "##a", "##b", "年", "费", "。", ".", "is", "of", "query", ":"]
    return {"added_tokens": special(names),
            "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                           "strip_accents": None, "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": template(("[CLS]", 2), ("[SEP]", 3)),
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 100, "vocab": {p: i for i, p in enumerate(pieces)}}}


def make_folder(path, xlmr=False, config=None, change=None):
    path.mkdir(parents=True, exist_ok=True)
    named = tensors(xlmr)
    if change:
        change(named)
    write_safetensors(path / "model.safetensors", named)
    (path / "tokenizer.json").write_text(json.dumps(tokenizer(xlmr)), "utf-8")
    (path / "config.json").write_text(json.dumps({
        "model_type": "xlm-roberta" if xlmr else "bert", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "intermediate_size": INNER, "vocab_size": WORDS, "hidden_act": "gelu",
        "max_position_embeddings": POSITIONS, "type_vocab_size": 1 if xlmr else 2, "pad_token_id": 1 if xlmr else 0,
        "layer_norm_eps": 1e-5, **(config or {})}), "utf-8")
    return path


@pytest.fixture
def models(tmp_path):
    """The folder of packed models of this test."""
    return tmp_path / "models"


@pytest.fixture
def run(models):
    return lambda *args, **kw: ragd("model", *args, env={"RAGD_MODELS": str(models)}, **kw)


@pytest.fixture(params=[False, True], ids=["bert", "xlmr"])
def folder(request, tmp_path):
    return make_folder(tmp_path / "tiny", request.param)


def norm(v):
    return math.sqrt(sum(x * x for x in v))


# ---- what works ---------------------------------------------------------------------------------------------------
def test_import_list_info_verify(run, models, folder):
    p = run("import", folder, "--json")
    assert p.returncode == 0, p.err
    o = json.loads(p.out)
    assert o["name"] == "tiny" and o["dims"] == HIDDEN and o["layers"] == LAYERS and o["weights"] == "int8"
    assert o["path"] == str(models / "tiny.ragm") and o["bytes"] == os.path.getsize(o["path"])
    assert os.listdir(models) == ["tiny.ragm"]
    listed = json.loads(run("list", "--json").out)
    assert [m["name"] for m in listed["models"]] == ["tiny"] and listed["models"][0]["digest"] == o["digest"]
    assert {"multilingual-e5-small", "bge-small-zh-v1.5"} <= {m["name"] for m in listed["known"]}
    assert all(m["licence"] and m["source"] for m in listed["known"])
    text = run("list").out
    assert f"tiny: {HIDDEN} dims" in text and o["digest"][:12] in text and "MIT" in text
    info = json.loads(run("info", "tiny", "--json").out)
    assert info["digest"] == o["digest"] and info["max_tokens"] == o["max_tokens"]
    assert o["digest"] in run("info", models / "tiny.ragm").out
    assert "fine" in run("verify", "tiny").out
    assert json.loads(run("verify", "tiny", "--json").out)["ok"] is True


def test_embed_and_tokens(run, folder):
    assert run("import", folder, "--name", "t").returncode == 0
    lines = "the a b\n\n年费 is 。\nthe a b"
    p = run("embed", "t", "--as", "plain", stdin=lines)
    vectors = [json.loads(line) for line in p.out.splitlines()]
    assert p.returncode == 0 and len(vectors) == 4 and {len(v) for v in vectors} == {HIDDEN}
    assert all(abs(norm(v) - 1) < 1e-4 for v in vectors)
    assert vectors[0] == vectors[3] and vectors[0] != vectors[2]
    ids = [json.loads(line) for line in run("tokens", "t", stdin=lines).out.splitlines()]
    assert len(ids) == 4 and ids[1] == [] and ids[0] == ids[3] and all(i < WORDS for line in ids for i in line)
    assert run("embed", "t", stdin="").out == ""


def test_prefixes_are_used_as_asked(run, tmp_path):
    run("import", make_folder(tmp_path / "tiny"), "--name", "my-e5")
    assert json.loads(run("info", "my-e5", "--json").out)["query_prefix"] == "query: "
    plain = run("embed", "my-e5", "--as", "plain", stdin="query: the a").out
    assert run("embed", "my-e5", "--as", "query", stdin="the a").out == plain
    assert run("embed", "my-e5", "--as", "passage", stdin="the a").out != plain
    assert run("embed", "my-e5", stdin="the a").out == plain  # a question is the default


def test_f32_and_int8_agree(run, folder):
    run("import", folder, "--name", "i")
    run("import", folder, "--name", "f", "--weights", "f32")
    a, b = (json.loads(run("embed", n, "--as", "plain", stdin="the a b of the a").out) for n in "if")
    assert sum(x * y for x, y in zip(a, b)) > .99
    assert run("info", "i", "--json").out != run("info", "f", "--json").out


def test_bench_measures(run, folder):
    run("import", folder, "--name", "t")
    o = json.loads(run("bench", "t", "--json").out)
    assert o["kernels"] and o["cpu"] and o["threads"] >= 1
    for key in ("question_ms", "questions_8_ms", "passages_per_s_1_thread", "passages_per_s_all"):
        assert o[key] > 0
    assert 16 <= o["question_tokens"] <= 24  # the last word may have more than one


def test_a_folder_is_a_name_too_and_is_packed_once(run, models, folder):
    assert run("info", folder).returncode == 0
    first = sorted(models.iterdir())
    stamp = first[0].stat().st_ino
    assert run("verify", folder).returncode == 0
    assert sorted(models.iterdir()) == first and first[0].stat().st_ino == stamp


def test_out_and_importing_again(run, tmp_path, models, folder):
    out = tmp_path / "here.ragm"
    assert run("import", folder, "--out", out).returncode == 0
    assert out.exists() and not (models / "tiny.ragm").exists()
    before = json.loads(run("info", out, "--json").out)["digest"]
    assert run("import", folder, "--out", out, "--name", "renamed").returncode == 0
    o = json.loads(run("info", out, "--json").out)
    assert o["name"] == "renamed" and o["digest"] == before


# ---- what is refused ------------------------------------------------------------------------------------------------
def leaves_nothing(models):
    return not models.exists() or os.listdir(models) == []


def set_value(name, i, x):
    def change(named):
        named[name][1][i] = x
    return change


def set_shape(name, shape):
    def change(named):
        named[name] = (shape, [0.0] * math.prod(shape))
    return change


QUERY = "encoder.layer.1.attention.self.query.weight"


@pytest.mark.parametrize("change, said", [
    (lambda n: n.pop(QUERY), QUERY + ": missing"),
    (set_shape(QUERY, (HIDDEN, HIDDEN + 1)), "shape 32 x 33"),
    (set_shape(QUERY, (HIDDEN * HIDDEN,)), QUERY),
    (set_value(QUERY, 7, math.nan), "element 7 is nan"),
    (set_value("embeddings.word_embeddings.weight", 3, -math.inf), "-inf"),
    (lambda n: n.clear(), "no tensor embeddings.word_embeddings.weight"),
])
def test_bad_weights(run, models, tmp_path, change, said):
    p = run("import", make_folder(tmp_path / "tiny", change=change))
    assert p.returncode == 1 and said in p.err and p.err.startswith("ragd: model import: ") and leaves_nothing(models)


@pytest.mark.parametrize("config, said", [
    ({"model_type": "llama"}, "llama"), ({"hidden_act": "gelu_new"}, "gelu_new"), ({"hidden_size": 10**12}, "hidden_size"),
    ({"num_attention_heads": 7}, "does not divide"), ({"vocab_size": "many"}, "vocab_size"),
    ({"num_hidden_layers": 0}, "num_hidden_layers"), ({"max_position_embeddings": 1}, "max_position_embeddings"),
    ({"layer_norm_eps": -1}, "layer_norm_eps"),
])
def test_bad_config(run, models, tmp_path, config, said):
    p = run("import", make_folder(tmp_path / "tiny", config=config))
    assert p.returncode == 1 and said in p.err and leaves_nothing(models)


def test_bad_safetensors(run, models, tmp_path):
    d = make_folder(tmp_path / "tiny")
    file = d / "model.safetensors"
    whole = file.read_bytes()
    huge = json.dumps({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 0]}}).encode()
    for data in (b"", whole[:5], whole[:100], whole[:-1], struct.pack("<Q", 2**63) + whole[8:],
                 struct.pack("<Q", len(huge)) + huge, b"\x89PNG\r\n\x1a\n" * 100):
        file.write_bytes(data)
        p = run("import", d)
        assert p.returncode == 1 and "model.safetensors" in p.err and leaves_nothing(models)
    file.unlink()
    assert "missing" in run("import", d).err
    (d / "pytorch_model.bin").write_bytes(b"x")
    assert "save_pretrained" in run("import", d).err


def test_unknown_tokenizer(run, models, tmp_path):
    d = make_folder(tmp_path / "tiny")
    (d / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE", "vocab": {}, "merges": []}}))
    p = run("import", d)
    assert p.returncode == 1 and "BPE" in p.err and leaves_nothing(models)
    (d / "tokenizer.json").unlink()
    assert "tokenizer.json: missing" in run("import", d).err


def test_damage_is_found(run, models, tmp_path):
    run("import", make_folder(tmp_path / "tiny"))
    file = models / "tiny.ragm"
    whole = bytearray(file.read_bytes())
    for at in (0, 20, 40, 60, 300, 1000, len(whole) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        file.write_bytes(damaged)
        p = run("verify", "tiny")
        assert p.returncode == 1 and p.err.startswith("ragd: model verify: "), (at, p.out)
    file.write_bytes(whole[:len(whole) // 2])
    assert "truncated" in run("info", "tiny").err
    newer = bytearray(whole)
    newer[8] = 9
    file.write_bytes(newer)
    p = run("info", "tiny")
    assert p.returncode == 1 and "newer" in p.err
    assert "newer" in run("list").out and run("list").returncode == 0
    file.write_bytes(b"nonsense")
    assert "not a packed model" in run("info", "tiny").err


@pytest.mark.parametrize("args, said", [
    ([], "import, list, info"), (["pack"], "no such command"), (["import"], "one folder"),
    (["import", "a", "b"], "one folder"), (["import", ".", "--weights", "int4"], "--weights int4"),
    (["import", ".", "--name", "../x"], "model name ../x"), (["info"], "one name or file"),
    (["embed", "x", "--as", "poem"], "--as poem"), (["list", "x"], "unexpected argument"),
    (["info", "a b"], "model a b"), (["bench", "--colour", "x"], "unknown option --colour"),
])
def test_usage(run, tmp_path, args, said):
    p = run(*args, cwd=tmp_path)
    assert p.returncode == 2 and said in p.err and p.out == ""


def test_missing_things(run, tmp_path):
    p = run("info", "no-such-model")
    assert p.returncode == 1 and "ragd model import DIR --name no-such-model" in p.err
    assert run("import", tmp_path / "nowhere").returncode == 1
    (tmp_path / "empty").mkdir()
    assert "config.json: missing" in run("import", tmp_path / "empty").err
    assert run("--help").out == ragd("help", "model").out


# ---- the disk -----------------------------------------------------------------------------------------------------
def test_a_limit_on_file_sizes(run, models, folder):
    p = run("import", folder, preexec=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)))
    assert p.returncode == 1 and "tiny.ragm" in p.err and leaves_nothing(models)


def test_disk_full(tmp_path, folder):
    mount = tmp_path / "small"
    mount.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(mount)],
                                           capture_output=True).returncode != 0:
        pytest.skip("no small file system can be mounted here")
    try:
        p = ragd("model", "import", folder, env={"RAGD_MODELS": str(mount)})
        assert p.returncode == 1 and "disk full" in p.err and os.listdir(mount) == []
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_killed_while_packing_leaves_the_old_model(run, models, folder):
    run("import", folder)
    before = (models / "tiny.ragm").read_bytes()
    for delay in (.0, .005, .01, .02, .04):
        p = subprocess.Popen([str(BIN), "model", "import", str(folder)], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, env=clean_env({"RAGD_MODELS": str(models)}))
        try:
            p.wait(delay)
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGKILL)
            p.wait()
        assert (models / "tiny.ragm").read_bytes() == before
    assert run("import", folder).returncode == 0 and os.listdir(models) == ["tiny.ragm"]


# ---- real weights -----------------------------------------------------------------------------------------------
def test_real_models(run, models):
    root = os.environ.get("RAGD_TEST_MODELS")
    found = [d for d in sorted(pathlib.Path(root).iterdir()) if (d / "config.json").exists()] if root else []
    if not found:
        pytest.skip("RAGD_TEST_MODELS names no folder of model folders")
    for d in found:
        assert run("import", d, "--name", "real", timeout=300).returncode == 0
        assert run("verify", "real").returncode == 0
        lines = "How do I reset my password?\nThe password is changed on the settings page.\nWhales find food by echo."
        q, near, far = (json.loads(v) for v in run("embed", "real", "--as", "plain", stdin=lines).out.splitlines())
        dot = lambda a, b: sum(x * y for x, y in zip(a, b))
        assert dot(q, near) > dot(q, far)
        shutil.rmtree(models)
