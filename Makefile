# `make help` lists what there is to make. Root is asked for (through sudo) only by what builds networks, never to compile.

SHELL := bash
CARGO := scripts/cargo.sh
SCRIPTS := $(wildcard scripts/*.sh scripts/tests/*.sh scripts/lib/*.sh) scripts/kernel/init

.DEFAULT_GOAL := build
.PHONY: help prerequisites bpf build demo test test-kernel bench lint clean

help: ## Lists these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

prerequisites: ## Installs what is missing to build
	@scripts/install-prerequisites.sh build

bpf: prerequisites ## Builds the XDP program
	scripts/build-bpf.sh

build: bpf ## Builds everything into build/ (the default)
	$(CARGO) build --release --workspace --locked
	cp -u target/release/evenkeel build/
	ln -sfn evenkeel build/xdp_lb

demo: build ## Runs the walk-through in a sandbox
	@scripts/install-prerequisites.sh demo
	scripts/sandbox.sh scripts/demo.sh

# In the release profile: the tests share what the build made.
test: build ## Runs every test
	@scripts/install-prerequisites.sh test
	$(CARGO) test --workspace --release --locked
	scripts/tests/run.sh

test-kernel: build ## Boots Debian's 6.1 kernel under emulation and balances there
	scripts/test-kernel.sh

bench: build ## Measures
	$(CARGO) run --release --locked -p evenkeel-bench

lint: ## rustfmt, clippy with warnings denied, shellcheck
	@scripts/install-prerequisites.sh lint
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path crates/ebpf/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --release --locked -- -D warnings
	shellcheck -x -P SCRIPTDIR -P scripts $(SCRIPTS) .ci/run

clean: ## Removes what was built (not .tools/)
	rm -rf build target
