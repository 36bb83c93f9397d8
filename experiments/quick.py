"""The quick table of the README: three targets on real QM9, learned beside fixed, and none for one.

python experiments/quick.py            train what is missing (about 20 minutes on 2 cores), write
                                       results/quick-cpu.json and the table in the README
python experiments/quick.py --table    only the table, from the results that are there
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tables import RESULTS, markdown, processor, write_table

from molaug.files import write_json
from molaug.train import main

RESULT = RESULTS / "quick-cpu.json"
RUNS = {  # the folder that the command chooses, and its arguments
    "qm9-homo-quick": ["--target", "homo", "--symmetry", "learned", "fixed", "none"],
    "qm9-dipole_z-quick-frame=random": [
        *("--target", "dipole_z", "--frame", "random", "--symmetry", "learned", "fixed")
    ],
    "qm9-dipole-quick": ["--target", "dipole", "--symmetry", "learned", "fixed"],
}


def train_all() -> None:
    rows = []
    for folder, arguments in RUNS.items():
        if main(["qm9", "--preset", "quick", *arguments]):
            raise SystemExit(1)
        rows += json.loads((Path("runs") / folder / "comparison.json").read_text())["rows"]
    write_json(RESULT, {"processor": processor(), "rows": rows})


COLUMNS = {
    "test_mae_canonical_1_copy": "canonical, 1 copy",
    "test_mae_canonical": "canonical, {copies} copies",
    "test_mae_rotated_1_copy": "rotated, 1 copy",
    "test_mae_rotated": "rotated, {copies} copies",
    "invariance_error": "invariance error",
}


def table() -> str:
    """Markdown, one line per target and symmetry."""
    from molaug.comparison import compare  # loads torch, for which main() sets the scene
    from molaug.report import width_lines

    rows = json.loads(RESULT.read_text())["rows"]
    titles = [title.format(copies=rows[0]["copies"]) for title in COLUMNS.values()]
    lines = []
    for target in dict.fromkeys(row["target"] for row in rows):
        for line in compare([row for row in rows if row["target"] == target]):
            first = line.rows[0]
            widths = width_lines(first["widths"]) if line.symmetry == "learned" else []
            about = f"{target} [{first['unit']}], {first['frame']}"
            numbers = [line.show(key, digits=3) for key in COLUMNS]
            lines.append([about, line.symmetry, *numbers, "<br>".join(widths)])
    return markdown(["target, frames", "symmetry", *titles, "learned widths"], lines)


if __name__ == "__main__":
    if "--table" not in sys.argv:
        train_all()
    write_table("quick", table())
