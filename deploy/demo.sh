#!/usr/bin/env bash
# Shows slotcar at work: a throwaway cluster of three primaries and three replicas on this machine, slotcar in front.
#
#     deploy/demo.sh [--listen HOST:PORT]        default: 127.0.0.1:6379
#
# Installs a server if there is none (Debian, Ubuntu), builds slotcar, and runs until Ctrl-C, which leaves no process
# and no file behind. Never touches a server that it did not start.
set -euo pipefail
# shellcheck source=tests/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../tests/lib.sh"

LISTEN=127.0.0.1:6379
DIR=''

main() {
  read_arguments "$@"
  local host="${LISTEN%:*}" port="${LISTEN##*:}"
  ! is_open "$host" "$port" || die "something listens on $LISTEN already; try: $0 --listen 127.0.0.1:7777"
  local kind
  kind="$(find_server)"

  # From here on there is something to clean up, whatever happens.
  trap clean_up EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  DIR="$(mktemp -d)"

  say "building slotcar"
  in_background build_slotcar || die "slotcar could not be built"
  SLOTCAR_BIN="${SLOTCAR_BIN:-$TARGET/release/slotcar}"
  say "starting a cluster of six $kind nodes below $DIR"
  start_cluster "$kind" "$DIR" 3 3
  if ! start_slotcar "$LISTEN" "$DIR/slotcar.log"; then
    cat "$DIR/slotcar.log" >&2
    die "slotcar does not serve on $LISTEN"
  fi
  tell_what_to_try "$kind" "$host" "$port"
  wait "${SPAWNED[-1]}" || true
  cat "$DIR/slotcar.log" >&2
  die "slotcar has ended"
}

read_arguments() {
  while (($#)); do
    case "$1" in
      --listen) LISTEN="${2:?--listen wants HOST:PORT}" && shift 2 ;;
      --listen=*) LISTEN="${1#*=}" && shift ;;
      -h | --help) sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p}' "${BASH_SOURCE[0]}" && exit 0 ;;
      *) die "unknown argument $1; see --help" ;;
    esac
  done
  LISTEN="${LISTEN/#localhost:/127.0.0.1:}"
  [[ $LISTEN =~ ^.+:[0-9]+$ ]] || die "--listen wants HOST:PORT, not $LISTEN"
}

# Whatever is there already, else redis.
find_server() {
  local kind
  for kind in redis valkey; do
    if have "$kind-server" && have "$kind-cli"; then
      echo "$kind"
      return
    fi
  done
  provide_server redis >&2 || die "a demonstration needs redis-server or valkey-server"
  echo redis
}

# A signal is noticed at once while bash waits, but not while it runs a command.
in_background() {
  set -m
  "$@" </dev/null &
  SPAWNED+=("$!")
  set +m
  wait "$!" || return 1
  unset 'SPAWNED[-1]'
}

# shellcheck disable=SC2317  # called by a trap
clean_up() {
  local status=$?
  trap '' HUP INT TERM
  say ''
  say 'cleaning up'
  end_spawned
  rm -rf "$DIR"
  exit "$status"
}

tell_what_to_try() {
  local kind="$1" host="$2" port="$3"
  cat <<END

slotcar serves on $LISTEN. Behind it: $CLUSTER_SEEDS

  $kind-cli -h $host -p $port set hello world
  $kind-cli -h $host -p $port mget hello and other slots
  $kind-cli -h $host -p $port info slotcar
  $kind-benchmark -h $host -p $port -q -n 20000

See it survive a failover:

  $kind-cli -p ${CLUSTER_PORTS[3]} cluster failover
  $kind-cli -h $host -p $port get hello

Ctrl-C ends everything and removes $DIR.
END
}

main "$@"
