#!/usr/bin/env bash
# Runs every check of this repository, installing what they need: the same for everybody and for CI.
#
#     tests/run.sh [STAGE…]        all stages, or those named, in the order given
#
#   servers       redis-server and valkey-server are there (packages, on Debian and Ubuntu)
#   shell         the scripts pass shellcheck
#   fmt           rustfmt
#   clippy        no warning
#   doc           rustdoc, no warning; the map of the crate has no dead link
#   unit          cargo test: unit, tidy, tables, transcripts, properties (fuzz corpus included), simulation, allocations
#   instructions  instructions per request by callgrind, against the committed baseline
#   e2e           real clusters, and fake nodes that misbehave; SLOTCAR_BIN names another binary to judge
#   differential  one script at a plain server and at slotcar before a cluster: the same answers; SLOTCAR_BIN likewise
#   faults        nodes die under load: what clients notice, and a short run of random faults; SLOTCAR_BIN likewise, or a
#                 release build (tests/faults/run.sh has longer ones)
#   abuse         clients that are too many, too slow or too large: what others notice (tests/abuse/run.sh has a longer one)
#   clients       client libraries with default settings, before slotcar before both kinds of cluster
#   frameworks    job frameworks with default settings and workers of their own, likewise; a primary dies while they work
#   page          the status page in Chromium: before made-up status, and before slotcar while a primary dies
#   deploy        the image's, Kubernetes', Helm's, Prometheus' and systemd's files are well-formed, and a pod of them works; SLOTCAR_BIN
#                 likewise
#   demo          deploy/demo.sh serves, and leaves nothing behind
#
# Exits with 1 when anything failed; the last line counts tests, and each stage that has no tests of its own as one.
set -euo pipefail
# shellcheck source=tests/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

ALL_STAGES=(servers shell fmt clippy doc unit instructions e2e differential faults abuse clients frameworks page deploy demo)
WORK="$(mktemp -d)"
trap 'end_spawned; rm -rf "$WORK"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

