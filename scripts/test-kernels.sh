#!/bin/sh
# Boots other kernels in qemu, without KVM, and runs the short tests of the package
# in them, statically linked, on disks with ext4 and xfs. Needs no root, unless
# something is to be installed. On amd64 only, whatever ARCH.
#
#   ARCH          the machine that qemu is: amd64 (the default), arm64 or s390x. For
#                 others than amd64 the binaries are cross-compiled, and the programs
#                 of the guest are fetched from Debian 12.
#   KERNELS       which, each of them one of (default: "bookworm trixie")
#                   a release of Debian: its kernel for virtual machines, fetched
#                   a kernel image; its modules are looked for where they belong,
#                   ../lib/modules/VERSION, and need not be there if all is built in
#                   a package (.deb), or a folder into which one was extracted
#   SHORT         not empty: leaves out the engine without cgo and, on both disks,
#                 the tests of memory; and passes, saying so, on machines for which
#                 there is nothing to boot: none of amd64, and without KERNELS none
#                 with apt-get
#   TEST_TIMEOUT  bounds each run of a test binary (default 10m)
#
# A fetched kernel stays in bin/kernels until make clean.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

arch=${ARCH:-amd64}
kernels=${KERNELS:-bookworm trixie}
programs=$PWD/bin/kernels/$arch/programs
flags="-test.short -test.timeout=${TEST_TIMEOUT:-10m}"

# nothing_to_boot ends a run on a machine for which it is not made.
nothing_to_boot() {
	[ -n "${SHORT:-}" ] || die "$*"
	echo "test-kernels: NOT RUN: $*"
	exit 0
}

[ "$(uname -m)" = x86_64 ] || nothing_to_boot "only on amd64, this is $(uname -m)"
[ -n "${KERNELS:-}" ] || command -v apt-get >/dev/null 2>&1 ||
	nothing_to_boot "no apt-get to fetch a kernel with, and no KERNELS"
case $arch in
amd64) triplet= ;;
arm64) triplet=aarch64-linux-gnu ;;
s390x) triplet=s390x-linux-gnu ;;
*) die "no such machine: $arch (there are: amd64, arm64, s390x)" ;;
esac
scripts/deps.sh build kernels "kernels-$arch"

work=$(mktemp -d "${TMPDIR:-/var/tmp}/libaio-kernels.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# build NAME COMMAND... builds a test binary.
build() {
	name=$1
	shift
	run env GOWORK=off "$@" -o "$work/bin/$name.test" .
}

# add NAME FILESYSTEM [FLAG] has the guests run a test binary on a disk.
add() {
	echo "$1 $2 /bin/$1.test $flags ${3:-}" >>"$work/tests"
}

# The tests of memory alone run once a kernel: no disk takes part in them, and they
# are a third of the time.
no_memory='-test.skip=^Test(Pool|ClassPool|Alloc|Heap)'
mkdir "$work/bin"
export GOARCH="$arch"
if [ -n "$triplet" ]; then
	[ -d "$programs" ] ||
		scripts/fetch-kernel.sh "$arch" bookworm "$programs" busybox-static e2fsprogs xfsprogs mount libaio-dev
	export CGO_ENABLED=1 CC="$triplet-gcc" \
		CGO_CFLAGS="-O2 -g -isystem $programs/usr/include" CGO_LDFLAGS="-L$programs/usr/lib/$triplet"
fi
build libaio go test -c -tags aiostatic,netgo,osusergo -ldflags '-s -w -linkmode external -extldflags -static'
add libaio ext4 "${SHORT:+$no_memory}"
add libaio xfs "$no_memory"
if [ -z "${SHORT:-}" ]; then
	build nocgo env CGO_ENABLED=0 go test -c -ldflags '-s -w'
	add nocgo ext4 "$no_memory"
	add nocgo xfs "$no_memory"
fi

# Fetched one after the other, booted two at a time.
for kernel in $kernels; do
	case $kernel in
	*/* | *.deb) ;;
	*)
		[ -d "bin/kernels/$arch/$kernel" ] ||
			scripts/fetch-kernel.sh "$arch" "$kernel" "bin/kernels/$arch/$kernel"
		;;
	esac
done
# shellcheck disable=SC2086 # one word for each kernel
printf '%s\n' $kernels | xargs -P 2 -n 1 scripts/boot-kernel.sh "$work" || die "failed, see above"
echo "test-kernels: all is well"
