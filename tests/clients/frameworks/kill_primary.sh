#!/usr/bin/env bash
# Kills the primary that has the keys of a tag, when its replica has everything: what it acknowledged is not lost then.
#
#     kill_primary.sh redis|valkey TAG PORT…        the ports of all nodes, on 127.0.0.1
set -euo pipefail
# shellcheck source=tests/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"

main() {
  local kind="$1" tag="$2" primary replica
  shift 2
  primary="$(owner_of "$tag" "$@")"
  replica="$(field "$primary" slave0 | grep -o 'port=[0-9]*')"
  [[ $(ask "$primary" client pause 10000 write) == OK ]]
  wait_until 5 is_in_sync "$primary" "${replica#port=}" || die "the replica of $primary stays behind"
  kill -KILL "$(field "$primary" process_id)"
  say "killed: the primary of {$tag}, 127.0.0.1:$primary"
}

ask() { "$kind-cli" -p "$@" 2>/dev/null | tr -d '\r'; }

# owner_of TAG PORT…: who neither is a replica nor names another node.
owner_of() {
  local tag="$1" port
  shift
  for port in "$@"; do
    [[ $(ask "$port" exists "{$tag}") != [01] ]] || { echo "$port" && return; }
  done
  die "nobody has the keys of {$tag}"
}

field() { ask "$1" info everything | sed -n "s/^$2://p"; }

is_in_sync() {
  local offset
  offset="$(field "$1" master_repl_offset)"
  [[ -n $offset && $offset == "$(field "$2" slave_repl_offset)" ]]
}

main "$@"
