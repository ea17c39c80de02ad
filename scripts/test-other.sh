#!/bin/sh
# Checks that the package compiles where there is no AIO: programs for several
# systems import it, and use it on Linux.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

for system in darwin windows freebsd openbsd netbsd; do
	for arch in amd64 arm64; do
		run env GOWORK=off GOOS=$system GOARCH=$arch CGO_ENABLED=0 go vet ./...
	done
done
