"""The tasks of the recovery suite, whose symmetries are known, each with its truth.

Molecules are those of QM9, in frames and with targets of our choice; images are tasks of
`molaug.images`, built as its command builds them, with its quick preset.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel, build_scaling
from molaug.config import QM9Config, resolve
from molaug.distributions import Distribution
from molaug.groups import SE3, SO3, Aff3, Group
from molaug.images import tasks as images
from molaug.images.config import DigitsConfig, FacesConfig, ImageConfig, SpritesConfig
from molaug.molecules.action import MoleculeAction
from molaug.molecules.data import MoleculeSet, load_qm9, orient, rotate
from molaug.molecules.networks import GraphNetwork
from molaug.molecules.targets import find_target, mulliken_dipole, target_values
from molaug.molecules.tasks import MoleculeExamples
from molaug.recipe import Recipe
from molaug.task import Task, absolute_error, absolute_loss
from molaug.train import build_recipe

TRAIN, VALIDATION, TEST = 12_000, 300, 1_500  # molecules
RECIPE = build_recipe(resolve(QM9Config(preset="quick", epochs=10), gpu=False), seed=0)
AXIS = np.array([1.0, 2.0, 3.0]) / 14**0.5  # of the tilted task
TILT = math.radians(30)  # of molecules that stand on a surface, at most

RIGID = ("rx", "ry", "rz", "tx", "ty", "tz")
Range = tuple[float, float]
# Turned further than this, a molecule that was tilted already lies on its other side: turned about
# both horizontal axes at once, and about one alone.
STANDING = ((math.pi / 2 - TILT) / 2**0.5, math.pi / 2 - TILT)


@dataclass(frozen=True)
class Truth:
    """Of one generator. verdict: the right one, None where nobody can say. widths: the least and
    the greatest that is right for a partial symmetry, in the unit of the generator."""

    verdict: str | None
    widths: Range | None = None


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
    """`true` generators are full, those of `ranges` partial, all others absent. place: puts the
    molecules where they are seen. allowed: which molecules are taken, by default all."""

    values: Callable[[MoleculeSet], np.ndarray]
    unit: str
    true: tuple[str, ...] = RIGID
    ranges: Mapping[str, Range] = field(default_factory=dict)
    group: type[Group] = SE3
    place: Callable[[MoleculeSet], MoleculeSet] = partial(orient, frame="random")
    allowed: Callable[[MoleculeSet], np.ndarray] | None = None
    directions: bool = False
    nothing: bool = False  # nothing can be concluded

    def build_group(self) -> Group:
        return self.group()

    def truth(self, name: str) -> Truth:
        if name in self.ranges:
            return Truth("partial", self.ranges[name])
        return Truth("undecided" if self.nothing else "full" if name in self.true else "absent")

    def examples(self, seed: int) -> list[MoleculeExamples]:
        """For training, validation and test."""
        everything = load_qm9()
        rows = np.random.default_rng((5, seed)).permutation(len(everything))
        if self.allowed:
            rows = rows[self.allowed(everything)[rows]]
        molecules = self.place(everything.take(rows[: TRAIN + VALIDATION + TEST]))
        values, ends = self.values(molecules), np.cumsum([0, TRAIN, VALIDATION, TEST])
        parts = [slice(a, b) for a, b in pairwise(ends)]
        return [MoleculeExamples(molecules.take(part), values[part]) for part in parts]

    def build(self, law: Distribution, seed: int) -> tuple[Task, Recipe]:
        train, validation, test = self.examples(seed)
        torch.manual_seed(seed)
        model = AveragedModel(
            GraphNetwork(level="coordinates", channels=48, layers=3),
            Augmentation(law, MoleculeAction()),
            build_scaling(train.targets.numpy()),
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
            return Truth("partial", (width, width))
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


def by_chance(
    molecules: MoleculeSet, key: int, draw: Callable[[np.random.Generator], Any]
) -> np.ndarray:
    """What is drawn for each, a function of the key and the molecule's place in QM9 alone."""
    return np.array([draw(np.random.default_rng((key, i))) for i in molecules.index.tolist()])


def shift(molecules: MoleculeSet) -> MoleculeSet:
    """In random frames, every molecule moved by a Gaussian vector, 2 Angstrom along each axis."""
    by = 2 * by_chance(molecules, 8, lambda chance: chance.normal(size=3))
    by = np.repeat(by, molecules.sizes, axis=0)
    molecules = orient(molecules, "random")
    return replace(molecules, positions=(molecules.positions + by).astype(np.float32))


