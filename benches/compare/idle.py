"""What clients cost that say nothing, and how long a proxy takes to start and how large it is."""

import socket
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bed import HOST, Bed, Connection, free_ports, spell
from loads import SMALL
from measure import rss_mib
from targets import Target

STEPS = (1_000, 10_000)
STARTS = 10
KIB_PER_CLIENT_MAX, LEFT_RATIO_MAX = 1.5, 1.2
READY_MS_MAX, BINARY_MIB_MAX = 50, 8


@dataclass
class Idle:
    """RSS in MiB: without clients, with each of `STEPS` clients, and when all of them have left."""

    target: str
    before: float
    at: list[float]
    after: float

    def kib_per_client(self) -> float:
        return (self.at[-1] - self.before) * 1024 / STEPS[-1]


def idle(target: Target) -> Idle:
    """Clients come in steps; each says PING and GET once, so that whatever is kept for it has been used."""
    warm = Connection(target.port)
    warm.ask("PING")
    warm.close()
    before, at, clients = rss_mib(target), [], []
    for step in STEPS:
        clients += [client(target.port) for _ in range(step - len(clients))]
        at.append(rss_mib(target))
    for connection in clients:
        connection.close()
    deadline = time.monotonic() + 5
    while (after := rss_mib(target)) > before * LEFT_RATIO_MAX and time.monotonic() < deadline:
        time.sleep(0.1)
    return Idle(target.name, before, at, after)


def client(port: int) -> socket.socket:
    """A plain socket: a buffered reader for each of 10,000 would cost this driver more than the proxy."""
    connection = socket.create_connection((HOST, port))
    for words, length in ((("PING",), len("+PONG\r\n")), (("GET", SMALL.name + ":" + "0" * 12), 5 + SMALL.value_bytes + 2)):
        connection.sendall(spell(words))
        while length > 0:
            got = connection.recv(length)
            if not got:
                raise OSError("connection closed")
            length -= len(got)
    return connection


def idle_rows(measured: list[Idle]) -> list[list[str]]:
    rows = [["target", "RSS MiB", *(f"{step:,} clients" for step in STEPS), "KiB/client", "all left", "ratio"]]
    for each in measured:
        row = [each.target, *(f"{value:.1f}" for value in (each.before, *each.at))]
        ratio = each.after / each.before
        rows.append(row + [f"{each.kib_per_client():.2f}", f"{each.after:.1f}", f"{ratio:.2f}"])
    own = next((each for each in measured if each.target == "slotcar"), None)
    if own is not None:
        fits = own.kib_per_client() <= KIB_PER_CLIENT_MAX and own.after <= own.before * LEFT_RATIO_MAX
        goal = f"goals: ≤ {KIB_PER_CLIENT_MAX} KiB per client, ratio ≤ {LEFT_RATIO_MAX}"
        rows.append([f"{goal}: {'ok' if fits else 'MISS'}"] + [""] * (len(rows[0]) - 1))
    return rows


def start_up(bed: Bed, binary: Path, seeds: str) -> str:
    """From the start of the process to the first answered GET, and the size of the stripped binary."""
    times = []
    for n in range(STARTS):
        (port,) = free_ports(1)
        start = time.monotonic()
        process = bed.start(f"start-{n}", [str(binary.resolve()), "--listen", f"{HOST}:{port}", "--cluster", seeds])
        times.append((first_answer(port) - start) * 1000)
        process.terminate()
        process.wait(5)
    stripped = bed.directory / "stripped"
    subprocess.run(["strip", "-o", str(stripped), str(binary)], check=True)
    ready, size = statistics.median(times), stripped.stat().st_size / 2**20
    fits = ready <= READY_MS_MAX and size <= BINARY_MIB_MAX
    return (
        f"slotcar answers after {ready:.1f} ms (goal ≤ {READY_MS_MAX}), "
        f"its binary has {size:.1f} MiB (goal ≤ {BINARY_MIB_MAX}): {'ok' if fits else 'MISS'}"
    )


def first_answer(port: int) -> float:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            connection = Connection(port)
            connection.ask("GET", SMALL.name)
            connection.close()
            return time.monotonic()
        except OSError:
            time.sleep(0.001)
    raise TimeoutError("slotcar did not start")
