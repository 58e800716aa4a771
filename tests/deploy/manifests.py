"""Checks what Kustomize and Helm have rendered, and the dashboard. Prints TAP lines.

    manifests.py kubernetes FILE…       against the schemas of Kubernetes, and our own rules
    manifests.py operators FILE…        those of the Prometheus operator, as lines of JSON
    manifests.py same FILE…             slotcar's container is the same in all of them
    manifests.py metrics                rules and dashboard name metrics of the table only
    manifests.py alerts                 each alert has a test in which it fires, and a section in the guide
    manifests.py dashboard RULES        its parts fit; writes its expressions as rules, for promtool
"""

import json
import re
import sys
from pathlib import Path

import kubernetes_validate
import yaml

TOP = Path(__file__).resolve().parents[2]
# The first with native sidecars, the first where they are stable, the newest that the package has.
VERSIONS = ["1.29", "1.33", kubernetes_validate.latest_version()]
OPERATORS = {"PodMonitor", "PrometheusRule"}
failed = False


def check(ok, what, seen=""):
    global failed
    failed |= not ok
    print(f"{'ok' if ok else 'not ok'} - {what}" + (f"   # {seen}" if not ok else ""))


def objects(path):
    return [each for each in yaml.safe_load_all(Path(path).read_text()) if each]


def pod_spec(workload):
    """Of what has pods; else nothing."""
    spec = workload.get("spec", {})
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec.get("template", {}).get("spec", {})


def containers(workload):
    spec = pod_spec(workload)
    return spec.get("initContainers", []) + spec.get("containers", [])


# ---- kubernetes ------------------------------------------------------------------------------------------------------


def kubernetes(paths):
    for path in paths:
        for each in objects(path):
            name = f"{Path(path).stem}: {each['kind']} {each['metadata']['name']}"
            if each["kind"] not in OPERATORS:
                against_schemas(name, each)
            for container in containers(each):
                restricted(f"{name}: {container['name']}", container)
                if container["name"] == "slotcar":
                    ours(name, each, container)


def against_schemas(name, each):
    wrong = []
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(each, version, strict=True)
        except Exception as error:
            wrong.append(f"{version}: {error}")
    check(not wrong, f"{name} fits the schemas of Kubernetes {', '.join(VERSIONS)}", wrong)


def restricted(name, container):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    context = container.get("securityContext", {})
    check(
        context.get("runAsNonRoot") is True
        and context.get("allowPrivilegeEscalation") is False
        and context.get("capabilities", {}).get("drop") == ["ALL"]
        and not context.get("capabilities", {}).get("add")
        and context.get("seccompProfile", {}).get("type") == "RuntimeDefault"
        and context.get("runAsUser", 1) != 0
        and context.get("readOnlyRootFilesystem", container["name"] != "slotcar"),
        f"{name} keeps to the restricted Pod Security Standard",
        context,
    )


def ours(name, workload, container):
    """What the parts of a pod must say of each other."""
    spec = pod_spec(workload)
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    check(mounts <= volumes, f"{name}: every mount has its volume", mounts - volumes)
    check(not any("subPath" in mount for mount in container["volumeMounts"]), f"{name}: mounted files can change")
    ports = {port["name"] for port in container["ports"]}
    probes = [container[key]["httpGet"] for key in container if key.endswith("Probe")]
    check(
        ports == {"slotcar-admin"} and all(probe["port"] in ports for probe in probes),
        f"{name}: probes ask the admin port",
        probes,
    )
    check(not any(port.get("hostPort") for port in container["ports"]), f"{name}: no port of the machine")
    env = {variable["name"]: variable for variable in container["env"]}
    check(len(env) == len(container["env"]), f"{name}: no variable twice")
    check(not re.search("PASSWORD$", " ".join(env)), f"{name}: no password in a variable", list(env))
    memory = container["resources"]["limits"]["memory"]
    # --max-memory is 3/4 of it, and has to be 32 MiB at least.
    check(memory.endswith("Mi") and int(memory[:-2]) * 3 / 4 >= 32, f"{name}: a limit of memory that slotcar can keep", memory)
    if container in spec.get("initContainers", []):
        check(spec["initContainers"][0] is container, f"{name}: slotcar is there before other init containers")
        check(container["restartPolicy"] == "Always", f"{name}: a native sidecar")
        check("lifecycle" not in container, f"{name}: no hook in the way of the shutdown order")


def operators(paths):
    for path in paths:
        for each in objects(path):
            if each["kind"] in OPERATORS:
                print(json.dumps({"file": Path(path).stem, "object": each}))


# ---- same ------------------------------------------------------------------------------------------------------------


def same(paths):
    """Whatever made the pod: Kustomize or Helm, for a Deployment, a Job or a CronJob."""
    found = {}
    for path in paths:
        for each in objects(path):
            for container in containers(each):
                if container["name"] == "slotcar" and "restartPolicy" in container:
                    found[f"{Path(path).stem} {each['kind']}"] = comparable(container)
    (first, pattern), *others = found.items()
    for name, container in others:
        different = [key for key in pattern.keys() | container.keys() if pattern.get(key) != container.get(key)]
        check(not different, f"the sidecar of {name} is that of {first}", different)


