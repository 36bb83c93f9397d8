"""The comparison of runs: one line per symmetry and network, over all its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from rich.box import SIMPLE_HEAVY
from rich.markup import escape
from rich.table import Table

from .report import Row, keys_by_test, kind_and_unit, show_width
from .verdict import Agreement, agree

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
        middle = f"{values[0]:,}" if isinstance(values[0], int) else plain(mean(values), digits)
        return middle if len(set(values)) == 1 else f"{middle} ± {plain(stdev(values), 2)}"


def plain(value: float, digits: int) -> str:
    """Rounded to so many digits, large numbers to a whole one; an exponent only for small ones."""
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text else text


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
        if copies > 1:
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
    copies = f"1 or {row['copies']} copies" if row["copies"] > 1 else "1 copy"
    found = [
        f"Test {row['metric']} in {row['unit']} on the test {row['examples']} as they are "
        f"(canonical){turned}, averaged over {copies} of the input."
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
    """The verdict on one generator over all seeds of a line, and its texts."""

    generator: str
    kind: str
    unit: str
    found: Agreement

    @property
    def full_name(self) -> str:
        """Such as `rotation rx`."""
        is_told = self.generator.startswith(self.kind)
        return self.generator if is_told else f"{self.kind} {self.generator}"

    @property
    def width(self) -> str:
        """`44 deg`, and of several seeds `44 deg (41 to 47 deg)`."""
        interval = self.found.interval
        return f"{self._middle} ({self._range(*interval)})" if interval else self._middle

    @property
    def rises(self) -> str:
        """From which move on held-out errors rise: `46 to 48 deg`; empty where nothing is known."""
        if not self.found.edges:
            return ""
        shown = [show_width(edge, self.unit) for edge in self.found.edges]
        return shown[0] if shown[0] == shown[1] else self._range(*self.found.edges)

    @property
    def brief(self) -> str:
        """Its name, with the width of a partial symmetry, or with the word that seeds differ."""
        if len(set(self.found.by_seed.values())) > 1:
            return f"{self.generator} (seeds differ)"
        if self.found.verdict != "partial":
            return self.generator
        interval = self.found.interval
        told = f", 95 % interval {self._range(*interval)}" if interval else ""
        return f"{self.generator} ({self._middle}{told})"

    @property
    def _middle(self) -> str:
        return show_width(self.found.width, self.unit)

    def _range(self, low: float, high: float) -> str:
        return f"{show_width(low, self.unit).partition(' ')[0]} to {show_width(high, self.unit)}"


def findings(line: Line) -> list[Finding]:
    """One per generator; none if no verdict was reached for these runs."""
    if not all(row.get("verdicts") for row in line.rows):
        return []
    names = [shared_names(row) if len(line.rows) > 1 else _own(row) for row in line.rows]
    return [_finding(label, names, line.rows) for label in names[0]]


def _own(row: Row) -> dict[str, str]:
    return {name: name for name in row["verdicts"]}


def shared_names(row: Row) -> dict[str, str]:
    """Its generators by names that mean the same in every seed. Of learned directions these are
    `rotation 1` and so on, the widest first: no seed turns them alike."""
    widths = row["widths"]
    if not any("direction" in width for width in widths.values()):
        return _own(row)
    found, ranks = {}, dict.fromkeys(("rotation", "translation"), 0)
    for name in sorted(row["verdicts"], key=lambda name: -widths[name]["learned"]):
        kind = widths[name]["kind"]
        if kind in ranks:
            ranks[kind] += 1
        found[f"{kind} {ranks[kind]}" if kind in ranks else name] = name
    return dict(sorted(found.items()))


def _finding(label: str, names: Sequence[dict[str, str]], rows: Sequence[Row]) -> Finding:
    own = [one[label] for one in names]
    seeds = {row["seed"]: row["verdicts"][name] for name, row in zip(own, rows, strict=True)}
    widths = [row["widths"][name] for name, row in zip(own, rows, strict=True)]
    found = agree(seeds, [width["learned"] for width in widths], widths[0]["cap"])
    return Finding(label, *kind_and_unit(widths[0]), found)


def conclude(line: Line) -> str:
    """The findings as one sentence: `rx, ry, rz full; scale (0.20) partial.`"""
    groups: dict[str, list[str]] = {}
    for one in findings(line):
        groups.setdefault(one.found.verdict, []).append(one.brief)
    return "; ".join(f"{', '.join(names)} {word}" for word, names in groups.items()) + "."


def explain(line: Line) -> str:
    """What the numbers of its verdicts are."""
    several = len(line.rows) > 1
    seeds = ", mean over seeds with the 95 % interval of that mean (Student's t)" * several
    edges = ", least and greatest over seeds" * several
    return (
        f"Width: how far inputs are moved either way, as learned{seeds}. Errors rise from: the "
        f"move beyond which predictions of held-out examples get worse{edges}."
    )


def show_verdicts(rows: Sequence[Row]) -> str:
    """The verdict on every generator with its evidence, below the table."""
    lines = [line for line in compare(rows) if findings(line)]
    text = []
    for line in lines:
        text.append(f"Verdict, {line.label}: {conclude(line)}")
        text += [f"  {show_finding(one)}" for one in findings(line)]
    return "\n".join([*text, explain(lines[0])] if lines else [])


def show_finding(one: Finding) -> str:
    rises = f", errors rise from {one.rises}" if one.rises else ""
    return f"{one.generator}  {one.found.verdict}, width {one.width}{rises}: {one.found.reason}"


def verdicts_over_seeds(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The same as plain data: by line and generator, an `Agreement` with its unit."""
    return [
        {
            **{"symmetry": line.symmetry, "network": line.network},
            "seeds": [row["seed"] for row in line.rows],
            "generators": {
                one.generator: {**one.found.to_dict(), "unit": one.unit} for one in findings(line)
            },
        }
        for line in compare(rows)
        if findings(line)
    ]
