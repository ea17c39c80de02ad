#!/bin/sh
# Proves which libaio the tests load: its version as the package manager has it,
# that the header is of the same version, and that this file is the one that runs.
#
#   LIBAIO_VERSION  fail unless it is this (e.g. 0.3.113)
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

# version_of FILE prints the version of the package that the file belongs to,
# without what the distribution adds to it.
version_of() {
	if command -v dpkg-query >/dev/null 2>&1; then
		# The file may be known by its name from before /lib became /usr/lib.
		package=$(dpkg-query -S "*/${1##*/}" | sed -n '1s|: /.*||p')
		dpkg-query -W -f '${source:Upstream-Version}\n' "$package"
	elif command -v rpm >/dev/null 2>&1; then
		rpm -qf --qf '%{VERSION}\n' "$1"
	elif command -v apk >/dev/null 2>&1; then
		apk info -W "$1" | sed -n 's/.* libaio[a-z-]*-\([0-9.]*\)-r[0-9]*$/\1/p'
	elif command -v pacman >/dev/null 2>&1; then
		pacman -Qo "$1" | sed -n 's/.* libaio \([0-9.]*\)-[0-9]*$/\1/p'
	else
		die "no package manager that this script knows"
	fi
}

library=$(readlink -f "$($(go env CC) -print-file-name=libaio.so)")
loaded=$(version_of "$library")
header=$(version_of /usr/include/libaio.h)
echo "libaio $loaded is $library, the header is of $header"
[ "${loaded:-none}" = "$header" ] || die "library and header are of different versions"
[ "$loaded" = "${LIBAIO_VERSION:-$loaded}" ] || die "want libaio $LIBAIO_VERSION"
out=$(GOWORK=off LIBAIO_TEST_LIBRARY="$library" go test -count=1 -v -run '^TestLoadedLibrary$' . 2>&1) || {
	echo "$out"
	die "another library runs"
}
case $out in
*"--- PASS: TestLoadedLibrary "*) echo "test-library: it is the one that runs" ;;
*) die "the test did not run: $out" ;;
esac
