"""Does with processes what the kubelet does with the containers of a pod, as its YAML says.

    kubelet.py --pod RENDERED.yaml --workload KIND/NAME --slotcar BINARY --dockerfile FILE --root DIR --seeds HOST:PORT,…
               --nodes PID,… --node-port PORT --app SCRIPT

slotcar's container is as in the cluster: the image's entrypoint and variables and those of the YAML, fields of the pod filled in,
volumes laid out as the kubelet lays them out, a root file system that is read-only and holds nothing but the binary and its
libraries, user and group by number, no capability. It needs a network and a mount namespace of its own, so that ports and paths
are the real ones. The app's container is SCRIPT, with the variables and arguments of the YAML. Prints TAP lines.
"""

import argparse
import ctypes
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import redis
import yaml

POD_IP = "10.244.1.7"
ZONE = "eu-west-1b"
failed = False


def check(ok, what, seen=""):
    global failed
    failed |= not ok
    print(f"{'ok' if ok else 'not ok'} - {what}" + (f"   # {seen}" if seen and not ok else ""), flush=True)
    return ok


def wait_until(seconds, condition):
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return value


# ---- what the YAML says ----------------------------------------------------------------------------------------------


def objects(path):
    return [each for each in yaml.safe_load_all(Path(path).read_text()) if each]


def pod_of(workload):
    spec = workload["spec"]
    template = spec["jobTemplate"]["spec"]["template"] if workload["kind"] == "CronJob" else spec["template"]
    return template


def environment(container, pod_name, labels):
    """The variables of a container; what a field of the pod lacks is empty, as with the kubelet."""
    result = {}
    for variable in container.get("env", []):
        value = variable.get("value", "")
        if "valueFrom" in variable:
            field = variable["valueFrom"]["fieldRef"]["fieldPath"]
            label = re.fullmatch(r"metadata\.labels\['(.+)'\]", field)
            value = pod_name if field == "metadata.name" else labels.get(label[1], "")
        result[variable["name"]] = value
    return result


def image(dockerfile):
    """Entrypoint, variables, user and health check of the last stage."""
    text = Path(dockerfile).read_text().replace("\\\n", " ")
    last = text[text.rindex("\nFROM ") :]
    found = {word: re.search(rf"^{word} (.+)$", last, re.M)[1] for word in ("ENTRYPOINT", "USER", "ENV", "HEALTHCHECK")}
    return {
        "entrypoint": json.loads(found["ENTRYPOINT"]),
        "env": dict(pair.split("=", 1) for pair in found["ENV"].split()),
        "user": found["USER"],
        "health": json.loads(found["HEALTHCHECK"].split("CMD ", 1)[1]),
    }


# ---- slotcar's container ---------------------------------------------------------------------------------------------


class Volume:
    """Files behind a link `..data` to a folder that is replaced as a whole."""

    def __init__(self, path, files):
        self.path, self.generation = Path(path), 0
        self.path.mkdir(parents=True)
        self.write(files)
        for name in files:
            (self.path / name).symlink_to(f"..data/{name}")

    def write(self, files):
        self.generation += 1
        folder = self.path / f"..generation-{self.generation}"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_text(content)
            (folder / name).chmod(0o644)
        link = self.path / "..data_tmp"
        link.symlink_to(folder.name)
        link.rename(self.path / "..data")


