#!/bin/sh
# Runs every benchmark of every module.
#
#   BENCHTIME  how long each runs (default 1x: once, which shows that it works)
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh
. scripts/tmpdir.sh

use_direct_tmpdir
set -- go test -p 1 -run '^$' -bench . -benchmem -benchtime "${BENCHTIME:-1x}" ./...
run env GOWORK=off "$@"
for module in $(nested_modules); do in_module "$module" "$@"; done
