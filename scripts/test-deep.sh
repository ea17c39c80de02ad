#!/bin/sh
# Runs the tests of the package again under everything that can see what an
# ordinary run cannot: the address sanitizer with leak detection, the strict cgo
# and pointer checks, a single processor, and repetition. These are the short
# tests; make test runs them in full length.
#
#   scripts/test-deep.sh [CHECK...]      (default: all of them)
#
#   asan       the address sanitizer with leak detection, and that it sees anything
#   cgocheck2  the strict checks of pointers that go to C
#   checkptr   the checks of unsafe pointers
#   oneproc    GOMAXPROCS=1, also with the race detector
#   repeat     ten times
#   race       the race detector: the package three times, and every nested module
#   growth     that memory does not grow over millions of uses
#   debug      the debug mode of memory, with and without cgo
#   pebble     ten times as many histories of Pebble, and its own checks of invariants
#
# TEST_TIMEOUT bounds each run of go test (default 20m).
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh
. scripts/tmpdir.sh

timeout=${TEST_TIMEOUT:-20m}
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

go_test() {
	name=$1
	shift
	deep "$name" "$@" -short -timeout "$timeout"
}

check() {
	case $1 in
	asan)
		go_test "address sanitizer, leak detection" go test -asan -count=1 .
		must_fail "a leak" LeakSanitizer \
			env LIBAIO_TEST_LEAK=1 go test -asan -count=1 -run '^TestLeakOnPurpose$' .
		must_fail "a use after free" heap-use-after-free \
			env LIBAIO_TEST_USE_AFTER_FREE=1 go test -asan -count=1 -run '^TestUseAfterFreeOnPurpose$' .
		;;
	cgocheck2) go_test "cgocheck2" env GOEXPERIMENT=cgocheck2 go test -p 1 -count=1 ./... ;;
	checkptr) go_test "checkptr" go test -p 1 -gcflags=all=-d=checkptr -count=1 ./... ;;
	oneproc)
		go_test "one processor" env GOMAXPROCS=1 go test -p 1 -count=1 ./...
		go_test "one processor, race detector" env GOMAXPROCS=1 go test -p 1 -race -count=1 ./...
		;;
	repeat) go_test "ten times" go test -p 1 -count=10 ./... ;;
	race)
		go_test "race detector, three times" go test -p 1 -race -count=3 ./...
		for module in $(nested_modules); do
			echo "== race detector in $module"
			in_module "$module" go test -p 1 -race -short -count=1 -timeout "$timeout" ./... || failed="$failed [race in $module]"
		done
		;;
	growth)
		deep "no growth of memory, in full length" env LIBAIO_TEST_DEEP=1 \
			go test -count=1 -timeout "$timeout" -v -run 'Growth|TrimGivesBack' .
		;;
	debug)
		go_test "debug mode of memory" go test -tags aiodebug -count=1 .
		go_test "debug mode of memory without cgo" env CGO_ENABLED=0 go test -tags aiodebug -count=1 .
		;;
	pebble)
		echo "== Pebble, in full length and with its invariants"
		in_module ./contrib/pebblevfs env LIBAIO_TEST_DEEP=1 go test -count=1 -timeout 30m \
			-run '^TestHistoriesAreThoseOfMemFS$' . || failed="$failed [histories of Pebble]"
		in_module ./contrib/pebblevfs go test -tags invariants -short -count=1 -timeout "$timeout" . ||
			failed="$failed [invariants of Pebble]"
		;;
	*) die "no such check: $1" ;;
	esac
}

[ $# -gt 0 ] || set -- asan cgocheck2 checkptr oneproc repeat race growth debug pebble
use_direct_tmpdir
for name in "$@"; do check "$name"; done
[ -z "$failed" ] || die "failed:$failed"
echo "test-deep: all is well"
