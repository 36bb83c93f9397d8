"""What a user sees of a run and keeps: progress, widths, versions."""

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

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .averaging import AveragedModel
from .distributions import Distribution
from .files import write_bytes
from .groups import Group
from .pictures import line_chart

Row = dict[str, Any]


def show_width(width: float, unit: str) -> str:
    """A width with the unit of its generator, angles in degrees."""
    return f"{math.degrees(width):.0f} deg" if unit == "rad" else f"{width:.2f} {unit}".rstrip()


def describe_widths(distribution: Distribution, initial: Sequence[float]) -> dict[str, Any]:
    """Per generator: initial and learned width and its cap, in the unit of the generator, and its
    direction in the algebra where that is learned."""
    learned = distribution.widths.detach().cpu().tolist()
    caps = distribution.caps.cpu().tolist()
    directions = distribution.directions.detach().cpu()
    is_turned = bool((directions != torch.eye(len(caps))).any())
    rows = zip(distribution.group.members, initial, learned, caps, directions.tolist(), strict=True)
    return {
        member.name: {
            **{"initial": start, "learned": end, "cap": cap},
            **{"kind": member.kind, "unit": member.unit},
            **({"direction": direction} if is_turned else {}),
        }
        for member, start, end, cap, direction in rows
    }


def compact_widths(units_by_name: Mapping[str, str], widths: Sequence[float]) -> str:
    """One line for a progress bar: `rx 12 ry 10 rz 15 deg  tx 0.3 ty 0.4 tz 0.3 A`."""
    units: dict[str, list[str]] = {}
    for (name, shown), width in zip(units_by_name.items(), widths, strict=True):
        value, _, unit = show_width(width, shown).partition(" ")
        units.setdefault(unit, []).append(f"{name} {value}")
    return "  ".join(f"{' '.join(values)} {unit}".strip() for unit, values in units.items())


@runtime_checkable
class Now(Protocol):
    """Where a run is: steps done, seconds of training, and a row per finished epoch."""

    step: int
    seconds: float
    history: list[dict[str, float]]


BLINK = 0.2  # seconds between two looks of a bar
SILENCE = 30.0  # seconds between two lines about a run, where there is no terminal


class Monitor:
    """Shows a run: a bar on a terminal; anywhere else a line now and then, after an epoch."""

    def __init__(self, console: Console, label: str, unit: str, group: Group) -> None:
        self.console, self.label, self.unit = console, label, unit
        self.units = {member.name: member.unit for member in group.members}
        self.live = console.is_terminal
        columns = (TextColumn("{task.description}"), BarColumn(20), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, transient=True, disable=not self.live)
        self.bar_task = self.bar.add_task(label, total=None)
        self.epochs = 0
        self.shown_at = -math.inf

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
        silent, is_new = time.monotonic() - self.shown_at, len(now.history) > self.epochs
        self.epochs = len(now.history)
        if silent <= BLINK if self.live else silent <= SILENCE or not is_new:
            return
        self.shown_at = time.monotonic()
        text = self.describe(now.history[-1]) if now.history else "first epoch"
        line = f"{self.label}  {text}"
        if self.live:
            self.bar.update(self.bar_task, completed=now.step, total=total, description=line)
        else:
            left = now.seconds / now.step * (total - now.step)
            print_plain(self.console, f"{line}  {left:.0f} s left")

    def describe(self, row: Mapping[str, float]) -> str:
        """Epoch, loss, validation error and widths of one row of the history."""
        widths = compact_widths(self.units, [row[f"width_{name}"] for name in self.units])
        return (
            f"epoch {row['epoch']:.0f}  loss {row['train_loss']:.3f}  "
            f"validation {row['validation_error']:.4g} {self.unit}  {widths}"
        )


def describe_run(row: Row, label: str) -> str:
    """A finished run in one line."""
    found = ", ".join(f"{row[key]:.4g} {test}" for test, key in keys_by_test(row).items())
    copies = f"{row['copies']} copies" if row["copies"] > 1 else "1 copy"
    return (
        f"{label}  {row['metric']} in {row['unit']}: {found}, {copies}; "
        f"{row['seconds_training']:.0f} s of training"
    )


