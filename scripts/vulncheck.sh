#!/bin/sh
# Looks for known vulnerabilities in what each module uses. Needs the network.
set -eu
cd "$(dirname -- "$0")/.."
. scripts/lib.sh

govulncheck=$(GOWORK=off go tool -modfile=tools/go.mod -n govulncheck)
run env GOWORK=off "$govulncheck" ./...
for module in $(nested_modules); do in_module "$module" "$govulncheck" ./...; done
