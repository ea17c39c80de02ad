#!/bin/sh
# What takes too long for every change: the full tests again and again, with and
# without the race detector, and every fuzz target.
#
#   COUNT         how many times (default 10)
#   FUZZTIME      how long each fuzz target runs (default 5m)
#   TEST_TIMEOUT  bounds each run of go test (default 2h)
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh
. scripts/tmpdir.sh

count=${COUNT:-10}
timeout=${TEST_TIMEOUT:-2h}
failed=

use_direct_tmpdir
run env GOWORK=off go test -p 1 -count="$count" -timeout "$timeout" ./... || failed="$failed ."
run env GOWORK=off go test -p 1 -race -count="$count" -timeout "$timeout" ./... || failed="$failed .(race)"
for module in $(nested_modules); do
	in_module "$module" go test -p 1 -count="$count" -timeout "$timeout" ./... || failed="$failed $module"
done
targets=$(GOWORK=off go test -list '^Fuzz' . | grep '^Fuzz')
for target in $targets; do
	run env GOWORK=off go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-5m}" . || failed="$failed $target"
done
[ -z "$failed" ] || die "failed:$failed"
echo "test-long: all is well"
