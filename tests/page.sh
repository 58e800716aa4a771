#!/usr/bin/env bash
# The status page in a headless Chromium: what it shows, by the keyboard alone, light and dark, wide and small, and that it
# asks nobody but slotcar.
#
#     tests/page.sh [--screenshots DIR]           before made-up status (tests/page/mock.py)
#     tests/page.sh --real [--screenshots DIR]    before a running slotcar with a cluster, load, and a primary that dies
#
# Installs Chromium (Debian) and playwright-core and axe-core (npm) below target/. Prints TAP lines and one sum.
set -euo pipefail
# shellcheck source=tests/clients/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/clients/lib.sh"

PACKAGES=(playwright-core@1.65.1 axe-core@4.14.1)
DIR="$TARGET/clients/page"

WORK="$(mktemp -d)"
trap 'end_spawned; rm -rf "$WORK"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

REAL='' SCREENSHOTS="$WORK/screenshots"

main() {
  read_arguments "$@"
  mkdir -p "$SCREENSHOTS" "$WORK/tmp"
  have chromium || apt_install chromium fonts-dejavu-core
  install_from npm "$DIR" "${PACKAGES[@]}"
  if [[ -n $REAL ]]; then
    before_slotcar
  else
    before_mock
  fi
  sum_up "$WORK/tap"
}

read_arguments() {
  while (($#)); do
    case "$1" in
      --real) REAL=yes && shift ;;
      --screenshots) SCREENSHOTS="$(realpath -m "${2:?--screenshots wants a folder}")" && shift 2 ;;
      *) die "usage: $0 [--real] [--screenshots DIR]" ;;
    esac
  done
}

before_mock() {
  spawn "$WORK/mock" env PYTHONDONTWRITEBYTECODE=1 python3 "$ROOT/tests/page/mock.py"
  wait_until 10 grep -qs http "$WORK/mock" || die "the mock did not start: $(cat "$WORK/mock")"
  run_checks behaviour.js "$(head -n 1 "$WORK/mock")"
  run_checks looks.js "$(head -n 1 "$WORK/mock")"
}

before_slotcar() {
  local port admin victim seconds=100
  build_slotcar
  has_admin || die 'this slotcar has no --admin: nothing to look at'
  provide_server redis
  start_cluster redis "$WORK/cluster" 3 3
  victim="${SPAWNED[0]}"
  read -r port admin < <(two_free_ports)
  start_slotcar "127.0.0.1:$port" "$WORK/slotcar.log" --admin "127.0.0.1:$admin" \
    --sample-every 8 --node-info-interval 1s --slow-log-threshold 1ms ||
    { cat "$WORK/slotcar.log" && die 'slotcar does not serve'; }
  PAGE_SLOTCAR="${SPAWNED[-1]}"
  spawn "$WORK/load" timeout "$seconds" "${BASH_SOURCE[0]%/*}/page/load.sh" "$port"
  export PAGE_SLOTCAR PAGE_VICTIM="$victim" PAGE_PORTS="${CLUSTER_PORTS[*]}"
  run_checks real.js "http://127.0.0.1:$admin/"
}

# Not by a pipe into grep -q: it would end the pipe early.
has_admin() {
  [[ $("$SLOTCAR_BIN" --help) == *--admin* ]]
}

two_free_ports() {
  local CLUSTER_PORTS
  find_free_ports 2
  echo "${CLUSTER_PORTS[*]}"
}

# run_checks SCRIPT URL
run_checks() {
  # What Chromium leaves behind goes with the rest.
  TMPDIR="$WORK/tmp" NODE_PATH="$DIR/node_modules" timeout 150 node "$ROOT/tests/page/$1" "$2" "$SCREENSHOTS" 2>&1 </dev/null |
    tee -a "$WORK/tap" || grep -q '^not ok' "$WORK/tap" || echo "not ok - $1 has ended early" | tee -a "$WORK/tap"
}

main "$@"
