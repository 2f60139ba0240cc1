#!/bin/sh
# Runs the kernels' unit test as an aarch64 program under qemu. Without the cross compiler and qemu-user: says so and ends
# well. usage: tests/neon/run.sh BUILD
set -eu
cd "$(dirname "$0")/../.."
CC=${NEON_CC:-aarch64-linux-gnu-gcc}
QEMU=${NEON_QEMU:-qemu-aarch64}
if ! command -v "$CC" >/dev/null 2>&1 || ! command -v "$QEMU" >/dev/null 2>&1; then
    echo "neon: skipped: needs $CC and $QEMU (apt install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)"
    exit 0
fi
mkdir -p "$1/neon"
"$CC" -std=c11 -D_GNU_SOURCE -O2 -g -Wall -Wextra -ffp-contract=off -static -iquote src -Itests/neon -Itests/unit \
    -o "$1/neon/kernel_test" tests/unit/kernel_test.c src/kernel/*.c src/sys/cpu.c src/base/mem.c src/base/status.c \
    src/base/buf.c src/base/str.c -lm -pthread
timeout 300 "$QEMU" "$1/neon/kernel_test"
