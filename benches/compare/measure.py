"""One run of one load at one target, and what it cost: redis-benchmark's figures, CPU, memory, system calls."""

import csv
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from contextlib import nullcontext
from pathlib import Path

from bed import HOST, wait_for
from fan_out import FanOut
from loads import Load
from targets import Target

LONGEST_RUN_S = 120


class Failed(Exception):
    """A run that redis-benchmark did not finish, and its words."""


@dataclass
class Run:
    """Figures of one run. CPU is in microseconds per request; None where there is no proxy."""

    load: str
    target: str
    round: int
    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float | None
    user_us: float | None
    system_us: float | None
    servers_us: float
    rss_mib: float | None


def run(load: Load, target: Target, round_: int, requests: int, directory: Path) -> Run:
    idle = [socket.create_connection((HOST, target.port)) for _ in range(load.idle)]
    with FanOut(target.port) if load.fan_out else nullcontext():
        before = Cost(target)
        words, rss = benchmark(load, target, requests, directory)
        after = Cost(target)
    for connection in idle:
        connection.close()

    def each(name: str) -> float | None:
        start, end = getattr(before, name), getattr(after, name)
        return None if start is None or end is None else (end - start) / requests

    figures = list(csv.DictReader(words.splitlines()))[-1]
    return Run(
        load=load.name,
        target=target.name,
        round=round_,
        requests=requests,
        per_second=float(figures["rps"]),
        p50_ms=float(figures["p50_latency_ms"]),
        p99_ms=float(figures["p99_latency_ms"]),
        cpu_us=each("cpu_us"),
        user_us=each("user_us"),
        system_us=each("system_us"),
        servers_us=each("servers_us") or 0.0,
        rss_mib=rss,
    )


class Cost:
    """What the processes behind a target have used up to now."""

    def __init__(self, target: Target):
        self.cpu_us = self.user_us = self.system_us = None
        if target.process is not None:
            self.cpu_us = cpu_us(target.process.pid)
            self.user_us, self.system_us = user_and_system_us(target.process.pid)
        self.servers_us = sum(cpu_us(server.process.pid) for server in target.servers)


def benchmark(load: Load, target: Target, requests: int, directory: Path) -> tuple[str, float | None]:
    """Runs redis-benchmark to its end; its CSV, and the proxy's largest RSS in MiB meanwhile."""
    command = ["redis-benchmark", "-h", HOST, "-p", str(target.port), *load.arguments(requests)]
    value, output, complaints = (directory / f"benchmark.{name}" for name in ("in", "out", "err"))
    value.write_bytes(load.standard_input())
    with open(value, "rb") as stdin, open(output, "wb") as stdout, open(complaints, "wb") as stderr:
        process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)
        rss, deadline = 0.0, time.monotonic() + LONGEST_RUN_S
        try:
            while process.poll() is None and time.monotonic() < deadline:
                rss = max(rss, rss_mib(target))
                try:
                    process.wait(0.1)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            late = process.poll() is None
            if late:
                process.kill()
                process.wait()
    if late or process.returncode != 0:
        said = (complaints.read_text() + output.read_text()).strip().splitlines()
        raise Failed(f"no end after {LONGEST_RUN_S} s" if late else (said or ["redis-benchmark said nothing"])[-1][:200])
    return output.read_text(), rss or None


def cpu_us(pid: int) -> float:
    """User and system time of a process and all its threads, ended ones too, to the nanosecond.

    The clock id of another process is made as `clock_getcpuclockid(3)` makes it: `~pid << 3 | CPUCLOCK_SCHED`.
    """
    return time.clock_gettime_ns((~pid << 3) | 2) / 1000


def user_and_system_us(pid: int) -> tuple[float, float]:
    """The same, split as in /proc/PID/stat; in steps of a clock tick (10 ms)."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    tick_us = 1_000_000 / os.sysconf("SC_CLK_TCK")
    return int(stat[11]) * tick_us, int(stat[12]) * tick_us


def rss_mib(target: Target) -> float:
    if target.process is None:
        return 0.0
    pages = int(Path(f"/proc/{target.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1024 * 1024)


def system_calls(load: Load, target: Target, requests: int, directory: Path) -> dict[str, float]:
    """Calls per request by name, in a run of its own under strace.

    strace slows the proxy down, so more requests wait at each wake-up than in a free run: calls that are made
    once per wake-up (epoll_wait, a write for everybody) come out lower than they are.
    """
    summary, attached = directory / "strace.out", directory / "strace.err"
    with open(attached, "wb") as stderr:
        command = ["strace", "-c", "-f", "-o", str(summary), "-p", str(target.process.pid)]
        tracer = subprocess.Popen(command, stderr=stderr, start_new_session=True)
        try:
            wait_for(lambda: "attached" in attached.read_text(), "strace to attach")
            benchmark(load, target, requests, directory)
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait()
    calls = {}
    for line in summary.read_text().splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[3].isdigit() and fields[-1] != "total":
            calls[fields[-1]] = int(fields[3]) / requests
    return dict(sorted(calls.items(), key=lambda call: -call[1]))
