#!/usr/bin/env python3
"""Draws a run of `benches/compare.sh --csv FILE`, and puts its figures into the README.

    benches/plot.py FILE.csv             writes FILE.svg: CPU per request of each proxy, load by load
    benches/plot.py --readme FILE.csv    also rewrites the table between the README's speed marks
"""

import csv
import statistics
import sys
from pathlib import Path
from xml.sax.saxutils import escape

sys.path.insert(0, str(Path(__file__).resolve().parent / "compare"))
from loads import LOADS  # noqa: E402

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
COLOURS = {"slotcar": "#c0392b", "nutcracker": "#7f8c8d", "envoy": "#b4a7d6"}
BAR, GAP, LEFT, WIDTH = 14, 16, 110, 760


def main():
    words = [word for word in sys.argv[1:] if word != "--readme"]
    if len(words) != 1:
        sys.exit(__doc__)
    source = Path(words[0])
    circumstances, medians = read(source)
    source.with_suffix(".svg").write_text(draw(medians), encoding="utf-8")
    if "--readme" in sys.argv:
        before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        text = table(circumstances, medians, source)
        README.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


def read(source: Path):
    """What the comments say, and for each load and target the medians over its rounds."""
    lines = source.read_text(encoding="utf-8").splitlines()
    comments = (line[2:].partition(": ") for line in lines if line.startswith("# "))
    circumstances = {name: value for name, _, value in comments}
    runs = {}
    for row in csv.DictReader(line for line in lines if not line.startswith("#")):
        runs.setdefault((row["load"], row["target"]), []).append(row)
    medians = {}
    for (load, target), rows in runs.items():
        fields = ("per_second", "p50_ms", "cpu_us")
        values = {field: [float(row[field]) for row in rows if row[field]] for field in fields}
        medians.setdefault(load, {})[target] = {
            field: statistics.median(each) if each else None for field, each in values.items()
        }
    return circumstances, medians


def draw(medians) -> str:
    """Bars for each load, as long as its most expensive proxy allows: loads cost from 1 to 1,000 µs."""
    parts, y = [], 30
    for load, targets in medians.items():
        costs = {target: each["cpu_us"] for target, each in targets.items() if each["cpu_us"]}
        if not costs:
            continue
        most = max(costs.values())
        parts.append(text(LEFT - 8, y + BAR * len(costs) / 2 + 4, load, 'text-anchor="end" font-weight="bold"'))
        for target, cost in costs.items():
            width = cost / most * (WIDTH - LEFT - 150)
            colour = COLOURS.get(target, "#bbbbbb")
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{colour}"/>')
            parts.append(text(LEFT + width + 6, y + BAR - 4, f"{cost:.2f} {target}", ""))
            y += BAR
        y += GAP
    head = text(LEFT, 18, "CPU microseconds of the proxy per request (less is better)", 'font-weight="bold"')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" font-family="sans-serif" font-size="11">\n'
        f'<rect width="{WIDTH}" height="{y}" fill="white"/>\n' + "\n".join([head, *parts]) + "\n</svg>\n"
    )


def text(x: float, y: float, words: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def table(circumstances, medians, source: Path) -> str:
    medians = {load: each for load, each in medians.items() if "envoy" in each}
    targets = [target for target in COLOURS if any(target in each for each in medians.values())]
    lines = [f"| CPU µs per request | {' | '.join(targets)} |", "|---|" + "---|" * len(targets)]
    for load, each in medians.items():
        cells = [f"{each[target]['cpu_us']:.2f}" if target in each else "–" for target in targets]
        lines.append(f"| {LOADS[load].description()} | {' | '.join(cells)} |")
    where = f"{circumstances.get('cores')} cores of {circumstances.get('processor')}, shared with the clients and the servers"
    lines.append(
        f"\nMedians of {circumstances.get('rounds')} interleaved rounds on {where}; `benches/compare.sh` repeats them, "
        f"[{source.name}]({source.as_posix()}) has every run. nutcracker has one plain server behind it, the others a cluster of three primaries.\n"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
