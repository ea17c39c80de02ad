#!/bin/sh
# Boots one kernel for test-kernels.sh, which says what a KERNEL can be, and
# reports what came of the tests there.
#
#   scripts/boot-kernel.sh DIR KERNEL
#
# DIR has the file tests, a line for each run (its name, the file system, the test
# binary's path in the guest, its flags), and the folder bin with the binaries. ARCH
# is the machine (amd64); for others than amd64, bin/kernels/ARCH/programs has the
# programs of its Debian.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

[ $# -eq 2 ] || die "usage: boot-kernel.sh DIR KERNEL"
given=$1
kernel=$2
arch=${ARCH:-amd64}
programs=bin/kernels/$arch/programs
timeout=${BOOT_TIMEOUT:-40m} # against a hang: they take some ten minutes
PATH=$PATH:/usr/sbin:/sbin   # for mkfs, depmod and modprobe

# The programs that the guest and the tests call.
applets="sh cat insmod ip ls mkdir mount poweroff rm sleep sync true umount uname"

work=$(mktemp -d "${TMPDIR:-/var/tmp}/libaio-kernel.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# find_kernel finds the kernel's image, and the folder with boot/ and lib/ that it
# belongs to (root).
find_kernel() {
	image=
	case $kernel in
	*.deb)
		root=$work/extracted
		dpkg-deb -x "$kernel" "$root"
		;;
	*/*)
		if [ -d "$kernel" ]; then
			root=$kernel
		else
			[ -r "$kernel" ] || die "no such kernel: $kernel"
			image=$kernel
			root=$(dirname "$kernel")/..
		fi
		;;
	*) root=bin/kernels/$arch/$kernel ;;
	esac
	[ -n "$image" ] || image=$(find "$root/boot" -name 'vmlinuz-*' | sort | tail -n 1)
	[ -n "$image" ] || die "no boot/vmlinuz-* in $root"
}

# copy_program NAME FILES copies a program, and the libraries that it needs.
copy_program() {
	if [ "$arch" != amd64 ]; then
		program=$(find "$programs" -path "*bin/$1" | head -n 1)
		[ -n "$program" ] || die "$1 is not in $programs"
		cp "$program" "$2/bin/$1"
		copy_libraries "$program" "$2/lib"
		return
	fi
	program=$(command -v "$1") || die "$1 is not there"
	cp "$program" "$2/bin/$1"
	{ ldd "$program" 2>/dev/null || true; } | sed -n 's|[^/]*\(/[^ ]*\) (0x.*|\1|p' |
		while read -r library; do
			mkdir -p "$2$(dirname "$library")"
			cp "$library" "$2$library"
		done
}

# copy_libraries PROGRAM DIR copies the libraries that a program of another machine
# needs, and those that they need. ldd would run it.
copy_libraries() {
	mkdir -p "$2"
	readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | while read -r needed; do
		[ ! -e "$2/$needed" ] || continue
		library=$(find "$programs" -path "*lib/*/$needed" | head -n 1)
		[ -n "$library" ] || die "$needed is not in $programs"
		cp "$library" "$2/$needed"
		copy_libraries "$library" "$2"
	done
}

# copy_modules FILES copies the modules that the guest needs, numbered in the
# order of loading.
copy_modules() {
	version=${image##*/vmlinuz-}
	mkdir -p "$1/modules"
	for lib in lib usr/lib; do
		[ -d "$root/$lib/modules/$version" ] && break
	done
	[ -d "$root/$lib/modules/$version" ] || return 0 # all is built in
	tree=$work/modules-of-$version
	mkdir -p "$tree/lib/modules"
	ln -sfn "$(cd "$root/$lib/modules/$version" && pwd)" "$tree/lib/modules/$version"
	[ -e "$tree/lib/modules/$version/modules.dep" ] || depmod -b "$tree" "$version"
	number=100
	for name in virtio_pci virtio_blk virtio_console ext4 xfs loop; do
		modprobe -d "$tree" -S "$version" --show-depends "$name"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/order"
	while read -r module; do
		number=$((number + 1))
		to=$1/modules/$number-$(basename "$module" | sed 's/\.ko.*/.ko/')
		case $module in
		*.xz) xz -dc "$module" >"$to" ;;
		*.zst) zstd -qdc "$module" >"$to" ;;
		*.gz) gzip -dc "$module" >"$to" ;;
		*) cp "$module" "$to" ;;
		esac
	done <"$work/order"
}