def keys_by_test(row: Row, metric: str = "") -> dict[str, str]:
    """The key of the averaged error, or of another metric, by test set: rotated and the like."""
    start = f"test_{(metric or row['metric']).lower()}_"
    keys = [key for key in row if key.startswith(start) and not key.endswith("_1_copy")]
    return {key.removeprefix(start): key for key in keys}


def show_widths(rows: Sequence[Row]) -> str:
    """The widths of every run that learned them, below the table."""
    learned = [
        row for row in rows if any(w["learned"] != w["initial"] for w in row["widths"].values())
    ]
    lines = ["Widths: initial > learned / natural range"] if learned else []
    for row in learned:
        lines.append(f"  {row['symmetry']} {row['network']} {row['seed']}")
        lines += [f"    {line}" for line in (*width_lines(row["widths"]), *law_lines(row))]
    return "\n".join(lines)


def law_lines(row: Row) -> list[str]:
    """What widths alone do not say: learned directions, and how near rotations are to uniform."""
    lines = direction_lines(row["widths"])
    if row.get("mean_rotation") is not None:
        length = f"{row['mean_rotation']:.2f}"
        lines.append(f"Mean rotation ||E R|| {length} (0: uniform rotations, 1: nothing turns)")
    return lines


def direction_lines(widths: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Where directions were learned: `rx turned to 0.27 rx + 0.53 ry + 0.80 rz`."""
    lines = []
    for name, width in widths.items():
        parts = zip(widths, width.get("direction", ()), strict=False)
        shown = [f"{part:.2f} {other}" for other, part in parts if abs(part) >= 0.005]
        if shown and shown != [f"1.00 {name}"]:
            lines.append(f"{name} turned to {' + '.join(shown)}".replace("+ -", "- "))
    return lines


def width_lines(widths: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line per kind of generator: `rx ry rz  9 9 9 > 171 170 172 / 180 deg`."""
    lines = []
    for (_, unit), members in groupby(widths.items(), key=lambda item: kind_and_unit(item[1])):
        found = {name: w for name, w in members if w["learned"] or w["initial"]}
        if not found:
            continue
        column = {
            key: [show_width(w[key], unit).split(" ")[0] for w in found.values()]
            for key in ("initial", "learned", "cap")
        }
        shown = show_width(0.0, unit).partition(" ")[2]
        values = " > ".join(" ".join(column[key]) for key in ("initial", "learned"))
        lines.append(f"{' '.join(found)}  {values} / {column['cap'][0]} {shown}".rstrip())
    return lines


def kind_and_unit(width: Mapping[str, Any]) -> tuple[str, str]:
    """Of a generator; widths with both alike share a line."""
    return width["kind"], width["unit"]


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
        f"{member.name} / {show_width(cap, member.unit)}": [
            width / cap for width in (start, *(row[f"width_{member.name}"] for row in history))
        ]
        for member, start, cap in zip(members, initial, caps, strict=True)
    }
    picture = line_chart(f"widths: {title}", "epoch", "share of natural range", lines, y_max=1.0)
    write_bytes(path, picture.encode())


def versions() -> dict[str, str]:
    """Of Python, and of the packages that decide what a run computes."""
    names = ("torch", "numpy", "e3nn", "torch-geometric")
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    ours: str = sys.modules["molaug"].__version__  # of a checkout that is not installed, too
    return {**found, "molaug": ours}


def print_plain(console: Console, text: str) -> None:
    """As it is: no colours, no line broken, no [brackets] taken for markup; nothing if empty."""
    if text:
        console.print(text, highlight=False, markup=False, soft_wrap=True)


def console(live: bool = True) -> Console:
    """Standard output; wide enough for the table when it goes to a file. live: with bars, on a
    terminal."""
    width = None if sys.stdout.isatty() else 180
    return Console(width=width, force_terminal=None if live else False)
