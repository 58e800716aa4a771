#!/usr/bin/env bash
# Clients that are too many, too fast, too slow or too large, and what others notice of them.
#
#     tests/abuse/run.sh [--short]
#
# Prints a table: what was measured, what is allowed, ok or FAILED; exits with 1 when a row fails. SLOTCAR_BIN names another
# slotcar than a release build of this one.
set -euo pipefail
# shellcheck source=tests/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$ROOT"

# Of all rows together, on a busy machine.
LIMIT=600

trap end_spawned EXIT
provide_server redis
build_slotcar
export SLOTCAR_BIN
ulimit -n "$(ulimit -H -n)"
timeout --kill-after 10 "$LIMIT" cargo test --locked --quiet --test abuse -- "$@"
