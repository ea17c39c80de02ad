#!/bin/sh
# Checks the package for other machines: that it compiles, and, where there is a
# cross-compiler, that the layouts are those of the C headers, libaio's and the
# kernel's.
#
#   scripts/test-arch.sh [ARCH...]      (default: all of them)
#
# On Debian and Ubuntu it installs the cross-compilers that are missing; other
# distributions have none with a C library.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

# The Go name, the compiler's prefix, and the names of Debian's packages.
machines() {
	cat <<'TABLE'
amd64   x86_64-linux-gnu      x86-64-linux-gnu      amd64
arm64   aarch64-linux-gnu     aarch64-linux-gnu     arm64
ppc64le powerpc64le-linux-gnu powerpc64le-linux-gnu ppc64el
s390x   s390x-linux-gnu       s390x-linux-gnu       s390x
riscv64 riscv64-linux-gnu     riscv64-linux-gnu     riscv64
arm     arm-linux-gnueabihf   arm-linux-gnueabihf   armhf
386     i686-linux-gnu        i686-linux-gnu        i386
TABLE
}

# compiles PREFIX says whether the compiler is there, with its C library.
compiles() {
	echo '#include <stdlib.h>' | "$1-gcc" -fsyntax-only -xc - 2>/dev/null
}

# install_missing gets the compilers that are not there.
install_missing() {
	packages=
	while read -r arch prefix compiler library; do
		compiles "$prefix" || packages="$packages gcc-$compiler libc6-dev-$library-cross"
	done <"$work/machines"
	if [ -z "$packages" ] || ! command -v apt-get >/dev/null 2>&1; then return 0; fi
	sudo=
	[ "$(id -u)" -eq 0 ] || sudo="sudo --"
	# shellcheck disable=SC2086 # several words
	{ run $sudo apt-get -q -o DPkg::Lock::Timeout=120 update &&
		run $sudo apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $packages; } \
		>"$work/log" 2>&1 || {
		cat "$work/log" >&2
		die "the cross-compilers could not be installed, see above"
	}
}

# check ARCH PREFIX vets and builds, and compiles the C header, with its checks and
# those of the Go side against it.
check() {
	run env GOWORK=off GOARCH="$1" CGO_ENABLED=0 go vet ./... &&
		run env GOWORK=off GOARCH="$1" CGO_ENABLED=0 go test -c -o /dev/null . || return
	if ! compiles "$2"; then
		unchecked="$unchecked $1"
		return
	fi
	run "$2-gcc" -fsyntax-only -isystem "$work" test/abi/abi.c &&
		run env GOWORK=off GOARCH="$1" CGO_ENABLED=1 CC="$2-gcc" CGO_CFLAGS="-isystem $work" go vet .
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
cp /usr/include/libaio.h "$work/" # it is the same for all machines
machines | while read -r line; do
	case " ${*:-${line%% *}} " in *" ${line%% *} "*) echo "$line" ;; esac
done >"$work/machines"
[ -s "$work/machines" ] || die "no such machine: $*"
install_missing

failed=
unchecked=
while read -r arch prefix _ <&3; do
	echo "== $arch"
	check "$arch" "$prefix" || failed="$failed $arch"
done 3<"$work/machines"
[ -z "$unchecked" ] || echo "no cross-compiler: the layouts are not checked for$unchecked"
[ -z "$failed" ] || die "failed:$failed"
echo "test-arch: all is well"
