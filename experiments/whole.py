"""HOMO on all of QM9 by a CPU: the network of the quick preset, on all 110,000 training molecules.

python experiments/whole.py [SIZE]            train what is missing of SIZE, write
                                              results/whole-SIZE.json and the table
python experiments/whole.py [SIZE] --table    only the table, from what is there

SIZE is cpu (one seed of learned, fixed and no augmentation, an hour each on one core) or tiny (to
see that it runs; it is not written into the README).
"""

from __future__ import annotations

import json
from pathlib import Path

from tables import TINY, markdown, processor, result, run_command

from molaug.files import write_json
from molaug.train import main

RECIPE = ["--preset", "quick", "--threads", "1", "--partial-charges", "0.5"]
RECIPE += ["--symmetry", "learned", "fixed", "none"]
ALL = ["--train-size", "110000", "--validation-size", "2000", "--test-size", "10831"]
SIZES = {
    "cpu": [*RECIPE, *ALL, "--epochs", "20", "--batch-size", "96"],
    "tiny": [*RECIPE, *TINY],
}
COLUMNS = {
    "test_mae_canonical": "canonical [{unit}]",
    "test_mae_rotated": "rotated [{unit}]",
    "invariance_error": "invariance error [{unit}]",
    "seconds_training": "seconds of training",
}


def train_all(size: str) -> None:
    """Every run, each continued from its folder."""
    folder = Path("runs") / f"whole-{size}"
    if main(["qm9", "--target", "homo", "--run-dir", str(folder), *SIZES[size]]):
        raise SystemExit(1)
    rows = json.loads((folder / "comparison.json").read_text())["rows"]
    write_json(result("whole", size), {"processor": processor(), "rows": rows})


def table(size: str) -> str:
    """Markdown: a line per augmentation."""
    from molaug.comparison import compare  # loads torch, for which main() sets the scene

    found = json.loads(result("whole", size).read_text())
    first = found["rows"][0]
    lines = [
        [line.symmetry, *(line.show(key, digits=3) for key in COLUMNS)]
        for line in compare(found["rows"])
    ]
    titles = [title.format(unit=first["unit"]) for title in COLUMNS.values()]
    about = (
        f"\n{first['train_count']:,} training and {first['test_count']:,} test molecules, raw "
        f"frames, split {first['split']}; {first['parameters']:,} parameters, Mulliken charges as "
        f"a further task; {first['copies']} copies, seed {first['seed']}; {first['device']} of "
        f"{found['processor']}, one thread.\n"
    )
    return markdown(["augmentation", *titles], lines) + about


if __name__ == "__main__":
    run_command("whole", SIZES, train_all, table)
