"""Is the right verdict reached on every generator, with one setting? Real molecules, known answers.

python experiments/recovery.py                     three seeds of the default, one of all others
python experiments/recovery.py --settings default --tasks homo_aff3 --seeds 0
python experiments/recovery.py --table             only the tables of the README, from the results

One run takes two to three minutes on one core. Runs that are in results/recovery.json are not
repeated, and several processes may work at once on different tasks.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from tables import markdown, write_table

from molaug import loop
from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.compat import build_compat
from molaug.distributions import Distribution, LearnedUniform
from molaug.evaluate import REACHES, mean_error, measure_costs
from molaug.files import write_json
from molaug.groups import SE3, Aff3, Group
from molaug.loop import Recipe, Trainer, start_fabric
from molaug.molecules.action import MoleculeAction
from molaug.molecules.data import MoleculeSet, load_qm9, orient
from molaug.molecules.networks import GraphNetwork
from molaug.molecules.targets import find_target, mulliken_dipole, target_values
from molaug.molecules.tasks import MoleculeExamples, build_scaling
from molaug.objectives import NormReward, Objective, ScaleFree, SquaredReward
from molaug.task import Task, absolute_error, absolute_loss
from molaug.verdict import judge

RESULTS = Path(__file__).parent / "results" / "recovery.json"
TRAIN, VALIDATION, TEST = 12_000, 300, 1_500
RECIPE = Recipe(
    epochs=10, batch_size=48, rate=0.01, width_rate=40.0, weight_decay=0.01, clip=1.0,
    averaging=0.99, freeze=1 / 3, copies=1, seed=0,
)  # fmt: skip
AXIS = np.array([1.0, 2.0, 3.0]) / 14**0.5  # of the tilted task
AXIS_TOLERANCE = 5.0  # degrees

RIGID = ("rx", "ry", "rz", "tx", "ty", "tz")


@dataclass(frozen=True)
class Known:
    """A task whose symmetries are known: `true` ones are full, all others absent."""

    values: Callable[[MoleculeSet], np.ndarray]
    unit: str
    true: tuple[str, ...] = RIGID
    group: type[Group] = SE3
    frame: str = "random"
    shifted: bool = False
    directions: bool = False
    nothing: bool = False  # nothing can be concluded

    def truth(self, name: str) -> str:
        return "undecided" if self.nothing else "full" if name in self.true else "absent"


def from_qm9(name: str, **rest: Any) -> Known:
    return Known(lambda molecules: target_values(molecules, name), find_target(name).unit, **rest)


def along_axis(molecules: MoleculeSet) -> np.ndarray:
    """The component of the dipole along AXIS [D]."""
    return mulliken_dipole(molecules) @ AXIS


def distance_of_centre(molecules: MoleculeSet) -> np.ndarray:
    """From the origin to the centre of nuclear charge [Angstrom]."""
    sizes = molecules.sizes
    graph = np.repeat(np.arange(len(sizes)), sizes)
    weighted = molecules.charges[:, None] * molecules.positions.astype(np.float64)
    total = np.bincount(graph, molecules.charges)
    sums = np.stack([np.bincount(graph, column) for column in weighted.T], 1)
    return np.linalg.norm(sums / total[:, None], axis=1)


def random_numbers(molecules: MoleculeSet, key: int, size: tuple[int, ...] = ()) -> np.ndarray:
    """Normal numbers, a function of the key and the molecule's place in QM9 alone."""
    draws = [np.random.default_rng((key, i)).normal(size=size) for i in molecules.index.tolist()]
    return np.array(draws)


def shift(molecules: MoleculeSet) -> MoleculeSet:
    """Every molecule moved by a Gaussian vector, 2 Angstrom along each axis."""
    by = np.repeat(2 * random_numbers(molecules, 8, (3,)), molecules.sizes, axis=0)
    return replace(molecules, positions=(molecules.positions + by).astype(np.float32))


