#!/bin/sh
# Fetches the kernel that Debian builds for virtual machines, and its modules,
# and extracts them. Nothing is installed.
#
#   scripts/fetch-kernel.sh SUITE DIR      (e.g. bookworm bin/kernels/bookworm)
#
# It comes from the mirror that apt uses here, or MIRROR, through lists that are
# apart from the system's. KEYRING holds the keys that sign the release.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

[ $# -eq 2 ] || die "usage: fetch-kernel.sh SUITE DIR"
suite=$1
dir=$2
keyring=${KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
meta=linux-image-cloud-amd64 # depends on the newest build

command -v apt-get >/dev/null 2>&1 || die "only for systems with apt-get: give kernels that are there (KERNELS=)"
[ -r "$keyring" ] || die "$keyring is not there: install debian-archive-keyring or set KEYRING"
mirror=$(debian_mirror)

work=$(mktemp -d "${TMPDIR:-/var/tmp}/libaio-kernel.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
: >"$work/status" # what is installed: nothing
echo "deb [arch=amd64 signed-by=$keyring] $mirror $suite main" >"$work/sources.list"
cat >"$work/apt.conf" <<CONF
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "$work/lists";
Dir::State::Status "$work/status";
Dir::Cache "$work/cache";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "";
APT::Update::Post-Invoke-Success "";
APT::Update::Post-Invoke "";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Translations::DefaultEnabled "false";
CONF
APT_CONFIG=$work/apt.conf
export APT_CONFIG

echo "+ apt-get download $meta of $suite"
{ apt-get -q update --error-on=any && package=$(apt-cache show --no-all-versions "$meta" |
	sed -n 's/^Depends:.*\(linux-image-[^ ,]*\).*/\1/p') && [ -n "$package" ] &&
	(cd "$work" && apt-get -q download "$package"); } >"$work/log" 2>&1 || {
	cat "$work/log" >&2
	die "the kernel of $suite could not be fetched from $mirror, see above"
}
dpkg-deb -x "$work"/linux-image-*.deb "$work/root"
rm -rf "$dir"
mkdir -p "$(dirname "$dir")"
mv "$work/root" "$dir"
echo "fetched $package"
