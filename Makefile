# `make help` lists what there is to make. Root is asked for (through sudo) only by what builds networks, never to compile.

SHELL := bash
CARGO := scripts/cargo.sh
SCRIPTS := $(wildcard scripts/*.sh scripts/tests/*.sh scripts/lib/*.sh) scripts/kernel/init

# The DPDK plane is built where there is a libdpdk to build it with; the rest needs none. Asked when the rules are carried
# out, since the prerequisites may bring it.
PACKAGES = -p evenkeel $(if $(HAS_DPDK),-p evenkeel-dpdk-daemon)
PROGRAMS = $(addprefix target/release/,evenkeel evenkeel-dpdk $(if $(HAS_DPDK),libevenkeel_dpdk_daemon.so))
HAS_DPDK = $(shell pkg-config --atleast-version=22.11 libdpdk && echo yes)

.DEFAULT_GOAL := build
.PHONY: help prerequisites bpf build demo test test-kernel verifier bench lint clean

help: ## Lists these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

# And what the targets asked for need besides, in one go with it.
prerequisites: ## Installs what is missing to build
	@scripts/install-prerequisites.sh build dpdk $(filter demo test bench,$(MAKECMDGOALS))

bpf: prerequisites ## Builds the XDP programs
	scripts/build-bpf.sh evenkeel

# Only what build/ is made of: tests and measuring programs are compiled where they are run. The old files are removed and
# not written over: somebody may be running them.
build: bpf ## Builds the programs into build/ (the default)
	@[ -n "$(HAS_DPDK)" ] || echo "make: there is no libdpdk 22.11 or newer: the DPDK plane is left out (install libdpdk-dev)." >&2
	$(CARGO) build --release --locked $(PACKAGES)
	cp -u --remove-destination $(PROGRAMS) build/
	ln -sfn evenkeel build/xdp_lb
	ln -sfn evenkeel-dpdk build/base-server

demo: build ## Runs the walk-through in a sandbox
	scripts/sandbox.sh scripts/demo.sh

# In the release profile: the tests share what the build made. One that fails does not hide the next.
test: build ## Runs every test
	$(CARGO) test --workspace --release --locked --no-fail-fast
	scripts/tests/run.sh
	$(CARGO) build --release --locked $(PACKAGES) -p evenkeel-verifier
	scripts/test-kernel.sh --if-possible

test-kernel: build ## Boots Debian's 6.1 and 6.12 kernels under emulation and balances there
	$(CARGO) build --release --locked $(PACKAGES) -p evenkeel-verifier
	scripts/test-kernel.sh

# Beside the programs, here and where it is measured: with their choice of features the libraries are compiled already.
verifier: build ## Tells what the kernel's verifier makes of each XDP program, function by function
	$(CARGO) build --release --locked $(PACKAGES) -p evenkeel-verifier
	$(if $(filter 0,$(shell id -u)),,sudo )target/release/verifier --walked --check crates/tests/verifier-budget.toml build/evenkeel.bpf.o

bench: build ## Measures
	scripts/build-bpf.sh bench
	$(CARGO) build --release --locked $(PACKAGES) -p evenkeel-bench
	target/release/evenkeel-bench

lint: ## rustfmt, clippy with warnings denied, shellcheck
	@scripts/install-prerequisites.sh lint
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path crates/ebpf/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --release --locked -- -D warnings
	shellcheck -x -P SCRIPTDIR -P scripts $(SCRIPTS) .ci/run

clean: ## Removes what was built (not .tools/)
	rm -rf build target