def comparable(container):
    result = {key: value for key, value in container.items() if key != "imagePullPolicy"}
    # Helm names the password's file in a variable, Kustomize in slotcar.toml.
    result["env"] = [each for each in container["env"] if each["name"] != "SLOTCAR_PASSWORD_FILE"]
    return result


# ---- metrics, alerts, dashboard --------------------------------------------------------------------------------------

# Until there is src/admin/metrics.rs.
PLANNED = """
build_info ready draining requests_total request_duration_seconds node_request_duration_seconds command_duration_seconds
redirections_total refusals_total held_requests held_bytes held_requests_total holds_total delayed_requests_total
longest_delay_seconds replays_total given_up_total topology_refreshes_total topology_changes_total topology_age_seconds slots
nodes suspect_nodes links links_dialed_total links_lost_total leases_total leases_reused_total sessions sessions_blocked
sessions_max connections_total bytes_total memory_used_bytes memory_max_bytes memory_shortages_total clients_closed_total node_up
node_memory_used_bytes node_memory_max_bytes node_clients node_hits_total node_misses_total node_evicted_keys_total
node_commands_total node_keys node_info_age_seconds cluster_ok audit_requests_total audited_requests_total
"""
ALERTS = TOP / "deploy/prometheus/alerts.yaml"
ALERTS_TEST = TOP / "deploy/prometheus/alerts_test.yaml"
DASHBOARD = TOP / "deploy/grafana/slotcar.json"
GUIDE = TOP / "docs/kubernetes.md"


def table():
    rows = TOP / "src/admin/metrics.rs"
    if rows.exists():
        return set(re.findall(r'"(slotcar_[a-z_]+)"', rows.read_text()))
    return {f"slotcar_{name}" for name in PLANNED.split()}


def rules():
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def metrics():
    known = table()
    check(known, "there is a table of metrics")
    used = {}
    for path in (ALERTS, ALERTS_TEST, DASHBOARD, GUIDE):
        text = path.read_text() if path.exists() else ""
        names = {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"\bslotcar_[a-z_]+", text)}
        used[path.name] = names
        check(names <= known, f"{path.name} names metrics of the table only", sorted(names - known))
    shown = used[DASHBOARD.name]
    check(known <= shown, "the dashboard shows every metric of the table", sorted(known - shown))


def alerts():
    tests = yaml.safe_load(ALERTS_TEST.read_text())["tests"]
    fires = {check["alertname"] for test in tests for check in test["alert_rule_test"] if check["exp_alerts"]}
    headings = {re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-") for line in GUIDE.read_text().splitlines() if line.startswith("#")}
    for rule in rules():
        name, notes = rule["alert"], rule["annotations"]
        check(name in fires, f"{name}: a test in which it fires")
        page, _, section = notes["runbook"].partition("#")
        check(TOP / page == GUIDE and section in headings, f"{name}: the guide says what to do", notes["runbook"])
        check(rule["labels"]["severity"] in ("page", "ticket"), f"{name}: a severity")
        check({"summary", "description"} <= notes.keys(), f"{name}: says what it is about")


def dashboard(rules_file):
    board = json.loads(DASHBOARD.read_text())
    panels = board["panels"]
    check(len({panel["id"] for panel in panels}) == len(panels), "dashboard: every panel has an id of its own")
    cells = {}
    for panel in panels:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                cells.setdefault((x, y), []).append(panel["title"])
    overlaps = {tuple(titles) for titles in cells.values() if len(titles) > 1}
    check(not overlaps and max(x for x, _ in cells) < 24, "dashboard: no panel covers another", overlaps)
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board))) - {"__rate_interval", "__all"}
    check(used == variables, "dashboard: its variables are those that it uses", used ^ variables)
    sources = {json.dumps(each["datasource"]) for panel in panels for each in [panel, *panel.get("targets", [])] if "datasource" in each}
    check(sources == {'{"type": "prometheus", "uid": "${datasource}"}'}, "dashboard: one data source, which one chooses", sources)
    expressions = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    expressions += [each["expr"] for each in board["annotations"]["list"]]
    plain = [e.replace("$__rate_interval", "5m").replace("$namespace", ".*").replace("$pod", ".*") for e in expressions]
    named = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(plain)]
    Path(rules_file).write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": named}]}))


PARTS = {"kubernetes": kubernetes, "operators": operators, "same": same}
WITHOUT_FILES = {"metrics": metrics, "alerts": alerts}
name, *paths = sys.argv[1:]
if name in PARTS:
    PARTS[name](paths)
elif name == "dashboard":
    dashboard(*paths)
else:
    WITHOUT_FILES[name]()
sys.exit(failed)
