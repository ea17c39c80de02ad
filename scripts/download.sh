#!/bin/sh
# Downloads what go.mod asks for, in the package and every nested module.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh
for module in . $(nested_modules); do
	in_module "$module" go mod download
done
