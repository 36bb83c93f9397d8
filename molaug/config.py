"""Configurations: frozen dataclasses from which the command line is derived, one field a flag."""

from __future__ import annotations

import difflib
import types
from dataclasses import Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

GENERATORS = {
    "so3": ("rx", "ry", "rz"),
    "se3": ("rx", "ry", "rz", "tx", "ty", "tz"),
    "aff3": (
        *("rx", "ry", "rz", "tx", "ty", "tz"),
        *("shear_xy", "shear_xz", "shear_yz", "squeeze_xy", "squeeze_z", "scale"),
    ),
}
SYMMETRIES = ("learned", "fixed", "none", "augerino_compat")
LEVELS = ("coordinates", "vectors", "distances")
OPPONENTS = ("e3nn", "vector_channels", "schnet", "dimenetpp", "visnet")
NETWORKS = LEVELS + OPPONENTS


def option(
    default: Any,
    help: str,
    *,
    section: str,
    choices: tuple[str, ...] = (),
    at_least: float | None = None,
    below: float | None = None,
    above: float | None = None,
) -> Any:
    """A field with what its flag needs: help, section of --help, choices and range."""
    limits = {"at_least": at_least, "below": below, "above": above}
    return field(
        default=default,
        metadata={"help": help, "section": section, "choices": choices, **limits},
    )


@dataclass(frozen=True)
class QM9Config:
    """`python -m molaug.train qm9`. None means: whatever the preset says."""

    target: str = option("homo", "what to predict, by its name in the literature", section="task")
    symmetry: tuple[str, ...] = option(
        ("learned", "fixed"),
        "augmentation: learned widths, fixed (uniform rotations and translations), none",
        section="task",
        choices=SYMMETRIES,
    )
    network: tuple[str, ...] = option(
        ("coordinates",),
        "network: coordinates (no hard-coded symmetry), vectors (translations), distances "
        "(all), or a hard-coded opponent",
        section="task",
        choices=NETWORKS,
    )
    preset: str = option(
        "auto",
        "size of the run; auto: quick on a CPU, full on a GPU",
        section="task",
        choices=("auto", "quick", "full"),
    )
    seed: int = option(0, "first seed", section="task", at_least=0)
    seeds: int = option(1, "number of seeds", section="task", at_least=1)
    run_dir: Path | None = option(None, "folder of the run [runs/NAME]", section="task")

    group: str = option(
        "se3", "the group to learn within", section="symmetry", choices=tuple(GENERATORS)
    )
    generators: tuple[str, ...] = option(
        (), "generators that may open [all of the group]", section="symmetry"
    )
    initial_width: float = option(
        0.05, "width at the start, share of the cap", section="symmetry", above=0, below=1
    )
    width_rate: float = option(
        0.01, "learning rate of the logarithm of a width", section="symmetry", at_least=0
    )
    freeze: float = option(
        1 / 3, "share of training before widths move", section="symmetry", at_least=0, below=1
    )
    objective: str = option(
        "scale_free",
        "how width is rewarded",
        section="symmetry",
        choices=("scale_free", "norm", "squared"),
    )
    reward: float | None = option(
        None,
        "lambda [scale_free: 0.05 falling to 0.005; norm: 0.01; squared: 0.001]",
        section="symmetry",
        at_least=0,
    )
    copies: int = option(1, "copies per molecule in training", section="symmetry", at_least=1)
    test_copies: int = option(8, "copies per molecule in tests", section="symmetry", at_least=1)

    frame: str = option(
        "raw",
        "orientation: raw (as published), centred, random (one rotation per molecule)",
        section="data",
        choices=("raw", "centred", "random"),
    )
    split: str = option(
        "dimenet",
        "which molecules train, validate and test",
        section="data",
        choices=("dimenet", "equiformer", "cormorant", "random"),
    )
    train_size: int | None = option(
        None, "training molecules [preset]", section="data", at_least=1, below=130_830
    )
    validation_size: int | None = option(
        None, "validation molecules [preset]", section="data", at_least=1
    )
    test_size: int | None = option(None, "test molecules [preset]", section="data", at_least=1)
    qm9_dir: Path | None = option(
        None, "folder with qm9pack's csv files, or its compressed form", section="data"
    )

    epochs: int | None = option(None, "passes over the data [preset]", section="run", at_least=1)
    batch_size: int | None = option(None, "molecules per step [preset]", section="run", at_least=1)
    channels: int | None = option(None, "width of the network [preset]", section="run", at_least=4)
    layers: int | None = option(None, "depth of the network [preset]", section="run", at_least=1)
    optimizer: str = option(
        "muon",
        "for the matrices of the network; all else always takes adamw",
        section="run",
        choices=("muon", "adamw"),
    )
    rate: float | None = option(None, "peak learning rate [preset]", section="run", above=0)
    weight_decay: float = option(0.01, "of the network, not of widths", section="run", at_least=0)
    clip: float = option(1.0, "largest norm of the network's gradient", section="run", above=0)
    averaging: float = option(
        0.995, "decay of the averaged weights", section="run", at_least=0, below=1
    )
    precision: str = option(
        "32-true", "of the network", section="run", choices=("32-true", "bf16-mixed", "16-mixed")
    )
    device: str = option("auto", "where to run", section="run", choices=("auto", "cpu", "gpu"))
    devices: int = option(1, "number of processes", section="run", at_least=1)
    threads: int | None = option(None, "CPU threads [all cores]", section="run", at_least=1)

    def __post_init__(self) -> None:
        for spec in fields(self):
            check_field(spec, getattr(self, spec.name))
        check_choice("--target", self.target, target_names())
        for name in self.generators:
            check_choice("--generators", name, GENERATORS[self.group])
        limit = 100_000 if self.split == "cormorant" else 110_000
        if self.split != "random" and self.train_size is not None and self.train_size > limit:
            raise ValueError(
                f"--train-size {self.train_size}: split {self.split} has {limit:,} training "
                "molecules"
            )

    @property
    def run_name(self) -> str:
        """A folder name made of the settings that differ from the defaults."""
        parts = ["qm9", self.target]
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name in NAMELESS or value == spec.default:
                continue
            text = "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
            parts.append(f"{spec.name.replace('_', '-')}={text}")
        return "_".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        plain = asdict(self)
        return {
            name: str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
            for name, value in plain.items()
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> QM9Config:
        """The inverse of `to_dict`. Raises ValueError for an unknown key."""
        known = {spec.name for spec in fields(cls)}
        for name in values:
            check_choice("setting", name, tuple(known))
        hints = get_type_hints(cls)
        return cls(**{name: _restore(value, hints[name]) for name, value in values.items()})


# Settings that do not change what is computed, or that the name carries already.
NAMELESS = {"target", "run_dir", "qm9_dir", "threads", "device", "devices", "symmetry", "network"}
NAMELESS |= {"seeds"}

PRESETS: dict[str, dict[str, Any]] = {
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
        "train_size": None,
        "validation_size": 2_000,
        "test_size": None,
        "epochs": 60,
        "batch_size": 96,
        "channels": 256,
        "layers": 8,
        "rate": 0.002,
    },
}
CONFIGS: dict[str, type[QM9Config]] = {"qm9": QM9Config}


