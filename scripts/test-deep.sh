#!/bin/sh
# Runs the tests of the package again under everything that can see what an
# ordinary run cannot: the address sanitizer with leak detection, the strict cgo
# and pointer checks, a single processor, and repetition. These are the short
# tests; make test runs them in full length.
#
# TEST_TIMEOUT bounds each run of go test (default 10m).
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh
. scripts/tmpdir.sh

timeout=${TEST_TIMEOUT:-10m}
failed=

# A failed attempt to get memory is ENOMEM, as without the sanitizer, rather
# than the end of the process.
ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1
export ASAN_OPTIONS

deep() {
	name=$1
	shift
	echo "== $name"
	run env GOWORK=off "$@" || failed="$failed [$name]"
}

# must_fail NAME PATTERN COMMAND... wants the command to fail with the pattern in
# its output: a check that cannot fail checks nothing.
must_fail() {
	name=$1
	pattern=$2
	shift 2
	echo "== $name must be seen"
	printf '+ %s\n' "$*"
	if out=$(env GOWORK=off "$@" 2>&1) || ! printf '%s' "$out" | grep -q "$pattern"; then
		printf '%s\n' "$out" | tail -n 20
		failed="$failed [$name]"
	fi
}

use_direct_tmpdir
deep "address sanitizer, leak detection" go test -asan -short -count=1 -timeout "$timeout" .
must_fail "a leak" LeakSanitizer \
	env LIBAIO_TEST_LEAK=1 go test -asan -count=1 -run '^TestLeakOnPurpose$' .
must_fail "a use after free" heap-use-after-free \
	env LIBAIO_TEST_USE_AFTER_FREE=1 go test -asan -count=1 -run '^TestUseAfterFreeOnPurpose$' .
deep "cgocheck2" env GOEXPERIMENT=cgocheck2 go test -p 1 -short -count=1 -timeout "$timeout" ./...
deep "checkptr" go test -p 1 -gcflags=all=-d=checkptr -short -count=1 -timeout "$timeout" ./...
deep "one processor" env GOMAXPROCS=1 go test -p 1 -short -count=1 -timeout "$timeout" ./...
deep "one processor, race detector" env GOMAXPROCS=1 go test -p 1 -race -short -count=1 -timeout "$timeout" ./...
deep "ten times" go test -p 1 -short -count=10 -timeout "$timeout" ./...
deep "three times, race detector" go test -p 1 -race -short -count=3 -timeout "$timeout" ./...
deep "no growth of memory, in full length" env LIBAIO_TEST_DEEP=1 \
	go test -count=1 -timeout "$timeout" -v -run 'Growth|TrimGivesBack' .
deep "debug mode of memory" go test -tags aiodebug -short -count=1 -timeout "$timeout" .
deep "debug mode of memory without cgo" env CGO_ENABLED=0 go test -tags aiodebug -short -count=1 -timeout "$timeout" .
for module in $(nested_modules); do
	echo "== race detector in $module"
	in_module "$module" go test -p 1 -race -short -count=1 -timeout "$timeout" ./... || failed="$failed [race in $module]"
done
[ -z "$failed" ] || die "failed:$failed"
echo "test-deep: all is well"
