# shellcheck shell=bash
# What the runners of client libraries and of frameworks share: installing packages below target/clients, running, counting.
# Sourced by bash scripts that have set -euo pipefail.

# shellcheck source=tests/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# install_from REGISTRY DIR PACKAGE…: does nothing when DIR holds just these.
install_from() {
  local registry="$1" dir="$2"
  shift 2
  [[ $(cat "$dir/installed" 2>/dev/null) != "$*" ]] || return 0
  say "installing $*"
  rm -rf "$dir"
  mkdir -p "$dir"
  case "$registry" in
    pypi)
      python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
      python3 -m venv "$dir/venv"
      "$dir/venv/bin/pip" install --quiet --disable-pip-version-check "$@"
      ;;
    npm)
      have npm || apt_install nodejs npm
      npm install --prefix "$dir" --no-audit --no-fund --loglevel=error "$@" >&2
      ;;
  esac
  echo "$*" >"$dir/installed"
}

# run_from REGISTRY DIR SCRIPT ARGUMENT…
run_from() {
  local registry="$1" dir="$2" script="$ROOT/tests/clients/$3"
  shift 3
  case "$registry" in
    pypi) PYTHONDONTWRITEBYTECODE=1 timeout 150 "$dir/venv/bin/python" "$script" "$@" ;;
    npm) NODE_PATH="$dir/node_modules" timeout 150 node "$script" "$@" ;;
  esac
}

# sum_up LOG: of TAP lines; fails when a check has failed, or none has passed.
sum_up() {
  local passed failed
  passed="$(grep -c '^ok ' "$1" || true)" failed="$(grep -c '^not ok ' "$1" || true)"
  echo "$passed passed, $failed failed"
  ((failed == 0 && passed > 0))
}
