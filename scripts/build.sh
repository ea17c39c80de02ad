#!/bin/sh
# Builds the command-line tool into bin/aio.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh
in_module ./cmd/aio go build -o "$PWD/bin/aio" .
