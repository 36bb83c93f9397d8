"""Error of HOMO against the seconds that training took: what was measured here, and published
systems whose hours are known.

python experiments/frontier.py    writes results/frontier.svg and the table, from the results there
"""

from __future__ import annotations

import json
import math
from statistics import mean
from typing import Any

from tables import RESULTS, markdown, write_table

from molaug.files import write_bytes
from molaug.pictures import Axis, point_chart

# Hours of one card, as published; errors on about 110,000 training molecules.
PUBLISHED = {
    "LieConv-T(3)": (24.0, "GTX 1080 Ti", 29.4, "Finzi et al., ICML 2020"),
    "EquiformerV2": (72.0, "A6000", 14.4, "Liao et al., ICLR 2024"),
}
SHOWN = (("learned", "coordinates"), ("none", "e3nn"))  # symmetry and network
RUNS = {  # of speedrun.py
    "speedrun-cpu.json": ("two CPU cores", "speedrun"),
    "speedrun.json": ("one GPU", "speedrun"),
}
TICKS = {"10 s": 10, "1 min": 60, "10 min": 600, "2 h": 7200, "1 day": 86_400, "5 d": 432_000}
ERRORS = (10, 30, 100, 300)
Point = tuple[str, str, float, float, str]  # group, name, seconds, error, where from


def read(name: str) -> Any:
    path = RESULTS / name
    return json.loads(path.read_text()) if path.exists() else None


def gather() -> list[Point]:
    """Every known pair of seconds of training and test error (validation error, of the race)."""
    points: list[Point] = []
    if race := (read("speed-cpu.json") or {}).get("race"):
        for name in ("coordinates, learned SE(3)", "schnet"):
            seconds, error = race[name]["points_seconds_meV"][-1]
            where = "speed-cpu.json, 12,000 molecules, validation"
            label = f"{name.split(',')[0]}, a minute"
            points.append(("one CPU core", label, seconds, error, where))
    rows = (read("opponents-cpu.json") or {"rows": []})["rows"]
    names = dict.fromkeys((row["symmetry"], row["network"]) for row in rows)
    for symmetry, network in names:
        if (symmetry, network) in SHOWN:
            some = [r for r in rows if (r["symmetry"], r["network"]) == (symmetry, network)]
            cell = (mean(r[key] for r in some) for key in ("seconds_training", "test_mae_rotated"))
            where = f"opponents-cpu.json, {some[0]['train_count']:,} molecules, {len(some)} seeds"
            points.append(("one CPU core", f"{network}, {symmetry}", *cell, where))
    for row in (read("whole-cpu.json") or {"rows": []})["rows"][:1]:
        cell = (row["seconds_training"], row["test_mae_rotated"])
        where = f"whole-cpu.json, {row['train_count']:,} molecules, seed {row['seed']}"
        points.append(("one CPU core", f"coordinates, {row['symmetry']}, all", *cell, where))
    for file, (group, name) in RUNS.items():
        if some := (read(file) or {"runs": []})["runs"]:
            cell = (mean(run[key] for run in some) for key in ("seconds_total", "test_mae_rotated"))
            about = f"{some[0]['train_count']:,} molecules, {len(some)} seeds, {some[0]['device']}"
            where = f"{file}, {about}; the seconds are those of whole runs"
            points.append((group, name, *cell, where))
    for name, (hours, card, error, paper) in PUBLISHED.items():
        points.append(("published, one GPU", name, 3600 * hours, error, f"{card}; {paper}"))
    return points


def draw(points: list[Point]) -> str:
    """On logarithmic axes."""
    ticks = [(math.log10(seconds), label) for label, seconds in TICKS.items()]
    x = Axis("time of training", ticks[0][0], ticks[-1][0], ticks)
    levels = [(math.log10(error), str(error)) for error in ERRORS]
    y = Axis("MAE of HOMO [meV]", levels[0][0], levels[-1][0], levels)
    groups: dict[str, dict[str, tuple[float, float]]] = {}
    for group, name, seconds, error, _ in points:
        groups.setdefault(group, {})[name] = (math.log10(seconds), math.log10(error))
    return point_chart("HOMO of QM9: error against time", x, y, groups)


def table(points: list[Point]) -> str:
    """Markdown, a line per point."""
    head = ["on", "run", "seconds of training", "MAE of HOMO [meV]", "from"]
    lines = [[g, name, f"{s:,.0f}", f"{error:.1f}", where] for g, name, s, error, where in points]
    return markdown(head, lines)


if __name__ == "__main__":
    found = gather()
    write_bytes(RESULTS / "frontier.svg", draw(found).encode())
    write_table("frontier", table(found))