def resolve(config: QM9Config, gpu: bool) -> QM9Config:
    """Fill what was left to the preset."""
    name = config.preset
    if name == "auto":
        name = "full" if gpu else "quick"
    missing = {k: v for k, v in PRESETS[name].items() if getattr(config, k) is None}
    return replace(config, preset=name, **missing)


def target_names() -> tuple[str, ...]:
    from .molecules.targets import TARGETS  # numpy is not needed before a target is

    return tuple(TARGETS)


def check_choice(flag: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise a ValueError that suggests the closest allowed value."""
    if value in allowed:
        return
    close = difflib.get_close_matches(value, allowed, n=1, cutoff=0.4)
    hint = f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(allowed)}"
    raise ValueError(f"{flag} '{value}' is unknown: {hint}")


def check_field(spec: Field[Any], value: Any) -> None:
    """Choices and range of one field, from its metadata."""
    flag = flag_of(spec.name)
    values = value if isinstance(value, tuple) else (value,)
    if len(set(values)) < len(values):
        raise ValueError(f"{flag} names something twice: {' '.join(map(str, values))}")
    if isinstance(value, tuple) and not value and spec.default != ():
        raise ValueError(f"{flag} needs at least one value")
    for one in values:
        if one is None:
            continue
        if spec.metadata["choices"]:
            check_choice(flag, one, spec.metadata["choices"])
        _check_range(flag, one, spec.metadata)


def _check_range(flag: str, value: Any, limits: Any) -> None:
    at_least, above, below = limits["at_least"], limits["above"], limits["below"]
    if at_least is not None and not value >= at_least:
        raise ValueError(f"{flag} {value}: must be at least {at_least}")
    if above is not None and not value > above:
        raise ValueError(f"{flag} {value}: must be above {above}")
    if below is not None and not value < below:
        raise ValueError(f"{flag} {value}: must be below {below}")


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


def base_type(hint: Any) -> type:
    """`int` for `int | None` and for `tuple[int, ...]`."""
    if get_origin(hint) in (Union, types.UnionType):
        hint = next(part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is tuple:
        hint = get_args(hint)[0]
    result: type = hint
    return result


def _restore(value: Any, hint: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        return tuple(value)
    return Path(value) if base_type(hint) is Path else value


