"""The tasks of the recovery suite, whose symmetries are known, each with its truth.

Molecules are those of QM9, in frames and with targets of our choice; images are tasks of
`molaug.images`, built as its command builds them, with its quick preset.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel, build_scaling
from molaug.config import QM9Config, resolve
from molaug.distributions import Distribution
from molaug.groups import SE3, Aff3, Group
from molaug.images import tasks as images
from molaug.images.config import DigitsConfig, FacesConfig, ImageConfig, SpritesConfig
from molaug.molecules.action import MoleculeAction
from molaug.molecules.data import MoleculeSet, load_qm9, orient
from molaug.molecules.networks import GraphNetwork
from molaug.molecules.targets import find_target, mulliken_dipole, target_values
from molaug.molecules.tasks import MoleculeExamples
from molaug.recipe import Recipe
from molaug.task import Task, absolute_error, absolute_loss
from molaug.train import build_recipe

TRAIN, VALIDATION, TEST = 12_000, 300, 1_500  # molecules
RECIPE = build_recipe(resolve(QM9Config(preset="quick", epochs=10), gpu=False), seed=0)
AXIS = np.array([1.0, 2.0, 3.0]) / 14**0.5  # of the tilted task

RIGID = ("rx", "ry", "rz", "tx", "ty", "tz")


@dataclass(frozen=True)
class Truth:
    """Of one generator. verdict: the right one, None where nobody can say. width: how far a partial
    symmetry goes, in the unit of the generator."""

    verdict: str | None
    width: float | None = None


class Known(Protocol):
    """A task whose symmetries are known."""

    @property
    def directions(self) -> bool:
        """Whether directions are learned too."""

    def build_group(self) -> Group:
        """What the symmetries are sought within."""

    def truth(self, name: str) -> Truth:
        """Of the generator of that name."""

    def build(self, law: Distribution, seed: int) -> tuple[Task, Recipe]:
        """The task, whose inputs are moved by `law`, and how to train it."""


@dataclass(frozen=True)
class OnMolecules:
    """`true` generators are full, all others absent."""

    values: Callable[[MoleculeSet], np.ndarray]
    unit: str
    true: tuple[str, ...] = RIGID
    group: type[Group] = SE3
    frame: str = "random"
    shifted: bool = False
    directions: bool = False
    nothing: bool = False  # nothing can be concluded

    def build_group(self) -> Group:
        return self.group()

    def truth(self, name: str) -> Truth:
        return Truth("undecided" if self.nothing else "full" if name in self.true else "absent")

    def build(self, law: Distribution, seed: int) -> tuple[Task, Recipe]:
        everything = load_qm9()
        rows = np.random.default_rng((5, seed)).permutation(len(everything))
        molecules = orient(everything.take(rows[: TRAIN + VALIDATION + TEST]), self.frame, seed=0)
        molecules = shift(molecules) if self.shifted else molecules
        values, ends = self.values(molecules), np.cumsum([0, TRAIN, VALIDATION, TEST])
        train, validation, test = (
            MoleculeExamples(molecules.take(part), values[part])
            for part in (slice(a, b) for a, b in pairwise(ends))
        )
        torch.manual_seed(seed)
        model = AveragedModel(
            GraphNetwork(level="coordinates", channels=48, layers=3),
            Augmentation(law, MoleculeAction()),
            build_scaling(values[:TRAIN]),
        )
        task = Task(
            name="recovery", unit=self.unit, train=train, validation=validation,
            tests={"test": test}, model=model, loss=absolute_loss, error=absolute_error,
        )  # fmt: skip
        return task, replace(RECIPE, seed=seed)


@dataclass(frozen=True)
class OnImages:
    """`widths` says how far each generator is a symmetry, in its unit: not at all, over its natural
    range, or in between. Of generators that are not there nobody can say."""

    config: ImageConfig
    widths: Mapping[str, float]
    directions: bool = False

    def build_group(self) -> Group:
        return images.build_group(self.config.group, "scalar")[0]

    def truth(self, name: str) -> Truth:
        if name not in self.widths:
            return Truth(None)
        caps = {member.name: member.cap for member in self.build_group().members}
        width = self.widths[name]
        if 0 < width < caps[name]:
            return Truth("partial", width)
        return Truth("full" if width else "absent")

    def build(self, law: Distribution, seed: int) -> tuple[Task, Recipe]:
        """The pictures are the same for every seed, and training is not."""
        config = resolve(self.config, gpu=False)
        pictures = images.open_data(config)
        task, _ = images.build_task(
            pictures, config, symmetry="learned", network="residual", seed=seed
        )
        task.model.augmentation.distribution = law
        return task, build_recipe(config, seed)


def from_qm9(name: str, **rest: Any) -> OnMolecules:
    unit = find_target(name).unit
    return OnMolecules(lambda molecules: target_values(molecules, name), unit, **rest)


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


MOLECULES: dict[str, OnMolecules] = {
    "homo_raw": from_qm9("homo", frame="raw"),
    "homo_random": from_qm9("homo"),
    "homo_aff3": from_qm9("homo", group=Aff3),
    "alpha_aff3": from_qm9("alpha", group=Aff3),
    "r2_aff3": from_qm9("r2", group=Aff3),
    "dipole_z": from_qm9("dipole_z", true=("rz", "tx", "ty", "tz")),
    # The widths of learned directions are sorted: r1 is the widest of the rotations.
    "dipole_tilted": OnMolecules(along_axis, "D", ("r1", "t1", "t2", "t3"), directions=True),
    "origin_distance": OnMolecules(distance_of_centre, "A", ("rx", "ry", "rz"), shifted=True),
    "null": OnMolecules(lambda molecules: random_numbers(molecules, 9), "", nothing=True),
}
# Upright digits are not among them: how far a digit may be turned and still be itself differs from
# digit to digit and from hand to hand, so that neither "absent" nor any one range is the truth.
IMAGES: dict[str, OnImages] = {
    "sprites": OnImages(SpritesConfig(preset="quick"), {"r": math.radians(45)}),
    # Turned to any angle: turned again, they are as likely as before.
    "digits": OnImages(DigitsConfig(preset="quick"), {"r": math.pi}),
    # The angle by which a digit was turned. It does not mind a translation, until strokes leave the
    # picture, which they do at a different one for every digit.
    "angles": OnImages(FacesConfig(preset="quick", pictures="digits"), {"r": 0.0}),
}
TASKS: dict[str, Known] = {**MOLECULES, **IMAGES}
