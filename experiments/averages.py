"""Which average over copies is best for classes: of logits, of log-probabilities, of probabilities?

python experiments/averages.py [SEEDS]     a minute per run on one core, nine runs by default

Digits turned to any angle, learned rotation, four copies in training, the loss that of the average.
Written to results/averages.json: the test error with eight copies and the log-loss, which says
whether the probabilities are to be believed.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from tables import RESULTS, processor

from molaug.files import write_json
from molaug.train import main

AVERAGES = ("logits", "log_probabilities", "probabilities")
SIZES = ["--train-size", "1200", "--epochs", "15", "--copies", "4"]


def run(average: str, seed: int) -> dict[str, Any]:
    from molaug.evaluate import predictions_and_targets
    from molaug.images.tasks import load_task

    folder = Path("runs") / "averages" / f"{average}-{seed}"
    arguments = ["digits", "--degrees", "180", "--preset", "quick", *SIZES, "--symmetry", "learned"]
    arguments += ["--mean-of", average, "--seed", str(seed), "--run-dir", str(folder)]
    if main([*arguments, "--device", "cpu", "--threads", "1"]):
        raise SystemExit(1)
    row = json.loads((folder / "comparison.json").read_text())["rows"][0]
    task = load_task(folder / f"learned-residual-{seed}")
    scores, target = predictions_and_targets(task.model, task.tests["canonical"], copies=8)
    right = scores.log_softmax(1).gather(1, target[:, None])
    return {
        "average": average,
        "seed": seed,
        "test_error": row["test_error_canonical"],
        "test_error_1_copy": row["test_error_canonical_1_copy"],
        "log_loss": -float(right.mean()),
        "width_degrees": math.degrees(row["widths"]["r"]["learned"]),
        "test_count": row["test_count"],
    }


def measure(seeds: int = 3) -> None:
    rows = []
    for seed in range(seeds):
        for average in AVERAGES:
            rows.append(row := run(average, seed))
            print(row)
            about = {"processor": processor(), "unit": {"test_error": "%", "log_loss": "nat"}}
            write_json(RESULTS / "averages.json", {**about, "rows": rows})


if __name__ == "__main__":
    measure(*map(int, sys.argv[1:]))
