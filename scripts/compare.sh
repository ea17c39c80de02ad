#!/bin/sh
# Builds the aio tool and the C program, and compares the package with fio, that
# program and os.File.ReadAt. As root it also does so on a loop device and on
# zram. Writes compare.json and compare.svg into the current folder.
#
#   SHORT    1: random reads at three depths, in a minute or two
#   FILE     the file to work on (default: a file of its own in the current
#            folder); it must not exist, and is removed afterwards
#   SIZE     its size, and that of the devices (default: the tool's own)
#   COMPARE  more flags of aio bench --compare
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
"$top/scripts/deps.sh" compare
"$top/scripts/build.sh"
set -- --compare
[ -z "${SHORT:-}" ] || set -- "$@" --workload randread-4k --depths 1,32,128
[ -z "${FILE:-}" ] || set -- "$@" --file "$FILE"
[ -z "${SIZE:-}" ] || set -- "$@" --size "$SIZE"
# shellcheck disable=SC2086 # several flags
set -- "$@" ${COMPARE:-}
echo "+ bin/aio bench $*"
exec "$top/bin/aio" bench "$@"
