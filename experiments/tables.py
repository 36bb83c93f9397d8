"""Tables of the README, each between two marks, and what their numbers were measured on."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from statistics import mean, stdev

README = Path(__file__).parents[1] / "README.md"
RESULTS = Path(__file__).parent / "results"
TINY = [  # flags of a run that takes seconds
    *("--preset", "quick", "--epochs", "1", "--train-size", "256", "--validation-size", "32"),
    *("--test-size", "32", "--channels", "8", "--layers", "1"),
]


def _split(name: str) -> tuple[str, str, str]:
    """The README before, within and after the marks of a table."""
    start, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, begins, rest = README.read_text().partition(start)
    within, ends, after = rest.partition(end)
    if not (begins and ends):
        raise ValueError(f"{README} has no place for a table: {start.strip()} ... {end}")
    return before + start, within, end + after


def read_table(name: str) -> str:
    """What lies between the marks `<!-- name: begin -->` and `<!-- name: end -->`."""
    return _split(name)[1]


def write_table(name: str, table: str) -> None:
    """Puts `table` there."""
    before, _, after = _split(name)
    README.write_text(before + table + after)


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table, one line each."""
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def mean_and_deviation(values: Sequence[float], digits: int = 3) -> str:
    """Of seeds: the mean and, of several, the standard deviation."""
    text = f"{mean(values):.{digits}g}"
    return f"{text} ± {stdev(values):.2g}" if len(values) > 1 else text


def result(name: str, size: str) -> Path:
    """Where an experiment keeps its numbers."""
    return RESULTS / f"{name}-{size}.json"


def run_command(
    name: str,
    sizes: Collection[str],
    train_all: Callable[[str], None],
    table: Callable[[str], str],
) -> None:
    """The command of an experiment: `[SIZE] [--table]`; a tiny table is only shown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("size", nargs="?", default="cpu", choices=sizes)
    parser.add_argument("--table", action="store_true", help="only the table")
    asked = parser.parse_args()
    if not asked.table:
        train_all(asked.size)
    if asked.size == "tiny":
        print(table(asked.size))
    else:
        write_table(name, table(asked.size))


def processor() -> str:
    """What this machine computes on, in words."""
    import torch  # not to show a table

    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    gpu = torch.cuda.is_available()
    return f"{machine}, {torch.cuda.get_device_name()}" if gpu else machine
