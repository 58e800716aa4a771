# shellcheck shell=bash
# What the demo and the test runner share: getting servers, a throwaway cluster, an end that leaves nothing behind.
# Sourced by bash scripts that have set -euo pipefail.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
TARGET="${CARGO_TARGET_DIR:-$ROOT/target}"
# Made by provide_server.
export PATH="$TARGET/servers:$PATH"

say() { printf '%s\n' "$*" >&2; }
die() {
  say "${0##*/}: $*"
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

# ---- packages -------------------------------------------------------------------------------------------------------

as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  else
    sudo "$@"
  fi
}

# can_install PACKAGE…: says what is missing and why it cannot be helped here.
can_install() {
  if ! have apt-get; then
    say "missing: $*. There is no apt-get here; please install it your way."
    return 1
  elif [[ $(id -u) != 0 ]] && ! { have sudo && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; }; then
    say "missing: $*. Please run as root: apt-get install $*"
    return 1
  fi
}

update_package_lists() {
  [[ -n ${PACKAGE_LISTS_UPDATED:-} ]] || as_root apt-get update -qq
  PACKAGE_LISTS_UPDATED=yes
}

apt_install() {
  can_install "$@" || return 1
  update_package_lists || return 1
  say "installing $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

# provide_server redis|valkey: puts KIND-server and KIND-cli on the PATH; fails when they cannot be had.
# The packages KIND-server start a service; KIND-tools hold the same program, which is a server when it is called one.
provide_server() {
  local kind="$1" tools="$1-tools"
  if have "$kind-server" && have "$kind-cli"; then
    return
  fi
  if ! have "$kind-check-rdb"; then
    [[ $kind != valkey ]] || offer_valkey || return 1
    apt_install "$tools" || return 1
  fi
  mkdir -p "$TARGET/servers"
  ln -sf "$(command -v "$kind-check-rdb")" "$TARGET/servers/$kind-server"
  if [[ $("$kind-server" --version) != *[sS]erver* ]]; then
    rm "$TARGET/servers/$kind-server"
    say "missing: $kind-server, and the package $tools does not contain it here"
    return 1
  fi
}

# Debian 12 has valkey in its backports only.
offer_valkey() {
  can_install valkey-tools || return 1
  update_package_lists || return 1
  if ! apt_offers valkey-tools && grep -q '^VERSION_CODENAME=bookworm' /etc/os-release; then
    say "adding bookworm-backports to the package sources"
    echo 'deb http://deb.debian.org/debian bookworm-backports main' |
      as_root tee /etc/apt/sources.list.d/bookworm-backports.list >/dev/null
    PACKAGE_LISTS_UPDATED=''
    update_package_lists || return 1
  fi
  apt_offers valkey-tools || { say "missing: valkey; no package source here has it" && return 1; }
}

apt_offers() {
  [[ $(apt-cache policy "$1") =~ Candidate:\ [^\(] ]]
}

# ---- processes ------------------------------------------------------------------------------------------------------

SPAWNED=()

# spawn LOG COMMAND…: in the background, in a process group of its own, ended by end_spawned.
spawn() {
  local log="$1"
  shift
  set -m
  "$@" </dev/null >>"$log" 2>&1 &
  SPAWNED+=("$!")
  set +m
}

# Ends every spawned process with all its children.
end_spawned() {
  local id
  for id in "${SPAWNED[@]}"; do
    kill -TERM -- "-$id" 2>/dev/null || true
  done
  for id in "${SPAWNED[@]}"; do
    wait_until 10 group_is_gone "$id" || kill -KILL -- "-$id" 2>/dev/null || true
    wait "$id" 2>/dev/null || true
  done
  SPAWNED=()
}

# Nothing of the process group is alive; a process that nobody has waited for yet is not.
group_is_gone() {
  local stat state group
  for stat in /proc/[0-9]*/stat; do
    # Behind the name, which can contain anything: state, parent, group.
    IFS= read -r stat <"$stat" || continue
    read -r state _ group _ <<<"${stat##*) }"
    [[ $group != "$1" || $state == Z ]] || return 1
  done 2>/dev/null
}

# wait_until SECONDS COMMAND…
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

# is_open HOST PORT: somebody listens there.
is_open() {
  (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null
}

# ---- a throwaway cluster --------------------------------------------------------------------------------------------

# start_cluster redis|valkey DIR PRIMARIES REPLICAS: on loopback, without persistence, all of its files below DIR.
# Sets CLUSTER_PORTS and CLUSTER_SEEDS; end_spawned ends it. The nodes start from a nodes.conf that says what each of
# them owns, as if the cluster had existed before.
start_cluster() {
  local kind="$1" dir="$2" primaries="$3" total=$(($3 + $4)) index
  find_free_ports "$total"
  for ((index = 0; index < total; index++)); do
    mkdir -p "$dir/$index"
    write_nodes_conf "$kind" "$index" "$primaries" "$total" >"$dir/$index/nodes.conf"
    spawn "$dir/$index/log" "$kind-server" --port "${CLUSTER_PORTS[index]}" --bind 127.0.0.1 --dir "$dir/$index" \
      --cluster-enabled yes --cluster-config-file nodes.conf --cluster-node-timeout 2000 \
      --save '' --appendonly no --repl-diskless-sync-delay 0
  done
  CLUSTER_SEEDS="$(printf ',127.0.0.1:%s' "${CLUSTER_PORTS[@]}")"
  CLUSTER_SEEDS="${CLUSTER_SEEDS#,}"
  if ! wait_until 30 cluster_is_ok "$kind"; then
    tail -n 5 "$dir"/*/log >&2
    die "the throwaway cluster did not come up"
  fi
}

# Ports below the range of outgoing connections, also with the 10,000 that the cluster bus adds.
find_free_ports() {
  local count="$1" first port
  while true; do
    first=$((10000 + RANDOM % 12000))
    CLUSTER_PORTS=()
    for ((port = first; port < first + count; port++)); do
      if is_open 127.0.0.1 "$port" || is_open 127.0.0.1 $((port + 10000)); then
        continue 2
      fi
      CLUSTER_PORTS+=("$port")
    done
    return
  done
}

write_nodes_conf() {
  local kind="$1" myself="$2" primaries="$3" total="$4" index flags follows slots shard
  for ((index = 0; index < total; index++)); do
    if ((index < primaries)); then
      flags=master follows=- slots=" $((16384 * index / primaries))-$((16384 * (index + 1) / primaries - 1))"
    else
      flags=slave follows="$(node_id $((index % primaries)))" slots=''
    fi
    ((index != myself)) || flags="myself,$flags"
    # Valkey 8.0 ends on SPUBLISH at a node whose file names no shard; Redis 7.0 knows no shards.
    shard=",,tls-port=0,shard-id=$(node_id $((index % primaries)))"
    [[ $kind == valkey ]] || shard=''
    printf '%s 127.0.0.1:%d@%d%s %s %s 0 0 %d connected%s\n' "$(node_id "$index")" "${CLUSTER_PORTS[index]}" \
      $((CLUSTER_PORTS[index] + 10000)) "$shard" "$flags" "$follows" $((index % primaries + 1)) "$slots"
  done
  printf 'vars currentEpoch %d lastVoteEpoch 0\n' "$primaries"
}

node_id() { printf '%040x' $((CLUSTER_PORTS[0] * 1000 + $1 + 1)); }

cluster_is_ok() {
  local kind="$1" port
  for port in "${CLUSTER_PORTS[@]}"; do
    [[ $("$kind-cli" -p "$port" cluster info 2>/dev/null) == *cluster_state:ok* ]] || return 1
    [[ $("$kind-cli" -p "$port" info replication) != *master_link_status:down* ]] || return 1
  done
}

# ---- slotcar --------------------------------------------------------------------------------------------------------

# provide_build_tools: Rust cannot be installed here; the allocator is C and is built by make.
provide_build_tools() {
  have cargo || die "missing: Rust with cargo, see https://rustup.rs"
  { have cc && have make; } || apt_install gcc libc6-dev make
}

# build_slotcar: sets SLOTCAR_BIN to a release build, unless it is set already.
build_slotcar() {
  [[ -z ${SLOTCAR_BIN:-} ]] || return 0
  provide_build_tools || return 1
  # From the top: cargo looks for .cargo/config.toml where it is called.
  (cd "$ROOT" && cargo build --release --locked --bin slotcar) || return 1
  SLOTCAR_BIN="$TARGET/release/slotcar"
}

# start_slotcar LISTEN LOG [FLAG…]: before the cluster of start_cluster. Fails when it does not serve.
start_slotcar() {
  local listen="$1" log="$2" id
  shift 2
  spawn "$log" "$SLOTCAR_BIN" --listen "$listen" --cluster "$CLUSTER_SEEDS" "$@"
  id="${SPAWNED[-1]}"
  wait_until 20 serves_or_ended "$id" "$listen" && ! group_is_gone "$id"
}

serves_or_ended() {
  group_is_gone "$1" || serves "$2"
}

# serves HOST:PORT: answers a request that needs a node.
serves() {
  local host="${1%:*}" port="${1##*:}" answer
  host="${host#[}" host="${host%]}"
  exec 4<>"/dev/tcp/$host/$port" || return 1
  printf 'GET nothing\r\n' >&4
  IFS= read -r -t 5 answer <&4 || answer=''
  exec 4>&-
  [[ $answer == '$-1'* || $answer == _* ]]
} 2>/dev/null
