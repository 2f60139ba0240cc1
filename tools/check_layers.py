#!/usr/bin/env python3
"""Checks that includes only go down: the table of ARCHITECTURE.md. Folders of one level are strangers, and so are
the stages. Exit status 1 with one line for each include that goes up or sideways."""
import pathlib
import re
import sys

LEVELS = [
    ["base"],
    ["sys"],
    ["obs", "kernel"],
    ["text", "wire", "net", "store"],
    ["index", "model", "llm", "extract"],
    ["flow"],
    ["stages", "learning"],
    ["pipeline"],
    ["api"],
    ["daemon"],
    ["cli"],
]
LEVEL = {folder: n for n, folders in enumerate(LEVELS) for folder in folders}
SRC = pathlib.Path(__file__).resolve().parent.parent / "src"


def room(path):
    """The folder that counts: stages/retrieval is one, text is one."""
    parts = pathlib.PurePath(path).parts
    return "/".join(parts[:2]) if parts[0] == "stages" else parts[0]


def main():
    wrong = []
    for file in sorted(SRC.rglob("*.[ch]")):
        name = file.relative_to(SRC).as_posix()
        here = room(name)
        if here.split("/")[0] not in LEVEL:
            wrong.append(f"src/{name}: {here}/ is in no level of tools/check_layers.py")
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not m or "/" not in m.group(1):
                continue  # a system header, or a generated or included neighbour
            there = room(m.group(1))
            if there == here:
                continue
            if there.split("/")[0] not in LEVEL:
                wrong.append(f'src/{name}:{number}: "{m.group(1)}" is in no level')
            elif LEVEL[there.split("/")[0]] >= LEVEL[here.split("/")[0]]:
                wrong.append(f'src/{name}:{number}: {here}/ must not see "{m.group(1)}"')
    for line in wrong:
        print(line, file=sys.stderr)
    print(f"layers: {len(wrong)} includes go up or sideways" if wrong else "layers: fine")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
