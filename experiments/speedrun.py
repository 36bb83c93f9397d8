"""HOMO of QM9 from a fresh interpreter to the test error, against the clock.

python experiments/speedrun.py [SIZE]            train what is missing of SIZE, write
                                                 results/speedrun.json (of a GPU) or
                                                 speedrun-SIZE.json, and the table
python experiments/speedrun.py [SIZE] --table    only the table, from what is there

SIZE is one of

    gpu    three seeds of the preset speedrun, three to five minutes each on an H200
    cpu    two seeds of the quick preset with the same recipe, two threads
    tiny   to see that it runs; it is not written into the README

The clock runs over everything: interpreter, opening the data, training, tests. A run that was
stopped is continued by the same command, and its clock too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tables import RESULTS, TINY, markdown, mean_and_deviation, processor, result, run_command

from molaug.files import write_json

RECIPE = ("--partial-charges", "0.5", "--schedule", "linear", "--symmetry", "learned")
SIZES: dict[str, tuple[int, Sequence[str]]] = {  # how many seeds, and what is asked of the command
    "gpu": (3, ["--preset", "speedrun"]),
    "cpu": (2, ["--preset", "quick", *RECIPE]),
    "tiny": (2, [*TINY, *RECIPE]),
}


def where(size: str) -> Path:
    return RESULTS / "speedrun.json" if size == "gpu" else result("speedrun", size)


def command(flags: Sequence[str], seed: int) -> list[str]:
    """What follows `python`."""
    return ["-m", "molaug.train", "qm9", "--target", "homo", "--seed", str(seed), *flags]


def run(asked: Sequence[str], folder: Path) -> float:
    """Train there in an interpreter of its own; the seconds, also those of earlier tries."""
    clock = folder / "seconds.json"
    before = json.loads(clock.read_text()) if clock.exists() else 0.0
    if not (folder / "comparison.json").exists():
        start = time.perf_counter()
        try:
            subprocess.run([sys.executable, *asked, "--run-dir", str(folder)], check=True)
        finally:
            before += time.perf_counter() - start
            write_json(clock, before)
    return float(before)


def train_all(name: str) -> None:
    """Every seed, one after the other."""
    seeds, flags = SIZES[name]
    runs = []
    for seed in range(seeds):
        folder, asked = Path("runs") / f"speedrun-{name}" / str(seed), command(flags, seed)
        seconds = run(asked, folder)
        row = json.loads((folder / "comparison.json").read_text())["rows"][0]
        runs.append(
            {
                "seed": seed,
                "device": f"{row['device']} of {processor()}",
                "command": ["python", *asked],
                "seconds_total": seconds,
                "seconds_training": row["seconds_training"],
                "parameters": row["parameters"],
                "train_count": row["train_count"],
                "test_count": row["test_count"],
                "copies": row["copies"],
                "test_mae_canonical": row["test_mae_canonical"],
                "test_mae_rotated": row["test_mae_rotated"],
                "invariance_error": row["invariance_error"],
                "unit": row["unit"],
                "widths": {name: width["learned"] for name, width in row["widths"].items()},
            }
        )
        write_json(where(name), {"runs": runs})


def table(size: str) -> str:
    """Markdown: a line for every size that has been run, mean and standard deviation over seeds;
    of `tiny` its own alone."""
    shown = [size] if size == "tiny" else [s for s in SIZES if s != "tiny" and where(s).exists()]
    found = [json.loads(where(name).read_text())["runs"] for name in shown]
    first: dict[str, Any] = found[0][0]
    about = f"{first['copies']} copies [{first['unit']}]"
    head = ["on", "molecules: training, test", "seeds", "seconds in all"]
    head += [f"test MAE, {kind}, {about}" for kind in ("canonical", "rotated")]
    lines = []
    for runs in found:
        counts = f"{runs[0]['train_count']:,}, {runs[0]['test_count']:,}"
        line = [runs[0]["device"], counts, str(len(runs))]
        for key in ("seconds_total", "test_mae_canonical", "test_mae_rotated"):
            line.append(mean_and_deviation([run[key] for run in runs], 4))
        lines.append(line)
    return markdown(head, lines)


if __name__ == "__main__":
    run_command("speedrun", SIZES, train_all, table)  # --table writes it for all sizes
