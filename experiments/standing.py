"""Molecules that stand on a surface, oxygens up or down: a symmetry that ends, on real molecules.

python experiments/standing.py            train what is missing, write results/standing-cpu.json,
                                          the table and the picture: three seeds of the quick
                                          preset, 12 runs of four minutes on one core
python experiments/standing.py --table    only table and picture, from what is there

The task is `standing` of `known.py`. Molecules are tested as they stand in training, and again
tilted further than any training molecule, where copies that are moved may fall on the other side.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from compat import under
from known import STANDING, TASKS, OnMolecules, stand
from tables import RESULTS, markdown, mean_and_deviation, processor, result, run_command

from molaug.distributions import Distribution, Haar, Identity, LearnedUniform, Uniform
from molaug.evaluate import error_along_orbit, mean_error
from molaug.files import write_bytes, write_json
from molaug.groups import SE3
from molaug.loop import Trainer
from molaug.objectives import ScaleFree
from molaug.pictures import Axis, Series, curve_chart, even_axis
from molaug.processes import prepare_processor, start_fabric
from molaug.report import describe_widths, width_lines
from molaug.task import Examples
from molaug.verdict import judge

SEEDS, EPOCHS, COPIES = 3, 16, 8
LAWS: dict[str, Callable[[], Distribution]] = {
    "learned": lambda: LearnedUniform(SE3()),
    "fixed": lambda: Haar(SE3(), 5.0),
    "fixed_true": lambda: Uniform(SE3(), [STANDING[0], STANDING[0], math.pi, 5.0, 5.0, 5.0]),
    "none": lambda: Identity(SE3()),
}
TILTED = {"30_to_60": (30, 60), "60_to_75": (60, 75)}  # degrees
ERRORS = {
    "test_mae": "tilted as in training, up to 30 degrees [meV]",
    "test_mae_still": "the same, not moved [meV]",
    "test_mae_30_to_60": "30 to 60 degrees [meV]",
    "test_mae_30_to_60_still": "the same, not moved [meV]",
    "test_mae_60_to_75_still": "60 to 75 degrees, not moved [meV]",
}
TURNS = range(-180, 181, 15)  # about x [degrees], of the picture


def train_one(symmetry: str, seed: int, folder: Path) -> dict[str, Any]:
    """One run, continued from its folder; its row."""
    finished = folder / "row.json"
    if finished.exists():
        row: dict[str, Any] = json.loads(finished.read_text())
        return row
    law, standing = LAWS[symmetry](), TASKS["standing"]
    assert isinstance(standing, OnMolecules)
    initial = law.widths.tolist()
    task, recipe = standing.build(law, seed)
    test = task.tests["test"]
    tests: dict[str, Examples] = {"": test}
    for name, degrees in TILTED.items():
        place = partial(stand, tilts=(math.radians(degrees[0]), math.radians(degrees[1])))
        *_, tests[f"_{name}"] = replace(standing, place=place).examples(seed)
    recipe = replace(recipe, epochs=EPOCHS)
    model = Trainer(task, ScaleFree(), recipe, folder, start_fabric("cpu")).fit()
    still = under(model, Identity(SE3()))
    row = {
        **{"symmetry": symmetry, "seed": seed, "train_count": len(task.train)},
        **{"test_count": len(test), "copies": COPIES, "epochs": EPOCHS},
        **{f"test_mae{n}": mean_error(model, task, e, copies=COPIES) for n, e in tests.items()},
        **{f"test_mae{n}_still": mean_error(still, task, e) for n, e in tests.items()},
        "orbit": error_along_orbit(still, task, test, "rx", [math.radians(t) for t in TURNS]),
        "widths": describe_widths(model.augmentation.distribution, initial),
        "verdicts": {name: found.to_dict() for name, found in judge(model, task, test).items()},
    }
    write_json(finished, row)
    return row


def train_all(size: str) -> None:
    """Seed by seed; the results grow run by run."""
    prepare_processor(1)
    rows: list[dict[str, Any]] = []
    for seed in range(SEEDS):
        for symmetry in LAWS:
            folder = Path("runs") / f"standing-{size}" / f"{symmetry}-{seed}"
            rows.append(train_one(symmetry, seed, folder))
            print(f"{symmetry}, seed {seed}: {rows[-1]['test_mae']:.4g} meV", flush=True)
            write_json(result("standing", size), {"processor": processor(), "rows": rows})


def read_results(size: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result("standing", size).read_text())
    return found


def table(size: str) -> str:
    """Markdown: a line per law."""
    found = read_results(size)
    lines = []
    for symmetry in LAWS:
        rows = [row for row in found["rows"] if row["symmetry"] == symmetry]
        numbers = [mean_and_deviation([row[key] for row in rows]) for key in ERRORS]
        widths = width_lines(rows[0]["widths"]) if symmetry == "learned" else []
        lines.append([f"{symmetry} ({len(rows)})", *numbers, "<br>".join(widths)])
    first = found["rows"][0]
    about = (
        f"\n{first['train_count']:,} training and {first['test_count']:,} test molecules, "
        f"{first['copies']} copies; mean ± standard deviation over seeds, widths of seed "
        f"{first['seed']}; cpu of {found['processor']}.\n"
    )
    return markdown(["symmetry (seeds)", *ERRORS.values(), "learned widths"], lines) + about


def draw(rows: list[dict[str, Any]]) -> str:
    """The error of test molecules that are turned about x, the mean over seeds."""
    series = {}
    for symmetry in LAWS:
        errors = [row["orbit"]["error"] for row in rows if row["symmetry"] == symmetry]
        means = [sum(some) / len(some) / 1000 for some in zip(*errors, strict=True)]
        series[symmetry] = Series([*zip(map(float, TURNS), means, strict=True)])
    x = Axis("turned about x [degrees]", -180, 180, [(t, str(t)) for t in range(-180, 181, 60)])
    highest = max(error for one in series.values() for _, error in one.points)
    y = even_axis("error [eV]", 0, highest, start=0)
    return curve_chart("Molecules on a surface, turned over", x, y, series)


if __name__ == "__main__":
    run_command("standing", ["cpu"], train_all, table)
    picture = draw(read_results("cpu")["rows"])
    write_bytes(RESULTS / "standing.svg", picture.encode())
