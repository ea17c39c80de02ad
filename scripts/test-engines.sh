#!/bin/sh
# Tests what the package is without the shared library.
#
#   scripts/test-engines.sh [ENGINE...]      (default: all of them)
#
#   nocgo     CGO_ENABLED=0: the bare system calls
#   nolibaio  the same by the tag nolibaio, with cgo and so with the race detector
#   static    libaio.a in fully static programs, with glibc and with musl, which
#             Debian and Ubuntu have beside it; elsewhere with musl if it is there.
#             Each runs the tests, and the tool its benchmark
#
# TEST_TIMEOUT bounds each run of go test (default 20m).
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh
. scripts/tmpdir.sh

timeout=${TEST_TIMEOUT:-20m}
work=$(mktemp -d "${TMPDIR:-/var/tmp}/libaio-engines.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# no_shared FILE stops unless the program is fully static.
no_shared() {
	if readelf -lW "$1" | grep -q INTERP; then die "$1 is not static"; fi
}

# bench FILE has the tool lay out a file, read it, and verify what it read.
bench() {
	run "$1" info
	run "$1" bench --file "$work/data" --size 8MiB
}

nocgo() {
	run env GOWORK=off CGO_ENABLED=0 go vet ./...
	run env GOWORK=off CGO_ENABLED=0 go test -p 1 -count=1 -timeout "$timeout" ./...
	CGO_ENABLED=0 in_module ./cmd/aio go build -o "$work/nocgo" .
	no_shared "$work/nocgo"
	bench "$work/nocgo"
}

nolibaio() {
	run env GOWORK=off go vet -tags nolibaio ./...
	run env GOWORK=off go test -tags nolibaio -p 1 -race -count=1 -timeout "$timeout" ./...
}

# static_with NAME LDFLAGS builds the tests and the tool with the C compiler of
# the environment, and runs them.
static_with() {
	flags="-linkmode external -extldflags -static"
	run env GOWORK=off go test -c -tags aiostatic,netgo,osusergo -ldflags "$flags" -o "$work/$1.test" .
	in_module ./cmd/aio go build -tags aiostatic,netgo,osusergo -ldflags "$flags" -o "$work/$1" .
	no_shared "$work/$1"
	no_shared "$work/$1.test"
	run "$work/$1.test" -test.short -test.timeout "$timeout"
	bench "$work/$1"
}

static() {
	static_with glibc
	if command -v apt-get >/dev/null 2>&1; then scripts/deps.sh musl; fi
	if ! command -v musl-gcc >/dev/null 2>&1; then
		echo "no musl-gcc: nothing is linked with musl"
		return
	fi
	# Of the system's C library nothing is to be seen: only what is libaio's.
	mkdir "$work/only-libaio"
	cp /usr/include/libaio.h "$(gcc -print-file-name=libaio.a)" "$work/only-libaio/"
	(
		CC=musl-gcc
		CGO_CFLAGS="-isystem $work/only-libaio"
		CGO_LDFLAGS="-L$work/only-libaio"
		export CC CGO_CFLAGS CGO_LDFLAGS
		static_with musl
	)
}

[ $# -gt 0 ] || set -- nocgo nolibaio static
use_direct_tmpdir
for engine in "$@"; do
	case $engine in
	nocgo | nolibaio | static) ;;
	*) die "no such engine: $engine" ;;
	esac
	echo "== $engine"
	"$engine"
done
echo "test-engines: all is well"
