#!/bin/sh
# Builds the image of Dockerfile.test and runs the whole suite in it, with
# docker, podman or buildah: the first that works.
#
#   ENGINE           use this one
#   GO_VERSION       Go in the base image (default: that of Dockerfile.test)
#   BASE             the base image's distribution (default: likewise)
#   BASE_IMAGE       another base image altogether; it must hold Go
#   IMAGE            name of the image that is made (default: libaio-test)
#   CONTAINER_FLAGS  more flags for the engine's build command
#
# The environment's GOPROXY, GOSUMDB, GOPRIVATE and GOFLAGS are passed on where
# they are set, and so are the proxy variables and the certificates that
# SSL_CERT_FILE names.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

image=${IMAGE:-libaio-test}

# works ENGINE says whether the engine is there and can be used.
works() {
	command -v "$1" >/dev/null 2>&1 && "$1" info >/dev/null 2>&1
}

# find_engine prints the engine to use.
find_engine() {
	for engine in ${ENGINE:-docker podman buildah}; do
		if works "$engine"; then
			echo "$engine"
			return 0
		fi
	done
	return 1
}

if ! engine=$(find_engine); then
	[ -z "${ENGINE:-}" ] || die "$ENGINE does not work here"
	scripts/deps.sh container
	engine=$(find_engine) || die "none of docker, podman and buildah works here"
fi

set -- --file Dockerfile.test --tag "$image"
for name in GO_VERSION BASE BASE_IMAGE \
	GOPROXY GOSUMDB GOPRIVATE GOFLAGS \
	http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
	eval "value=\${$name:-}"
	[ -z "$value" ] || set -- "$@" --build-arg "$name=$value"
done
if [ -n "${SSL_CERT_FILE:-}" ]; then
	set -- "$@" --secret "id=certificates,src=$SSL_CERT_FILE"
fi
# shellcheck disable=SC2086 # several flags
set -- "$@" ${CONTAINER_FLAGS:-} .

case $engine in
docker)
	DOCKER_BUILDKIT=1
	export DOCKER_BUILDKIT
	run docker build "$@"
	run docker run --rm "$image"
	;;
podman)
	run podman build "$@"
	run podman run --rm "$image"
	;;
buildah)
	# Without a container runtime beside it, buildah can isolate in a chroot only,
	# which shares the host's network.
	: "${BUILDAH_ISOLATION:=chroot}"
	export BUILDAH_ISOLATION
	run buildah bud --layers --network host "$@"
	container=$(buildah from --pull-never "$image")
	trap 'buildah rm "$container" >/dev/null' EXIT
	trap 'exit 1' HUP INT TERM
	run buildah run --network host "$container" -- scripts/test.sh
	;;
*) die "unknown engine: $engine" ;;
esac
