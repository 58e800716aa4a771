#!/usr/bin/env bash
# Compares slotcar with its peers on this machine: the same redis-benchmark load, in turn, through
# nothing, slotcar, nutcracker and Envoy. `benches/compare.sh --help` lists loads and options.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

for tool in python3 redis-server redis-benchmark; do
    command -v "$tool" >/dev/null || {
        echo "compare.sh: $tool is needed and not installed" >&2
        exit 2
    }
done

export PYTHONDONTWRITEBYTECODE=1
exec python3 "$here/compare" "$@"
