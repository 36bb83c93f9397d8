"""What a user sees and keeps: progress, the comparison table, comparison.json, pictures."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from .averaging import AveragedModel
from .distributions import Distribution
from .files import write_bytes
from .groups import Group, Kind
from .pictures import line_chart

Row = dict[str, Any]


def show_width(width: float, kind: Kind) -> str:
    """A width with its unit: degrees, Angstrom, or a plain number."""
    if kind == "rotation":
        return f"{math.degrees(width):.0f} deg"
    return f"{width:.2f} A" if kind == "translation" else f"{width:.2f}"


def describe_widths(distribution: Distribution, initial: Sequence[float]) -> dict[str, Any]:
    """Per generator: initial and learned width and its cap, in radian and Angstrom."""
    learned = distribution.widths.detach().cpu().tolist()
    caps = distribution.caps.cpu().tolist()
    rows = zip(distribution.group.members, initial, learned, caps, strict=True)
    return {
        member.name: {"initial": start, "learned": end, "cap": cap, "kind": member.kind}
        for member, start, end, cap in rows
    }


def compact_widths(names: Sequence[str], kinds: Sequence[Kind], widths: Sequence[float]) -> str:
    """One line for a progress bar: `rx 12 ry 10 rz 15 deg  tx 0.3 ty 0.4 tz 0.3 A`."""
    units: dict[str, list[str]] = {}
    for name, kind, width in zip(names, kinds, widths, strict=True):
        value, _, unit = show_width(width, kind).partition(" ")
        units.setdefault(unit, []).append(f"{name} {value}")
    return "  ".join(f"{' '.join(values)} {unit}".strip() for unit, values in units.items())


@runtime_checkable
class Now(Protocol):
    """Where a run is: steps done, seconds of training, and a row per finished epoch."""

    step: int
    seconds: float
    history: list[dict[str, float]]


class Monitor:
    """Shows a run: a bar on a terminal, one line per epoch anywhere else."""

    def __init__(self, console: Console, label: str, unit: str, group: Group) -> None:
        self.console, self.label, self.unit = console, label, unit
        self.kinds: dict[str, Kind] = {member.name: member.kind for member in group.members}
        self.live = console.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(20), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, transient=True, disable=not self.live)
        self.bar_task = self.bar.add_task(label, total=None)
        self.epochs_shown = 0
        self.shown_at = 0.0

    def __enter__(self) -> Monitor:
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def __call__(self, now: Now, total: int) -> None:
        """After every step; cheap when there is nothing to show."""
        text = self.describe(now.history[-1]) if now.history else "first epoch"
        if self.live and time.monotonic() - self.shown_at > 0.2:
            self.shown_at = time.monotonic()
            line = f"{self.label}  {text}"
            self.bar.update(self.bar_task, completed=now.step, total=total, description=line)
        elif not self.live and len(now.history) > self.epochs_shown:
            self.epochs_shown = len(now.history)
            left = now.seconds / now.step * (total - now.step)
            line = f"{self.label}  {text}  {left:.0f} s left"
            self.console.print(line, highlight=False, soft_wrap=True)

    def describe(self, row: Mapping[str, float]) -> str:
        """Epoch, loss, validation error and widths of one row of the history."""
        widths = compact_widths(
            list(self.kinds), list(self.kinds.values()), [row[f"width_{n}"] for n in self.kinds]
        )
        return (
            f"epoch {row['epoch']:.0f}  loss {row['train_loss']:.3f}  "
            f"validation {row['validation_error']:.4g} {self.unit}  {widths}"
        )


def comparison_table(rows: Sequence[Row], about: str) -> Table:
    """One line per run; errors in their published unit."""
    unit, copies = rows[0]["unit"], rows[0]["copies"]
    table = Table(title=escape(about), title_justify="left", caption_justify="left")
    table.caption = (
        f"Test MAE in {unit}, as mean over copies of the input (1 or {copies}). Invariance error: "
        "standard deviation of predictions over random rotations."
    )
    # Where a terminal is narrow, words are broken; by default rich would drop digits.
    table.add_column("symmetry network seed", overflow="fold")
    for name in (
        f"canonical\n1 copy [{unit}]", f"canonical\n{copies} copies", "rotated\n1 copy",
        f"rotated\n{copies} copies", f"invariance\nerror [{unit}]", "parameters", "s / epoch",
    ):  # fmt: skip
        table.add_column(escape(name), justify="right", overflow="fold")
    for row in rows:
        numbers = [
            row["test_mae_canonical_1_copy"], row["test_mae_canonical"],
            row["test_mae_rotated_1_copy"], row["test_mae_rotated"], row["invariance_error"],
        ]  # fmt: skip
        table.add_row(
            f"{row['symmetry']} {row['network']} {row['seed']}",
            *(f"{number:.4g}" for number in numbers),
            f"{row['parameters']:,}",
            f"{row['seconds_per_epoch']:.1f}",
        )
    return table


def show_widths(rows: Sequence[Row]) -> str:
    """The widths of every run that moves its inputs, below the table."""
    moving = [row for row in rows if width_lines(row["widths"])]
    lines = ["Widths: initial > learned / natural range"] if moving else []
    for row in moving:
        lines.append(f"  {row['symmetry']} {row['network']} {row['seed']}")
        lines += [f"    {line}" for line in width_lines(row["widths"])]
    return "\n".join(lines)


def width_lines(widths: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line per kind of generator: `rx ry rz  9 9 9 > 171 170 172 / 180 deg`."""
    lines = []
    for kind, members in groupby(widths.items(), key=lambda item: item[1]["kind"]):
        found = {name: w for name, w in members if w["learned"] or w["initial"]}
        if not found:
            continue
        column = {
            key: [show_width(w[key], kind).split(" ")[0] for w in found.values()]
            for key in ("initial", "learned", "cap")
        }
        unit = show_width(0.0, kind).partition(" ")[2]
        values = " > ".join(" ".join(column[key]) for key in ("initial", "learned"))
        lines.append(f"{' '.join(found)}  {values} / {column['cap'][0]} {unit}".rstrip())
    return lines


def save_widths_picture(
    path: Path,
    title: str,
    history: Sequence[Mapping[str, float]],
    model: AveragedModel,
    initial: Sequence[float],
) -> None:
    """Every width over the epochs, as a share of its natural range, so that all fit one axis."""
    caps = model.augmentation.distribution.caps.tolist()
    members = model.augmentation.distribution.group.members
    lines = {
        f"{member.name} / {show_width(cap, member.kind)}": [
            width / cap for width in (start, *(row[f"width_{member.name}"] for row in history))
        ]
        for member, start, cap in zip(members, initial, caps, strict=True)
    }
    picture = line_chart(f"widths: {title}", "epoch", "share of natural range", lines, y_max=1.0)
    write_bytes(path, picture.encode())


def versions() -> dict[str, str]:
    """Of Python, and of the packages that decide what a run computes."""
    names = ("molaug", "torch", "numpy", "e3nn", "torch-geometric")
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def console() -> Console:
    """Standard output; wide enough for the table when it goes to a file."""
    return Console(width=None if sys.stdout.isatty() else 180)
