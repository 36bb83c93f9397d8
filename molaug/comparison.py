"""The comparison of runs: one line per symmetry and network, over all its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from rich.box import SIMPLE_HEAVY
from rich.markup import escape
from rich.table import Table

from .report import Row, keys_by_test, show_width
from .verdict import agree

HAAR = "none + Haar at test"


@dataclass(frozen=True)
class Line:
    """The runs of one symmetry and network: a row per seed."""

    symmetry: str
    network: str
    rows: Sequence[Row]

    @property
    def label(self) -> str:
        """Such as `learned coordinates, 3 seeds`; a single seed is named."""
        seeds = [row["seed"] for row in self.rows]
        about = f"{len(seeds)} seeds" if len(seeds) > 1 else f"seed {seeds[0]}"
        return f"{self.symmetry} {self.network}, {about}"

    @property
    def cells(self) -> list[str]:
        """Its texts in the order of `titles`."""
        shown = [self.show(key) for key in columns(self.rows[0])]
        return [f"{self.symmetry}, {self.network} ({len(self.rows)})", *shown]

    def show(self, key: str, digits: int = 4) -> str:
        """Mean and, of several seeds, standard deviation."""
        values = [row[key] for row in self.rows]
        middle = f"{values[0]:,}" if isinstance(values[0], int) else f"{mean(values):.{digits}g}"
        return middle if len(set(values)) == 1 else f"{middle} ± {stdev(values):.2g}"


def compare(rows: Sequence[Row]) -> list[Line]:
    """The lines of the table.

    What `none` does when it is averaged over rotations at test time alone is a line of its own.
    """
    turned = [
        {**row, **row["haar_at_test"], "symmetry": HAAR} for row in rows if "haar_at_test" in row
    ]
    lines: dict[tuple[str, str], list[Row]] = {}
    for row in [*rows, *turned]:
        lines.setdefault((row["symmetry"], row["network"]), []).append(row)
    return [Line(*cell, found) for cell, found in lines.items()]


def columns(row: Row) -> dict[str, str]:
    """The title of every column of numbers by its key in a row."""
    unit, copies = row["unit"], row["copies"]
    found = {}
    for test, key in keys_by_test(row).items():
        found[f"{key}_1_copy"] = f"{test},\n1 copy [{unit}]"
        found[key] = f"{test},\n{copies} copies [{unit}]"
    for score in row.get("scores", ()):
        for test, key in keys_by_test(row, score).items():
            found[key] = f"{test},\n{score} [%]"
    if "invariance_error" in row:
        found["invariance_error"] = f"invariance\nerror [{row.get('output_unit', unit)}]"
    return {**found, "parameters": "parameters", "seconds_per_epoch": "seconds\nper epoch"}


def titles(row: Row) -> list[str]:
    """Of all columns."""
    return ["symmetry, network (seeds)", *columns(row).values()]


def notes(rows: Sequence[Row]) -> list[str]:
    """What the numbers of the table are, a sentence each."""
    row, symmetries = rows[0], {line.symmetry for line in compare(rows)}
    turned = " and each rotated once at random" if "rotated" in keys_by_test(row) else ""
    found = [
        f"Test {row['metric']} in {row['unit']} on the test {row['examples']} as they are "
        f"(canonical){turned}, averaged over 1 or {row['copies']} copies of the input."
    ]
    if "invariance_error" in row:
        found.append("Invariance error: standard deviation of a prediction over random rotations.")
    if len({row["seed"] for row in rows}) > 1:
        found.append("Mean ± standard deviation over seeds.")
    if "fixed" in symmetries:
        found.append(
            f"fixed with {row['copies']} copies says whether averaging copies of fixed "
            "augmentation does as well as averaging those of learned augmentation."
        )
    if HAAR in symmetries:
        found.append(f"{HAAR}: the network of none, its inputs turned at random in tests only.")
    return found


def comparison_table(rows: Sequence[Row], about: str) -> Table:
    """For a terminal; errors in their published unit."""
    table = Table(title=escape(about), title_justify="left", box=SIMPLE_HEAVY, pad_edge=False)
    name, *numbers = titles(rows[0])
    # Where a terminal is narrow, words are broken; by default rich would drop digits.
    table.add_column(name, overflow="fold")
    for title in numbers:
        table.add_column(escape(title), overflow="fold", justify="right", min_width=6)
    for line in compare(rows):
        table.add_row(*map(escape, line.cells))
    return table


@dataclass(frozen=True)
class Finding:
    """The verdict on one generator over all seeds of a line, in words."""

    generator: str
    word: str  # full, partial, absent or undecided
    interval: str  # of the width, with its unit
    reason: str


def findings(line: Line) -> list[Finding]:
    """One per generator; none if no verdict was reached for these runs."""
    if not all(row.get("verdicts") for row in line.rows):
        return []
    return [_finding(name, line.rows) for name in line.rows[0]["verdicts"]]


def _finding(name: str, rows: Sequence[Row]) -> Finding:
    found = agree([row["verdicts"][name] for row in rows])
    unit = rows[0]["widths"][name]["unit"]
    low, high = (show_width(found[end], unit) for end in ("low", "high"))
    return Finding(name, found["verdict"], f"{low.partition(' ')[0]} to {high}", found["reason"])


def conclude(line: Line) -> str:
    """The findings as one sentence: `rx, ry, rz full; scale (0.10 to 0.20) partial.`"""
    groups: dict[str, list[str]] = {}
    for one in findings(line):
        name = f"{one.generator} ({one.interval})" if one.word == "partial" else one.generator
        groups.setdefault(one.word, []).append(name)
    return "; ".join(f"{', '.join(names)} {word}" for word, names in groups.items()) + "."


def show_verdicts(rows: Sequence[Row]) -> str:
    """The verdict on every generator with its evidence, below the table."""
    text = []
    for line in compare(rows):
        found = findings(line)
        text += [f"Verdict, {line.label}: {conclude(line)}"] if found else []
        text += [f"  {one.generator}  {one.word}, {one.interval}: {one.reason}" for one in found]
    return "\n".join(text)
