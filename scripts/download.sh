#!/bin/sh
# Downloads what go.mod asks for, in the package and every nested module.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh
run env GOWORK=off go mod download # as scripts/test.sh builds the root module
for module in $(nested_modules); do
	in_module "$module" go mod download
done
