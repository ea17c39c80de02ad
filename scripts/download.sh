#!/bin/sh
# Downloads what go.mod asks for, in the package and every nested module.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

# named DIR prints the modules that go.mod names: all that a build needs. Without
# names go would download the whole graph of the workspace.
named() {
	sed -n 's/^\(require \|\t\)\([^ ]*\) v[0-9].*/\2/p' "$1/go.mod"
}

run env GOWORK=off go mod download # as scripts/test.sh builds the root module
for module in $(nested_modules); do
	# shellcheck disable=SC2046 # one word for each module
	in_module "$module" go mod download $(named "$module")
done