def to_oxygen(molecules: MoleculeSet) -> np.ndarray:
    """From the mean place of all atoms to that of the oxygens, (graphs, 3) [Angstrom]; zero
    without oxygen."""
    starts, is_oxygen = molecules.offsets[:-1], (molecules.charges == 8).astype(np.float64)
    weights = is_oxygen / np.repeat(np.add.reduceat(is_oxygen, starts).clip(1), molecules.sizes)
    places = orient(molecules, "centred").positions.astype(np.float64)
    return np.add.reduceat(weights[:, None] * places, starts)


def has_sides(molecules: MoleculeSet) -> np.ndarray:
    """Whether the oxygens of a molecule are on one side of it: 1 Angstrom off its middle."""
    return np.linalg.norm(to_oxygen(molecules), axis=1) >= 1


def stand(molecules: MoleculeSet, tilts: Range = (0, TILT)) -> MoleculeSet:
    """On a surface normal to z: oxygens up or down, tilted by an angle between `tilts` in any
    direction, and turned about the normal; all by chance, a function of the molecule alone."""
    up, height, around, spin = by_chance(molecules, 10, lambda chance: chance.random(4)).T
    cosine = np.cos(tilts[0]) + height * (np.cos(tilts[1]) - np.cos(tilts[0]))
    sine, angle = np.sqrt(1 - cosine**2), 2 * np.pi * around
    goal = np.stack([sine * np.cos(angle), sine * np.sin(angle), cosine], 1)
    goal[up < 0.5] *= -1
    molecules = orient(molecules, "centred")
    start = to_oxygen(molecules)
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    # By half a turn about the line between the two, after any turn about the first.
    middle = start + goal
    middle *= np.pi / np.linalg.norm(middle, axis=1, keepdims=True)
    vectors = torch.from_numpy(np.stack([2 * np.pi * spin[:, None] * start, middle]))
    first, second = SO3().exp(vectors)[..., :3, :3].numpy()
    return rotate(molecules, second @ first)


def nothing_known(molecules: MoleculeSet) -> np.ndarray:
    """Normal numbers, which have nothing to do with the molecules."""
    return by_chance(molecules, 9, lambda chance: chance.normal())


def by_side(molecules: MoleculeSet) -> np.ndarray:
    """The HOMO of molecules with their oxygens up, the LUMO of others [meV]."""
    homo, lumo = (target_values(molecules, name) for name in ("homo", "lumo"))
    return np.where(to_oxygen(molecules)[:, 2] > 0, homo, lumo)


MOLECULES: dict[str, OnMolecules] = {
    "homo_raw": from_qm9("homo", place=partial(orient, frame="raw")),
    "homo_random": from_qm9("homo"),
    "homo_aff3": from_qm9("homo", group=Aff3),
    "alpha_aff3": from_qm9("alpha", group=Aff3),
    "r2_aff3": from_qm9("r2", group=Aff3),
    "dipole_z": from_qm9("dipole_z", true=("rz", "tx", "ty", "tz")),
    # The widths of learned directions are sorted: r1 is the widest of the rotations.
    "dipole_tilted": OnMolecules(along_axis, "D", ("r1", "t1", "t2", "t3"), directions=True),
    "origin_distance": OnMolecules(distance_of_centre, "A", ("rx", "ry", "rz"), place=shift),
    # Up is another target than down: turned about x or y, a molecule keeps its own up to a limit.
    "standing": OnMolecules(
        by_side,
        "meV",
        ("rz", "tx", "ty", "tz"),
        {"rx": STANDING, "ry": STANDING},
        place=stand,
        allowed=has_sides,
    ),
    "null": OnMolecules(nothing_known, "", nothing=True),
}
# Digits upright, or turned by less than half a turn, are not among them: how far a digit may be
# turned and still be itself differs from digit to digit and from hand to hand, so that neither
# "absent" nor any one range is the truth.
IMAGES: dict[str, OnImages] = {
    "sprites": OnImages(SpritesConfig(preset="quick"), {"r": math.radians(45)}),
    # Turned to any angle: turned again, they are as likely as before.
    "digits": OnImages(DigitsConfig(preset="quick"), {"r": math.pi}),
    # The angle by which a digit was turned. It does not mind a translation, until strokes leave the
    # picture, which they do at a different one for every digit.
    "angles": OnImages(FacesConfig(preset="quick", pictures="digits"), {"r": 0.0}),
}
TASKS: dict[str, Known] = {**MOLECULES, **IMAGES}
