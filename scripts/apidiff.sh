#!/bin/sh
# Compares the exported API with that of an earlier commit. What is incompatible
# must be told of in CHANGELOG.md, as changed or removed since the last version.
#
#   BASE  the commit to compare with (default: the last version's tag, or
#         origin/main where there is none); HEAD~1 in place of a hash that is not
#         in this clone, as what CI is given after a force-push
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

base=${BASE:-$(git describe --tags --abbrev=0 2>/dev/null || echo origin/main)}
is_commit() { git rev-parse --verify --quiet "$1^{commit}" >/dev/null; }
if ! is_commit "$base"; then
	case $base in
	*[!0-9a-f]*) die "no such commit: $base (fetch it, or set BASE)" ;;
	esac
	is_commit HEAD~1 || die "neither $base nor HEAD~1 is in this clone: fetch one, or set BASE"
	echo "apidiff: $base is not in this clone, as after a force-push: comparing with HEAD~1"
	base=HEAD~1
fi

work=$(mktemp -d)
trap 'git worktree remove --force "$work/base" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

apidiff=$(GOWORK=off go tool -modfile=tools/go.mod -n apidiff)
GOWORK=off
export GOWORK
run git worktree add --quiet --detach "$work/base" "$base"
(cd "$work/base" && "$apidiff" -m -w "$work/before" github.com/golibaio/libaio)
"$apidiff" -m -w "$work/now" github.com/golibaio/libaio
run "$apidiff" -m "$work/before" "$work/now"
incompatible=$("$apidiff" -m -incompatible "$work/before" "$work/now" | sed '/^Ignoring internal package/d')
if [ -n "$incompatible" ] && ! awk '/^## /{ n++ } n == 1' CHANGELOG.md | grep -qE '^### (Changed|Removed)'; then
	die "incompatible with $base, and CHANGELOG.md tells of nothing changed or removed"
fi
echo "apidiff: all is well"
