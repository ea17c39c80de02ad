#!/bin/sh
# Checks format, modules, code, shell scripts and workflows. The checkers are pinned in
# tools/go.mod; shellcheck comes from the system, and must be there under CI.
#
#   scripts/lint.sh [CHECK]      (default: all of them; for one: actionlint)
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

only=${1:-}
ran=
failed=

# checker NAME prints the path of a checker that tools/go.mod pins. The path
# is used, and not "go tool", so that the checker itself sees the workspace,
# which -modfile does not go with.
checker() {
	GOWORK=off go tool -modfile=tools/go.mod -n "$1"
}

# check NAME COMMAND... runs the command and notes when it fails.
check() {
	name=$1
	shift
	[ "$name" = "${only:-$name}" ] || return 0
	ran=$name
	echo "+ $name"
	"$@" || failed="$failed $name"
}

# formatted stops at files that gofumpt, which includes gofmt, would change.
formatted() {
	files=$("$gofumpt" -l .) || return
	[ -n "$files" ] || return 0
	echo "not formatted as gofumpt does it:"
	echo "$files"
	return 1
}

# tidy DIR stops where "go mod tidy" would change the module's go.mod or go.sum:
# the workspace hides what is missing there.
tidy() (
	cd "$1" && GOWORK=off go mod tidy -diff
)

# shell_scripts prints the scripts to check.
shell_scripts() {
	echo .ci/run
	find scripts -name '*.sh' | sort
}

gofumpt=$(checker gofumpt)
staticcheck=$(checker staticcheck)
actionlint=$(checker actionlint)

check gofumpt formatted
for module in . ./tools $(nested_modules); do
	check "tidy:$module" tidy "$module"
done
check staticcheck "$staticcheck" ./...
check staticcheck:nolibaio "$staticcheck" -tags nolibaio ./...
check staticcheck:aiodebug "$staticcheck" -tags aiodebug .
for module in $(nested_modules); do
	check "staticcheck:$module" in_module "$module" "$staticcheck" ./...
done
if command -v shellcheck >/dev/null 2>&1; then
	# shellcheck disable=SC2046 # no spaces in the names
	check shellcheck shellcheck -x $(shell_scripts)
else
	echo "shellcheck is not installed: the scripts are not checked"
	[ -z "${CI:-}" ] || failed="$failed shellcheck"
fi
check actionlint "$actionlint" .github/workflows/*.yml

[ -n "$ran" ] || die "no such check: $only"
if [ -n "$failed" ]; then
	die "failed:$failed"
fi
echo "lint: all is well"
