#!/bin/sh
# Checks that what programs import compiles where there is no AIO: they are built
# for several systems, and use it on Linux. The tool and the modules of tests are
# for Linux alone.
#
#   scripts/test-other.sh [SYSTEM/MACHINE...]      (default: all of them)
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

[ $# -gt 0 ] || set -- darwin/amd64 darwin/arm64 windows/amd64 windows/arm64 \
	freebsd/amd64 freebsd/arm64 openbsd/amd64 netbsd/amd64
for target in "$@"; do
	GOOS=${target%/*} GOARCH=${target#*/} CGO_ENABLED=0
	export GOOS GOARCH CGO_ENABLED
	echo "== $target"
	run env GOWORK=off go vet ./...
	for module in ./contrib/*/; do in_module "${module%/}" go vet ./...; done
done