TASKS = {
    "homo_raw": from_qm9("homo", frame="raw"),
    "homo_random": from_qm9("homo"),
    "homo_aff3": from_qm9("homo", group=Aff3),
    "alpha_aff3": from_qm9("alpha", group=Aff3),
    "r2_aff3": from_qm9("r2", group=Aff3),
    "dipole_z": from_qm9("dipole_z", true=("rz", "tx", "ty", "tz")),
    # The widths of learned directions are sorted: r1 is the widest of the rotations.
    "dipole_tilted": Known(along_axis, "D", ("r1", "t1", "t2", "t3"), directions=True),
    "origin_distance": Known(distance_of_centre, "A", ("rx", "ry", "rz"), shifted=True),
    "null": Known(lambda molecules: random_numbers(molecules, 9), "", nothing=True),
}


@dataclass(frozen=True)
class Setting:
    """One way to learn widths; everything else is the same in all of them."""

    objective: Objective = ScaleFree()
    probing: float = RECIPE.probing
    freeze: float = RECIPE.freeze
    compat: bool = False
    start_wrong: bool = False
    reaches: tuple[float, ...] = REACHES


SETTINGS = {
    "default": Setting(),
    "whole_range": Setting(reaches=(1.0,)),
    "wrong_start": Setting(start_wrong=True),
    "no_probing": Setting(probing=0.0),
    "no_costs": Setting(ScaleFree(weight=0.05, strictness=0.0)),
    "augerino_compat": Setting(SquaredReward(0.001), probing=0.0, freeze=0.0, compat=True),
    **{f"norm_{x}": Setting(NormReward(x), probing=0.0) for x in (0.001, 0.01, 0.1)},
    **{f"squared_{x}": Setting(SquaredReward(x), probing=0.0) for x in (0.001, 0.01, 0.1)},
}


def build_law(known: Known, setting: Setting) -> Distribution:
    group = known.group()
    if setting.compat:
        return build_compat(group)
    initial: float | list[float] = 0.05
    if setting.start_wrong:  # false generators half open, true ones all but shut
        initial = [0.01 if known.truth(name) == "full" else 0.5 for name in group.names]
    return LearnedUniform(group, initial, directions=known.directions)


def build_task(known: Known, setting: Setting, seed: int) -> Task:
    everything = load_qm9()
    rows = np.random.default_rng((5, seed)).permutation(len(everything))
    molecules = orient(everything.take(rows[: TRAIN + VALIDATION + TEST]), known.frame, seed=0)
    molecules = shift(molecules) if known.shifted else molecules
    values, ends = known.values(molecules), np.cumsum([0, TRAIN, VALIDATION, TEST])
    train, validation, test = (
        MoleculeExamples(molecules.take(part), values[part])
        for part in (slice(a, b) for a, b in pairwise(ends))
    )
    torch.manual_seed(seed)
    model = AveragedModel(
        GraphNetwork(level="coordinates", channels=48, layers=3),
        Augmentation(build_law(known, setting), MoleculeAction()),
        build_scaling(values[:TRAIN]),
    )
    return Task(
        name="recovery", unit=known.unit, train=train, validation=validation,
        tests={"test": test}, model=model, loss=absolute_loss, error=absolute_error,
    )  # fmt: skip


def run(name: str, setting_name: str, seed: int) -> dict[str, Any]:
    known, setting = TASKS[name], SETTINGS[setting_name]
    task = build_task(known, setting, seed)
    recipe = replace(RECIPE, seed=seed, probing=setting.probing, freeze=setting.freeze)
    loop.measure_costs = partial(measure_costs, reaches=setting.reaches)
    start = time.monotonic()
    with TemporaryDirectory() as folder:
        trainer = Trainer(task, setting.objective, recipe, Path(folder), start_fabric("cpu"))
        model = trainer.fit()
        history = trainer.progress.history
    test = task.tests["test"]
    _, targets = test.gather(torch.arange(len(test)))
    return {
        "setting": setting_name,
        "task": name,
        "seed": seed,
        "generators": describe(known, model, task),
        "test_mae": mean_error(model, task, test, copies=8),
        "test_mae_of_median": float((targets - targets.median()).abs().mean()),
        "unit": known.unit,
        "seconds": time.monotonic() - start,
        "history": {
            n: [round(row[f"width_{n}"], 4) for row in history] for n in known.group().names
        },
    }


