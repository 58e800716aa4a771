#!/usr/bin/env bash
# Load with something to see: many keys, a hot one, a large one. Goes on over errors until it is ended.
#
#     load.sh PORT
set -euo pipefail
port="$1"

again_and_again() {
  while true; do
    "$@" || sleep 0.2
  done
}

put_large() { head -c 1000000 /dev/zero | redis-cli -p "$port" -x set page:large; }

redis-cli -p "$port" set page:hot x
put_large
again_and_again redis-benchmark -p "$port" -q -c 6 -n 50000 -r 10000 -d 64 -t set,get &
again_and_again redis-benchmark -p "$port" -q -c 2 -n 50000 get page:hot &
again_and_again redis-benchmark -p "$port" -q -c 1 -n 20 get page:large &
wait
