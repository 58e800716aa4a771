"""What every target stands on: processes with one place to end them, and filled servers on loopback.

Everything lives in one temporary directory and on ports that were free; each process is ended by its own id.
"""

import binascii
import bisect
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cached_property
from pathlib import Path

from loads import FAMILIES

HOST = "127.0.0.1"
READY_S = 30.0


class Bed:
    """Holds every process and the directory; `with Bed() as bed:` leaves nothing behind."""

    def __enter__(self):
        self.directory = Path(tempfile.mkdtemp(prefix="slotcar-bench-"))
        self.running: list[subprocess.Popen] = []
        return self

    def __exit__(self, *_):
        for process in reversed(self.running):
            process.terminate()
        for process in reversed(self.running):
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def start(self, name: str, command: list[str]) -> subprocess.Popen:
        """Starts a process in a session of its own, so that Ctrl-C reaches only this driver."""
        with open(self.log(name), "wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory, start_new_session=True
            )
        self.running.append(process)
        return process

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def last_words(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "it said nothing"


class Server:
    """One redis-server, empty, without persistence; with `nodes`, a node of the cluster that this nodes.conf describes."""

    def __init__(self, bed: Bed, name: str, ports: tuple[int, int], nodes: str = ""):
        self.port, bus_port = ports
        home = bed.directory / name
        home.mkdir()
        command = ["redis-server", "--port", str(self.port), "--bind", HOST, "--dir", str(home), "--save", ""]
        command += ["--appendonly", "no", "--maxclients", "20000"]
        if nodes:
            (home / "nodes.conf").write_text(nodes)
            # Nodes of a large cluster would talk about one another all the time.
            command += ["--cluster-enabled", "yes", "--cluster-port", str(bus_port), "--cluster-node-timeout", "60000"]
        self.process = bed.start(name, command)

    @cached_property
    def connection(self) -> "Connection":
        return wait_for(lambda: Connection(self.port), f"port {self.port} to listen")


def start_plain(bed: Bed, name: str) -> Server:
    return Server(bed, name, tuple(free_ports(2)))


def start_cluster(bed: Bed, name: str, count: int) -> list[Server]:
    """As many primaries, with slots in equal ranges: each begins with what gossip would tell it in the end."""
    ports = free_ports(2 * count)
    pairs = list(zip(ports[::2], ports[1::2]))
    bounds = [16384 * n // count for n in range(count + 1)]

    def line(n: int, flags: str) -> str:
        port, bus_port = pairs[n]
        slots = f"{bounds[n]}-{bounds[n + 1] - 1}"
        return f"{n:040x} {HOST}:{port}@{bus_port} {flags} - 0 0 {n + 1} connected {slots}\n"

    def nodes(me: int) -> str:
        lines = [line(n, "myself,master" if n == me else "master") for n in range(count)]
        return "".join(lines) + f"vars currentEpoch {count} lastVoteEpoch 0\n"

    servers = [Server(bed, f"{name}-{n}", pairs[n], nodes(n)) for n in range(count)]

    def agreed():
        infos = [server.connection.ask("CLUSTER", "INFO") for server in servers]
        return all(b"cluster_state:ok" in info and b"cluster_slots_ok:16384" in info for info in infos)

    wait_for(agreed, "the cluster to form")
    return servers


class Connection:
    """A blocking client that knows just enough RESP2 to set up a cluster and to store keys."""

    def __init__(self, port: int):
        self.socket = socket.create_connection((HOST, port), timeout=READY_S)
        self.file = self.socket.makefile("rb")

    def ask(self, *words):
        self.socket.sendall(spell(words))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("connection closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if kind == b"-":
            raise OSError(rest.decode())
        return rest

    def store(self, pairs: list[tuple[bytes, bytes]]):
        """Stores pairs, a few hundred requests at a time so that neither side's buffers fill up."""
        for start in range(0, len(pairs), 500):
            chunk = pairs[start : start + 500]
            self.socket.sendall(b"".join(spell((b"SET", *pair)) for pair in chunk))
            for _ in chunk:
                self.reply()

    def close(self):
        self.file.close()
        self.socket.close()


def fill(servers: list[Server], families=FAMILIES):
    """Stores families of keys, each key at the server whose equal share of the slots it falls into."""
    shares = [[] for _ in servers]
    bounds = [16384 * (n + 1) // len(servers) for n in range(len(servers))]
    for key, value in keys_and_values(families):
        slot = binascii.crc_hqx(key, 0) % 16384
        shares[bisect.bisect_right(bounds, slot)].append((key, value))
    for server, pairs in zip(servers, shares):
        server.connection.store(pairs)


def keys_and_values(families):
    for family in families:
        value = family.value()
        for n in range(family.count):
            yield f"{family.name}:{n:012}".encode(), value


def spell(words) -> bytes:
    words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def free_ports(count: int) -> list[int]:
    holders = [socket.socket() for _ in range(count)]
    for holder in holders:
        holder.bind((HOST, 0))
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


def wait_for(condition, what: str):
    """Asks again until the answer is true; a refused or broken connection counts as not yet."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            answer = condition()
            if answer:
                return answer
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"waited {READY_S:.0f} s for {what}")


def first_line(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else "?"


def end_on_signals():
    """SIGTERM and SIGHUP end the driver as Ctrl-C does: through `Bed.__exit__`."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
