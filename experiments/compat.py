"""What the faults of the method's first molecule code cost, one by one: HOMO of QM9, Aff(3).

python experiments/compat.py [SIZE]            train what is missing of SIZE, write
                                               results/compat-SIZE.json and the table in the README
python experiments/compat.py [SIZE] --table    only the table, from what is there

SIZE is cpu (6 runs, within 15 minutes on 2 cores), gpu (the whole of QM9, three seeds; written for
a GPU) or tiny (to see that it runs; it is not written into the README).

The law is ours with one fault at a time, then with all of them, then with its own reward too.
Every trained network is tested on one random copy, as that code does, on eight, and on inputs that
are not moved.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tables import markdown, processor, result, run_command

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.comparison import Line
from molaug.compat import OneSidedGroup, RungeKuttaGroup, UncappedUniform, build_compat
from molaug.config import QM9Config, resolve
from molaug.distributions import Distribution, Identity, LearnedUniform
from molaug.evaluate import mean_error, measure
from molaug.files import write_json
from molaug.groups import Aff3
from molaug.loop import Trainer
from molaug.molecules.data import load_qm9
from molaug.molecules.tasks import build_task
from molaug.objectives import ScaleFree, SquaredReward
from molaug.processes import start_fabric
from molaug.report import describe_widths, width_lines
from molaug.task import Task
from molaug.train import build_recipe

SIZES: dict[str, tuple[int, dict[str, Any]]] = {  # seeds, and what is not as in the configuration
    "cpu": (1, {"preset": "quick", "epochs": 10}),
    "gpu": (3, {"preset": "full"}),
    "tiny": (2, {
        "preset": "quick", "epochs": 1, "train_size": 256, "validation_size": 32, "test_size": 32,
        "channels": 8, "layers": 1,
    }),
}  # fmt: skip
LAWS = {
    "ours": lambda: LearnedUniform(Aff3()),
    "one-sided draws": lambda: LearnedUniform(OneSidedGroup(Aff3())),
    "one Runge-Kutta step": lambda: LearnedUniform(RungeKuttaGroup(Aff3())),
    "widths from 1, no caps": lambda: UncappedUniform(Aff3()),
    "all three": lambda: build_compat(Aff3()),
    "all three, squared reward": lambda: build_compat(Aff3()),
}


def typical_volume(law: Distribution) -> float:
    """By how much the law changes a volume, the median of 10,000 draws; 1 for rotations."""
    torch.manual_seed(0)
    with torch.no_grad():
        elements = law.group.exp(law.rsample(1, 10_000)[0].double())
    return float(torch.linalg.det(elements[:, :3, :3]).median())


def train_one(name: str, seed: int, config: QM9Config, folder: Path) -> dict[str, Any]:
    """One run, continued from its folder; its row."""
    finished = folder / "row.json"
    if finished.exists():
        row: dict[str, Any] = json.loads(finished.read_text())
        return row
    fabric = start_fabric()
    task, _ = build_task(
        load_qm9(), config, symmetry="learned", network="coordinates", seed=seed,
        device=fabric.device,
    )  # fmt: skip
    law = LAWS[name]()
    task = replace(task, model=under(task.model, law))
    start = {"widths": law.widths.tolist(), "volume": typical_volume(law)}
    objective = SquaredReward() if "reward" in name else ScaleFree()
    model = Trainer(task, objective, build_recipe(config, seed), folder, fabric).fit()
    trained = model.augmentation.distribution.cpu()
    row = {
        **{"law": name, "seed": seed, **task.about, "device": str(fabric.device)},
        **{"volume_start": start["volume"], "volume_end": typical_volume(trained)},
        "widths": describe_widths(trained, start["widths"]),
        **errors(model.to(fabric.device), task),
    }
    write_json(finished, row)
    return row


def under(model: AveragedModel, law: Distribution) -> AveragedModel:
    """The same network under another law."""
    augmentation = Augmentation(law, model.augmentation.action)
    return AveragedModel(model.network, augmentation, model.scaling)


def errors(model: AveragedModel, task: Task) -> dict[str, float | int]:
    """With one and with eight copies, and of inputs that are not moved."""
    still = under(model, Identity(Aff3()).to(model.scaling.shift.device))
    unmoved = {f"test_mae_{n}_unmoved": mean_error(still, task, e) for n, e in task.tests.items()}
    return {**measure(model, task), **unmoved}


def train_all(size: str) -> None:
    seeds, changes = SIZES[size]
    config = resolve(QM9Config(group="aff3", **changes), gpu=False)
    rows = []
    for seed in range(seeds):
        for number, name in enumerate(LAWS):
            folder = Path("runs") / f"compat-{size}" / f"{number}-{seed}"
            rows.append(train_one(name, seed, config, folder))
            print(f"{name}, seed {seed}: {rows[-1]['test_mae_canonical']:.4g} meV, 8 copies")
    write_json(result("compat", size), {"processor": processor(), "rows": rows})


def table(size: str) -> str:
    """Markdown: a line per law."""
    found = json.loads(result("compat", size).read_text())
    columns = {
        "test_mae_canonical_unmoved": "canonical, not moved [meV]",
        "test_mae_canonical_1_copy": "canonical, 1 copy [meV]",
        "test_mae_canonical": "canonical, 8 copies [meV]",
        "test_mae_rotated": "rotated, 8 copies [meV]",
        "volume_start": "median volume factor, start",
        "volume_end": "end",
    }
    lines = []
    for name in LAWS:
        line = Line(name, "coordinates", [row for row in found["rows"] if row["law"] == name])
        widths = "<br>".join(width_lines(line.rows[0]["widths"]))
        numbers = [line.show(key, digits=3) for key in columns]
        lines.append([f"{name} ({len(line.rows)})", *numbers, widths])
    first = found["rows"][0]
    about = (
        f"\n{first['train_count']:,} training and {first['test_count']:,} test molecules, raw "
        f"frames; {first['device']} of {found['processor']}; widths of seed {first['seed']}.\n"
    )
    return markdown(["law (seeds)", *columns.values(), "learned widths"], lines) + about


if __name__ == "__main__":
    run_command("compat", SIZES, train_all, table)
