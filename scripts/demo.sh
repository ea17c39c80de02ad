#!/bin/sh
# Builds the aio tool and runs its benchmark.
#
#   FILE  the file to work on (default: a file of its own in the current folder,
#         removed afterwards)
#   SIZE  its size (default: the tool's own)
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
file=${FILE:-}
if [ -z "$file" ]; then
	file=$PWD/aio-bench.tmp
	[ -e "$file" ] || trap 'rm -f "$file"' EXIT
fi

"$top/scripts/build.sh"
set -- --file "$file"
[ -z "${SIZE:-}" ] || set -- "$@" --size "$SIZE"
echo "+ bin/aio bench $*"
"$top/bin/aio" bench "$@"
