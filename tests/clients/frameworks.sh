#!/usr/bin/env bash
# Runs job frameworks, with workers of their own, in front of slotcar before a cluster; or of a plain server, to try the
# checks themselves.
#
#     tests/clients/frameworks.sh redis|valkey [FRAMEWORK…]
#     tests/clients/frameworks.sh PORT [FRAMEWORK…]        on 127.0.0.1
#
# First with all keys in one slot, then with the rules of docs/keep-together.md; there the primary of the rules' slot dies in
# the middle of the last check. Until then slotcar's log must be quiet. Prints TAP lines and one sum.
set -euo pipefail
# shellcheck source=tests/clients/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# name | registry | packages | the file here | the tag of its rules
FRAMEWORKS='
celery | pypi | celery[redis]==5.7.0       | frameworks/celery_checks.py | celery
rq     | pypi | rq==3.0.0                  | frameworks/rq_checks.py     | rq
bullmq | npm  | bullmq@6.7.0 ioredis@6.0.0 | frameworks/bullmq.js        | bull
'

WORK="$(mktemp -d)"
trap 'end_spawned; rm -rf "$WORK"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

main() {
  SERVER="${1:?usage: $0 redis|valkey|PORT [FRAMEWORK…]}"
  shift
  case "$SERVER" in
    redis | valkey)
      build_slotcar
      provide_server "$SERVER"
      # Two replicas each, because a shard may lose its primary more than once.
      start_cluster "$SERVER" "$WORK" 3 6
      slotcar_with_rules '*'
      for_each run_framework "$@"
      is_quiet "$SLOTCAR_LOG" || die 'lines like these have no place in the log when nothing has happened'
      for_each run_with_fault "$@"
      ;;
    *)
      PORT="$SERVER"
      for_each run_framework "$@"
      ;;
  esac
  sum_up "$WORK/tap"
}

# for_each FUNCTION [NAME…]: with name, registry, packages, script and tag of each framework, or of those named.
for_each() {
  local function="$1" name registry packages script tag
  shift
  while IFS='|' read -r name registry packages script tag; do
    name="${name// /}" registry="${registry// /}" script="${script// /}" tag="${tag// /}"
    [[ -n $name ]] || continue
    [[ $# == 0 || " $* " == *" $name "* ]] || continue
    "$function"
  done <<<"$FRAMEWORKS"
}

run_framework() {
  local dir="$TARGET/clients/$name" output="$WORK/output"
  # shellcheck disable=SC2086
  install_from "$registry" "$dir" $packages
  rm -rf "$WORK/jobs"
  mkdir "$WORK/jobs"
  FRAMEWORKS_DIR="$WORK/jobs" PYTHONPATH="$ROOT/tests/clients" \
    run_from "$registry" "$dir" "$script" "$PORT" 2>&1 </dev/null | tee "$output" || say "$name: some checks failed"
  grep -q '^ok' "$output" || echo "not ok - $name ran no check" | tee -a "$output"
  cat "$output" >>"$WORK/tap"
}

run_with_fault() {
  local rules
  mapfile -t rules < <(rules_of "$name")
  slotcar_with_rules "${rules[@]}"
  export -f is_quiet
  FRAMEWORKS_FAULT="is_quiet $SLOTCAR_LOG && $ROOT/tests/clients/frameworks/kill_primary.sh $SERVER $tag ${CLUSTER_PORTS[*]}" \
    run_framework
}

# rules_of NAME: those of its row in the guide.
rules_of() {
  local row
  row="$(grep -i "^| $1 [0-9]" "$ROOT/docs/keep-together.md")" || die "the guide has no rules for $1"
  # What stands between backquotes.
  cut -d '|' -f 3 <<<"$row" | tr '`' '\n' | sed -n 'n;p'
}

# slotcar_with_rules RULE…: sets PORT and SLOTCAR_LOG.
slotcar_with_rules() {
  local CLUSTER_PORTS
  find_free_ports 1
  PORT="${CLUSTER_PORTS[0]}"
  SLOTCAR_LOG="$WORK/slotcar-$PORT.log"
  printf '\n---- job frameworks, slotcar --keep-together %s, %s\n' "$*" "$SERVER"
  start_slotcar "127.0.0.1:$PORT" "$SLOTCAR_LOG" "${@/#/--keep-together=}" --unknown-outcome close ||
    { cat "$SLOTCAR_LOG" && die 'slotcar does not serve'; }
}

is_quiet() {
  ! grep -E 'WARN|ERROR|panicked' "$1" >&2
}

main "$@"
