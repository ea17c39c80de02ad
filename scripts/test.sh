#!/bin/sh
# Vets, builds and tests the package and every nested module.
#
#   scripts/test.sh             everything
#   scripts/test.sh compile     all but running the tests: fills the build cache
#
# TEST_TIMEOUT bounds each run of go test (default 10m).
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

# The root module is built with the versions of its own go.mod, the oldest that
# it promises to work with; the workspace would take the newest of all modules.
root() { run env GOWORK=off "$@"; }

what=${1:-run}
timeout=${TEST_TIMEOUT:-10m}

# direct_io DIR says whether files there can be written with O_DIRECT.
direct_io() {
	probe=$(mktemp "$1/libaio-probe.XXXXXX" 2>/dev/null) || return 1
	ok=0
	dd if=/dev/zero of="$probe" bs=4096 count=1 oflag=direct 2>/dev/null || ok=1
	rm -f "$probe"
	return $ok
}

# use_direct_tmpdir moves TMPDIR to a disk where /tmp is none: the tests do
# direct I/O in it. A TMPDIR that somebody chose is left as it is.
use_direct_tmpdir() {
	[ -z "${TMPDIR:-}" ] || return 0
	for dir in /tmp /var/tmp "$PWD"; do
		if direct_io "$dir"; then
			[ "$dir" = /tmp ] || run export TMPDIR="$dir"
			return 0
		fi
	done
	echo "test.sh: no temporary folder does direct I/O: /tmp, /var/tmp, $PWD" >&2
}

# check_module DIR vets and builds a nested module.
check_module() {
	in_module "$1" go vet ./...
	in_module "$1" go build -o /dev/null ./...
}

case $what in
run | compile) ;;
*) die "unknown argument: $what" ;;
esac

modules=$(nested_modules)

root go vet ./...
for module in $modules; do check_module "$module"; done

if [ "$what" = compile ]; then
	root go test -c -o /dev/null ./...
	root go test -race -c -o /dev/null ./...
	for module in $modules; do in_module "$module" go test -c -o /dev/null ./...; done
	exit 0
fi

# Every suite runs, so that one failure does not hide another.
use_direct_tmpdir
failed=
for module in $modules; do
	in_module "$module" go test -count=1 -timeout "$timeout" ./... || failed="$failed $module"
done
root go test -count=1 -timeout "$timeout" ./... || failed="$failed ."
root go test -race -count=1 -timeout "$timeout" ./... || failed="$failed .(race)"
[ -z "$failed" ] || die "failed:$failed"
