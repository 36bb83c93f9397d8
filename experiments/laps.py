"""What the benchmark drives: trainers of any network and law on the same molecules, and a race."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from stopwatch import wait
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel, build_scaling
from molaug.config import QM9Config, resolve
from molaug.distributions import Distribution, Haar, Identity, LearnedUniform
from molaug.evaluate import mean_error
from molaug.groups import GROUPS
from molaug.loop import Trainer
from molaug.molecules.action import MoleculeAction
from molaug.molecules.config import SCALAR_ONLY as PYG
from molaug.molecules.data import MoleculeSet
from molaug.molecules.networks import build_network
from molaug.molecules.pyg import build_pyg
from molaug.molecules.targets import target_values
from molaug.molecules.tasks import MoleculeExamples
from molaug.objectives import ScaleFree
from molaug.processes import start_fabric
from molaug.recipe import Recipe
from molaug.task import Task, absolute_error, absolute_loss, draw_batches
from molaug.train import build_recipe

VALIDATION = 500
# Rates of the opponents are the published ones, with AdamW; ours are those of the quick preset.
RATES = {"schnet": 5e-4, "dimenetpp": 1e-3, "visnet": 1e-4}


def build_law(name: str) -> Distribution:
    """`none`, `fixed`, or the group within which a symmetry is learned."""
    if name in GROUPS:
        return LearnedUniform(GROUPS[name]())
    return Haar(GROUPS["se3"](), 5.0) if name == "fixed" else Identity(GROUPS["se3"]())


def build_trainer(
    molecules: MoleculeSet,
    network: str,
    law: str = "none",
    *,
    channels: int = 48,
    layers: int = 3,
    epochs: int = 16,
    device: str = "cpu",
    capture: bool = True,
    **settings: Any,
) -> Trainer:
    """A trainer of HOMO on all molecules but the last `VALIDATION`; opponents from PyTorch
    Geometric have their published sizes. settings: of the recipe, in place of the quick preset's.
    """
    fabric = start_fabric(device)
    train, held = molecules.take(slice(0, -VALIDATION)), molecules.take(slice(-VALIDATION, None))
    torch.manual_seed(0)
    net = (
        build_pyg(network)
        if network in PYG
        else build_network(network, channels=channels, layers=layers)
    )
    values = target_values(train, "homo")
    examples = MoleculeExamples(train, values, fabric.device)
    validation = MoleculeExamples(held, target_values(held, "homo"), fabric.device)
    augmentation = Augmentation(build_law(law), MoleculeAction())
    task = Task(
        name="qm9",
        unit="meV",
        train=examples,
        validation=validation,
        tests={},
        model=AveragedModel(net, augmentation, build_scaling(values)),
        loss=absolute_loss,
        error=absolute_error,
    )
    quick = build_recipe(resolve(QM9Config(preset="quick"), gpu=False), 0)
    usual = {} if network not in PYG else {"rate": RATES[network], "optimizer": "adamw"}
    recipe = Recipe(**{**vars(quick), "epochs": epochs, **usual, **settings})
    folder = Path(tempfile.mkdtemp())
    trainer = Trainer(task, ScaleFree(), recipe, folder, fabric, capture)
    every = trainer.timetable.every
    trainer.progress.step = -(-trainer.total // 2 // every) * every  # a step that moves widths
    return trainer


def choose_rows(molecules: MoleculeSet, count: int, atoms: int) -> Tensor:
    """Rows of the first `count` molecules of so many atoms, from the beginning again if too few."""
    rows = np.flatnonzero(molecules.sizes[:-VALIDATION] == atoms)
    return torch.from_numpy(np.resize(rows, count))


def steps(
    trainer: Trainer, rows: Tensor, *, moving: bool = False, count: int | None = None
) -> Callable[[], None]:
    """A call that takes `count` steps on the same molecules, by default as many as there are from
    one in which widths may move to the next: all of them such steps, or none, as once they stay."""
    every = count or trainer.timetable.every
    trainer.progress.settled = not moving

    def take() -> None:
        for _ in range(every):
            trainer.step(rows)
            trainer.progress.step += 0 if moving else 1

    return take


class Work(TorchDispatchMode):
    """What the operations inside do: floating point operations (of products only) and bytes read
    and written, of each; nothing for a view."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[int, int]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        read, written = tensors(args) + tensors(kwargs), tensors(out)
        places = {t.untyped_storage().data_ptr() for t in read}
        is_view = not func._schema.is_mutable and all(
            t.untyped_storage().data_ptr() in places for t in written
        )
        if not is_view:
            count = flop_registry.get(func._overloadpacket, lambda *_, **__: 0)
            flops = count(*args, **(kwargs or {}), out_val=out)
            self.operations.append((flops, sum(t.nbytes for t in read + written)))
        return out

    @property
    def flops(self) -> int:
        return sum(flops for flops, _ in self.operations)

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.operations)

    def least_seconds(self, flops_per_second: float, bytes_per_second: float) -> float:
        """By the roofline: each operation is bound by one of the two (Williams, Waterman and
        Patterson 2009)."""
        return sum(
            max(flops / flops_per_second, size / bytes_per_second)
            for flops, size in self.operations
        )


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def count_work(trainer: Trainer, rows: Tensor) -> Work:
    """Of one training step."""
    # In the plain form, whose operations can be seen; kernels of our own move less.
    with patch("molaug.molecules.pairs.has_kernels", lambda pairs: False), Work() as work:
        trainer.step(rows)
    return work


