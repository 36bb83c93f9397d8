"""HOMO of QM9: learned, fixed and no augmentation, and networks with hard-coded symmetry.

python experiments/opponents.py [SIZE]            train what is missing of SIZE, write
                                                  results/opponents-SIZE.json and the table
python experiments/opponents.py [SIZE] --table    only the table, from what is there

SIZE is cpu (three seeds of the quick preset, 24 runs of three to twenty minutes on one core), gpu
(the full preset; written for a GPU) or tiny (to see that it runs; it is not written into the
README).
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tables import TINY, markdown, processor, result, run_command

from molaug.files import write_json
from molaug.train import main

SIZES = {
    # One run at a time, because the seconds of each are in the table.
    "cpu": ["--preset", "quick", "--threads", "1", "--jobs", "1", "--seeds", "3"],
    "gpu": ["--preset", "full", "--seeds", "3"],
    "tiny": [*TINY, "--seeds", "2"],
}
COLUMNS = {
    "test_mae_canonical": "canonical [{unit}]",
    "test_mae_rotated": "rotated [{unit}]",
    "invariance_error": "invariance error [{unit}]",
    "parameters": "parameters",
}
NOT_INVARIANT = ("coordinates", "vectors")
PARTS = {  # a folder, and its symmetries and networks
    "coordinates": ["--symmetry", "learned", "fixed", "none"],
    "hard-coded": [
        *("--symmetry", "none", "--network"),
        *("vectors", "distances", "vector_channels", "e3nn", "schnet"),
    ],
}


def train_all(size: str) -> None:
    """Every run, each continued from its folder; the results grow part by part."""
    rows: list[dict[str, Any]] = []
    for part, flags in PARTS.items():
        folder = Path("runs") / f"opponents-{size}" / part
        if main(["qm9", "--target", "homo", "--run-dir", str(folder), *SIZES[size], *flags]):
            raise SystemExit(1)
        rows += json.loads((folder / "comparison.json").read_text())["rows"]
        write_json(result("opponents", size), {"processor": processor(), "rows": rows})


def table(size: str) -> str:
    """Markdown: a line per symmetry and network, over all seeds. Networks that are invariant to
    rotations are left as they are by averages over these, and shown once."""
    from molaug.comparison import compare  # loads torch, for which main() sets the scene

    found = json.loads(result("opponents", size).read_text())
    first, lines = found["rows"][0], compare(found["rows"])
    titles = [title.format(unit=first["unit"]) for title in COLUMNS.values()]
    cells = [
        [f"{line.symmetry}, {line.network} ({len(line.rows)})"]
        + [line.show(key, digits=3) for key in COLUMNS]
        for line in lines
        if "Haar" not in line.symmetry or line.network in NOT_INVARIANT
    ]
    fixed, none = (pairs(found["rows"], other) for other in ("fixed", "none"))
    about = (
        f"\n{first['train_count']:,} training and {first['test_count']:,} test molecules, raw "
        f"frames, split {first['split']}; errors are of {first['copies']} copies, mean ± standard "
        f"deviation over seeds; {first['device']} of {found['processor']}. Of `coordinates`, "
        f"learned is better than {fixed}, and than {none}: canonical, each seed, mean ± standard "
        "error.\n"
    )
    return markdown(["symmetry, network (seeds)", *titles], cells) + about


def pairs(rows: list[dict[str, Any]], other: str) -> str:
    """By how much learned is better than another symmetry, seed by seed."""

    def errors(symmetry: str) -> dict[int, float]:
        kind = (symmetry, "coordinates")
        of_kind = [row for row in rows if (row["symmetry"], row["network"]) == kind]
        return {row["seed"]: row["test_mae_canonical"] for row in of_kind}

    ours, theirs = errors("learned"), errors(other)
    better = [theirs[seed] - ours[seed] for seed in sorted(ours)]
    each = ", ".join(f"{value:.1f}" for value in better)
    error = stdev(better) / len(better) ** 0.5
    return f"{other} by {each}, {mean(better):.1f} ± {error:.1f} {rows[0]['unit']}"


if __name__ == "__main__":
    run_command("opponents", SIZES, train_all, table)