# make_initramfs makes the file system in which the guest starts.
make_initramfs() {
	files=$work/files
	mkdir -p "$files/bin" "$files/dev" "$files/proc" "$files/sys" "$files/mnt"
	cp -r "$given/tests" "$given/bin" "$files/"
	copy_program busybox "$files"
	for name in mkfs.ext4 mkfs.xfs losetup; do # for tests that make a file system of their own
		copy_program "$name" "$files"
	done
	for name in $applets; do ln -s busybox "$files/bin/$name"; done
	cp scripts/guest-init.sh "$files/init"
	copy_modules "$files"
	(cd "$files" && find . | cpio --quiet -o -H newc) | gzip -1 >"$work/initramfs"
}

# boot runs the guest to its end. The mitigations for processors that leak have each
# system call flush what qemu has translated: without them the tests take a third of
# the time.
boot() {
	truncate -s 1G "$work/ext4" "$work/xfs"
	mkfs.ext4 -q -F "$work/ext4"
	mkfs.xfs -q -f "$work/xfs"
	case $arch in # the console is the first port, the results go to the second
	amd64)
		# qemu 7.2's cmpxchg16b leaves something other than flags in the flags, which
		# crashes Linux 6.12.
		set -- qemu-system-x86_64 -cpu Nehalem,-cx16 -device isa-serial,chardev=results
		options="console=ttyS0 RESULTS=/dev/ttyS1"
		;;
	arm64) # a processor with atomic instructions, as servers have
		set -- qemu-system-aarch64 -M virt -cpu neoverse-n1
		options="console=ttyAMA0 RESULTS=/dev/hvc0"
		;;
	s390x)
		set -- qemu-system-s390x
		options="RESULTS=/dev/hvc0"
		;;
	esac
	[ "$arch" = amd64 ] || set -- "$@" -device virtio-serial -device virtconsole,chardev=results
	timeout --foreground "$timeout" "$@" -accel tcg -smp 2 -m 1G \
		-nodefaults -no-user-config -display none -no-reboot \
		-kernel "$image" -initrd "$work/initramfs" \
		-append "$options panic=-1 oops=panic loglevel=5 mitigations=off" \
		-serial "file:$work/console" -chardev "file,id=results,path=$work/results" \
		-drive "file=$work/ext4,if=none,id=ext4,format=raw,cache=unsafe" -device virtio-blk,drive=ext4,serial=ext4 \
		-drive "file=$work/xfs,if=none,id=xfs,format=raw,cache=unsafe" -device virtio-blk,drive=xfs,serial=xfs </dev/null
}

# count RUNS reads what the guest wrote and prints a line for each run, the reasons
# of what was skipped, and all that a test said that failed. It fails unless all of
# them ended, passed, and ran anything at all.
count() {
	tr -d '\r' <"$work/results" | awk -v kernel="$kernel" -v runs="$1" '
		$1 == "GUEST" && $2 == "kernel" { version = $3 }
		$1 == "GUEST" && $2 == "begin" { passed = failed = skipped = 0; reasons = "" }
		/^ +[a-z_0-9]+\.go:[0-9]+: / { said = $0; sub(/^ +[a-z_0-9]+\.go:[0-9]+: /, "", said) }
		/^ *--- SKIP: / { reasons = reasons "    skipped " $3 ": " said "\n" }
		/^--- PASS: / { passed++ }
		/^=== RUN +[^\/]+$/ { output = "" }
		{ output = output "      " $0 "\n" }
		/^--- FAIL: / { failed++; reasons = reasons "    FAILED " $3 "\n" output }
		/^--- SKIP: / { skipped++ }
		$1 == "GUEST" && $2 == "end" {
			ended++
			bad = $5 != 0 || failed || !passed
			wrong += bad
			printf "%-10s %-28s %-8s %-5s %4d passed %3d failed %3d skipped%s\n%s", kernel, version, $3, $4,
				passed, failed, skipped, bad ? "  FAILED, exit status " $5 : "", reasons
		}
		$1 == "GUEST" && $2 ~ /^(stopped:|left)$/ { wrong++; print }
		$1 == "GUEST" && $2 == "done" { done = 1 }
		END {
			if (!done || ended != runs) {
				wrong++
				printf "%s: %d of %d runs came to their end\n", kernel, ended, runs
			}
			exit wrong > 0
		}'
}

find_kernel
make_initramfs
echo "+ boot $image"
boot || echo "qemu ended with $?"
touch "$work/console" "$work/results"
failed=
count "$(wc -l <"$given/tests")" || failed=1
grep -E 'BUG:|WARNING:|Oops|Kernel panic|blocked for more than' "$work/console" && failed=1
[ -z "$failed" ] || {
	tail -n 200 "$work/results" "$work/console"
	die "$kernel failed, see above"
}
