#!/usr/bin/env python3
"""Compares ragd's token ids with those of the Hugging Face library (Python package `tokenizers`).

    tools/tokenizer_parity.py --driver build/tokenizer_driver --data DATASETS TOKENIZER.json ...

The driver is tools/tokenizer_driver.c, built with `--build` (needs the library: make). Texts: half from the corpora
and queries (*.jsonl, *.jsonl.gz with title and text) below --data, half made from a seed: code points of all planes,
combining marks, emoji, controls, mixed scripts, long words, spaces of all kinds, special tokens as text.
--probe adds every code point, alone and between letters. Prints the number of texts whose ids differ; exit status 1
when there is one."""
import argparse
import gzip
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parent.parent


def real_texts(folder, count, rng):
    """A sample without reading more than a bit of each file's lines into memory."""
    files = sorted(f for f in pathlib.Path(folder).rglob("*.jsonl*") if f.name.endswith((".jsonl", ".jsonl.gz")))
    texts = []
    for f in files:
        opened = gzip.open(f, "rt", encoding="utf-8") if f.name.endswith(".gz") else open(f, encoding="utf-8")
        of_file = []
        with opened as lines:
            for n, line in enumerate(lines):
                if n >= 200_000:
                    break
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                text = "\n".join(row[k] for k in ("title", "text", "query", "question")
                                 if isinstance(row, dict) and isinstance(row.get(k), str))
                if not text:
                    continue
                if len(of_file) < count:
                    of_file.append(text)
                elif rng.random() < count / n:
                    of_file[rng.randrange(count)] = text
        texts.append(of_file)
    rng.shuffle(texts)
    picked = []
    while len(picked) < count and any(texts):
        for of_file in texts:
            if of_file and len(picked) < count:
                picked.append(of_file.pop()[:4000])
    return picked


class Fuzz:
    """Hostile strings; what each kind is good for is its name."""

    def __init__(self, rng, pieces):
        self.rng = rng
        chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
        self.assigned = [c for c in chars if unicodedata.category(c) not in ("Cn", "Co")]
        self.marks = [c for c in chars if unicodedata.combining(c) or unicodedata.category(c) in ("Mn", "Mc", "Me")]
        self.controls = [c for c in chars if unicodedata.category(c) in ("Cc", "Cf")]
        self.spaces = [c for c in chars if c.isspace()] + list(" \t\n\r\u00a0\u3000\u200b\u2581  ")
        self.emoji = [chr(c) for c in (*range(0x1F300, 0x1FAFF), *range(0x1F1E6, 0x1F200), 0x200D, 0xFE0F, 0xA9, 0xAE)]
        self.compat = [c for c in self.assigned if unicodedata.decomposition(c)]
        self.indic = [chr(c) for c in range(0x900, 0xE00)]
        self.hangul = [chr(c) for c in (*range(0x1100, 0x1200), *range(0xA960, 0xA980), *range(0xD7B0, 0xD7FC))]
        self.latin = [chr(c) for c in range(0x20, 0x7F)]
        self.pieces = pieces
        self.special = ["[SEP]", "[CLS]", "[UNK]", "[MASK]", "[PAD]", "<s>", "</s>", "<unk>", "<pad>", "<mask>", "##ing", "##"]

    def one(self):
        pick, rng = self.rng.choice, self.rng
        kinds = [
            lambda: pick(self.assigned),
            lambda: chr(pick((rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)))),
            lambda: pick(self.latin) + "".join(pick(self.marks) for _ in range(rng.randrange(1, 5))),
            lambda: pick(self.marks),
            lambda: pick(self.controls),
            lambda: "".join(pick(self.spaces) for _ in range(rng.randrange(1, 4))),
            lambda: "".join(pick(self.emoji) for _ in range(rng.randrange(1, 6))),
            lambda: pick(self.compat),
            lambda: "".join(pick(self.indic) for _ in range(rng.randrange(1, 5))),
            lambda: "".join(pick(self.hangul) for _ in range(rng.randrange(1, 5))),
            lambda: "".join(pick(self.latin) for _ in range(rng.randrange(1, 9))),
            lambda: chr(rng.randrange(0x4E00, 0xA000)),
            lambda: chr(rng.randrange(0xAC00, 0xD7A4)),
            lambda: pick(self.special),
            lambda: pick(self.pieces),
            lambda: pick(self.pieces),
            lambda: pick("\r\n\0\ufffd\u00ad\u2581'-.$"),
            lambda: chr(rng.randrange(0x80, 0x500)) + pick(self.marks),
        ]
        if rng.random() < 0.01:  # words around the limit of 100 characters
            return pick(self.latin).strip() * rng.randrange(95, 106) + pick(self.pieces)
        some = rng.sample(kinds, rng.randrange(1, 6))
        return "".join(pick(some)() for _ in range(rng.randrange(1, 30)))


def run_driver(driver, path, texts):
    with tempfile.TemporaryFile() as f:
        f.write(b"".join(t.encode().hex().encode() + b"\n" for t in texts))
        f.seek(0)
        out = subprocess.run([driver, path], stdin=f, stdout=subprocess.PIPE, check=True).stdout
    return [[int(i) for i in line.split()] for line in out.decode().split("\n")[:-1]]


def compare(driver, path, kinds):
    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    total = 0
    for kind, texts in kinds.items():
        wrong = []
        for at in range(0, len(texts), 20_000):
            part = texts[at : at + 20_000]
            got = run_driver(driver, path, part)
            want = tokenizer.encode_batch(part, add_special_tokens=False)
            if len(got) != len(part):
                sys.exit(f"{path}: {len(got)} lines for {len(part)} texts")
            wrong += [(t, g, w.ids) for t, g, w in zip(part, got, want) if g != w.ids]
        print(f"{path}: {kind}: {len(texts)} texts, {len(wrong)} differ")
        for text, got, want in sorted(wrong, key=lambda x: len(x[0]))[:5]:
            print(f"  {ascii(text)[:300]}\n    ragd {got[:30]}\n    want {want[:30]}")
        total += len(wrong)
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizers", nargs="+", metavar="TOKENIZER.json")
    parser.add_argument("--driver", required=True, help="the built tools/tokenizer_driver.c")
    parser.add_argument("--build", metavar="DIR", help="build the driver there first, from the library of that make")
    parser.add_argument("--data", help="folder of data sets")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--probe", action="store_true", help="every code point too")
    args = parser.parse_args()
    if args.build:
        packages = "libmicrohttpd libcurl jansson yaml-0.1 sqlite3 icu-uc icu-i18n libxml-2.0 libarchive libcrypto libxxhash"
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", *packages.split()], stdout=subprocess.PIPE, check=True,
                               text=True).stdout.split()
        subprocess.run(["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-iquote", ROOT / "src", "-o", args.driver,
                        ROOT / "tools/tokenizer_driver.c", f"{args.build}/libragd.a", *flags, "-lstemmer", "-lm", "-pthread"],
                       check=True)
    real = real_texts(args.data, args.count // 2, random.Random(args.seed)) if args.data else []
    total = 0
    for path in args.tokenizers:
        pieces = [p.removeprefix("##") for p in Tokenizer.from_file(path).get_vocab()]
        fuzz = Fuzz(random.Random(args.seed + 1), sorted(pieces))
        kinds = {"real": real, "fuzzed": [fuzz.one() for _ in range(args.count // 2)]}
        if args.probe:
            points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
            kinds["alone"] = points
            kinds["between letters"] = [f"a{c}b" for c in points]
            kinds["before a mark"] = [f"1{c}\u0301\u0334\u302e" for c in points]
        total += compare(args.driver, path, kinds)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
