#!/bin/sh
# Builds the image of Dockerfile.test and runs the whole suite in it under the
# engine's default seccomp profile, with docker, podman or buildah: the first that
# works. Then runs the test of what is said where a profile denies AIO.
#
#   ENGINE           use this one
#   GO_VERSION       which image of golang (default: that of Dockerfile.test);
#                    "installed" is the version of the go on the PATH
#   BASE             its distribution (default: likewise)
#   BASE_IMAGE       another base image altogether; it must hold Go, unless
#                    GO_VERSION is given: then Go is copied from that image
#   GO_IMAGE         another image to copy it from
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
if [ "${GO_VERSION:-}" = installed ]; then
	GO_VERSION=$(go env GOVERSION | sed 's/^go//')
fi
if [ -z "${GO_VERSION:-}" ] && [ -n "${BASE_IMAGE:-}" ]; then
	: "${GO_IMAGE:=$BASE_IMAGE}"
fi
for name in GO_VERSION GO_IMAGE BASE BASE_IMAGE \
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

# What to run under the profile that denies io_setup.
profile=$PWD/test/seccomp-without-aio.json
denied="env GOWORK=off LIBAIO_TEST_DENIED=1 go test -count=1 -v -run ^TestSetupDeniedByProfile$ ."

# in_container FLAGS COMMAND... runs the command in a container of the image; FLAGS
# is one word, or empty.
in_container() {
	flags=$1
	shift
	# shellcheck disable=SC2086 # empty, or one
	run "$engine" run --rm $flags "$image" "$@"
}

case $engine in
docker | podman)
	DOCKER_BUILDKIT=1
	export DOCKER_BUILDKIT
	run "$engine" build "$@"
	;;
buildah)
	# Without a container runtime beside it, buildah can isolate in a chroot only,
	# which shares the host's network.
	: "${BUILDAH_ISOLATION:=chroot}"
	export BUILDAH_ISOLATION
	in_container() (
		container=$(buildah from --pull-never ${1:+"$1"} "$image")
		trap 'buildah rm "$container" >/dev/null' EXIT
		trap 'exit 1' HUP INT TERM
		shift
		run buildah run --network host "$container" -- "$@"
	)
	run buildah bud --layers --network host "$@"
	;;
*) die "unknown engine: $engine" ;;
esac

in_container "" scripts/test-library.sh
in_container "" scripts/test.sh
# shellcheck disable=SC2086 # a command line
in_container "--security-opt=seccomp=$profile" $denied
