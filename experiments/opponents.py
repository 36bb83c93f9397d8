"""HOMO of QM9: learned, fixed and no augmentation, and networks with hard-coded symmetry.

python experiments/opponents.py [SIZE]            train what is missing of SIZE, write
                                                  results/opponents-SIZE.json and the table
python experiments/opponents.py [SIZE] --table    only the table, from what is there

SIZE is cpu (three seeds of the quick preset, 24 runs of two to ten minutes on one core), again (the
nine runs of `coordinates` among them once more, for pairs of learned with fixed and none), gpu (the
full preset; written for a GPU) or tiny (to see that it runs; it is not written into the README).
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from tables import TINY, markdown, processor, result, run_command

from molaug.files import write_json
from molaug.train import main

SIZES = {
    # One run at a time, because the seconds of each are in the table.
    "cpu": ["--preset", "quick", "--threads", "1", "--jobs", "1", "--seeds", "3"],
    "again": ["--preset", "quick", "--threads", "1", "--seeds", "3"],
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
    parts = {"coordinates": PARTS["coordinates"]} if size == "again" else PARTS
    for part, flags in parts.items():
        folder = Path("runs") / f"opponents-{size}" / part
        if main(["qm9", "--target", "homo", "--run-dir", str(folder), *SIZES[size], *flags]):
            raise SystemExit(1)
        rows += json.loads((folder / "comparison.json").read_text())["rows"]
        write_json(result("opponents", size), {"processor": processor(), "rows": rows})


def table(size: str) -> str:
    """Markdown: a line per symmetry and network, over all seeds. Networks that are invariant to
    rotations are left as they are by averages over these, and shown once."""
    if size == "again":
        return pairs()
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
    about = (
        f"\n{first['train_count']:,} training and {first['test_count']:,} test molecules, raw "
        f"frames, split {first['split']}; errors are of {first['copies']} copies, mean ± standard "
        f"deviation over seeds; {first['device']} of {found['processor']}.\n"
    )
    return markdown(["symmetry, network (seeds)", *titles], cells) + about


def pairs() -> str:
    """Markdown: by how much learned is better than each of the others, seed by seed, in the runs of
    cpu and in those that were made again."""
    rows = {
        size: json.loads(result("opponents", size).read_text())["rows"] for size in ("cpu", "again")
    }

    def errors(size: str, symmetry: str, key: str) -> list[float]:
        kind = (symmetry, "coordinates")
        return [row[key] for row in rows[size] if (row["symmetry"], row["network"]) == kind]

    lines = []
    for other, key in product(("fixed", "none"), ("test_mae_canonical", "test_mae_rotated")):
        both = [(errors(size, "learned", key), errors(size, other, key)) for size in rows]
        means = [f"{mean(one):.1f}" for pair in both for one in pair]
        better = [theirs - ours for pair in both for ours, theirs in zip(*pair, strict=True)]
        error = stdev(better) / len(better) ** 0.5
        each = ", ".join(f"{value:.1f}" for value in better)
        label = f"{other}, {key.removeprefix('test_mae_')}"
        lines.append([label, *means, each, f"{mean(better):.1f} ± {error:.1f}"])
    head = ["other", "learned", "other", "learned, again", "other, again"]
    first = rows["again"][0]
    about = (
        f"\nMAE [meV] of {first['copies']} copies, mean over three seeds; {first['train_count']:,} "
        f"training and {first['test_count']:,} test molecules, raw frames, split {first['split']}; "
        f"{first['device']}; the last column is the mean over all pairs and its standard error.\n"
    )
    return markdown([*head, "learned is better by, each seed", "in all [meV]"], lines) + about


if __name__ == "__main__":
    run_command("opponents", SIZES, train_all, table)
