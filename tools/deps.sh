#!/bin/sh
# Installs the Debian packages that building (and, with `test`, testing) needs. Quick when all are there.
# usage: tools/deps.sh build [test]
set -eu

build="gcc make pkg-config libmicrohttpd-dev libcurl4-openssl-dev libjansson-dev libyaml-dev libsqlite3-dev libicu-dev
libxml2-dev libarchive-dev libssl-dev libxxhash-dev libstemmer-dev poppler-utils poppler-data python3 python3-jieba python3-pip-whl"
test="libcmocka-dev python3-pytest openssl clang libclang-rt-dev python3-venv chromium chromium-driver
gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"

want=
for set in "${@:-build}"; do
    case $set in
    build) want="$want $build" ;;
    test) want="$want $test" ;;
    *) echo "usage: tools/deps.sh build [test]" >&2; exit 2 ;;
    esac
done

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "deps: this is no Debian system: install the equivalents of:$want" | tr '\n' ' ' >&2
    echo >&2
    exit 0 # the build says what is missing
fi

missing=
for p in $want; do
    case $(dpkg-query -W -f='${Status}' "$p" 2>/dev/null || true) in
    *' installed') ;;
    *) missing="$missing $p" ;;
    esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -eq 0 ]; then
    sudo=
elif command -v sudo >/dev/null 2>&1; then
    sudo=sudo
else
    echo "deps: missing packages:$missing" >&2
    echo "deps: run as root: apt-get install --no-install-recommends$missing" >&2
    exit 1
fi

echo "deps: installing$missing"
export DEBIAN_FRONTEND=noninteractive
# The lists may be old or absent: try once without fetching them.
# shellcheck disable=SC2086
$sudo apt-get install -y --no-install-recommends $missing >/dev/null 2>&1 && exit 0
$sudo apt-get update
# shellcheck disable=SC2086
$sudo apt-get install -y --no-install-recommends $missing || {
    echo "deps: could not install:$missing" >&2
    exit 1
}
