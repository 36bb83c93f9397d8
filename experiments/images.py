"""The tables of images: what is learned, and what it is worth, on all tasks that need no download.

python experiments/images.py [SEEDS]     train what is missing, by default three seeds (90 minutes
                                         on one core), write results/images.json and the table
python experiments/images.py --table     only the table, from the results that are there
python experiments/images.py 1 --faces FOLDER --camvid FILE    the angle of faces, and streets, too

Runs are kept in runs/images, and a run that is there is not made again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tables import RESULTS, markdown, mean_and_deviation, processor, write_table

from molaug.files import write_json
from molaug.images.config import SYMMETRIES
from molaug.train import main

RESULT = RESULTS / "images.json"
FOLDER = Path("runs") / "images"
RUNS: dict[str, list[str]] = {  # a task of the table, and the arguments of the command
    "sprites": ["sprites", "--symmetry", "learned", "fixed_true", "fixed", "none"],
    "sprites, standing": ["sprites", "--standing", "--symmetry", "learned", "fixed", "none"],
    "digits": ["digits", "--symmetry", "learned", "fixed", "none"],
    "digits, c8": ["digits", "--network", "c8", "--symmetry", "none"],
    "digits 0": ["digits", "--degrees", "0", "--symmetry", "learned", "fixed", "none"],
    "digits 0, own widths": [
        *("digits", "--degrees", "0", "--ranges", "instance", "--symmetry", "learned"),
    ],
    "digits 45": [
        *("digits", "--degrees", "45"),
        *("--symmetry", "learned", "fixed_true", "fixed", "none"),
    ],
    "digits 90": [
        *("digits", "--degrees", "90"),
        *("--symmetry", "learned", "fixed_true", "fixed", "none"),
    ],
    "scenes": ["scenes", "--symmetry", "learned", "fixed", "none"],
    "angles": ["faces", "--pictures", "digits", "--symmetry", "learned", "fixed", "none"],
    "photographs": ["photographs", "--symmetry", "learned", "none"],
    "brightness": [
        *("photographs", "--generators", "brightness", "--symmetry", "learned", "fixed_true"),
    ],
}
FACES = ["faces", "--symmetry", "learned", "fixed", "none"]
CAMVID = ["camvid", "--symmetry", "learned", "fixed", "none"]
SHORT = {  # of the short table: a task, and which error
    "sprites": "value",
    "digits": "rotated",
    "digits 0": "value",
    "digits 45": "value",
    "digits 90": "value",
    "scenes": "rotated",
    "angles": "value",
    "camvid": "rotated",
}
SHOWN = {"r": "rotation", "tx": "translation_x", "ty": "translation_y"}


def train_all(seeds: int, faces: Path | None, camvid: Path | None) -> None:
    """Seed by seed, so that a table of all tasks is there early."""
    more = {"faces": (FACES, faces), "camvid": (CAMVID, camvid)}
    runs = RUNS | {n: [*task, "--data-dir", str(p)] for n, (task, p) in more.items() if p}
    for seed in range(seeds):
        for name, arguments in runs.items():
            arguments = without_results(name, arguments, seed)
            if not any(word in SYMMETRIES for word in arguments):
                continue
            folder = FOLDER / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            shared = ["--preset", "quick", "--device", "cpu", "--threads", "1"]
            if main([*arguments, *shared, "--seed", str(seed), "--run-dir", str(folder)]):
                raise SystemExit(1)
            rows = json.loads((folder / "comparison.json").read_text())["rows"]
            keep([record(name, row) for row in rows])


def read_results() -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(RESULT.read_text())["runs"] if RESULT.exists() else []
    return runs


def without_results(name: str, arguments: list[str], seed: int) -> list[str]:
    """The arguments without the symmetries whose runs of a task have results."""
    there = {
        run["symmetry"] for run in read_results() if (run["task"], run["seed"]) == (name, seed)
    }
    return [word for word in arguments if word not in there]


def record(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """A run as it is kept: the metric of the task on test images, averaged over copies."""
    metric = "mIoU" if "mIoU" in row.get("scores", ()) else row["metric"]
    start = f"test_{metric.lower()}_"
    widths = {n: w for n, w in row["widths"].items() if w["initial"] or w["learned"]}
    return {
        "task": name,
        "symmetry": row["symmetry"],
        "network": row["network"],
        "seed": row["seed"],
        "metric": metric,
        "unit": "%" if metric == "mIoU" else row["unit"],
        "value": row[f"{start}canonical"],
        "copies": row["copies"],
        "value_1_copy": row.get(f"{start}canonical_1_copy"),
        "rotated": row.get(f"{start}rotated"),
        "pictures": row["pictures"],
        "train_count": row["train_count"],
        "test_count": row["test_count"],
        "true_widths": {SHOWN.get(n, n): w for n, w in row["true_widths"].items()},
        "verdicts": {SHOWN.get(n, n): v["verdict"] for n, v in row.get("verdicts", {}).items()},
        "widths": {
            SHOWN.get(n, n): {key: w[key] for key in ("initial", "learned", "cap", "unit")}
            for n, w in widths.items()
        },
        "seconds_training": row["seconds_training"],
    }


def keep(found: list[dict[str, Any]]) -> None:
    """Beside the results that are there, in place of the same runs; in the order of the tasks."""
    merged = {_place(run): run for run in [*read_results(), *found]}
    runs = [merged[place] for place in sorted(merged)]
    write_json(RESULT, {"processor": processor(), "runs": runs})


def _place(run: dict[str, Any]) -> tuple[int, int, int]:
    """Of a run in the results: of its task, its symmetry and its seed."""
    tasks = [*RUNS, "faces", "camvid"]
    return tasks.index(run["task"]), SYMMETRIES.index(run["symmetry"]), run["seed"]


def table() -> str:
    """Markdown, one line per task, symmetry and network, over the seeds that are there."""
    cells = _cells()
    lines = []
    for (name, symmetry, network), runs in cells.items():
        first = runs[0]
        single = [run["value_1_copy"] for run in runs]
        lines.append(
            [
                f"{name} ({first['metric']}, {first['unit']})",
                f"{symmetry}, {network} ({len(runs)})",
                mean_and_deviation(single) if None not in single else "",
                mean_and_deviation([run["value"] for run in runs]),
                mean_and_deviation([run["rotated"] for run in runs])
                if first["rotated"] is not None
                else "",
                _widths(runs) if symmetry == "learned" else "",
            ]
        )
    copies = next(iter(cells.values()))[0]["copies"]
    head = ["task", "symmetry, network (seeds)", "1 copy", f"{copies} copies"]
    return markdown([*head, f"turned to any angle, {copies} copies", "learned width (true)"], lines)


def short_table() -> str:
    """Markdown, one line per task: the width, and what each kind of augmentation comes to; turned
    to any angle, where `SHORT` says so."""
    cells = _cells()
    lines = []
    for name, key in SHORT.items():
        found = {s: runs for (task, s, n), runs in cells.items() if task == name and n != "c8"}
        first = found["learned"][0]
        unit = f"{first['metric']}, {first['unit']}{', turned' if key == 'rotated' else ''}"
        errors = [
            mean_and_deviation([run[key] for run in found[s]]) if s in found else ""
            for s in ("learned", "fixed", "none")
        ]
        lines.append([f"{name} ({unit})", _widths(found["learned"]), *errors])
    return markdown(["task", "learned width (true)", "learned", "fixed", "none"], lines)


def _cells() -> dict[tuple[str, str, str], list[dict[str, Any]]]:
    """The results by task, symmetry and network."""
    cells: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for run in read_results():
        cells.setdefault((run["task"], run["symmetry"], run["network"]), []).append(run)
    return cells


def _widths(runs: list[dict[str, Any]]) -> str:
    """What was learned, over seeds, and what is true."""
    from molaug.report import show_width  # loads torch, for which main() sets the scene

    first = runs[0]
    return "<br>".join(
        f"{n} {mean_and_deviation([_degrees(run['widths'][n]) for run in runs])}"
        f"{_true(first['true_widths'].get(n), w['unit'], show_width)}"
        for n, w in first["widths"].items()
    )


def _degrees(width: dict[str, Any]) -> float:
    """Angles in degrees, anything else in its unit."""
    return width["learned"] * (180 / 3.141592653589793 if width["unit"] == "rad" else 1)


def _true(width: float | None, unit: str, show: Any) -> str:
    shown = " deg" if unit == "rad" else f" {unit}".rstrip()
    return f"{shown} ({show(width, unit)})" if width is not None else shown


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("seeds", nargs="?", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only the table")
    parser.add_argument("--faces", type=Path, help="folder of the Olivetti faces")
    parser.add_argument("--camvid", type=Path, help="folder or npz file of CamVid")
    asked = parser.parse_args()
    if not asked.table:
        train_all(asked.seeds, asked.faces, asked.camvid)
    write_table("images", table())
    write_table("images_short", short_table())
