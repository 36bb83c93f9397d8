"""What each part of the training recipe is worth: HOMO, one part changed at a time.

python experiments/ablation.py [SIZE]            train what is missing of SIZE, write
                                                 results/ablation-SIZE.json and the table
python experiments/ablation.py [SIZE] --table    only the table, from what is there

SIZE is cpu (the quick preset, two seeds of every part, about two minutes each on one core), long
(1,000 molecules in 200 epochs, which a network learns by heart; what is said against that is added
part by part; two seeds, seven minutes each), relative (3,000 molecules in 68 epochs of the small
network, with all parts of the preset speedrun, in which larger ones do the same; two seeds, two to
six minutes each), gpu (30,000 molecules and 16 epochs of the preset speedrun, whose parts are left
out one at a time; two seeds) or tiny (to see that it runs). Of cpu and tiny the rate falls as a
cosine where a part does not say otherwise.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

from tables import TINY, markdown, mean_and_deviation, processor, result, run_command

from molaug.files import write_json
from molaug.train import main

SIZES = {
    "cpu": ["--preset", "quick", "--threads", "1", "--seeds", "2"],
    "gpu": [
        *("--preset", "speedrun", "--train-size", "30000", "--test-size", "2000"),
        *("--epochs", "16", "--seeds", "2"),
    ],
    "long": [
        *("--preset", "quick", "--train-size", "1000", "--epochs", "200", "--threads", "1"),
        *("--schedule", "linear", "--partial-charges", "0.5", "--seeds", "2"),
    ],
    "relative": [
        *("--preset", "quick", "--train-size", "3000", "--test-size", "5000", "--epochs", "68"),
        *("--schedule", "linear", "--partial-charges", "0.5", "--properties", "1"),
        *("--threads", "1", "--seeds", "2"),
    ],
    "tiny": [*TINY, "--seeds", "2"],
}
PARTS: dict[str, list[str]] = {  # in words, and the flags
    "the reference": [],
    "no augmentation": ["--symmetry", "none"],
    "AdamW for all weights": ["--optimizer", "adamw", "--rate", "0.002"],
    "no averaging of weights": ["--averaging", "0"],
    "linear schedule": ["--schedule", "linear"],
    "partial charges, weight 0.1": ["--partial-charges", "0.1"],
    "partial charges, weight 0.5": ["--partial-charges", "0.5"],
    "linear schedule, partial charges 0.5": [
        *("--schedule", "linear", "--partial-charges", "0.5"),
    ],
}
WITHOUT: dict[str, list[str]] = {  # on a GPU
    "the reference": [],
    "no augmentation": ["--symmetry", "none"],
    "AdamW for all weights": ["--optimizer", "adamw", "--rate", "0.001"],
    "no averaging of weights": ["--averaging", "0"],
    "cosine schedule": ["--schedule", "cosine"],
    "no partial charges": ["--partial-charges", "0"],
    "no other properties": ["--properties", "0"],
    "no noise": ["--jitter", "0"],
    "weight decay 0.01": ["--weight-decay", "0.01"],
    "384 channels": ["--channels", "384"],
}
ADDED: dict[str, list[str]] = {  # in a long run
    "the reference": [],
    "weight decay 0.1": ["--weight-decay", "0.1"],
    "and other properties": ["--weight-decay", "0.1", "--properties", "1"],
    "and noise": ["--weight-decay", "0.1", "--properties", "1", "--jitter", "0.02"],
}
# A weight decay of 0.03 takes as much off weights in that run as 0.02 in one of the preset.
OF_RELATIVE: dict[str, list[str]] = {
    "the reference": ["--weight-decay", "0.03", "--jitter", "0.02"],
    "weight decay 0.07": ["--weight-decay", "0.07", "--jitter", "0.02"],
    "weight decay 0.12": ["--weight-decay", "0.12", "--jitter", "0.02"],
    "weight decay 0.07, no noise": ["--weight-decay", "0.07"],
    "weight decay 0.07, noise 0.04": ["--weight-decay", "0.07", "--jitter", "0.04"],
    "weight decay 0.07, properties 2": [
        *("--weight-decay", "0.07", "--jitter", "0.02", "--properties", "2"),
    ],
}
OF_SIZE = {"cpu": PARTS, "long": ADDED, "relative": OF_RELATIVE, "gpu": WITHOUT, "tiny": PARTS}


def train_all(size: str) -> None:
    """Every run, each continued from its folder; the results grow run by run."""
    rows: list[dict[str, Any]] = []
    for part, flags in OF_SIZE[size].items():
        name = part.replace(",", "").replace(" ", "-")
        folder = Path("runs") / f"ablation-{size}" / name
        usual = {"--symmetry": "learned"} | (
            {"--schedule": "cosine"} if OF_SIZE[size] is PARTS else {}
        )
        chosen = [*flags, *(x for pair in usual.items() if pair[0] not in flags for x in pair)]
        if main(["qm9", "--target", "homo", "--run-dir", str(folder), *SIZES[size], *chosen]):
            raise SystemExit(1)
        found = json.loads((folder / "comparison.json").read_text())["rows"]
        rows += [{"part": part, "flags": flags, **row} for row in found]
        write_json(result("ablation", size), {"processor": processor(), "rows": rows})


def table(size: str) -> str:
    """Markdown, a line per part."""
    found = json.loads(result("ablation", size).read_text())
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in found["rows"]:
        parts.setdefault(row["part"], []).append(row)
    usual = {row["seed"]: row for row in parts["the reference"]}
    first = next(iter(usual.values()))
    unit, copies = first["unit"], first["copies"]
    lines = []
    for part, rows in parts.items():
        errors = [row["test_mae_rotated"] for row in rows]
        same = [row["test_mae_rotated"] - usual[row["seed"]]["test_mae_rotated"] for row in rows]
        flags = f" (`{' '.join(rows[0]['flags'])}`)" if rows[0]["flags"] else ""
        change = "" if part == "the reference" else f"{mean(same):+.1f}"
        change += "" if part == "the reference" or len(same) == 1 else f" ({_list(same)})"
        line = [part + flags, mean_and_deviation(errors, 4), change]
        lines.append(line)
    head = ["part", f"test MAE, rotated, {copies} copies [{unit}]", "change (each seed)"]
    about = (
        f"\nMean ± standard deviation over {len(usual)} seeds; {first['train_count']:,} training "
        f"and {first['test_count']:,} test molecules, raw frames, split {first['split']}; "
        f"{first['device']} of {found['processor']}.\n"
    )
    return markdown(head, lines) + about


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:+.1f}" for value in values)


if __name__ == "__main__":
    run_command("ablation", SIZES, train_all, table)
