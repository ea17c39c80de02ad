#!/bin/sh
# Boots other kernels in qemu, without KVM, and runs the short tests of the package
# in them, statically linked, on disks with ext4 and xfs. Needs no root, unless
# something is to be installed. amd64 only.
#
#   KERNELS       which, each of them one of (default: "bookworm trixie")
#                   a release of Debian: its kernel for virtual machines, fetched
#                   a kernel image; its modules are looked for where they belong,
#                   ../lib/modules/VERSION, and need not be there if all is built in
#                   a package (.deb), or a folder into which one was extracted
#   SHORT         not empty: the last kernel and the engine with libaio alone; and
#                 where the machine lacks what it takes and cannot get it, this says
#                 so and ends well
#   TEST_TIMEOUT  bounds each run of a test binary (default 10m)
#
# A fetched kernel stays in bin/kernels until make clean.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

kernels=${KERNELS:-bookworm trixie}
flags="-test.short -test.timeout=${TEST_TIMEOUT:-10m}"
if [ -n "${SHORT:-}" ]; then
	kernels=${kernels##* }
fi

# cannot ends a run that this machine cannot do: in failure, unless it is short.
cannot() {
	[ -n "${SHORT:-}" ] || die "$*"
	echo "test-kernels: NOT RUN: $*"
	exit 0
}

[ "$(uname -m)" = x86_64 ] || cannot "only on amd64, this is $(uname -m)"
scripts/deps.sh build kernels || cannot "what it takes is not here, see above"

work=$(mktemp -d "${TMPDIR:-/var/tmp}/libaio-kernels.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# add_run NAME COMMAND... builds a test binary, which the guests are to run.
add_run() {
	name=$1
	shift
	run env GOWORK=off "$@" -o "$work/bin/$name.test" .
	echo "$name /bin/$name.test $flags" >>"$work/tests"
}

mkdir "$work/bin"
add_run libaio go test -c -tags aiostatic,netgo,osusergo -ldflags '-s -w -linkmode external -extldflags -static'
[ -n "${SHORT:-}" ] || add_run nocgo env CGO_ENABLED=0 go test -c -ldflags '-s -w'

# Fetched one after the other, booted two at a time.
for kernel in $kernels; do
	case $kernel in
	*/* | *.deb) ;;
	*) [ -d "bin/kernels/$kernel" ] || scripts/fetch-kernel.sh "$kernel" "bin/kernels/$kernel" || cannot "no kernel of $kernel" ;;
	esac
done
# shellcheck disable=SC2086 # one word for each kernel
printf '%s\n' $kernels | xargs -P 2 -n 1 scripts/boot-kernel.sh "$work" || die "failed, see above"
echo "test-kernels: all is well"
