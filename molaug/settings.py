"""What every task can be asked for: the fields that the configurations share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

from .options import Config, base_type, check_choice, option

_PLANE = ("r", "tx", "ty")
_RIGID = ("rx", "ry", "rz", "tx", "ty", "tz")
_STRETCHES = ("shear_xy", "shear_xz", "shear_yz", "squeeze_xy", "squeeze_z", "scale")
# Written down again, because the groups themselves need torch, which --help should not wait for.
GENERATORS = {
    "so2": _PLANE[:1],
    "se2": _PLANE,
    "aff2": (*_PLANE, "scale", "squeeze", "shear"),
    "so3": _RIGID[:3],
    "se3": _RIGID,
    "aff3": _RIGID + _STRETCHES,
    "light": ("brightness", "contrast"),
    "colour": ("hue", "brightness", "contrast", "saturation"),
}
OBJECTIVES = ("scale_free", "norm", "squared")
PRECISIONS = ("32-true", "bf16-mixed")
PRESETS = ("auto", "quick", "full")

R = TypeVar("R", bound="RunConfig")
Sizes = Mapping[str, Any]


@dataclass(frozen=True)
class RunConfig(Config):
    """Base of the configurations of `molaug.train`; a subclass names a task.

    tasks_module: the one that makes the task. presets: values, by preset, of fields left open.
    usual: values where the preset has none. A size in neither means all the data. subject: fields
    whose values come first in the name of a run. decisive: fields on which the sizes of the data
    depend.
    """

    task: ClassVar[str]
    tasks_module: ClassVar[str]
    presets: ClassVar[Mapping[str, Sizes]]
    usual: ClassVar[Sizes] = {
        "schedule": "cosine",
        "precision": "32-true",
        "weight_decay": 0.01,
    }
    subject: ClassVar[tuple[str, ...]] = ()
    decisive: ClassVar[tuple[str, ...]] = ()

    symmetry: tuple[str, ...] = option(("learned", "fixed"), "augmentation, one run each", "task")
    network: tuple[str, ...] = option((), "network, one run each", "task", unset="none")
    preset: str = option(
        "auto",
        "size of the run; auto is quick on a CPU and full on a GPU",
        "task",
        choices=PRESETS,
    )
    seed: int = option(0, "first seed", "task", at_least=0, below=2**31)
    seeds: int = option(1, "number of seeds: seed, seed + 1, ...", "task", at_least=1)
    run_dir: Path | None = option(None, "folder of the run", "task", unset="runs/NAME")

    group: str = option("", "what to learn a symmetry within", "symmetry")
    generators: tuple[str, ...] = option(
        (), "generators whose widths are learned", "symmetry", unset="all of the group"
    )
    initial_width: float = option(
        0.05, "width at the start, as a share of its cap", "symmetry", above=0, below=1
    )
    width_rate: float = option(
        40.0, "learning rate of a width's logarithm, summed over a run", "symmetry", at_least=0
    )
    freeze: float = option(
        1 / 3, "share of training before widths move", "symmetry", at_least=0, below=1
    )
    objective: str = option("scale_free", "how width is rewarded", "symmetry", choices=OBJECTIVES)
    reward: float | None = option(
        None,
        "weight of the reward, lambda",
        "symmetry",
        unset="scale_free 0.3, norm 0.01, squared 0.001",
        at_least=0,
    )
    probing: float = option(
        0.8,
        "share of training copies, at most, falling to none, that probe whole ranges of generators",
        "symmetry",
        at_least=0,
        below=1,
    )
    copies: int = option(1, "copies of an example in training", "symmetry", at_least=1)
    test_copies: int = option(8, "copies of an example in tests", "symmetry", at_least=1)

    train_size: int | None = option(None, "training examples", "data", unset="preset", at_least=1)
    validation_size: int | None = option(
        None, "validation examples", "data", unset="preset", at_least=1
    )
    # A verdict needs a few to tell a rise from chance.
    test_size: int | None = option(None, "test examples", "data", unset="preset", at_least=8)

    epochs: int | None = option(None, "passes over the data", "run", unset="preset", at_least=1)
    batch_size: int | None = option(None, "examples per step", "run", unset="preset", at_least=1)
    channels: int | None = option(None, "width of the network", "run", unset="preset", at_least=4)
    layers: int | None = option(None, "depth of the network", "run", unset="preset", at_least=1)
    optimizer: str = option(
        "muon", "for matrices; all else takes adamw", "run", choices=("muon", "adamw")
    )
    schedule: str | None = option(
        None,
        "how the rate falls to zero: cosine, or linear after 40 % of the run",
        "run",
        unset="preset",
        choices=("cosine", "linear"),
    )
    rate: float | None = option(None, "peak learning rate", "run", unset="preset", above=0)
    weight_decay: float | None = option(
        None, "of the network, never of widths", "run", unset="preset, mostly 0.01", at_least=0
    )
    clip: float = option(1.0, "largest norm of the gradient", "run", above=0)
    averaging: float = option(
        0.995,
        "decay of the running average of weights, faster in runs of fewer than 4,000 steps",
        "run",
        at_least=0,
        below=1,
    )
    precision: str | None = option(
        None, "of the network", "run", unset="preset, mostly 32-true", choices=PRECISIONS
    )
    device: str = option("auto", "where to run", "run", choices=("auto", "cpu", "gpu"))
    devices: int = option(
        1,
        "processes, each with its share of every batch; torchrun starts them too",
        "run",
        at_least=1,
    )
    engine: str = option(
        "captured",
        "how a single GPU takes steps: captured as graphs, or one operation after another",
        "run",
        choices=("captured", "plain"),
    )
    jobs: int | None = option(
        None,
        "runs at a time, on a CPU, each in a process of its own",
        "run",
        unset="one per core, four at most",
        at_least=1,
    )
    threads: int | None = option(
        None, "CPU threads of a run", "run", unset="cores shared among jobs", at_least=1
    )

    def _check_together(self) -> None:
        for name in self.generators:
            check_choice(f"--generators in {self.group}:", name, generators_of(self.group))
        if self.generators and "augerino_compat" in self.symmetry:
            raise ValueError(
                f"--generators {' '.join(self.generators)}: augerino_compat learns the widths of "
                "all of the group; leave one of them out"
            )
        if self.devices > 1 and (self.jobs or 1) > 1:
            raise ValueError(f"--jobs {self.jobs}: each takes one process, not --devices")
        self._check_data()

    def _check_data(self) -> None:
        """What a task has to say about the data that it is asked for."""

    def check_ready(self) -> None:
        """Raises ValueError if something is left open that no run can do without."""

    def settle(self: R, data: Any) -> R:
        """With what could not be said before the data was open."""
        return self

    @property
    def default_sizes(self) -> Sizes:
        """All that there is, where it is known without opening the data."""
        return {}

    @classmethod
    def places(cls) -> set[str]:
        """The fields that say where things are."""
        hints = get_type_hints(cls)
        return {spec.name for spec in fields(cls) if base_type(hints[spec.name]) is Path}

    @property
    def run_name(self) -> str:
        """A name for the folder of the run: task, preset and what differs from their defaults.

        The runs of a grid (symmetries, networks, seeds) share a folder; where things are and where
        they run is not in the name.
        """
        decided: dict[str, Any] = {name: getattr(self, name) for name in self.decisive}
        start = type(self)(preset=self.preset, **decided)
        usual = vars(start) if self.preset == "auto" else vars(resolve(start, gpu=False))
        usual = usual | {name: getattr(type(self)(), name) for name in self.decisive}
        kept = vars(self).keys() - FREE - self.places() - {*self.subject}
        changed = [
            f"{name}={'+'.join(value) if isinstance(value, tuple) else value}"
            for name, value in vars(self).items()
            if name in kept and value is not None and value != usual[name]
        ]
        size = [] if self.preset == "auto" else [self.preset]
        subject = [_as_word(getattr(self, name)) for name in self.subject]
        return "-".join([self.task, *subject, *size, *changed])


def name_files(files: Sequence[Path]) -> str:
    """The first of them, and how many more there are."""
    more = f"+{len(files) - 1}" if len(files) > 1 else ""
    return f"{files[0].name}{more}" if files else ""


def _as_word(value: str | tuple[Path, ...]) -> str:
    """For the name of a folder."""
    text = value if isinstance(value, str) else name_files(value)
    return re.sub(r"[^\w.+]", "_", text)


# Which runs of a grid, and where they run: in no folder's name, and free to change in one.
FREE = {
    *("preset", "symmetry", "network", "seeds"),
    *("device", "devices", "engine", "jobs", "threads"),
}


def generators_of(group: str) -> tuple[str, ...]:
    """Names of the generators; `se2_colour` has those of both."""
    return tuple(name for part in group.split("_") for name in GENERATORS[part])


def resolve(config: R, gpu: bool) -> R:
    """Fill in what was left to the preset; afterwards no rate is None, and no number of epochs but
    what is for `settle` to say.

    gpu: whether there is one, for `auto`.
    """
    name = config.preset
    if name == "auto":
        name = "full" if gpu else "quick"
    values = {**config.usual, **config.default_sizes, **config.presets[name]}
    missing = {key: value for key, value in values.items() if getattr(config, key) in (None, ())}
    return replace(config, preset=name, **missing)
