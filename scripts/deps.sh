#!/bin/sh
# Installs what is missing, and nothing else.
#
#   scripts/deps.sh [FEATURE...]      (default: build)
#
#   build       what compiling and testing need: Go, a C compiler, make, libaio
#   compare     what make compare needs beside that: fio
#   container   what building an image needs where neither Docker nor Podman works
#   base-image  what making a base image without a registry needs
#   disks       what the tests on file systems of their own need, and fio, their judge
#   kernels     what booting other kernels needs, with one of kernels-amd64,
#               kernels-arm64 and kernels-s390x, for the machine that they are for
#   musl        another C library, to link with statically
#
# Go is only looked for, never installed.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(dirname -- "$here")

# Where mkfs is, which not everybody has on the PATH.
PATH=$PATH:/usr/sbin:/sbin

# feature_parts FEATURE prints the parts that the feature is made of.
feature_parts() {
	case $1 in
	build) echo "go cc make find libaio" ;;
	compare) echo "go cc make find libaio fio" ;;
	container) echo "buildah" ;;
	base-image) echo "buildah debootstrap" ;;
	disks) echo "mkfs.ext4 mkfs.xfs mkfs.btrfs fio" ;;
	kernels) echo "busybox cpio depmod mkfs.ext4 mkfs.xfs losetup xz" ;;
	kernels-amd64) echo "qemu-system-x86_64" ;;
	kernels-arm64) echo "qemu-system-aarch64 aarch64-linux-gnu-gcc readelf" ;;
	kernels-s390x) echo "qemu-system-s390x s390x-linux-gnu-gcc readelf" ;;
	musl) echo "musl-gcc" ;;
	*) return 1 ;;
	esac
}

# The packages of each part, by package manager.
packages_table() {
	cat <<'TABLE'
# part                | apt-get                                     | dnf                  | zypper       | apk                      | pacman
cc                    | gcc libc6-dev                               | gcc                  | gcc          | gcc musl-dev             | gcc
make                  | make                                        | make                 | make         | make                     | make
find                  | findutils                                   | findutils            | findutils    | findutils                | findutils
libaio                | libaio-dev                                  | libaio-devel         | libaio-devel | libaio-dev linux-headers | libaio
fio                   | fio                                         | fio                  | fio          | fio                      | fio
buildah               | buildah                                     | buildah              | buildah      | buildah                  | buildah
debootstrap           | debootstrap                                 | debootstrap          | debootstrap  | debootstrap              | debootstrap
qemu-system-x86_64    | qemu-system-x86                             | qemu-system-x86-core | qemu-x86     | qemu-system-x86_64       | qemu-system-x86
qemu-system-aarch64   | qemu-system-arm                             |                      |              |                          |
qemu-system-s390x     | qemu-system-misc                            |                      |              |                          |
aarch64-linux-gnu-gcc | gcc-aarch64-linux-gnu libc6-dev-arm64-cross |                      |              |                          |
s390x-linux-gnu-gcc   | gcc-s390x-linux-gnu libc6-dev-s390x-cross   |                      |              |                          |
readelf               | binutils                                    | binutils             | binutils     | binutils                 | binutils
busybox               | busybox                                     | busybox              | busybox      | busybox                  | busybox
cpio                  | cpio                                        | cpio                 | cpio         | cpio                     | cpio
depmod                | kmod                                        | kmod                 | kmod         | kmod                     | kmod
mkfs.ext4             | e2fsprogs                                   | e2fsprogs            | e2fsprogs    | e2fsprogs                | e2fsprogs
mkfs.xfs              | xfsprogs                                    | xfsprogs             | xfsprogs     | xfsprogs                 | xfsprogs
mkfs.btrfs            | btrfs-progs                                 | btrfs-progs          | btrfsprogs   | btrfs-progs              | btrfs-progs
losetup               | mount                                       | util-linux           | util-linux   | losetup                  | util-linux
xz                    | xz-utils                                    | xz                   | xz           | xz                       | xz
musl-gcc              | musl-tools                                  | musl-gcc             |              |                          | musl
TABLE
}

say() { printf 'deps: %s\n' "$*"; }

die() {
	printf 'deps: %s\n' "$@" >&2
	exit 1
}

# check_go stops unless Go is there and agrees to go.mod's version, which it
# does when it is new enough or may fetch a toolchain that is.
check_go() {
	want=$(sed -n 's/^go \([0-9][0-9.]*\).*/\1/p' "$root/go.mod")
	command -v go >/dev/null 2>&1 ||
		die "go is not on the PATH: install Go $want or newer (https://go.dev/doc/install)"
	said=$(cd "$root" && go list -m 2>&1) || {
		printf '%s\n' "$said" >&2
		die "$(cd / && go version) does not take this module, see above." \
			"It needs Go $want or newer (https://go.dev/doc/install)"
	}
}

