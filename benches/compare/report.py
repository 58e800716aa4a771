"""Tables for people, CSV for plots. Every figure printed is the median over the rounds."""

import csv
import dataclasses
import os
import platform
import statistics
from pathlib import Path

from loads import LOADS
from measure import Run

COLUMNS = {
    "requests/s": ("per_second", "{:,.0f}"),
    "p50 ms": ("p50_ms", "{:.3f}"),
    "p99 ms": ("p99_ms", "{:.3f}"),
    "CPU µs/req": ("cpu_us", "{:.2f}"),
    "servers µs/req": ("servers_us", "{:.2f}"),
    "RSS MiB": ("rss_mib", "{:.1f}"),
}

P50_OF_DIRECT_MAX = 1.6
RSS_MIB_MAX = 8


def median(runs: list[Run], load: str, target: str, field: str) -> float | None:
    values = [getattr(run, field) for run in runs if (run.load, run.target) == (load, target)]
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def table(runs: list[Run], calls: dict[tuple[str, str], dict[str, float]]) -> str:
    """A line for each load and target; system calls only where they were counted."""
    rows = [["load", "target", *COLUMNS] + (["calls/req"] if calls else [])]
    for load, target in dict.fromkeys((run.load, run.target) for run in runs):
        row = [load, target]
        for field, form in COLUMNS.values():
            value = median(runs, load, target, field)
            row.append("–" if value is None else form.format(value))
        if calls:
            counted = calls.get((load, target))
            row.append(f"{sum(counted.values()):.2f}" if counted else "–")
        rows.append(row)
    return align(rows, 2)


def ratios(runs: list[Run]) -> str:
    """slotcar's CPU per request as a share of each peer's, beside the goal where there is one.

    Each round gives one ratio, so a machine that slows down for some rounds slows both sides of it.
    """
    peers = [peer for peer in ("envoy", "nutcracker", "nutcracker3") if any(run.target == peer for run in runs)]
    rows = [["CPU per request", *(f"slotcar / {peer}" for peer in peers)]]
    for load in dict.fromkeys(run.load for run in runs):
        row = [load]
        for peer in peers:
            own, other = by_round(runs, load, "slotcar"), by_round(runs, load, peer)
            each = [own[n] / other[n] for n in own.keys() & other.keys()]
            row.append(judged(statistics.median(each), LOADS[load].goals.get(peer)) if each else "–")
        rows.append(row)
    return align(rows, 1)


def verdicts(runs: list[Run]) -> str:
    """What else slotcar should be: as quick as direct for one connection, quicker than its peers, and small."""
    rows = [["goal", "slotcar", "bound", ""]]

    def add(goal: str, value: float | None, bound: float | None, fits: bool):
        if value is not None and bound is not None:
            rows.append([goal, f"{value:,.2f}", f"{bound:,.2f}", "ok" if fits else "MISS"])

    for load in dict.fromkeys(run.load for run in runs):
        own = {field: median(runs, load, "slotcar", field) for field in ("p50_ms", "per_second", "rss_mib")}
        if None in own.values():
            continue
        direct, clients = median(runs, load, "direct", "p50_ms"), LOADS[load].clients
        if clients == 1 and direct is not None:
            bound = direct * P50_OF_DIRECT_MAX
            add(f"{load}: p50 ms, {P50_OF_DIRECT_MAX} x direct", own["p50_ms"], bound, own["p50_ms"] <= bound)
            for other in ("direct", "relay"):
                rate = median(runs, load, other, "per_second")
                if rate is not None:
                    # One client: the mean latency is the inverse of the rate, and finer than redis-benchmark's 8 µs.
                    rows.append([f"{load}: mean latency / {other}", f"{rate / own['per_second']:.2f}", "", ""])
        for peer in ("envoy", "nutcracker", "nutcracker3"):
            p50, rate = median(runs, load, peer, "p50_ms"), median(runs, load, peer, "per_second")
            if clients == 50 and p50 is not None:
                add(f"{load}: p50 ms, below {peer}", own["p50_ms"], p50, own["p50_ms"] < p50)
            if rate is not None:
                add(f"{load}: requests/s, above {peer}", own["per_second"], rate, own["per_second"] > rate)
        if load == "get":
            add("get: RSS MiB", own["rss_mib"], RSS_MIB_MAX, own["rss_mib"] <= RSS_MIB_MAX)
    return align(rows, 1)


def by_round(runs: list[Run], load: str, target: str) -> dict[int, float]:
    return {run.round: run.cpu_us for run in runs if (run.load, run.target) == (load, target) and run.cpu_us}


def judged(ratio: float, goal: float | None) -> str:
    if goal is None:
        return f"{ratio:.2f}"
    return f"{ratio:.2f} ({'goal' if ratio <= goal else 'MISS'} ≤ {goal:.2f})"


def breakdown(calls: dict[tuple[str, str], dict[str, float]]) -> str:
    rows = [["load", "target", "system calls per request"]]
    for (load, target), counted in calls.items():
        rows.append([load, target, "  ".join(f"{name} {each:.3f}" for name, each in list(counted.items())[:6])])
    return align(rows, 3)


def align(rows: list[list[str]], text_columns: int) -> str:
    """Pads columns to equal width: the first ones, of words, to the right; those of figures to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        padded = [cell.ljust(width) for cell, width in zip(row[:text_columns], widths)]
        padded += [cell.rjust(width) for cell, width in zip(row[text_columns:], widths[text_columns:])]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def write_csv(path: Path, runs: list[Run], calls: dict[tuple[str, str], dict[str, float]], circumstances: dict[str, str]):
    """One row for each run; machine, versions and system calls per request as comments above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.writelines(f"# {name}: {value}\n" for name, value in circumstances.items())
        for (load, target), counted in calls.items():
            each = "  ".join(f"{name} {count:.4f}" for name, count in counted.items())
            file.write(f"# calls per request, {load} at {target}: {each}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in dataclasses.fields(Run))
        for run in runs:
            values = dataclasses.astuple(run)
            writer.writerow(round(value, 3) if isinstance(value, float) else value for value in values)


def machine() -> dict[str, str]:
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "processor": (models or ["model name: unknown"])[0].partition(":")[2].strip(),
        "cores": str(os.cpu_count()),
        "memory GiB": f"{memory:.1f}",
        "kernel": platform.release(),
        "load before": " ".join(f"{part:.2f}" for part in os.getloadavg()),
    }
