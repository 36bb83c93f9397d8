"""Tables of the two pages, each between two marks, and what their numbers were measured on."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from statistics import mean, stdev

HERE = Path(__file__).parent
PAGES = [HERE.parent / "README.md", HERE / "README.md"]
RESULTS = HERE / "results"
TINY = [  # flags of a run that takes seconds
    *("--preset", "quick", "--epochs", "1", "--train-size", "256", "--validation-size", "32"),
    *("--test-size", "32", "--channels", "8", "--layers", "1"),
]


def _split(name: str) -> tuple[Path, str, str, str]:
    """The page that has the marks of a table, and its text before, within and after them."""
    start, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    for page in PAGES:
        before, begins, rest = page.read_text().partition(start)
        within, ends, after = rest.partition(end)
        if begins and ends:
            return page, before + start, within, end + after
    raise ValueError(f"no place for a table: {start.strip()} ... {end}")


def read_table(name: str) -> str:
    """What lies between the marks `<!-- name: begin -->` and `<!-- name: end -->`."""
    return _split(name)[2]


def write_table(name: str, table: str) -> None:
    """Puts `table` there."""
    page, before, _, after = _split(name)
    page.write_text(before + table + after)


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
    """The command of an experiment: `[SIZE] [--table]`. The table of another size than cpu is
    written between marks of its own, NAME-SIZE, and only shown where no page has them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("size", nargs="?", default="cpu", choices=sizes)
    parser.add_argument("--table", action="store_true", help="only the table")
    asked = parser.parse_args()
    if not asked.table:
        train_all(asked.size)
    made, place = table(asked.size), name if asked.size == "cpu" else f"{name}-{asked.size}"
    try:
        write_table(place, made)
    except ValueError:
        print(made)


def processor() -> str:
    """What this machine computes on, in words."""
    import torch  # not to show a table

    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    gpu = torch.cuda.is_available()
    return f"{machine}, {torch.cuda.get_device_name()}" if gpu else machine
