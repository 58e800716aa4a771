#!/usr/bin/env bash
# Fuzzes one target, beginning with the committed corpus: tests/fuzz/run.sh TARGET SECONDS
#
#   requests   client bytes: the scanner, inline requests, lookup, keys, split
#   replies    node bytes: the scanner, the view, merges; compared with redis-protocol
#   control    CLUSTER SLOTS, CLUSTER INFO, INFO, COMMAND, greetings, redirections
#   hub        a hub between clients and nodes: bytes, links, time, topologies
#
# Needs a nightly compiler and cargo-fuzz, which it installs into target/ if it is missing. What is new is collected in
# target/fuzz/corpus/TARGET; an input that fails is left in target/fuzz. `tests/fuzz/run.sh TARGET minimise` replaces the
# committed corpus by the smallest files that reach as much.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
SELF="$PWD/run.sh"

TARGETS=(requests replies control hub)
TOOLS=../../target/fuzz
FILE_BYTES_MAX=400

main() {
  local target="${1:-}" seconds="${2:-}" program found
  [[ " ${TARGETS[*]} " == *" $target "* && -n $seconds ]] || usage
  provide_tools
  cargo +nightly fuzz build --fuzz-dir . --sanitizer none "$target"
  program="$(echo target/*/release/"$target")"
  found="$TOOLS/corpus/$target"
  mkdir -p "$found" "corpus/$target"
  if [[ $seconds == minimise ]]; then
    minimise "$program" "$target" "$found"
  else
    "$program" "$found" "corpus/$target" -dict=resp.dict -max_total_time="$seconds" -timeout=10 -rss_limit_mb=3000 \
      -len_control=10 -max_len=2048 -print_final_stats=1 -artifact_prefix="$TOOLS/$target-"
  fi
}

usage() {
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$SELF" >&2
  exit 2
}

provide_tools() {
  export PATH="$PWD/$TOOLS/bin:$PATH"
  cargo +nightly --version >/dev/null 2>&1 || die 'missing: a nightly compiler (rustup toolchain install nightly)'
  command -v cargo-fuzz >/dev/null || cargo install --locked --root "$TOOLS" cargo-fuzz
}

minimise() {
  local program="$1" target="$2" found="$3" small
  small="$(mktemp -d)"
  "$program" -set_cover_merge=1 -use_counters=0 -max_len="$FILE_BYTES_MAX" "$small" "$found" "corpus/$target"
  rm -r "corpus/$target"
  mv "$small" "corpus/$target"
  chmod 755 "corpus/$target"
  du -bs "corpus/$target"
}

die() {
  echo "$*" >&2
  exit 1
}

main "$@"
