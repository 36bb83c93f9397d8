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


def table() -> str:
    """Markdown, one line per run."""
    from molaug.report import width_lines  # loads torch, for which main() sets the scene

    rows = json.loads(RESULT.read_text())["rows"]
    copies = f"{rows[0]['copies']} copies"
    head = [
        *("target, frames", "symmetry", "canonical, 1 copy", f"canonical, {copies}"),
        *("rotated, 1 copy", f"rotated, {copies}", "invariance error", "learned widths"),
    ]
    lines = []
    for row in rows:
        keys = ("canonical_1_copy", "canonical", "rotated_1_copy", "rotated")
        errors = [row[f"test_mae_{key}"] for key in keys] + [row["invariance_error"]]
        widths = width_lines(row["widths"]) if row["symmetry"] == "learned" else []
        about = f"{row['target']} [{row['unit']}], {row['frame']}"
        numbers = [f"{error:.3g}" for error in errors]
        lines.append([about, row["symmetry"], *numbers, "<br>".join(widths)])
    return markdown(head, lines)


if __name__ == "__main__":
    if "--table" not in sys.argv:
        train_all()
    write_table("quick", table())
