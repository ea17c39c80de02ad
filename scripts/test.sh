#!/bin/sh
# Vets, builds and tests the package and every nested module.
#
#   scripts/test.sh             everything
#   scripts/test.sh compile     all but running the tests: fills the build cache
#
# One package at a time (-p 1): one of the tests takes all AIO contexts of the
# machine for a moment. TEST_TIMEOUT bounds each run of go test (default 20m).
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh
. scripts/tmpdir.sh

# The root module is built with the versions of its own go.mod, the oldest that
# it promises to work with; the workspace would take the newest of all modules.
root() { run env GOWORK=off "$@"; }

what=${1:-run}
timeout=${TEST_TIMEOUT:-20m}

# check_module DIR vets and builds a nested module.
check_module() {
	in_module "$1" go vet ./...
	in_module "$1" go build -o /dev/null ./...
}

# say_skipped names what tests will be skipped for want of.
say_skipped() {
	wanting=
	[ "$(id -u)" -eq 0 ] || wanting=" root"
	for program in mkfs.ext4 mkfs.xfs mkfs.btrfs fio; do
		command -v $program >/dev/null 2>&1 || wanting="$wanting $program"
	done
	[ -z "$wanting" ] ||
		echo "tests on file systems of their own will be skipped for want of:$wanting (make test-disks has all of it)"
}

case $what in
run | compile) ;;
*) die "unknown argument: $what" ;;
esac

modules=$(nested_modules)

root go vet ./...
root env CGO_ENABLED=0 go vet ./...
scripts/test-other.sh darwin/arm64 windows/amd64 freebsd/amd64
for module in $modules; do check_module "$module"; done

if [ "$what" = compile ]; then
	root go test -c -o /dev/null ./...
	root go test -race -c -o /dev/null ./...
	for module in $modules; do in_module "$module" go test -c -o /dev/null ./...; done
	exit 0
fi

# Every suite runs, so that one failure does not hide another.
use_direct_tmpdir
say_skipped
failed=
for module in $modules; do
	in_module "$module" go test -p 1 -count=1 -timeout "$timeout" ./... || failed="$failed $module"
done
root go test -p 1 -count=1 -timeout "$timeout" ./... || failed="$failed ."
root env CGO_ENABLED=0 go test -p 1 -short -count=1 -timeout "$timeout" ./... || failed="$failed .(no cgo)"
root go test -p 1 -tags nolibaio -race -short -count=1 -timeout "$timeout" ./... || failed="$failed .(nolibaio, race)"
root go test -p 1 -race -count=1 -timeout "$timeout" ./... || failed="$failed .(race)"
[ -z "$failed" ] || die "failed:$failed"
