#!/bin/sh
# Boots other kernels in qemu, without KVM, and runs the tests of the package in
# them, statically linked, on disks with ext4 and xfs. Needs no root, unless
# something is to be installed. amd64 only.
#
#   KERNELS       which, each of them one of (default: "bookworm trixie")
#                   a release of Debian: its kernel for virtual machines, fetched
#                   a kernel image; its modules are looked for where they belong,
#                   ../lib/modules/VERSION, and need not be there if all is built in
#                   a package (.deb), or a folder into which one was extracted
#   SHORT         not empty: the short tests, through libaio alone, in the last
#                 kernel alone; and where the machine lacks what it takes and cannot
#                 get it, this says so and ends well
#   TEST_TIMEOUT  bounds each run of a test binary (default 5m)
#
# A fetched kernel stays in bin/kernels until make clean.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

PATH=$PATH:/usr/sbin:/sbin # for mkfs, depmod and modprobe
kernels=${KERNELS:-bookworm trixie}
flags="-test.timeout=${TEST_TIMEOUT:-5m}"
boot_timeout=12m
if [ -n "${SHORT:-}" ]; then
	kernels=${kernels##* }
	flags="$flags -test.short"
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

# find_kernel KERNEL sets the folder with its modules (root) and its image,
# fetching and extracting what has to be.
find_kernel() {
	root=
	case $1 in
	*.deb)
		root=$work/extracted
		rm -rf "$root"
		dpkg-deb -x "$1" "$root"
		;;
	*/*)
		if [ -d "$1" ]; then
			root=$1
		else
			[ -r "$1" ] || die "no such kernel: $1"
			image=$1
			root=$(dirname "$1")/..
		fi
		;;
	*)
		root=bin/kernels/$1
		[ -d "$root" ] || scripts/fetch-kernel.sh "$1" "$root" || return
		;;
	esac
	[ -n "${image:-}" ] || image=$(find "$root/boot" -name 'vmlinuz-*' | sort | tail -n 1)
	[ -n "$image" ] || die "no boot/vmlinuz-* in $root"
}

# copy_program NAME FILES copies a program, and the libraries that it needs.
copy_program() {
	program=$(command -v "$1") || die "$1 is not there"
	cp "$program" "$2/bin/$1"
	{ ldd "$program" 2>/dev/null || true; } | sed -n 's|[^/]*\(/[^ ]*\) (0x.*|\1|p' |
		while read -r library; do
			mkdir -p "$2$(dirname "$library")"
			cp "$library" "$2$library"
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
	for name in virtio_pci virtio_blk ext4 xfs loop; do
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

# make_initramfs KERNEL makes the file system in which the guest starts.
make_initramfs() {
	files=$work/files
	rm -rf "$files"
	mkdir -p "$files/bin" "$files/dev" "$files/proc" "$files/sys" "$files/mnt"
	cp -r "$work/tests" "$work/bin" "$files/"
	copy_program busybox "$files"
	copy_program mkfs.ext4 "$files" # some tests make a file system of their own
	for name in $applets; do ln -s busybox "$files/bin/$name"; done
	cp scripts/guest-init.sh "$files/init"
	copy_modules "$files"
	(cd "$files" && find . | cpio --quiet -o -H newc) | gzip -1 >"$work/initramfs"
}

# boot runs the guest to its end. Its processor has no cmpxchg16b: qemu 7.2's
# leaves something other than flags in the flags, which crashes Linux 6.12.
boot() {
	rm -f "$work/ext4" "$work/xfs"
	truncate -s 1G "$work/ext4" "$work/xfs"
	mkfs.ext4 -q -F "$work/ext4"
	mkfs.xfs -q -f "$work/xfs"
	timeout "$boot_timeout" qemu-system-x86_64 -accel tcg -cpu Nehalem,-cx16 -smp 2 -m 1G \
		-nodefaults -no-user-config -display none -no-reboot \
		-kernel "$image" -initrd "$work/initramfs" \
		-append "console=ttyS0 panic=-1 oops=panic loglevel=5" \
		-serial "file:$work/console" -serial "file:$work/results" \
		-drive "file=$work/ext4,if=virtio,format=raw,cache=unsafe" \
		-drive "file=$work/xfs,if=virtio,format=raw,cache=unsafe" </dev/null
}

# count reads what the guest wrote and prints a line for each run, and the reasons of what
# was skipped. It fails unless every run passed, ran anything at all, and came to its end.
count() {
	tr -d '\r' <"$work/results" | awk -v kernel="$1" -v runs="$2" '
		$1 == "GUEST" && $2 == "kernel" { version = $3 }
		$1 == "GUEST" && $2 == "begin" { passed = failed = skipped = 0; reasons = "" }
		/^ +[a-z_0-9]+\.go:[0-9]+: / { said = $0; sub(/^ +[a-z_0-9]+\.go:[0-9]+: /, "", said) }
		/^ *--- SKIP: / { reasons = reasons "    skipped " $3 ": " said "\n" }
		/^--- PASS: / { passed++ }
		/^--- FAIL: / { failed++; reasons = reasons "    FAILED " $3 "\n" }
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

# test_kernel KERNEL boots it and reports.
test_kernel() {
	image=
	find_kernel "$1" || return
	make_initramfs
	rm -f "$work/console" "$work/results"
	echo "+ boot $image"
	boot || echo "qemu ended with $?"
	touch "$work/console" "$work/results"
	fine=0
	count "$1" $(($(wc -l <"$work/tests") * 2)) >"$work/count" || fine=1
	cat "$work/count" >>"$work/report"
	if grep -E 'BUG:|WARNING:|Oops|Kernel panic|blocked for more than' "$work/console" >>"$work/report"; then fine=1; fi
	[ "$fine" -eq 0 ] || tail -n 200 "$work/console" "$work/results"
	return "$fine"
}

# The programs that the guest and the tests call.
applets="sh cat insmod ip ls mkdir mount poweroff rm sleep sync true umount uname"

# add_run NAME COMMAND... builds a test binary, which the guest is to run.
add_run() {
	name=$1
	shift
	run env GOWORK=off "$@" -o "$work/bin/$name.test" .
	echo "$name /bin/$name.test $flags" >>"$work/tests"
}

mkdir "$work/bin"
add_run libaio go test -c -tags aiostatic,netgo,osusergo -ldflags '-s -w -linkmode external -extldflags -static'
[ -n "${SHORT:-}" ] || add_run nocgo env CGO_ENABLED=0 go test -c -ldflags '-s -w'

failed=
for kernel in $kernels; do
	test_kernel "$kernel" || failed="$failed $kernel"
done
cat "$work/report"
[ -z "$failed" ] || die "failed:$failed"
echo "test-kernels: all is well"
