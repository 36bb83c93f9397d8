"""The history of a run as a file: one row per epoch, which spreadsheets read too."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from .files import write_bytes


def write_history(path: Path, history: list[dict[str, float]]) -> None:
    """One row per epoch; errors in the unit of the task, widths in radian and Angstrom."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0]) if history else ["epoch"])
    writer.writeheader()
    writer.writerows(history)
    write_bytes(path, text.getvalue().encode())


def read_history(path: Path) -> list[dict[str, float]]:
    """What `write_history` wrote of an epoch or more. Raises ValueError, naming the file, for
    anything else."""
    try:
        with open(path, newline="") as file:
            rows = [{name: float(v) for name, v in row.items()} for row in csv.DictReader(file)]
        if not rows or "epoch" not in rows[0]:
            raise ValueError("no epochs")
        return rows
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: damaged; delete it to have it made again") from error
