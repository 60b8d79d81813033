#!/usr/bin/env bash
# Runs cargo from a toolchain that can build this project: scripts/cargo.sh ARGS...
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=lib/toolchain.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/toolchain.sh"

use_toolchain || die "there is no cargo and rustc $rust_minimum or newer that runs: scripts/install-prerequisites.sh build gets one."
exec cargo "$@"