class Slotcar:
    """A container with a root file system of its own."""

    def __init__(self, arguments, container, env):
        self.image, self.env, self.container = image(arguments.dockerfile), env, container
        self.root, self.log = Path(arguments.root) / "root", Path(arguments.root) / "slotcar.log"
        self.fill(Path(arguments.slotcar))

    def fill(self, binary):
        target = self.inside(self.image["entrypoint"][0])
        target.parent.mkdir(parents=True)
        shutil.copy(binary, target)
        libraries = subprocess.run(["ldd", binary], check=True, capture_output=True, text=True).stdout
        for library in re.findall(r"(/\S+) \(0x", libraries):
            place = self.inside(library)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, place)

    def mount(self, volumes):
        """What is mounted in a container, and nothing to write to."""
        places = {"/": self.root, "/proc": "/proc", "/sys": "/sys"}
        read_only = ["/"] if self.container["securityContext"]["readOnlyRootFilesystem"] else []
        for each in self.container["volumeMounts"]:
            places[each["mountPath"]] = volumes[each["name"]].path
            read_only += [each["mountPath"]] if each.get("readOnly") else []
        for place in places:
            self.inside(place).mkdir(parents=True, exist_ok=True)
        for place, source in places.items():
            subprocess.run(["mount", "--rbind", source, self.inside(place)], check=True)
        for place in read_only:
            subprocess.run(["mount", "-o", "remount,bind,ro", self.inside(place)], check=True)

    def inside(self, path):
        return self.root / path.lstrip("/")

    def start(self, command, output):
        user = self.container["securityContext"]["runAsUser"]
        group = self.container["securityContext"]["runAsGroup"]
        libc = ctypes.CDLL(None)

        def enter():
            os.chroot(self.root)
            os.chdir("/")
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS

        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOSTNAME": "pod", **self.image["env"], **self.env}
        return subprocess.Popen(
            command, env=env, preexec_fn=enter, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )

    def run(self):
        command = self.container.get("command", self.image["entrypoint"]) + self.container.get("args", [])
        self.process = self.start(command, self.log.open("ab"))

    def health_check(self):
        process = self.start(self.image["health"], subprocess.PIPE)
        output = process.communicate(timeout=10)[0].decode()
        return process.returncode, output

    def ask(self, probe):
        """One httpGet, from outside the pod: whether it is a success, and what came."""
        get = self.container[probe]["httpGet"]
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        connection = http.client.HTTPConnection(
            POD_IP, ports.get(get["port"], get["port"]), timeout=self.container[probe]["timeoutSeconds"]
        )
        try:
            connection.request("GET", get["path"])
            answer = connection.getresponse()
            return 200 <= answer.status < 400, f"{answer.status} {answer.read().decode().strip()}"
        except OSError as error:
            return False, str(error)
        finally:
            connection.close()


# ---- the life of a pod -----------------------------------------------------------------------------------------------


