#!/usr/bin/env bash
# Load with something to see: many keys, a hot one, a large one. Goes on over errors until it is ended.
#
#     load.sh PORT
set -euo pipefail
port="$1"
redis-cli -p "$port" set page:hot x
while true; do
  redis-benchmark -p "$port" -q -c 8 -n 20000 -r 10000 -d 64 -t set,get || sleep 0.2
  redis-benchmark -p "$port" -q -c 4 -n 20000 get page:hot || sleep 0.2
  head -c 1000000 /dev/zero | redis-cli -p "$port" -x set page:large || sleep 0.2
  redis-benchmark -p "$port" -q -c 1 -n 100 get page:large || sleep 0.2
done
