#!/usr/bin/env bash
# Runs every client library against one server: slotcar, or a plain one to try the checks themselves.
#
#     tests/clients/run.sh PORT [LIBRARY…]        on 127.0.0.1
#
# CLIENTS_SPLIT_PORT, if set, is that of a listener with cross-slot-transactions=split (a plain server needs no such thing:
# the same port); without it the check of such a listener is left out.
#
# CLIENTS_ONE_PLACE, if set, says that all keys are in one place, and so does what one server does with several of them: a plain
# server, or slotcar with keep-together '*'.
#
# The libraries are installed below target/clients. Prints TAP lines and one sum.
set -euo pipefail
# shellcheck source=tests/clients/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# name | registry | packages | the file here and its arguments before the port
LIBRARIES='
redis-py     | pypi | redis==8.1.0             | python.py redis
redis-py-3   | pypi | redis==3.5.3 setuptools  | python.py redis
valkey-py    | pypi | valkey==6.2.0            | python.py valkey
ioredis      | npm  | ioredis@6.0.0            | ioredis.js
ioredis-5    | npm  | ioredis@5.9.2            | ioredis.js
node-redis-4 | npm  | redis@4.7.0              | node_redis.js
node-redis-5 | npm  | redis@5.9.0              | node_redis.js
'

main() {
  local port="${1:?usage: $0 PORT [LIBRARY…]}" log name registry packages script
  shift
  log="$(mktemp)"
  # shellcheck disable=SC2064
  trap "rm -f '$log'" EXIT
  while IFS='|' read -r name registry packages script; do
    name="${name// /}" registry="${registry// /}"
    [[ -n $name ]] || continue
    [[ $# == 0 || " $* " == *" $name "* ]] || continue
    # shellcheck disable=SC2086
    install_from "$registry" "$TARGET/clients/$name" $packages
    # shellcheck disable=SC2086
    run_from "$registry" "$TARGET/clients/$name" $script "$port" 2>&1 </dev/null | tee -a "$log" ||
      say "$name: some checks failed"
    grep -q "^ok" "$log" || echo "not ok - $name ran no check" | tee -a "$log"
  done <<<"$LIBRARIES"
  sum_up "$log"
}

main "$@"
