# Functions that the other scripts share. Read with ".", in the top folder.
# shellcheck shell=sh

# run COMMAND... prints the command, then runs it.
run() {
	printf '+ %s\n' "$*"
	"$@"
}

die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# nested_modules prints the folder of every module below the top one. The
# module in tools/ only pins programs: it holds no Go code.
nested_modules() {
	find . -mindepth 2 -name go.mod \
		-not -path '*/vendor/*' -not -path '*/testdata/*' -not -path './tools/*' |
		sed 's|/go\.mod$||' | sort
}

# in_module DIR COMMAND... runs the command in the module's folder: in the
# workspace where go.work lists the module, and on its own where it does not.
in_module() (
	cd "$1" || exit
	printf '+ (cd %s)\n' "$1"
	shift
	own=$(GOWORK=off go list -m) || exit
	if ! go list -m | grep -qxF -- "$own"; then
		GOWORK=off
		export GOWORK
	fi
	run "$@"
)

# debian_mirror prints the mirror from which apt fetches this system's own
# packages: it has those of Debian's other releases too. MIRROR overrides it,
# on systems other than Debian for one.
debian_mirror() {
	if [ -n "${MIRROR:-}" ]; then
		echo "$MIRROR"
		return
	fi
	# shellcheck disable=SC1091 # not part of the project
	suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
	# shellcheck disable=SC2016 # apt-get expands these itself
	mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
		awk -v suite="$suite" '$2 == suite && $3 == "main" && !found++ { print $1 }')
	[ -n "$mirror" ] || die "apt has no source for $suite main: set MIRROR"
	echo "$mirror"
}
