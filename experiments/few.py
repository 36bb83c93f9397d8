"""HOMO of QM9 from fewer molecules: learned, fixed and no augmentation, in as many steps.

python experiments/few.py [SIZE]            train what is missing of SIZE, write
                                            results/few-SIZE.json and the table
python experiments/few.py [SIZE] --table    only the table, from what is there

SIZE is cpu (three seeds, 9 runs of four minutes on one core; the 12,000 molecules of the table are
those of opponents.py) or tiny (to see that it runs; it is not written into the README).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from opponents import pairs
from tables import TINY, markdown, mean_and_deviation, processor, result, run_command

from molaug.files import write_json
from molaug.train import main

SIZES = {
    "cpu": ["--preset", "quick", "--threads", "1", "--jobs", "1", "--seeds", "3"],
    "tiny": [*TINY, "--seeds", "2"],
}
COUNTS = {"cpu": (3000,), "tiny": (64, 128)}
EPOCHS = {"cpu": 16 * 12_000, "tiny": 256}  # times molecules
SYMMETRIES = ("learned", "fixed", "none")


def train_all(size: str) -> None:
    """Every run, each continued from its folder; the results grow count by count."""
    rows: list[dict[str, Any]] = []
    for count in COUNTS[size]:
        folder = Path("runs") / f"few-{size}" / str(count)
        asked = [*SIZES[size], "--train-size", str(count), "--epochs", str(EPOCHS[size] // count)]
        asked += ["--symmetry", *SYMMETRIES, "--run-dir", str(folder)]
        if main(["qm9", "--target", "homo", *asked]):
            raise SystemExit(1)
        rows += json.loads((folder / "comparison.json").read_text())["rows"]
        write_json(result("few", size), {"processor": processor(), "rows": rows})


def table(size: str) -> str:
    """Markdown: a line per number of molecules."""
    found = json.loads(result("few", size).read_text())
    rows, first = found["rows"], found["rows"][0]
    if size == "cpu":
        more = json.loads(result("opponents", size).read_text())["rows"]
        rows = rows + [row for row in more if row["network"] == "coordinates"]
    lines = []
    for count in sorted({row["train_count"] for row in rows}):
        cells = [f"{count:,}"]
        for key in ("test_mae_canonical", "test_mae_rotated"):
            for symmetry in SYMMETRIES:
                kind = (symmetry, count)
                of_kind = [r for r in rows if (r["symmetry"], r["train_count"]) == kind]
                cells.append(f"{mean_and_deviation([r[key] for r in of_kind])} ({len(of_kind)})")
        lines.append(cells)
    unit = first["unit"]
    of_first = [row for row in rows if row["train_count"] == first["train_count"]]
    fixed, none = (pairs(of_first, other) for other in ("fixed", "none"))
    head = [f"{s}, {where} [{unit}]" for where in ("canonical", "rotated") for s in SYMMETRIES]
    about = (
        f"\n{first['test_count']:,} test molecules, raw frames, split {first['split']}; as many "
        f"steps for all; errors are of {first['copies']} copies, mean ± standard deviation over "
        f"(seeds); {first['device']} of {found['processor']}. Of {first['train_count']:,}, "
        f"learned is better than {fixed}, and than {none}: canonical, each seed, mean ± standard "
        "error.\n"
    )
    return markdown(["training molecules", *head], lines) + about


if __name__ == "__main__":
    run_command("few", SIZES, train_all, table)
