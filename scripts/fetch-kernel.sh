#!/bin/sh
# Fetches the kernel that Debian builds for virtual machines, and its modules, or
# other packages with all that they depend on, and extracts them. Nothing is
# installed.
#
#   scripts/fetch-kernel.sh ARCH SUITE DIR [PACKAGE...]
#
# ARCH is Go's name of the machine that they are for (e.g. amd64 bookworm
# bin/kernels/amd64/bookworm).
#
# It comes from the mirror that apt uses here, or MIRROR, through lists that are
# apart from the system's. KEYRING holds the keys that sign the release.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

[ $# -ge 3 ] || die "usage: fetch-kernel.sh ARCH SUITE DIR [PACKAGE...]"
arch=$1 # Debian's name is the same for the machines that are here
suite=$2
dir=$3
shift 3
keyring=${KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
case $arch in # a package that depends on the newest build
amd64 | arm64) meta=linux-image-cloud-$arch ;;
*) meta=linux-image-$arch ;;
esac

command -v apt-get >/dev/null 2>&1 || die "only for systems with apt-get: give kernels that are there (KERNELS=)"
[ -r "$keyring" ] || die "$keyring is not there: install debian-archive-keyring or set KEYRING"
mirror=$(debian_mirror)

work=$(mktemp -d "${TMPDIR:-/var/tmp}/libaio-kernel.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
: >"$work/status" # what is installed: nothing
echo "deb [arch=$arch signed-by=$keyring] $mirror $suite main" >"$work/sources.list"
cat >"$work/apt.conf" <<CONF
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "$work/lists";
Dir::State::Status "$work/status";
Dir::Cache "$work/cache";
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "";
APT::Update::Post-Invoke-Success "";
APT::Update::Post-Invoke "";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Translations::DefaultEnabled "false";
CONF
APT_CONFIG=$work/apt.conf
export APT_CONFIG

# fetch_kernel puts the newest kernel's package where apt puts others.
fetch_kernel() {
	package=$(apt-cache show --no-all-versions "$meta" |
		sed -n 's/^Depends:.*\(linux-image-[^ ,]*\).*/\1/p') && [ -n "$package" ] &&
		(cd "$work/cache/archives" && apt-get -q download "$package")
}

echo "+ apt-get download ${*:-$meta} of $suite for $arch"
{ apt-get -q update --error-on=any &&
	if [ $# -gt 0 ]; then apt-get -q -y -d install --no-install-recommends "$@"; else fetch_kernel; fi; } \
	>"$work/log" 2>&1 || {
	cat "$work/log" >&2
	die "${*:-$meta} of $suite could not be fetched from $mirror, see above"
}
for package in "$work"/cache/archives/*.deb; do
	dpkg-deb -x "$package" "$work/root"
done
rm -rf "$dir"
mkdir -p "$(dirname "$dir")"
mv "$work/root" "$dir"
echo "fetched $(find "$work/cache/archives" -name '*.deb' | wc -l) packages"
