#!/bin/sh
# Checks that what programs import compiles where there is no AIO: they are built
# for several systems, and use it on Linux. The tool and the modules of tests are
# for Linux alone.
#
#   scripts/test-other.sh                    everything
#   scripts/test-other.sh SYSTEM/MACHINE...  the package alone, for these
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

CGO_ENABLED=0
export CGO_ENABLED

# package SYSTEM/MACHINE... vets the package.
package() {
	for target in "$@"; do
		run env GOWORK=off GOOS="${target%/*}" GOARCH="${target#*/}" go vet ./...
	done
}

if [ $# -gt 0 ]; then
	package "$@"
	exit
fi
package darwin/amd64 darwin/arm64 windows/amd64 windows/arm64 freebsd/amd64 freebsd/arm64 openbsd/amd64 netbsd/amd64
for module in contrib/*/; do
	for system in darwin windows freebsd; do
		in_module "./${module%/}" env GOOS="$system" go vet ./...
	done
done
