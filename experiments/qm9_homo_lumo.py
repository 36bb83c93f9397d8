"""The table of the paper: HOMO and LUMO of QM9, without hard-coded symmetry and with translations,
each without augmentation, with learned and with fixed (Benton et al. 2020).

python experiments/qm9_homo_lumo.py [SIZE]            train what is missing of SIZE, write
                                                      results/qm9_homo_lumo-SIZE.json and the table
python experiments/qm9_homo_lumo.py [SIZE] --table    only the table, from what is there

SIZE is cpu (12 runs, a quarter of an hour on one core), gpu (the whole of QM9, three seeds; written
for a GPU) or tiny (to see that it runs; it is not written into the README).
"""

from __future__ import annotations

import json
from pathlib import Path

from tables import TINY, markdown, processor, result, run_command

from molaug.files import write_json
from molaug.train import main

SIZES = {
    "cpu": ["--preset", "quick", "--epochs", "8", "--threads", "1"],
    "gpu": ["--preset", "full", "--seeds", "3"],
    "tiny": [*TINY, "--seeds", "2"],
}
GRID = ["--symmetry", "none", "learned", "fixed", "--network", "coordinates", "vectors"]
HARD_CODED = {"coordinates": "no symmetry", "vectors": "translations"}


def train_all(size: str) -> None:
    """Every run, each continued from its folder."""
    rows = []
    for target in ("homo", "lumo"):
        folder = Path("runs") / f"qm9_homo_lumo-{size}" / target
        # The split of LieConv, on which the paper builds.
        fixed = ["--target", target, "--split", "cormorant", "--run-dir", str(folder)]
        if main(["qm9", *fixed, *GRID, *SIZES[size]]):
            raise SystemExit(1)
        rows += json.loads((folder / "comparison.json").read_text())["rows"]
    write_json(result("qm9_homo_lumo", size), {"processor": processor(), "rows": rows})


def table(size: str) -> str:
    """Markdown: a line per network and symmetry, the targets beside each other."""
    from molaug.comparison import compare  # loads torch, for which main() sets the scene

    found = json.loads(result("qm9_homo_lumo", size).read_text())
    first, copies = found["rows"][0], f"{found['rows'][0]['copies']} copies"
    columns = {
        "test_mae_canonical_1_copy": "canonical, 1 copy",
        "test_mae_canonical": f"canonical, {copies}",
        "test_mae_rotated": f"rotated, {copies}",
    }
    head = ["hard-coded", "augmentation (seeds)"]
    lines: dict[tuple[str, str], list[str]] = {}
    for target in ("homo", "lumo"):
        head += [f"{target.upper()}, {name} [{first['unit']}]" for name in columns.values()]
        for line in compare([row for row in found["rows"] if row["target"] == target]):
            numbers = [line.show(key, digits=3) for key in columns]
            name = f"{line.symmetry} ({len(line.rows)})"
            lines.setdefault((HARD_CODED[line.network], name), []).extend(numbers)
    about = (
        f"\n{first['train_count']:,} training and {first['test_count']:,} test molecules, raw "
        f"frames, split {first['split']}; {first['device']} of {found['processor']}.\n"
    )
    return markdown(head, [[*cell, *numbers] for cell, numbers in lines.items()]) + about


if __name__ == "__main__":
    run_command("qm9_homo_lumo", SIZES, train_all, table)