def describe(known: Known, model: AveragedModel, task: Task) -> list[dict[str, Any]]:
    """Truth and verdict of every generator, on 256 test molecules."""
    law = model.augmentation.distribution
    verdicts = judge(model, task, task.tests["test"])
    widths = dict(zip(law.group.names, law.widths.tolist(), strict=True))
    axes = dict(zip(law.group.names, law.directions[:, :3].tolist(), strict=True))
    caps = dict(zip(law.group.names, law.caps.tolist(), strict=True))
    new_names = sorted_names(widths) if known.directions else {name: name for name in widths}
    found = []
    for name, verdict in verdicts.items():
        one = {"name": new_names[name], "truth": known.truth(new_names[name])}
        one |= verdict.to_dict() | {"width": widths[name], "cap": caps[name]}
        if known.directions and name.startswith("r"):
            cosine = min(1.0, abs(float(np.dot(axes[name], AXIS))))
            one |= {"axis": axes[name], "degrees_from_true_axis": math.degrees(math.acos(cosine))}
        found.append(one)
    return found


def sorted_names(widths: dict[str, float]) -> dict[str, str]:
    """r1 r2 r3 and t1 t2 t3, the widest first."""
    found = {}
    for kind in ("r", "t"):
        names = sorted((n for n in widths if n.startswith(kind)), key=lambda n: -widths[n])
        found |= {name: f"{kind}{i}" for i, name in enumerate(names, 1)}
    return found


def is_right(generator: dict[str, Any]) -> bool:
    """Whether the verdict is the truth; for a full rotation about a learned axis, the axis too."""
    right = generator["verdict"] == generator["truth"]
    tilted = generator["truth"] == "full" and "degrees_from_true_axis" in generator
    return right and not (tilted and generator["degrees_from_true_axis"] > AXIS_TOLERANCE)


def read_results() -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    return runs


def work(settings: list[str], tasks: list[str], seeds: list[int] | None) -> None:
    lock = FileLock(f"{RESULTS}.lock")
    for setting in settings:
        for seed in seeds or (range(3) if setting == "default" else range(1)):
            for name in tasks:
                key = (setting, name, seed)
                if key in {(r["setting"], r["task"], r["seed"]) for r in read_results()}:
                    continue
                found = run(name, setting, seed)
                with lock:
                    write_json(RESULTS, {"runs": [*read_results(), found]})
                wrong = [g["name"] for g in found["generators"] if not is_right(g)]
                print(f"{setting} {name} seed {seed}: wrong {wrong}, MAE {found['test_mae']:.4g}")


def table() -> str:
    """Generators judged rightly, a row per task and a column per setting; in brackets what is left
    of the error of predicting the median, mean over seeds."""
    runs = read_results()
    settings = [name for name in SETTINGS if any(run["setting"] == name for run in runs)]
    lines = []
    for task in TASKS:
        chosen = {s: [r for r in runs if (r["setting"], r["task"]) == (s, task)] for s in settings}
        lines.append([task, *(cell(found) for found in chosen.values())])
    totals = [[r for r in runs if r["setting"] == setting] for setting in settings]
    lines.append(["all", *(score([g for r in found for g in r["generators"]]) for found in totals)])
    return markdown(["task", *settings], lines)


def cell(runs: list[dict[str, Any]]) -> str:
    """Such as `36 of 36 (0.29)`; empty where there was no run."""
    if not runs:
        return ""
    left = mean(run["test_mae"] / run["test_mae_of_median"] for run in runs)
    return f"{score([g for run in runs for g in run['generators']])} ({left:.2f})"


def score(generators: list[dict[str, Any]]) -> str:
    return f"{sum(map(is_right, generators))} of {len(generators)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--settings", nargs="+", default=[*SETTINGS], choices=SETTINGS)
    parser.add_argument("--tasks", nargs="+", default=[*TASKS], choices=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if not chosen.table:
        work(chosen.settings, chosen.tasks, chosen.seeds)
    write_table("recovery", table())


if __name__ == "__main__":
    main()
