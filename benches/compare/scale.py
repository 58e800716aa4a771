"""What more workers and more nodes cost slotcar: CPU per request beside one worker before three nodes, memory, links.

    benches/compare.sh --scale [--rounds N] [--requests N] [--bin PATH] [--csv FILE]
"""

import dataclasses
import statistics

import report
from bed import HOST, Bed, Server, fill, free_ports, start_cluster
from loads import LOADS, SMALL
from measure import Run, rss_mib, run
from targets import Target, Targets

WORKERS = (1, 2, 4)
NODES = (1, 3, 30, 300)
LOAD_NAMES = ("get", "get_p16", "get_c500")
SAME_COST_MAX = 1.10


@dataclasses.dataclass
class Setting:
    """slotcar with so many workers before so many nodes."""

    target: Target
    workers: int
    nodes: int
    idle_rss_mib: float

    def links(self) -> int:
        """Connections that its requests have made, as the nodes see them."""
        lists = (server.connection.ask("CLIENT", "LIST").decode() for server in self.target.servers)
        own = f" name={client_name(self.workers, self.nodes)} "
        return sum(own in line for clients in lists for line in clients.splitlines())


def measure(options, progress) -> str:
    with Bed() as bed:
        targets = Targets(bed, options.bin, servers=False)
        settings = [start(bed, targets, 1, nodes) for nodes in NODES]
        three = settings[NODES.index(3)].target.servers
        settings += [start(bed, targets, workers, 3, three) for workers in WORKERS if workers > 1]
        runs = []
        for round_ in range(1, options.rounds + 1):
            turn = (round_ - 1) % len(settings)
            for name in LOAD_NAMES:
                for setting in settings[turn:] + settings[:turn]:
                    progress(f"round {round_} of {options.rounds}: {name} at {setting.target.name}")
                    load = LOADS[name]
                    runs.append(run(load, setting.target, round_, load.requests(options.requests), bed.directory))
        progress("")
        if options.csv:
            report.write_csv(options.csv, runs, {}, report.machine() | {"rounds": str(options.rounds)})
        return report.align([row(setting, settings, runs) for setting in (None, *settings)], 1)


def start(bed: Bed, targets: Targets, workers: int, nodes: int, servers: list[Server] | None = None) -> Setting:
    if servers is None:
        servers = start_cluster(bed, f"of-{nodes}", nodes)
        fill(servers, [SMALL])
    name = f"{workers} worker{'s' if workers > 1 else ''}, {nodes} node{'s' if nodes > 1 else ''}"
    (port,) = free_ports(1)
    seeds = ",".join(f"{HOST}:{server.port}" for server in servers[:3])
    command = [str(targets.slotcar_binary()), "--listen", f"{HOST}:{port}", "--cluster", seeds]
    command += ["--workers", str(workers), "--client-name", client_name(workers, nodes)]
    process = targets.ready(name, port, command)
    target = Target(name, port, process, servers, "slotcar")
    return Setting(target, workers, nodes, rss_mib(target))


def client_name(workers: int, nodes: int) -> str:
    return f"slotcar-{workers}-{nodes}"


def row(setting: Setting | None, settings: list[Setting], runs: list[Run]) -> list[str]:
    if setting is None:
        cost = [column for name in LOAD_NAMES for column in (f"{name} µs", "ratio")]
        return ["slotcar", *cost, "RSS MiB idle", "busy", "links", f"goal: ≤ {SAME_COST_MAX:.2f} with more workers"]
    base = next(each for each in settings if (each.workers, each.nodes) == (1, 3))
    columns, ratios = [setting.target.name], []
    for name in LOAD_NAMES:
        own, other = (report.by_round(runs, name, each.target.name) for each in (setting, base))
        ratios.append(statistics.median(own[n] / other[n] for n in own))
        columns += [f"{statistics.median(own.values()):.2f}", f"{ratios[-1]:.2f}"]
    busy = max(each.rss_mib for each in runs if each.target == setting.target.name)
    links = setting.links()
    verdict = ""
    if setting.workers > 1:
        fits = max(ratios) <= SAME_COST_MAX and links <= setting.workers * setting.nodes
        verdict = "ok" if fits else "MISS"
    return [*columns, f"{setting.idle_rss_mib:.1f}", f"{busy:.1f}", str(links), verdict]
