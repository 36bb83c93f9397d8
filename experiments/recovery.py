"""Is the right verdict reached on every generator, with one setting, where the answer is known?

Molecules and images, see `known.py`.

python experiments/recovery.py                     three seeds of the default, one of all others
python experiments/recovery.py --settings default --tasks homo_aff3 --seeds 0
python experiments/recovery.py --table             only the tables of the README, from the results

One run takes one to four minutes on one core. Runs that are in results/recovery.json are not
repeated, and several processes may work at once on different tasks.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from known import AXIS, RECIPE, TASKS, Known, OnImages
from tables import markdown, write_table
from torch import Tensor

from molaug.averaging import AveragedModel
from molaug.compat import build_compat
from molaug.distributions import Distribution, LearnedUniform
from molaug.evaluate import mean_error
from molaug.files import write_json
from molaug.loop import Trainer
from molaug.objectives import NormReward, Objective, ScaleFree, SquaredReward
from molaug.processes import prepare_processor, start_fabric
from molaug.task import Examples, Task
from molaug.verdict import judge

RESULTS = Path(__file__).parent / "results" / "recovery.json"
AXIS_TOLERANCE = 5.0  # degrees, of the tilted axis
RANGE_TOLERANCE = 5.0  # degrees, of the width of a partial symmetry


@dataclass(frozen=True)
class Setting:
    """One way to learn widths; everything else is the same in all of them."""

    objective: Objective = ScaleFree()
    probing: float = RECIPE.probing
    freeze: float = RECIPE.freeze
    compat: bool = False
    start_wrong: bool = False


SETTINGS = {
    "default": Setting(),
    "wrong_start": Setting(start_wrong=True),
    "no_probing": Setting(probing=0.0),
    "no_costs": Setting(ScaleFree(weight=0.05, strictness=0.0)),
    "augerino_compat": Setting(SquaredReward(0.001), freeze=0.0, compat=True),
    **{f"norm_{x}": Setting(NormReward(x)) for x in (0.001, 0.01, 0.1)},
    **{f"squared_{x}": Setting(SquaredReward(x)) for x in (0.001, 0.01, 0.1)},
}


def build_law(known: Known, setting: Setting) -> Distribution:
    group = known.build_group()
    if setting.compat:
        return build_compat(group)
    initial: float | list[float] = 0.05
    if setting.start_wrong:  # full ones all but shut, all others half open
        full = [known.truth(name).verdict == "full" for name in group.names]
        initial = [0.01 if is_full else 0.5 for is_full in full]
    return LearnedUniform(group, initial, directions=known.directions)


def run(name: str, setting_name: str, seed: int) -> dict[str, Any]:
    known, setting = TASKS[name], SETTINGS[setting_name]
    task, recipe = known.build(build_law(known, setting), seed)
    recipe = replace(recipe, probing=setting.probing, freeze=setting.freeze)
    start = time.monotonic()
    with TemporaryDirectory() as folder:
        trainer = Trainer(task, setting.objective, recipe, Path(folder), start_fabric("cpu"))
        model = trainer.fit()
        history = trainer.progress.history
    test = next(iter(task.tests.values()))
    _, targets = test.gather(torch.arange(len(test)))
    return {
        "setting": setting_name,
        "task": name,
        "seed": seed,
        "generators": describe(known, model, task, test),
        "test_mae": mean_error(model, task, test, copies=8),
        "test_mae_of_median": error_of_constant(targets),
        "unit": task.unit,
        "seconds": time.monotonic() - start,
        "history": {
            n: [round(row[f"width_{n}"], 4) for row in history] for n in known.build_group().names
        },
    }


def error_of_constant(targets: Tensor) -> float:
    """The mean error of predicting the median; of classes, that of the most frequent one [%]."""
    if targets.is_floating_point():
        return float((targets - targets.median()).abs().mean())
    return 100.0 * (1.0 - float(targets.bincount().amax()) / len(targets))


def describe(
    known: Known, model: AveragedModel, task: Task, test: Examples
) -> list[dict[str, Any]]:
    """Truth and verdict of every generator, on 256 test examples."""
    law = model.augmentation.distribution
    verdicts = judge(model, task, test)
    widths = dict(zip(law.group.names, law.widths.tolist(), strict=True))
    axes = dict(zip(law.group.names, law.directions[:, :3].tolist(), strict=True))
    caps = dict(zip(law.group.names, law.caps.tolist(), strict=True))
    new_names = sorted_names(widths) if known.directions else {name: name for name in widths}
    found = []
    for name, verdict in verdicts.items():
        truth = known.truth(new_names[name])
        one = {"name": new_names[name], "truth": truth.verdict}
        one |= {} if truth.widths is None else {"true_widths": list(truth.widths)}
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


def is_scored(generator: dict[str, Any]) -> bool:
    """Whether there is a truth to compare its verdict with."""
    return generator["truth"] is not None


def is_right(generator: dict[str, Any]) -> bool:
    """Whether the verdict is the truth; of a partial symmetry the learned width too, and of a full
    rotation about a learned axis the axis."""
    if generator["verdict"] != generator["truth"]:
        return False
    if generator["truth"] == "partial":
        low, high = generator["true_widths"]
        width, off = generator["width"], math.radians(RANGE_TOLERANCE)
        return bool(low - off <= width <= high + off)
    tilted = generator["truth"] == "full" and "degrees_from_true_axis" in generator
    return not (tilted and generator["degrees_from_true_axis"] > AXIS_TOLERANCE)


def read_results() -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(RESULTS.read_text())["runs"] if RESULTS.exists() else []
    return runs


Key = tuple[str, str, int]  # setting, task and seed of a run


def asked_for(settings: list[str], tasks: list[str], seeds: list[int] | None) -> list[Key]:
    """The grid, setting by setting and seed by seed."""
    return [
        (setting, name, seed)
        for setting in settings
        for seed in seeds or (range(3) if setting == "default" else range(1))
        for name in tasks
        # The paper's first code knew molecules only.
        if not (SETTINGS[setting].compat and isinstance(TASKS[name], OnImages))
    ]


def work(keys: list[Key]) -> None:
    """Run what has no result yet."""
    lock = FileLock(f"{RESULTS}.lock")
    for setting, name, seed in keys:
        if (setting, name, seed) in {(r["setting"], r["task"], r["seed"]) for r in read_results()}:
            continue
        found = run(name, setting, seed)
        with lock:
            write_json(RESULTS, {"runs": [*read_results(), found]})
        scored = filter(is_scored, found["generators"])
        wrong = [g["name"] for g in scored if not is_right(g)]
        error = f"{found['test_mae']:.4g} {found['unit']}"
        print(f"{setting} {name} seed {seed}: wrong {wrong}, test error {error}", flush=True)


def table() -> str:
    """Generators judged rightly, a row per task with results and a column per setting; in brackets
    what is left of the error of predicting one constant, mean over seeds."""
    runs = read_results()
    settings = [name for name in SETTINGS if any(run["setting"] == name for run in runs)]
    lines = []
    for task in TASKS:
        chosen = {s: [r for r in runs if (r["setting"], r["task"]) == (s, task)] for s in settings}
        if any(chosen.values()):
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
    scored = [generator for generator in generators if is_scored(generator)]
    return f"{sum(map(is_right, scored))} of {len(scored)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--settings", nargs="+", default=[*SETTINGS], choices=SETTINGS)
    parser.add_argument("--tasks", nargs="+", default=[*TASKS], choices=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int)
    chosen = parser.parse_args()
    prepare_processor(1)
    if not chosen.table:
        keys = asked_for(chosen.settings, chosen.tasks, chosen.seeds)
        if not keys:
            parser.error("augerino_compat is of molecules only: choose another task or setting")
        work(keys)
    write_table("recovery", table())


if __name__ == "__main__":
    main()