main() {
  local stages=("$@") stage
  ((${#stages[@]})) || stages=("${ALL_STAGES[@]}")
  for stage in "${stages[@]}"; do
    declare -F "stage_$stage" >/dev/null || die "no stage $stage; there are: ${ALL_STAGES[*]}"
  done
  provide_build_tools
  for stage in "${stages[@]}"; do
    run_stage "$stage"
  done
  sum_up
}

SUMMARY=() FAILED_STAGES=()
PASSED=0 FAILED=0

run_stage() {
  local stage="$1" log="$WORK/$1.log" start=$SECONDS status passed failed
  printf '\n==== %s\n' "$stage"
  set +e
  (
    set -e
    trap end_spawned EXIT
    "stage_$stage"
  ) </dev/null 2>&1 | tee "$log"
  status="${PIPESTATUS[0]}"
  set -e
  read -r passed failed < <(count_tests "$log")
  if ((passed + failed == 0)); then
    passed=$((status == 0))
  fi
  if ((status != 0 && failed == 0)); then
    failed=1
  fi
  if ((failed)); then
    FAILED_STAGES+=("$stage")
  fi
  PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
  SUMMARY+=("$(printf '%-12s %-6s %4ds  %d passed, %d failed' \
    "$stage" "$( ((failed)) && echo FAILED || echo ok)" $((SECONDS - start)) "$passed" "$failed")")
}

# Sums the closing lines of cargo test and of tests/clients/*.sh.
count_tests() {
  awk '
    /^test result: / { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^failed/) f += $(i-1) } }
    /^[0-9]+ passed, [0-9]+ failed$/ { p += $1; f += $3 }
    END { print p + 0, f + 0 }
  ' "$1"
}

# What went wrong, again at the end, where it is seen first.
show_failures() {
  local stage
  for stage in "$@"; do
    printf '\n==== failures of %s\n' "$stage"
    grep -E -A 2 '( FAILED$|^not ok|panicked at|^error)' "$WORK/$stage.log" | grep -v '^--$' | cut -c 1-300 | head -n 60 || true
  done
}

sum_up() {
  show_failures "${FAILED_STAGES[@]}"
  printf '\n==== summary after %ds\n' "$SECONDS"
  printf '%s\n' "${SUMMARY[@]}"
  printf '\n%d passed, %d failed\n' "$PASSED" "$FAILED"
  ((FAILED == 0))
}

# ---- stages ---------------------------------------------------------------------------------------------------------

stage_servers() {
  provide_server redis
  redis-server --version
  # Without Valkey its half of the tests is left out, and every stage concerned says so.
  provide_server valkey || true
  ! have valkey-server || valkey-server --version
}

stage_shell() {
  have shellcheck || apt_install shellcheck
  shellcheck --external-sources .ci/run tests/*.sh tests/*/*.sh tests/*/*/*.sh deploy/*.sh benches/*.sh
}

stage_fmt() {
  cargo fmt --all --check
}

# --all-targets leaves out what `cargo test` leaves out.
stage_clippy() {
  cargo clippy --locked --all-targets -- -D warnings
  cargo clippy --locked --test e2e --test differential --test faults --test abuse -- -D warnings
  cargo clippy --locked --features count-allocations --test allocations -- -D warnings
}

stage_doc() {
  RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items
}

stage_unit() {
  provide_server redis
  bounded cargo test --locked --no-fail-fast
  bounded cargo test --locked --features count-allocations --test allocations
}

stage_instructions() {
  have valgrind || apt_install valgrind
  benches/instructions.sh
}

# Judges the debug build, whose assertions are on, unless SLOTCAR_BIN says otherwise. Mostly waiting, so more threads
# than cores.
stage_e2e() {
  local without=()
  provide_server redis
  if ! have_valkey; then
    without=(--skip valkey_8)
  fi
  bounded cargo test --locked --test e2e -- --show-output --test-threads 4 "${without[@]}"
}

stage_differential() {
  local without=()
  provide_server redis
  if ! have_valkey; then
    without=(--skip valkey_8)
  fi
  bounded cargo test --locked --test differential -- --test-threads 4 "${without[@]}"
}

stage_abuse() {
  bounded tests/abuse/run.sh --short
}

stage_faults() {
  bounded tests/faults/run.sh --rows all --soak 25
}

stage_clients() {
  local kind status failed=''
  build_slotcar
  provide_server redis
  for kind in redis valkey; do
    [[ $kind != valkey ]] || have_valkey || continue
    # A shell of its own, so that it ends at the first error and the other kind is still tried.
    set +e
    (
      set -e
      clients_before "$kind"
    )
    status=$?
    set -e
    ((status == 0)) || failed+=" $kind"
  done
  [[ -z $failed ]] || die "client libraries failed before:$failed"
}

clients_before() {
  local kind="$1" dir="$WORK/clients-$1" port split_port='' one_place_port=''
  trap end_spawned EXIT
  printf '\n---- client libraries, slotcar, %s\n' "$kind"
  start_cluster "$kind" "$dir" 3 0
  find_unused_port port
  until [[ -n $split_port && $split_port != "$port" ]]; do find_unused_port split_port; done
  until [[ -n $one_place_port && " $port $split_port " != *" $one_place_port "* ]]; do
    find_unused_port one_place_port
  done
  start_slotcar "127.0.0.1:$port" "$dir/slotcar.log" --listen "127.0.0.1:$split_port?cross-slot-transactions=split" ||
    { cat "$dir/slotcar.log" && die 'slotcar does not serve'; }
  CLIENTS_SPLIT_PORT="$split_port" bounded tests/clients/run.sh "$port" || touch "$dir/failed"
  printf -- '---- all keys in one place\n'
  start_slotcar "127.0.0.1:$one_place_port" "$dir/slotcar.log" --keep-together '*' ||
    { cat "$dir/slotcar.log" && die 'slotcar does not serve'; }
  CLIENTS_ONE_PLACE=1 CLIENTS_SPLIT_PORT="$one_place_port" bounded \
    tests/clients/run.sh "$one_place_port" redis-py redis-py-3 ioredis node-redis-5 || touch "$dir/failed"
  if grep -E 'WARN|ERROR|panicked' "$dir/slotcar.log"; then
    die 'lines like these have no place in the log when nothing has happened'
  fi
  [[ ! -e $dir/failed ]]
}

stage_frameworks() {
  local kind failed=''
  build_slotcar
  export SLOTCAR_BIN
  provide_server redis
  for kind in redis valkey; do
    [[ $kind != valkey ]] || have_valkey || continue
    bounded tests/clients/frameworks.sh "$kind" || failed+=" $kind"
  done
  [[ -z $failed ]] || die "job frameworks failed before:$failed"
}

stage_page() {
  bounded tests/page.sh
  build_slotcar
  export SLOTCAR_BIN
  bounded tests/page.sh --real
}

stage_deploy() {
  build_slotcar
  export SLOTCAR_BIN
  bounded tests/deploy.sh
}

stage_demo() {
  local port before after
  build_slotcar
  export SLOTCAR_BIN
  find_unused_port port
  export TMPDIR="$WORK/demo-tmp"
  mkdir "$TMPDIR"
  # Whoever started us in the background may have told us to ignore it.
  spawn "$WORK/demo.log" env --default-signal=INT deploy/demo.sh --listen "127.0.0.1:$port"
  wait_until 120 serves_or_ended "${SPAWNED[-1]}" "127.0.0.1:$port"
  cat "$WORK/demo.log"
  redis-cli -p "$port" set hello world
  redis-benchmark -p "$port" -q -n 2000 | tr '\r' '\n' | grep -E 'requests per second|rror'
  before="$(servers_below "$TMPDIR")"
  kill -INT "${SPAWNED[-1]}"
  wait_until 20 group_is_gone "${SPAWNED[-1]}"
  after="$(servers_below "$TMPDIR")"
  echo "servers of the demo: $before while it ran, $after after Ctrl-C"
  [[ $before == 6 && $after == 0 ]]
  [[ -z $(ls -A "$TMPDIR") ]] || die "left behind: $(ls -A "$TMPDIR")"
  ! is_open 127.0.0.1 "$port"
}

# Counts the processes that work in a folder below $1.
servers_below() {
  local count=0 cwd
  for cwd in /proc/[0-9]*/cwd; do
    [[ $(readlink "$cwd" 2>/dev/null) != "$1"/* ]] || count=$((count + 1))
  done
  echo "$count"
}

# A test that hangs shall fail and let the others speak. No step takes a third of it.
bounded() {
  timeout --kill-after=20 1200 "$@" || { (($? != 124)) || say "not done after 20 minutes: $*"; return 1; }
}

have_valkey() {
  provide_server valkey || { say 'SKIPPED: everything with Valkey' && return 1; }
}

# find_unused_port NAME: sets the variable NAME.
find_unused_port() {
  local CLUSTER_PORTS
  find_free_ports 1
  printf -v "$1" '%d' "${CLUSTER_PORTS[0]}"
}

main "$@"
