#!/usr/bin/env bash
# Instructions per request of the pure path (cut, look up, plan, link, reply, drain), counted by callgrind:
#
#   benches/instructions.sh             compares with benches/instructions.txt; 3 % more in any row is an error
#   benches/instructions.sh --accept    writes that file
#
# Each case runs twice with different numbers of rounds; the difference is free of what happens once. Another compiler makes
# other instructions: if its version is not the baseline's, 10 % are allowed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

BASELINE=benches/instructions.txt
ROUNDS_FEW=20 ROUNDS_MANY=120

main() {
  local compiler program counts
  command -v valgrind >/dev/null || die 'missing: valgrind'
  compiler="$(rustc --version)"
  program="$(build)"
  counts="$(count_all "$program")"
  if [[ ${1:-} == --accept ]]; then
    { echo "# $compiler" && echo "$counts"; } >"$BASELINE"
    cat "$BASELINE"
  else
    compare "$compiler" "$counts"
  fi
}

build() {
  cargo bench --locked --bench path --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\/path-[^"]*\)".*/\1/p' | tail -1
}

# "case instructions" for each case.
count_all() {
  local name requests few many
  while read -r name requests; do
    few="$(count "$1" "$name" "$ROUNDS_FEW")"
    many="$(count "$1" "$name" "$ROUNDS_MANY")"
    echo "$name $(((many - few) / (requests * (ROUNDS_MANY - ROUNDS_FEW))))"
  done < <("$1")
}

count() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1 | sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

compare() {
  local bound=3 name was is failed=0
  if [[ $(head -1 "$BASELINE") != "# $1" ]]; then
    bound=10
    echo "the baseline is of another compiler (${1} here): $bound % are allowed"
  fi
  printf '%-10s %8s %8s\n' case baseline now
  while read -r name is; do
    was="$(awk -v name="$name" '$1 == name { print $2 }' "$BASELINE")"
    [[ -n $was ]] || die "$name is not in $BASELINE"
    printf '%-10s %8d %8d %+6d %%' "$name" "$was" "$is" $(((is - was) * 100 / was))
    if ((is * 100 > was * (100 + bound))); then
      printf '  TOO MANY'
      failed=1
    fi
    echo
  done <<<"$2"
  return "$failed"
}

die() {
  echo "$*" >&2
  exit 2
}

main "$@"
