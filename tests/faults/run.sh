#!/usr/bin/env bash
# Takes nodes away from a cluster while clients work through slotcar, and judges what they notice.
#
#     tests/faults/run.sh [--server redis|valkey] [--rows 1,2,…|all|none] [--soak SECONDS] [--seed N]
#
# Prints a table: what was measured, what is allowed, ok or FAILED; exits with 1 when a row fails. Row 5 cuts a link and
# needs root (network namespaces). SLOTCAR_BIN names another slotcar than a release build of this one.
set -euo pipefail
# shellcheck source=tests/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$ROOT"

# More than all rows take on a busy machine; a soak adds its own time.
LIMIT=600

main() {
  local status=0
  provide_server "$(server_of "$@")"
  build_slotcar
  export SLOTCAR_BIN
  export FAULTS_NETWORK="sc$$"
  # A run that was killed leaves its network; there may be none.
  trap 'end_spawned; ip netns del "$FAULTS_NETWORK" 2>/dev/null || true' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  cargo build --locked --quiet --test faults
  in_group timeout --kill-after 10 $((LIMIT + 2 * $(soak_of "$@"))) \
    cargo test --locked --quiet --test faults -- "$@"
  wait "${SPAWNED[-1]}" || status=$?
  exit "$status"
}

# As spawn does, but it says what it says here.
in_group() {
  set -m
  "$@" </dev/null &
  SPAWNED+=("$!")
  set +m
}

# option NAME DEFAULT ARGUMENT…: the word behind NAME.
option() {
  local name="$1" value="$2"
  shift 2
  while (($#)); do
    [[ $1 != "$name" || $# == 1 ]] || value="$2"
    shift
  done
  echo "$value"
}

server_of() { option --server redis "$@"; }
soak_of() { option --soak 0 "$@"; }

main "$@"
