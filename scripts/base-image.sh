#!/bin/sh
# Makes a base image without a registry: a release of Debian or Ubuntu, from the
# package mirror that apt uses here, plus the Go toolchain that is installed here.
# Needs root. Then:
#
#   scripts/base-image.sh [NAME]
#   BASE_IMAGE=localhost/libaio-base ENGINE=buildah scripts/test-container.sh
#
#   SUITE   the release (default: that of this system)
#   NAME    of the image (default: localhost/libaio-base, with the release that
#           was asked for as its tag: localhost/libaio-base:trixie)
#   MIRROR  where from, if not from apt's
#   SCRIPT  of debootstrap, where it does not know the release yet: sid does for
#           all of Debian, gutsy for all of Ubuntu
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

name=${1:-localhost/libaio-base${SUITE:+:$SUITE}}
[ "$(id -u)" -eq 0 ] || die "debootstrap needs root"
command -v apt-get >/dev/null 2>&1 || die "only for systems with apt-get"
scripts/deps.sh base-image

# shellcheck disable=SC1091 # not part of the project
suite=${SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
mirror=$(debian_mirror)
goroot=$(go env GOROOT)

work=$(mktemp -d "${TMPDIR:-/var/tmp}/libaio-base.XXXXXX")
container=
cleanup() {
	[ -z "$container" ] || buildah rm "$container" >/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

echo "+ debootstrap $suite"
debootstrap --variant=minbase --include=ca-certificates "$suite" "$work/root" "$mirror" ${SCRIPT:+"$SCRIPT"} >"$work/log" 2>&1 || {
	cat "$work/log" >&2
	die "debootstrap failed, see above"
}
rm -rf "$work"/root/var/cache/apt/archives/*.deb

container=$(buildah from scratch)
run buildah add --quiet "$container" "$work/root" /
run buildah add --quiet "$container" "$goroot" /usr/local/go
run buildah config \
	--env GOPATH=/go --env GOTOOLCHAIN=local \
	--env PATH=/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	--workingdir /go "$container"
run buildah commit --quiet "$container" "$name"