class Racer:
    """A network that is trained for `seconds` of wall time, slice by slice. The schedule follows
    the clock, by the pace until then; the error is measured off the clock."""

    def __init__(
        self, molecules: MoleculeSet, network: str, law: str, seconds: float, **settings: Any
    ) -> None:
        probe = build_trainer(molecules, network, law, **settings)
        self.device = settings.get("device", "cpu")
        self.sizes, self.batch_size = probe.task.train.sizes, probe.recipe.batch_size
        batches = draw_batches(self.sizes, self.batch_size, 0, 0)
        # About: it is corrected from slice to slice.
        steps = seconds / _pace(probe, batches, seconds / 20, self.device)
        epochs = max(1, round(steps / len(batches)))
        self.trainer = build_trainer(molecules, network, law, epochs=epochs, **settings)
        self.trainer.progress.step = 0
        self.seconds, self.elapsed = seconds, 0.0
        self.points: list[tuple[float, float]] = []

    def run(self, until: float) -> None:
        """Train to `until` seconds, then measure the validation error."""
        trainer = self.trainer
        if self.elapsed:  # as many steps as it will come to at its pace
            trainer.total = round(trainer.progress.step * self.seconds / self.elapsed)
        while self.elapsed < until:
            rows = self._rows()
            start = time.perf_counter()
            trainer.step(rows)
            trainer.progress.step += 1
            self.elapsed += time.perf_counter() - start
        start = time.perf_counter()
        wait(self.device)
        self.elapsed += time.perf_counter() - start
        error = mean_error(trainer.averaged, trainer.task, trainer.task.validation)
        self.points.append((round(self.elapsed, 2), round(error, 2)))

    def _rows(self) -> Tensor:
        epoch, place = divmod(self.trainer.progress.step, -(-len(self.sizes) // self.batch_size))
        if place == 0:
            self.batches = draw_batches(self.sizes, self.batch_size, 0, epoch)
        return self.batches[place]

    def record(self) -> dict[str, Any]:
        seen = self.trainer.progress.step * self.batch_size
        return {
            "points_seconds_meV": self.points,
            "steps": self.trainer.progress.step,
            "epochs": round(seen / len(self.sizes), 2),
            "molecules_per_second": round(seen / self.elapsed, 1),
        }


def race(
    molecules: MoleculeSet,
    networks: Mapping[str, tuple[str, str]],
    seconds: float,
    slices: int,
    **settings: Any,
) -> dict[str, Any]:
    """Train every (network, law) for so many seconds, in turn slice by slice."""
    racers = {name: Racer(molecules, *one, seconds, **settings) for name, one in networks.items()}
    for k in range(1, slices + 1):
        for racer in racers.values():
            racer.run(seconds * k / slices)
    return {name: racer.record() for name, racer in racers.items()}


def _pace(trainer: Trainer, batches: list[Tensor], seconds: float, device: str) -> float:
    """Seconds per step, measured for about `seconds` after two steps to get warm."""
    for rows in batches[:2]:
        trainer.step(rows)
    start, done = time.perf_counter(), 0
    while done == 0 or time.perf_counter() - start < seconds:
        trainer.step(batches[2 + done % (len(batches) - 2)])
        wait(device)
        done += 1
    return (time.perf_counter() - start) / done
