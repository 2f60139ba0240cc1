#!/usr/bin/env python3
"""A BERT encoder exported to ONNX in float32, with its tokenizer.json, to a model folder in the Hugging Face layout.

usage: onnx_model.py MODEL.onnx TOKENIZER.json FOLDER      (the folder's name says which model it is: see MODELS)

Reads the protocol buffer by hand: nothing but Python's standard library. Exports keep the names of biases and norms;
weights of linear layers got generated names and stand transposed, so each is named after the bias that is added to its
product. Sizes, heads and the epsilon come from the graph."""
import array
import json
import os
import shutil
import struct
import sys

ZH = "为这个句子生成表示以用于检索相关文章："
EN = "Represent this sentence for searching relevant passages: "
MODELS = {  # pooling, query prefix, longest input that the model was made for
    "bge-small-zh-v1.5": ("cls", ZH, 512),
    "bge-small-en-v1.5": ("cls", EN, 512),
    "all-minilm-l6-v2": ("mean", "", 256),
}
FLOAT, INT64 = 1, 7


def fields(b):
    """(number, value) of a message: an int, or a memoryview of what is length-delimited or fixed."""
    at, end = 0, len(b)
    while at < end:
        key, at = varint(b, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = varint(b, at)
        else:
            if wire == 2:
                size, at = varint(b, at)
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
            else:
                raise ValueError(f"wire type {wire}")
            if size > end - at:
                raise ValueError("the file is cut")
            value, at = b[at:at + size], at + size
        yield number, value


def varint(b, at):
    value = shift = 0
    while True:
        if at >= len(b) or shift > 63:
            raise ValueError("the file is cut")
        value |= (b[at] & 127) << shift
        shift += 7
        at += 1
        if b[at - 1] < 128:
            return value, at


def text(b):
    return bytes(b).decode()


class Tensor:
    """TensorProto: dims 1, data_type 2, int64_data 7, name 8, raw_data 9"""

    def __init__(self, b):
        self.dims, self.type, self.name, self.raw, ints = [], 0, "", b"", []
        for number, value in fields(b):
            if number == 1:
                self.dims += [value] if isinstance(value, int) else packed(value)
            elif number == 2:
                self.type = value
            elif number == 7:
                ints += [value] if isinstance(value, int) else packed(value)
            elif number == 8:
                self.name = text(value)
            elif number == 9:
                self.raw = value
        if ints:
            self.raw = struct.pack(f"<{len(ints)}Q", *ints)

    def values(self):
        code, size = {FLOAT: ("f", 4), INT64: ("q", 8)}[self.type]
        return struct.unpack(f"<{len(self.raw) // size}{code}", self.raw)


def packed(b):
    at, out = 0, []
    while at < len(b):
        value, at = varint(b, at)
        out.append(value)
    return out


class Node:
    """NodeProto: input 1, output 2, op_type 4, attribute 5 (name 1, t 5)"""

    def __init__(self, b):
        self.inputs, self.outputs, self.op, self.constant = [], [], "", None
        for number, value in fields(b):
            if number == 1:
                self.inputs.append(text(value))
            elif number == 2:
                self.outputs.append(text(value))
            elif number == 4:
                self.op = text(value)
            elif number == 5 and self.op in ("", "Constant"):
                for n, v in fields(value):
                    if n == 5:
                        self.constant = Tensor(v)


class Graph:
    def __init__(self, b):
        """ModelProto: graph 7; GraphProto: node 1, initializer 5"""
        self.nodes, self.weights = [], {}
        for number, graph in fields(b):
            for n, value in fields(graph) if number == 7 else ():
                if n == 1:
                    self.nodes.append(Node(value))
                elif n == 5:
                    t = Tensor(value)
                    self.weights[t.name] = t
        self.made_by = {o: n for n in self.nodes for o in n.outputs}
        self.used_by = {}
        for n in self.nodes:
            for i in n.inputs:
                self.used_by.setdefault(i, []).append(n)

    def constant(self, name):
        n = self.made_by.get(name)
        t = self.weights.get(name) or (n.constant if n and n.op == "Constant" else None)
        return t.values() if t is not None and t.type in (FLOAT, INT64) else None

    def linear(self):
        """{name.weight: tensor that stands transposed}"""
        found = {}
        for n in self.nodes:
            if n.op != "MatMul" or n.inputs[1] not in self.weights:
                continue
            for add in self.used_by.get(n.outputs[0], ()):
                for bias in add.inputs if add.op == "Add" else ():
                    if bias in self.weights and bias.endswith(".bias"):
                        found[bias[:-4] + "weight"] = self.weights[n.inputs[1]]
        return found

    def heads(self, hidden):
        """Of the first reshape to [batch, length, heads, hidden / heads]."""
        for n in self.nodes:
            shape = self.made_by.get(n.inputs[1]) if n.op == "Reshape" else None
            if shape is not None and shape.op == "Concat" and len(shape.inputs) == 4:
                last = [self.constant(i) for i in shape.inputs[2:]]
                if all(v and len(v) == 1 for v in last):
                    heads, size = last[0][0], last[1][0]
                    if heads > 0 and hidden % heads == 0 and size in (-1, hidden // heads):
                        return heads
        raise ValueError("no attention heads in the graph")

    def epsilon(self):
        for n in self.nodes:
            add = self.made_by.get(n.inputs[0]) if n.op == "Sqrt" else None
            for i in add.inputs if add is not None and add.op == "Add" else ():
                value = self.constant(i)
                if value and len(value) == 1:
                    return float(f"{value[0]:.6g}")
        raise ValueError("no layer norm in the graph")


def transposed(t):
    rows, columns = t.dims
    a = array.array("f", bytes(t.raw))
    if len(a) != rows * columns:
        raise ValueError(f"{t.name}: {len(a)} numbers for {rows} x {columns}")
    for c in range(columns):
        yield a[c::columns].tobytes()


def convert(onnx, tokenizer, folder):
    name = os.path.basename(os.path.normpath(folder))
    if name not in MODELS:
        raise ValueError(f"no model {name}: " + ", ".join(MODELS))
    pooling, query_prefix, max_tokens = MODELS[name]
    with open(onnx, "rb") as f:
        graph = Graph(memoryview(f.read()))
    linear = graph.linear()
    # name -> (shape, chunks of bytes)
    tensors = {}
    for key, t in graph.weights.items():
        if key.startswith(("embeddings.", "encoder.")) and t.type == FLOAT:
            tensors[key] = (t.dims, lambda t=t: (t.raw,))
    for key, t in linear.items():
        if key.startswith("encoder.") and t.type == FLOAT:
            tensors[key] = (t.dims[::-1], lambda t=t: transposed(t))
    vocabulary, hidden = tensors["embeddings.word_embeddings.weight"][0]
    layers = 1 + max(int(k.split(".")[2]) for k in tensors if k.startswith("encoder.layer."))
    if len(tensors) != 5 + 16 * layers:
        raise ValueError(f"{len(tensors)} tensors for {layers} layers: not a BERT as it was expected")
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "hidden_size": hidden,
        "num_hidden_layers": layers, "num_attention_heads": graph.heads(hidden),
        "intermediate_size": tensors["encoder.layer.0.intermediate.dense.weight"][0][0], "vocab_size": vocabulary,
        "max_position_embeddings": tensors["embeddings.position_embeddings.weight"][0][0],
        "type_vocab_size": tensors["embeddings.token_type_embeddings.weight"][0][0], "pad_token_id": 0,
        "layer_norm_eps": graph.epsilon(), "position_embedding_type": "absolute", "torch_dtype": "float32"}
    os.makedirs(folder, exist_ok=True)
    write_safetensors(os.path.join(folder, "model.safetensors"), tensors)
    write_json(os.path.join(folder, "config.json"), config)
    write_json(os.path.join(folder, "ragd.json"), {
        "name": name, "pooling": pooling, "normalize": True, "query_prefix": query_prefix, "passage_prefix": "",
        "max_tokens": max_tokens})
    shutil.copyfile(tokenizer, os.path.join(folder, "tokenizer.json"))


def write_safetensors(path, tensors):
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for key, (shape, _) in tensors.items():
        size = 4
        for n in shape:
            size *= n
        head[key] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(head, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head)
        for _, chunks in tensors.values():
            for chunk in chunks():
                f.write(chunk)
        if f.tell() != 8 + len(head) + at:
            raise ValueError("a tensor is longer or shorter than its shape")


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, indent=2)
        f.write("\n")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    if sys.byteorder != "little":
        sys.exit("onnx_model: needs a little-endian machine")
    try:
        convert(*sys.argv[1:])
    except (OSError, ValueError, KeyError, struct.error) as e:
        sys.exit(f"onnx_model: {sys.argv[1]}: {e}")
