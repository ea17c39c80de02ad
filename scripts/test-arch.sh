#!/bin/sh
# Checks the package for other machines: that it compiles, and, where there is a
# cross-compiler, that the layouts are those of the C headers, libaio's and the
# kernel's.
#
#   scripts/test-arch.sh [ARCH...]      (default: all of them)
#
# On Debian and Ubuntu it installs what cross-compilers are missing.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

# The Go name, the compiler's prefix, and the name of Debian's packages.
machines() {
	cat <<'TABLE'
amd64   x86_64-linux-gnu      amd64
arm64   aarch64-linux-gnu     arm64
ppc64le powerpc64le-linux-gnu ppc64el
s390x   s390x-linux-gnu       s390x
riscv64 riscv64-linux-gnu     riscv64
arm     arm-linux-gnueabihf   armhf
386     i686-linux-gnu        i386
TABLE
}

# install PREFIX NAME gets the compiler, where that is possible.
install() {
	if command -v "$1-gcc" >/dev/null 2>&1; then return 0; fi
	if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then return 1; fi
	apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends \
		"gcc-$1" "libc6-dev-$2-cross" >"$work/install.log" 2>&1
}

# layouts ARCH PREFIX compiles the C header, with its checks and those of the
# Go side against it.
layouts() {
	run "$2-gcc" -fsyntax-only -isystem "$work" test/abi/abi.c
	run env GOWORK=off GOARCH="$1" CGO_ENABLED=1 CC="$2-gcc" CGO_CFLAGS="-isystem $work" go vet .
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp /usr/include/libaio.h "$work/" # it is the same for all machines
failed=
unchecked=
machines >"$work/machines"
while read -r arch prefix package <&3; do
	case " ${*:-$arch} " in *" $arch "*) ;; *) continue ;; esac
	run env GOWORK=off GOARCH="$arch" CGO_ENABLED=0 go vet ./... || failed="$failed $arch"
	run env GOWORK=off GOARCH="$arch" CGO_ENABLED=0 go test -c -o /dev/null . || failed="$failed $arch(test)"
	if install "$prefix" "$package"; then
		layouts "$arch" "$prefix" || failed="$failed $arch(layouts)"
	else
		unchecked="$unchecked $arch"
	fi
done 3<"$work/machines"
[ -z "$unchecked" ] || echo "no cross-compiler: the layouts are not checked for$unchecked"
[ -z "$failed" ] || die "failed:$failed"
echo "test-arch: all is well"
