# Where tests put their files. Read with ".", in the top folder, behind lib.sh.
# shellcheck shell=sh

# direct_io DIR says whether files there can be written with O_DIRECT.
direct_io() {
	probe=$(mktemp "$1/libaio-probe.XXXXXX" 2>/dev/null) || return 1
	ok=0
	dd if=/dev/zero of="$probe" bs=4096 count=1 oflag=direct 2>/dev/null || ok=1
	rm -f "$probe"
	return $ok
}

# use_direct_tmpdir moves TMPDIR to a disk where /tmp is none: the tests do
# direct I/O in it. A TMPDIR that somebody chose is left as it is.
use_direct_tmpdir() {
	[ -z "${TMPDIR:-}" ] || return 0
	for dir in /tmp /var/tmp "$PWD"; do
		if direct_io "$dir"; then
			[ "$dir" = /tmp ] || run export TMPDIR="$dir"
			return 0
		fi
	done
	echo "no temporary folder does direct I/O: /tmp, /var/tmp, $PWD" >&2
}
