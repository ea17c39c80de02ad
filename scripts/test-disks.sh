#!/bin/sh
# Runs the tests that make file systems and block devices of their own, as root:
# with sudo where this is not root. Skips that root and the programs of
# scripts/deps.sh disks would avoid are failures here.
#
#   RUN           the tests, as for go test -run (default: all)
#   TEST_TIMEOUT  bounds each run (default 20m)
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh
. scripts/tmpdir.sh

sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
use_direct_tmpdir
failed=

# as_root DIR FLAG... runs the tests that are built in $work/test. Nothing else is
# done as root, so that the caches of go stay the user's.
as_root() (
	cd "$1" || exit
	shift
	run $sudo env PATH="$PATH:/usr/sbin:/sbin" TMPDIR="${TMPDIR:-/tmp}" "$work/test" \
		-test.v -test.run "${RUN:-.}" -test.timeout "${TEST_TIMEOUT:-20m}" "$@"
)

# check DIR FLAG... builds and runs the tests of a module.
check() {
	in_module "$1" go test -c -o "$work/test" .
	if ! as_root "$@" >"$work/log" 2>&1; then
		cat "$work/log"
		failed="$failed $1"
	fi
	grep -A1 -e '--- SKIP' "$work/log" || true
	if grep -qE 'needs (root|CAP_SYS_ADMIN|loop)|deps.sh disks' "$work/log"; then
		failed="$failed $1(skips)"
	fi
	tail -n 1 "$work/log"
}

check ./test/files
check . -test.short
[ -z "$failed" ] || die "failed:$failed"
echo "test-disks: all is well"
