"""Runs every load at every target, round after round, and prints the medians.

The targets take turns within a round, and another one begins each round, so that whatever else the machine
does falls on all of them alike.
"""

import argparse
import os
import resource
import shutil
import sys
from pathlib import Path

import idle
import report
import scale
from bed import HOST, Bed, end_on_signals
from loads import DEFAULT, LOADS
from measure import Failed, Run, run, system_calls
from targets import Missing, Target, Targets


def main():
    options = arguments()
    end_on_signals()
    allow_many_connections()
    if os.getloadavg()[0] > 0.5:
        note("the machine is busy: figures will scatter by 15 % and more")
    circumstances = report.machine() | {"rounds": str(options.rounds), "requests": str(options.requests)}
    if options.scale:
        print(scale.measure(options, progress))
        return
    with Bed() as bed:
        targets = start(Targets(bed, options.bin, other=options.other), options.targets)
        circumstances |= {target.name: target.version for target in targets}
        for name, value in circumstances.items():
            print(f"# {name}: {value}")
        runs, broken = rounds(options, targets, bed)
        # Last: what it leaves in memory would be counted with the loads.
        spare = silent_clients(options, targets, bed)
        calls = counted_calls(options, targets, broken, bed) if options.syscalls else {}

    if spare:
        print(f"\n{spare}")
    if runs:
        print(f"\n{report.table(runs, calls)}")
    if any(measured.target == "slotcar" for measured in runs):
        print(f"\n{report.ratios(runs)}\n\n{report.verdicts(runs)}")
    if calls:
        print(f"\n{report.breakdown(calls)}")
    if spare:
        circumstances |= {f"idle {number}": line for number, line in enumerate(spare.splitlines(), 1)}
    if options.csv:
        report.write_csv(options.csv, runs, calls, circumstances)


def arguments() -> argparse.Namespace:
    listing = "\n".join(f"  {load.name:13} {load.description()}" for load in LOADS.values())
    parser = argparse.ArgumentParser(
        prog="compare.sh",
        description="The same redis-benchmark load, in turn, at a plain server (direct), through slotcar and Envoy to\n"
        "a cluster of three primaries, and through nutcracker to a plain server (nutcracker3: to three; relay: what any\n"
        "process in between costs at least, for loads of one connection; unsampled: slotcar that samples nothing; other:\n"
        "another slotcar). Prints medians over rounds.",
        epilog=f"loads:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bin", type=Path, metavar="PATH", help="slotcar's binary (else: cargo build --release)")
    parser.add_argument("--other", type=Path, metavar="PATH", help="another binary of it, for the target `other`")
    parser.add_argument("--loads", type=known(LOADS), default=known(LOADS)(DEFAULT), help=f"default {DEFAULT}")
    names = Targets.NAMES
    usual = ",".join(Targets.USUAL)
    parser.add_argument("--targets", type=known(names), default=known(names)(usual), help=f"default {usual}")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default 3; 5 or more for a verdict")
    parser.add_argument(
        "--requests", type=int, default=40_000, metavar="N", help="of a plain GET; others in proportion; default 40000"
    )
    parser.add_argument("--syscalls", action="store_true", help="count system calls too, in runs of their own (strace)")
    parser.add_argument("--idle", action="store_true", help="also: memory for idle clients, time to start, size (strip)")
    parser.add_argument("--scale", action="store_true", help="instead: slotcar with more workers, and before more nodes")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="every run, with machine and versions as comments")
    options = parser.parse_args()
    if options.syscalls and shutil.which("strace") is None:
        parser.error("--syscalls needs strace")
    return options


def known(names):
    def split(text: str) -> list[str]:
        asked = text.split(",")
        unknown = [name for name in asked if name not in names]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)} (known: {', '.join(names)})")
        return asked

    return split


def start(targets: Targets, names: list[str]) -> list[Target]:
    started = []
    for name in names:
        try:
            started.append(targets.start(name))
        except Missing as why:
            note(f"{name} is left out: {why}")
    return started


def rounds(options, targets: list[Target], bed: Bed) -> tuple[list[Run], set[tuple[str, str]]]:
    """All runs, and the (load, target) pairs that failed; those are not tried again."""
    runs, broken = [], set()
    for round_ in range(1, options.rounds + 1):
        turn = (round_ - 1) % len(targets)
        for name in options.loads:
            for target in targets[turn:] + targets[:turn]:
                if (name, target.name) in broken or not LOADS[name].suits(target.name, target.clients_max):
                    continue
                progress(f"round {round_} of {options.rounds}: {name} at {target.name}")
                try:
                    requests = LOADS[name].requests(options.requests)
                    runs.append(run(LOADS[name], target, round_, requests, bed.directory))
                except (Failed, OSError) as why:
                    broken.add((name, target.name))
                    note(f"{name} at {target.name} is left out: {why}")
    progress("")
    order = [target.name for target in targets]
    runs.sort(key=lambda each: (options.loads.index(each.load), order.index(each.target), each.round))
    return runs, broken


def silent_clients(options, targets: list[Target], bed: Bed) -> str:
    """Of proxies that have served every load before."""
    if not options.idle:
        return ""
    measured, start_up = [], ""
    for target in targets:
        if target.process is not None and target.clients_max >= max(idle.STEPS):
            progress(f"idle clients at {target.name}")
            try:
                measured.append(idle.idle(target))
            except OSError as why:
                note(f"idle clients at {target.name} are left out: {why}")
        if target.name == "slotcar":
            seeds = ",".join(f"{HOST}:{server.port}" for server in target.servers)
            start_up = idle.start_up(bed, Path(target.process.args[0]), seeds)
    progress("")
    return f"{report.align(idle.idle_rows(measured), 1)}\n{start_up}"


def counted_calls(options, targets: list[Target], broken, bed: Bed) -> dict[tuple[str, str], dict[str, float]]:
    calls = {}
    for name in options.loads:
        for target in targets:
            suits = LOADS[name].suits(target.name, target.clients_max)
            if target.process is None or (name, target.name) in broken or not suits:
                continue
            progress(f"system calls: {name} at {target.name}")
            requests = LOADS[name].requests(options.requests // 4)
            calls[name, target.name] = system_calls(LOADS[name], target, requests, bed.directory)
    progress("")
    return calls


def allow_many_connections():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def note(text: str):
    progress("")
    print(f"compare: {text}", file=sys.stderr)


def progress(text: str):
    """One line on a terminal that is written over; nothing where the output is kept."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