# compiles FLAG... says whether the program on standard input compiles and links.
compiles() {
	cat >"$work/probe.c"
	# shellcheck disable=SC2086 # it may hold flags
	$compiler -o "$work/probe" "$work/probe.c" "$@" 2>"$work/probe.log"
}

# is_there PART looks for what the part does, not for a package's name.
is_there() {
	case $1 in
	cc)
		compiles <<'PROGRAM'
#include <stdio.h>
int main(void) { return puts("") < 0; }
PROGRAM
		;;
	libaio)
		compiles -laio <<'PROGRAM'
#include <libaio.h>
int main(void) {
	io_context_t ctx = 0;
	return io_setup(1, &ctx);
}
PROGRAM
		;;
	*-linux-gnu-gcc) echo '#include <stdlib.h>' | "$1" -fsyntax-only -xc - 2>/dev/null ;; # with its C library
	*) (PATH=$PATH:/usr/sbin:/sbin && command -v "$1") >/dev/null 2>&1 ;;
	esac
}

# package_manager prints the one that goes with the distribution.
package_manager() (
	# shellcheck disable=SC1091 # not part of the project
	[ -r /etc/os-release ] && . /etc/os-release
	case " ${ID:-} ${ID_LIKE:-} " in
	*" debian "* | *" ubuntu "*) echo apt-get ;;
	*" fedora "* | *" rhel "* | *" centos "*) echo dnf ;;
	*" suse "* | *" opensuse "*) echo zypper ;;
	*" alpine "*) echo apk ;;
	*" arch "*) echo pacman ;;
	*) return 1 ;;
	esac
)

# packages_of PART MANAGER prints the names to install.
packages_of() {
	packages_table | while IFS='|' read -r part apt dnf zypper apk pacman; do
		[ "${part%% *}" = "$1" ] || continue
		case $2 in
		apt-get) echo "$apt" ;;
		dnf) echo "$dnf" ;;
		zypper) echo "$zypper" ;;
		apk) echo "$apk" ;;
		pacman) echo "$pacman" ;;
		esac
	done
}

# as_root COMMAND... adds sudo where it is needed.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		sudo -- "$@"
	fi
}

# install_packages MANAGER NAME... does the work.
install_packages() {
	manager=$1
	shift
	case $manager in
	apt-get)
		as_root apt-get -q -o DPkg::Lock::Timeout=120 update &&
			as_root env DEBIAN_FRONTEND=noninteractive \
				apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@"
		;;
	dnf) as_root dnf -y install "$@" ;;
	zypper) as_root zypper --non-interactive install --no-recommends "$@" ;;
	apk) as_root apk add --no-cache "$@" ;;
	pacman) as_root pacman -Sy --noconfirm --needed "$@" ;;
	esac
}

[ $# -gt 0 ] || set -- build
parts=
for feature in "$@"; do
	these=$(feature_parts "$feature") || die "no such feature: $feature (there are: build, compare, container, base-image, disks, kernels, kernels-ARCH, musl)"
	parts="$parts $these"
done

compiler=$(go env CC 2>/dev/null) || compiler=${CC:-gcc} # the one that cgo takes
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

missing=
for part in $parts; do
	case $part in
	go) check_go ;;
	*)
		case " $missing " in *" $part "*) continue ;; esac
		is_there "$part" || missing="$missing $part"
		;;
	esac
done
if [ -z "$missing" ]; then
	say "nothing is missing for $*"
	exit 0
fi
say "missing:$missing"

manager=$(package_manager) ||
	die "this distribution's package manager is not known to this script." \
		"Install these by hand, then run it again:$missing"
command -v "$manager" >/dev/null 2>&1 ||
	die "$manager is not there." "Install these by hand, then run this again:$missing"
names=
for part in $missing; do
	found=$(packages_of "$part" "$manager")
	case $found in
	*[a-z]*) ;;
	*) die "$manager is not known to have $part." "Install it by hand, then run this again" ;;
	esac
	names="$names $found"
done
# shellcheck disable=SC2086 # one word for each package
set -- $names
if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null 2>&1; then
	die "installing needs root, and there is no sudo." "As root, install with $manager: $*"
fi

say "installing with $manager: $*"
if ! install_packages "$manager" "$@" >"$work/install.log" 2>&1; then
	cat "$work/install.log" >&2
	die "$manager failed, see above." \
		"If the package servers cannot be reached, see to the network or the proxy settings and run this again;" \
		"otherwise install by hand: $*"
fi
for part in $missing; do
	is_there "$part" && continue
	case $part in cc | libaio) cat "$work/probe.log" >&2 ;; esac
	die "$part is still missing after installing: $*" "(the C compiler is \"$compiler\")"
done
say "installed: $*"
