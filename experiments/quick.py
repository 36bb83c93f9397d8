"""The quick table of the README: three targets on real QM9, learned beside fixed, and none for one.

python experiments/quick.py            train what is missing (about 20 minutes on 2 cores), write
                                       results/quick-cpu.json and the table in the README
python experiments/quick.py --table    only the table, from the results that are there
"""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

from molaug.files import write_json
from molaug.train import main

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "quick-cpu.json"
README = HERE.parent / "README.md"
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
    processor = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    write_json(RESULTS, {"processor": processor, "rows": rows})


def table() -> str:
    """Markdown, one line per run."""
    from molaug.report import width_lines  # loads torch, for which main() sets the scene

    rows = json.loads(RESULTS.read_text())["rows"]
    copies = rows[0]["copies"]
    lines = [
        f"| target, frames | symmetry | canonical, 1 copy | canonical, {copies} copies "
        f"| rotated, 1 copy | rotated, {copies} copies | invariance error | learned widths |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        keys = ("canonical_1_copy", "canonical", "rotated_1_copy", "rotated")
        errors = [row[f"test_mae_{key}"] for key in keys] + [row["invariance_error"]]
        widths = width_lines(row["widths"]) if row["symmetry"] == "learned" else []
        cells = [
            f"{row['target']} [{row['unit']}], {row['frame']}",
            row["symmetry"],
            *(f"{error:.3g}" for error in errors),
            "<br>".join(widths),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_readme() -> None:
    start, end = "<!-- quick: begin -->\n", "<!-- quick: end -->"
    before, _, rest = README.read_text().partition(start)
    after = rest.partition(end)[2]
    README.write_text(before + start + table() + "\n" + end + after)


if __name__ == "__main__":
    if "--table" not in sys.argv:
        train_all()
    write_readme()