def http_status(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def is_open(host, port):
    try:
        return redis.Redis(host, port, socket_timeout=2).ping()
    except (redis.ConnectionError, redis.TimeoutError):
        return False


def main():
    parser = argparse.ArgumentParser()
    for name in ("pod", "workload", "slotcar", "dockerfile", "root", "seeds", "nodes", "node-port", "app"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    everything = objects(arguments.pod)
    kind, name = arguments.workload.split("/")
    workload = next(each for each in everything if each["kind"] == kind and each["metadata"]["name"] == name)
    pod = pod_of(workload)
    spec, pod_name = pod["spec"], f"{name}-7d4b9c8f6-x2x9p"
    labels = {**pod["metadata"]["labels"], "topology.kubernetes.io/zone": ZONE}
    nodes = [int(each) for each in arguments.nodes.split(",")]

    # Volumes first, then init containers in their order.
    container = spec["initContainers"][0]
    check(container["name"] == "slotcar" and container["restartPolicy"] == "Always", f"{kind}: slotcar is the first, and a sidecar")
    check("lifecycle" not in container, f"{kind}: slotcar has no hooks")
    slotcar = Slotcar(arguments, container, environment(container, pod_name, labels))
    config = next(each for each in everything if each["kind"] == "ConfigMap")["data"]
    config = {file: re.sub(r'"redis-cluster\.\S+?"', json.dumps(arguments.seeds), text) for file, text in config.items()}
    files = {"slotcar-config": config, "slotcar-secret": {"password": "correct horse\n"}}
    volumes = {
        mount["name"]: Volume(Path(arguments.root) / mount["name"], files[mount["name"]])
        for mount in container["volumeMounts"]
    }
    check(
        {volume["name"] for volume in spec["volumes"]} == set(volumes) and all(m["readOnly"] for m in container["volumeMounts"]),
        f"{kind}: its volumes are there, to be read",
    )
    slotcar.mount(volumes)

    # No node answers: the startup probe keeps the app from being started.
    for node in nodes:
        os.kill(node, signal.SIGSTOP)
    slotcar.run()
    wait_until(5, lambda: "refused" not in slotcar.ask("startupProbe")[1])
    early = [slotcar.ask("startupProbe") for _ in range(3)]
    check(all(not ok and "503" in answer for ok, answer in early), f"{kind}: not started up while no node answers", early)
    check(slotcar.ask("livenessProbe")[0], f"{kind}: alive all the same, so it is not restarted for that")
    for node in nodes:
        os.kill(node, signal.SIGCONT)
    probe = container["startupProbe"]
    allowed = probe["periodSeconds"] * probe["failureThreshold"]
    check(wait_until(min(allowed, 30), lambda: slotcar.ask("startupProbe")[0]), f"{kind}: started up when they do", slotcar.ask("startupProbe"))

    # The app, which uses Redis at once.
    main_container = spec["containers"][0]
    env = {"PATH": os.environ["PATH"], **environment(main_container, pod_name, labels)}
    command = [sys.executable, arguments.app, *main_container.get("command", ["app"])[1:]]
    app_log = Path(arguments.root) / "app.log"
    app = subprocess.Popen(command, env={**env, "APP_ENDS": "no" if kind == "Deployment" else "yes"}, stdout=app_log.open("wb"), stderr=subprocess.STDOUT)
    check(wait_until(20, lambda: "working" in app_log.read_text()), f"{kind}: the app's first requests are served", app_log.read_text())

    check(wait_until(5, lambda: slotcar.ask("readinessProbe")[0]), f"{kind}: ready", slotcar.ask("readinessProbe"))
    check(slotcar.ask("livenessProbe")[0], f"{kind}: alive", slotcar.ask("livenessProbe"))
    code, output = slotcar.health_check()
    check(code == 0, f"{kind}: the image's own health check agrees", f"{code} {output}")
    port = container["ports"][0]["containerPort"]
    with urllib.request.urlopen(f"http://{POD_IP}:{port}/metrics", timeout=5) as answer:
        scraped = answer.read()
    judged = subprocess.run(["promtool", "check", "metrics"], input=scraped, capture_output=True)
    check(scraped and judged.returncode == 0, f"{kind}: promtool takes its metrics", judged.stderr.decode())
    hidden = http_status(f"http://{POD_IP}:{port}/status")
    check(hidden == 403, f"{kind}: keys and clients are not shown to other pods", hidden)
    check(not is_open(POD_IP, 6379), f"{kind}: nobody but the pod's containers reaches the listener")
    named = redis.Redis("127.0.0.1", int(arguments.node_port)).client_list()
    check(any(each["name"] == pod_name and each["user"] == "shop" for each in named), f"{kind}: nodes know its connections by the pod's name, and the user", named)
    check(can_write_nowhere(slotcar), f"{kind}: no capability, no file to write to")

    if kind == "Deployment":
        config = {file: text + 'failover-hold = "20s"\n' for file, text in config.items()}
        volumes["slotcar-config"].write(config)
        check(wait_until(5, lambda: "changed: failover-hold" in slotcar.log.read_text()), f"{kind}: a changed ConfigMap counts without a restart")
        before = time.monotonic()
        app.send_signal(signal.SIGTERM)
    code = app.wait(timeout=60)
    ended = time.monotonic()
    summary = app_log.read_text().strip().splitlines()[-1]
    check(code == 0 and summary.endswith(" 0 errors"), f"{kind}: the app has ended after its work, without an error", app_log.read_text())
    check(slotcar.process.poll() is None and is_open("127.0.0.1", 6379), f"{kind}: slotcar has served until then")
    slotcar.process.send_signal(signal.SIGTERM)
    try:
        code = slotcar.process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        slotcar.process.kill()
        code = "killed"
    check(code == 0, f"{kind}: told to stop then, slotcar ends with 0", f"{code}\n{slotcar.log.read_text()[-2000:]}")
    check(time.monotonic() - ended < 2, f"{kind}: at once, since nobody is connected", f"{time.monotonic() - ended:.1f} s")
    if kind == "Deployment":
        check(time.monotonic() - before < spec["terminationGracePeriodSeconds"], f"{kind}: within the pod's grace period")
    loud = [line for line in slotcar.log.read_text().splitlines() if re.search("ERROR|panicked", line)]
    check(not loud, f"{kind}: nothing in its log is an error", loud)
    print(f"# {kind}: {summary}")
    sys.exit(failed)


def can_write_nowhere(slotcar):
    status = Path(f"/proc/{slotcar.process.pid}/status").read_text()
    effective = re.search(r"CapEff:\s+(\w+)", status)[1]
    mounts = [line.split() for line in Path(f"/proc/{slotcar.process.pid}/mounts").read_text().splitlines()]
    ours = [options for _, place, _, options, *_ in mounts if not place.startswith(("/proc", "/sys"))]
    return int(effective, 16) == 0 and "NoNewPrivs:\t1" in status and all(each.startswith("ro") for each in ours)


main()
