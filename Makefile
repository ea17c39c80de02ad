# Every target is a script of scripts/, so that people and CI run the same.
# Variables given to make reach the scripts in the environment.

.DEFAULT_GOAL := help

# One check of test-deep each, and one engine of test-engines.
DEEP := test-asan test-cgocheck2 test-checkptr test-oneproc test-repeat test-race test-growth test-debug test-pebble
ENGINES := test-nocgo test-nolibaio test-static

.PHONY: help deps build demo compare test test-disks test-deep test-engines $(DEEP) $(ENGINES) test-other test-arch test-library \
	test-kernels test-container test-long bench lint actionlint apidiff vulncheck base-image clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what is missing for building and testing
	@scripts/deps.sh build

build: deps ## build the command-line tool into bin/
	@scripts/build.sh

demo: deps ## build the tool and run its benchmark (FILE=path SIZE=1GiB)
	@scripts/demo.sh

compare: ## compare with fio, a C program and os.File.ReadAt (SHORT=1 FILE=path SIZE=512MiB)
	@scripts/compare.sh

test: deps ## vet, build and test everything, also with the race detector
	@scripts/test.sh

test-disks: deps ## the tests that mount file systems of their own, as root, with sudo
	@scripts/deps.sh disks
	@scripts/test-disks.sh

test-deep: deps ## the tests under sanitizers and checks, on one processor, repeated (each alone: make test-race, test-asan ...)
	@scripts/deps.sh disks
	@scripts/test-deep.sh

$(DEEP): deps
	@scripts/test-deep.sh $(@:test-%=%)

test-engines: deps ## the tests without the shared library: nocgo, nolibaio, static
	@scripts/test-engines.sh

$(ENGINES): deps
	@scripts/test-engines.sh $(@:test-%=%)

test-other: ## check that the package compiles on other systems
	@scripts/test-other.sh

test-arch: deps ## compile for other machines, and check the layouts with cross-compilers
	@scripts/test-arch.sh

test-library: deps ## prove which libaio the tests load (LIBAIO_VERSION=)
	@scripts/test-library.sh

test-long: deps ## the tests again and again, and fuzzing: hours (COUNT= FUZZTIME=)
	@scripts/test-long.sh

bench: deps ## run every benchmark (BENCHTIME=, once each by default)
	@scripts/bench.sh

lint: deps ## check format, modules, code, shell scripts and workflows
	@scripts/lint.sh

actionlint: deps ## check the workflows alone
	@scripts/lint.sh actionlint

apidiff: deps ## compare the exported API with an earlier commit (BASE=)
	@scripts/apidiff.sh

vulncheck: deps ## look for known vulnerabilities in what is used
	@scripts/vulncheck.sh

test-container: ## run the whole suite in a container (ENGINE= BASE_IMAGE= GO_VERSION=)
	@scripts/test-container.sh

test-kernels: deps ## the tests in other kernels, booted in qemu (ARCH= KERNELS= SHORT=1)
	@scripts/test-kernels.sh

base-image: ## make a base image for test-container without a registry (root, Debian)
	@scripts/base-image.sh

clean: ## remove what the other targets made
	rm -rf bin aio-bench.tmp compare.json compare.svg
	find . -type f \( -name '*.test' -o -name '*.prof' \) ! -name Dockerfile.test -delete
