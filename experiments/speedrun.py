"""HOMO of QM9 from a fresh interpreter to the test error, against the clock.

python experiments/speedrun.py [SIZE]            train what is missing of SIZE, write
                                                 results/speedrun.json (for the GPU) or
                                                 speedrun-SIZE.json, and the table
python experiments/speedrun.py [SIZE] --table    only the table, from what is there

SIZE is gpu (three seeds of the preset speedrun, written for ten minutes each on one H100), cpu (two
seeds of the quick preset with the same recipe, two threads) or tiny (to see that it runs; it is not
written into the README).

The clock runs over everything: interpreter, opening the data, training, tests. A run that was
stopped is continued by the same command, and its clock too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tables import RESULTS, TINY, markdown, mean_and_deviation, processor, result, run_command

from molaug.files import write_json

RECIPE = ["--partial-charges", "0.5", "--schedule", "linear", "--symmetry", "learned"]
SIZES: dict[str, tuple[int, list[str]]] = {  # seeds, and what the command is asked for
    "gpu": (3, ["--preset", "speedrun"]),
    "cpu": (2, ["--preset", "quick", *RECIPE]),
    "tiny": (2, [*TINY, *RECIPE]),
}


def where(size: str) -> Path:
    return RESULTS / "speedrun.json" if size == "gpu" else result("speedrun", size)


def train_all(size: str) -> None:
    """Every seed, each in an interpreter of its own."""
    seeds, flags = SIZES[size]
    runs = []
    for seed in range(seeds):
        folder = Path("runs") / f"speedrun-{size}" / str(seed)
        clock = folder / "seconds.json"
        before = json.loads(clock.read_text()) if clock.exists() else 0.0
        finished = folder / "comparison.json"
        command = ["-m", "molaug.train", "qm9", "--target", "homo", "--seed", str(seed), *flags]
        if not finished.exists():
            start = time.perf_counter()
            try:
                subprocess.run([sys.executable, *command, "--run-dir", str(folder)], check=True)
            finally:
                before += time.perf_counter() - start
                write_json(clock, before)
        row = json.loads(finished.read_text())["rows"][0]
        runs.append(
            {
                "seed": seed,
                "device": f"{row['device']} of {processor()}",
                "command": ["python", *command],
                "seconds_total": before,
                "seconds_training": row["seconds_training"],
                "parameters": row["parameters"],
                "train_count": row["train_count"],
                "test_count": row["test_count"],
                "copies": row["copies"],
                "test_mae_canonical": row["test_mae_canonical"],
                "test_mae_rotated": row["test_mae_rotated"],
                "unit": row["unit"],
                "widths": {name: width["learned"] for name, width in row["widths"].items()},
            }
        )
        write_json(where(size), {"runs": runs})


def table(size: str) -> str:
    """Markdown: one line, mean and standard deviation over seeds."""
    runs: list[dict[str, Any]] = json.loads(where(size).read_text())["runs"]
    first = runs[0]
    head = ["on", "molecules: training, test", "seeds", "seconds in all", "canonical", "rotated"]
    keys = ("seconds_total", "test_mae_canonical", "test_mae_rotated")
    line = [first["device"], f"{first['train_count']:,}, {first['test_count']:,}", str(len(runs))]
    for key in keys:
        line.append(mean_and_deviation([run[key] for run in runs], 4))
    head[-2:] = [f"test MAE, {n}, {first['copies']} copies [{first['unit']}]" for n in head[-2:]]
    return markdown(head, [line])


if __name__ == "__main__":
    run_command("speedrun", SIZES, train_all, table)
