"""Configurations: frozen dataclasses from which the command line is derived, one field a flag."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from .options import Config, check_choice, flag_of, option

_RIGID = ("rx", "ry", "rz", "tx", "ty", "tz")
_STRETCHES = ("shear_xy", "shear_xz", "shear_yz", "squeeze_xy", "squeeze_z", "scale")
# Written down again, because the groups themselves need torch, which --help should not wait for.
GENERATORS = {"so3": _RIGID[:3], "se3": _RIGID, "aff3": _RIGID + _STRETCHES}
SYMMETRIES = ("learned", "fixed", "none", "augerino_compat")
LEVELS = ("coordinates", "vectors", "distances")
OPPONENTS = ("e3nn", "vector_channels", "schnet", "dimenetpp", "visnet")
NETWORKS = LEVELS + OPPONENTS
OBJECTIVES = ("scale_free", "norm", "squared")
FRAMES = ("raw", "centred", "random")
PRECISIONS = ("32-true", "bf16-mixed")


def target_names() -> tuple[str, ...]:
    """The targets of QM9."""
    from .molecules.targets import TARGETS  # needs numpy, which a light import should not

    return tuple(TARGETS)


def split_names() -> tuple[str, ...]:
    """The splits of QM9."""
    from .molecules.splits import SPLITS

    return tuple(SPLITS)


def split_sizes(name: str) -> dict[str, int]:
    """How many molecules a split of QM9 has to train, validate and test."""
    from .molecules.splits import NAMED_SPLITS, QM9_COUNT

    # The random split has the proportions of dimenet's.
    named = NAMED_SPLITS.get(name, NAMED_SPLITS["dimenet"])
    test = QM9_COUNT - named.train - named.validation
    return {"train_size": named.train, "validation_size": named.validation, "test_size": test}


@final
@dataclass(frozen=True)
class QM9Config(Config):
    """Train on QM9, 130,831 small organic molecules, and compare symmetries."""

    target: str = option("homo", "what to predict", "task", choices=target_names)
    symmetry: tuple[str, ...] = option(
        ("learned", "fixed"),
        "augmentation, one run each; fixed is all rotations and translations",
        "task",
        choices=SYMMETRIES,
    )
    network: tuple[str, ...] = option(
        ("coordinates",),
        "network, one run each; hard-coded symmetry is none with coordinates, translations with "
        "vectors, all with distances and with the others, which are from the literature",
        "task",
        choices=NETWORKS,
    )
    preset: str = option(
        "auto",
        "size of the run; auto is quick on a CPU and full on a GPU",
        "task",
        choices=("auto", "quick", "full"),
    )
    seed: int = option(0, "first seed", "task", at_least=0, below=2**31)
    seeds: int = option(1, "number of seeds: seed, seed + 1, ...", "task", at_least=1)
    run_dir: Path | None = option(None, "folder of the run", "task", unset="runs/NAME")

    group: str = option(
        "se3", "what to learn a symmetry within", "symmetry", choices=(*GENERATORS,)
    )
    generators: tuple[str, ...] = option(
        (),
        f"generators whose widths are learned, of {' '.join(GENERATORS['aff3'])}",
        "symmetry",
        unset="all of the group",
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
        unset="scale_free 0.05 falling to 0.005, norm 0.01, squared 0.001",
        at_least=0,
    )
    copies: int = option(1, "copies of a molecule in training", "symmetry", at_least=1)
    test_copies: int = option(8, "copies of a molecule in tests", "symmetry", at_least=1)

    frame: str = option(
        "raw",
        "orientation of the molecules; random is one rotation per molecule",
        "data",
        choices=FRAMES,
    )
    split: str = option(
        "dimenet", "which molecules train, validate and test", "data", choices=split_names
    )
    train_size: int | None = option(None, "training molecules", "data", unset="preset", at_least=1)
    validation_size: int | None = option(
        None, "validation molecules", "data", unset="preset", at_least=1
    )
    test_size: int | None = option(None, "test molecules", "data", unset="preset", at_least=1)
    qm9_dir: Path | None = option(
        None, "qm9pack's csv files or their compressed form", "data", unset="the package qm9pack"
    )

    epochs: int | None = option(None, "passes over the data", "run", unset="preset", at_least=1)
    batch_size: int | None = option(None, "molecules per step", "run", unset="preset", at_least=1)
    channels: int | None = option(None, "width of the network", "run", unset="preset", at_least=4)
    layers: int | None = option(None, "depth of the network", "run", unset="preset", at_least=1)
    optimizer: str = option(
        "muon", "for matrices; all else takes adamw", "run", choices=("muon", "adamw")
    )
    rate: float | None = option(None, "peak learning rate", "run", unset="preset", above=0)
    weight_decay: float = option(0.01, "of the network, never of widths", "run", at_least=0)
    clip: float = option(1.0, "largest norm of the gradient", "run", above=0)
    averaging: float = option(
        0.995, "decay of the running average of weights", "run", at_least=0, below=1
    )
    precision: str = option("32-true", "of the network", "run", choices=PRECISIONS)
    device: str = option("auto", "where to run", "run", choices=("auto", "cpu", "gpu"))
    threads: int | None = option(None, "CPU threads", "run", unset="all cores", at_least=1)

    def _check_together(self) -> None:
        for name in self.generators:
            check_choice(f"--generators in {self.group}:", name, GENERATORS[self.group])
        for name, most in split_sizes(self.split).items():
            if (getattr(self, name) or 0) > most:
                raise ValueError(
                    f"{flag_of(name)} {getattr(self, name)}: choose from 1 to {most:,}, which is "
                    f"all that split {self.split} has"
                )

    @property
    def run_name(self) -> str:
        """A name for the folder of the run: target, preset and what differs from their defaults.

        The runs of a grid (symmetries, networks, seeds) share a folder; where things are and where
        they run is not in the name.
        """
        usual: dict[str, Any] = vars(QM9Config(preset=self.preset, split=self.split))
        if self.preset != "auto":
            usual = vars(resolve(QM9Config(preset=self.preset, split=self.split), gpu=False))
        usual = usual | {"split": "dimenet"}
        named = {name: value for name, value in vars(self).items() if name not in _NAMELESS}
        changed = [
            f"{name}={'+'.join(value) if isinstance(value, tuple) else value}"
            for name, value in named.items()
            if value is not None and value != usual[name]
        ]
        size = [] if self.preset == "auto" else [self.preset]
        return "-".join(["qm9", self.target, *size, *changed])


_NAMELESS = {"target", "preset", "symmetry", "network", "seeds"}
_NAMELESS |= {"run_dir", "qm9_dir", "device", "threads"}

CONFIGS: dict[str, type[QM9Config]] = {"qm9": QM9Config}

# What the fields left at None become. A size that is not here is all of the split.
PRESETS: dict[str, dict[str, float]] = {
    "quick": {
        "train_size": 12_000,
        "validation_size": 1_000,
        "test_size": 2_000,
        "epochs": 16,
        "batch_size": 48,
        "channels": 48,
        "layers": 3,
        "rate": 0.01,
    },
    "full": {
        "validation_size": 2_000,
        "epochs": 60,
        "batch_size": 96,
        "channels": 256,
        "layers": 8,
        "rate": 0.002,
    },
}


def resolve(config: QM9Config, gpu: bool) -> QM9Config:
    """Fill in what was left to the preset; afterwards no size, rate or number of epochs is None."""
    name = config.preset
    if name == "auto":
        name = "full" if gpu else "quick"
    values = split_sizes(config.split) | PRESETS[name]
    missing = {key: value for key, value in values.items() if getattr(config, key) is None}
    return replace(config, preset=name, **missing)  # type: ignore[arg-type]
