"""The dipole of QM9: its z component, which few symmetries keep, and the vector, which turns along.

python experiments/dipole.py [SIZE]            train what is missing of SIZE, write
                                               results/dipole-SIZE.json and the table; cpu also
                                               the picture of the widths of dipole_z, seed 0
python experiments/dipole.py [SIZE] --table    only the table, from what is there

SIZE is cpu (three seeds of the quick preset, 12 runs of two minutes on one core), gpu (the full
preset; written for a GPU) or tiny (to see that it runs; it is not written into the README).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tables import RESULTS, TINY, markdown, processor, result, run_command

from molaug.files import write_bytes, write_json
from molaug.train import main

SIZES = {
    "cpu": ["--preset", "quick", "--threads", "1", "--seeds", "3"],
    "gpu": ["--preset", "full", "--seeds", "3"],
    "tiny": [*TINY, "--seeds", "2"],
}
TARGETS = {"dipole_z": ["--frame", "random"], "dipole": []}
COLUMNS = {
    "test_mae_canonical_1_copy": "canonical, 1 copy",
    "test_mae_canonical": "canonical, {copies} copies",
    "test_mae_rotated_1_copy": "rotated, 1 copy",
    "test_mae_rotated": "rotated, {copies} copies",
    "invariance_error": "invariance error",
}


def train_all(size: str) -> None:
    """Every run, each continued from its folder; the results grow target by target."""
    rows: list[dict[str, Any]] = []
    for target, flags in TARGETS.items():
        folder = Path("runs") / f"dipole-{size}" / target
        arguments = ["--target", target, *flags, "--symmetry", "learned", "fixed"]
        if main(["qm9", "--run-dir", str(folder), *SIZES[size], *arguments]):
            raise SystemExit(1)
        rows += json.loads((folder / "comparison.json").read_text())["rows"]
        write_json(result("dipole", size), {"processor": processor(), "rows": rows})
    if size == "cpu":
        drawn = Path("runs") / "dipole-cpu" / "dipole_z" / "learned-coordinates-0" / "widths.svg"
        write_bytes(RESULTS / "dipole_z-widths.svg", drawn.read_bytes())


def table(size: str) -> str:
    """Markdown, one line per target and symmetry."""
    from molaug.comparison import compare  # loads torch, for which main() sets the scene
    from molaug.report import width_lines

    found = json.loads(result("dipole", size).read_text())
    rows = found["rows"]
    titles = [title.format(copies=rows[0]["copies"]) for title in COLUMNS.values()]
    lines = []
    for target in dict.fromkeys(row["target"] for row in rows):
        for line in compare([row for row in rows if row["target"] == target]):
            first = line.rows[0]
            widths = width_lines(first["widths"]) if line.symmetry == "learned" else []
            about = f"{target} [{first['unit']}], {first['frame']}"
            numbers = [line.show(key, digits=3) for key in COLUMNS]
            label = f"{line.symmetry} ({len(line.rows)})"
            lines.append([about, label, *numbers, "<br>".join(widths)])
    first = rows[0]
    about = (
        f"\n{first['train_count']:,} training and {first['test_count']:,} test molecules, split "
        f"{first['split']}; mean ± standard deviation over seeds, widths of seed {first['seed']}; "
        f"{first['device']} of {found['processor']}.\n"
    )
    head = ["target, frames", "symmetry (seeds)", *titles, "learned widths"]
    return markdown(head, lines) + about


if __name__ == "__main__":
    run_command("dipole", SIZES, train_all, table)
