#!/bin/sh
# Builds the command-line tool into bin/aio, and the C program that it compares
# the package with into bin/aio-plain.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh
in_module ./cmd/aio go build -o "$PWD/bin/aio" .
cc=$(go env CC)
# shellcheck disable=SC2086 # it may hold flags
run $cc -O2 -Wall -Wextra -pthread -o bin/aio-plain cmd/aio/plain/plain.c -laio
