"""Configurations: frozen dataclasses from which the command line is derived, one field a flag."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, final, get_args, get_origin, get_type_hints

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


@dataclass(frozen=True)
class Flag:
    """What a field says about its flag; a number is allowed if at_least <= it, above < it < below.

    `unset` says what None, or no value at all, stands for.
    """

    help: str
    section: str
    choices: Callable[[], tuple[str, ...]] = tuple
    unset: str = ""
    at_least: float = -math.inf
    above: float = -math.inf
    below: float = math.inf


def option(default: Any, help: str, section: str, **rest: Any) -> Any:  # noqa: A002
    """A field of a configuration, with what its `Flag` needs; choices may be a tuple of names."""
    choices = rest.pop("choices", ())
    named = choices if callable(choices) else lambda: choices
    return field(default=default, metadata={"flag": Flag(help, section, choices=named, **rest)})


C = TypeVar("C", bound="Config")  # typing.Self is beyond the checkers of a single method


@dataclass(frozen=True)
class Config:
    """Base of the configurations: a value that exists has been checked.

    Raises ValueError, in one line that names the flag, the value and what is allowed.
    """

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for spec in fields(self):
            flag = flag_of(spec.name)
            value = _convert(flag, hints[spec.name], getattr(self, spec.name))
            object.__setattr__(self, spec.name, value)
            _check_field(flag, spec, value)
        self._check_together()

    def _check_together(self) -> None:
        """What no field can tell alone."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: lists for tuples, strings for paths."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls: type[C], values: Mapping[str, Any]) -> C:
        """The inverse of `to_dict`. Raises ValueError for an unknown setting or a wrong value."""
        hints = {spec.name: get_type_hints(cls)[spec.name] for spec in fields(cls)}
        for name in values:
            check_choice("setting", name, list(hints))
        return cls(**{k: _convert(flag_of(k), hints[k], value) for k, value in values.items()})


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
        0.01, "learning rate of the logarithm of a width", "symmetry", at_least=0
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


def suggest(word: str, known: Sequence[str]) -> str:
    """ "did you mean 'homo'?", or all that is known if nothing is close."""
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), folded, n=1)
    return f"did you mean '{folded[close[0]]}'?" if close else f"choose from {', '.join(known)}"


def check_choice(flag: str, value: str, allowed: Sequence[str]) -> None:
    """Raise a ValueError that suggests the closest allowed value."""
    if value not in allowed:
        raise ValueError(f"{flag} '{value}' is unknown: {suggest(value, allowed)}")


def flag_of(name: str) -> str:
    """`--train-size` for `train_size`."""
    return "--" + name.replace("_", "-")


def is_many(hint: Any) -> bool:
    """Whether a field takes several values."""
    return get_origin(hint) is tuple


def base_type(hint: Any) -> type:
    """`int` for `int | None` and for `tuple[int, ...]`."""
    kind: type = get_args(hint)[0] if isinstance(hint, UnionType) or is_many(hint) else hint
    return kind


_NOUNS = {
    bool: "True or False",
    int: "a whole number",
    float: "a finite number",
    str: "a name",
    Path: "a path",
}


def _convert(flag: str, hint: Any, value: Any) -> Any:
    """The value in the type of its field, also out of JSON."""
    if value is None and NoneType in get_args(hint):
        return None
    kind = base_type(hint)
    if is_many(hint) and isinstance(value, list | tuple):
        return tuple(_convert(flag, kind, one) for one in value)
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    if kind is float and type(value) is int:
        return float(value)
    if is_many(hint) or not _has_type(value, kind):
        raise ValueError(f"{flag} {value!r}: give {'several times ' * is_many(hint)}{_NOUNS[kind]}")
    return value


def _has_type(value: Any, kind: type) -> bool:
    if isinstance(value, bool) and kind is not bool:
        return False
    return isinstance(value, kind) and (not isinstance(value, float) or math.isfinite(value))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Path) else value


def _check_field(flag: str, spec: Field[Any], value: Any) -> None:
    values = value if isinstance(value, tuple) else (value,)
    if len(set(values)) < len(values):
        raise ValueError(f"{flag} {' '.join(map(str, values))}: name nothing twice")
    if not values and spec.default:
        raise ValueError(f"{flag}: give at least one value")
    for one in values:
        _check_value(flag, spec.metadata["flag"], one)


def _check_value(flag: str, rules: Flag, value: Any) -> None:
    if isinstance(value, str) and rules.choices():
        check_choice(flag, value, rules.choices())
    if isinstance(value, bool | int | float):
        _check_range(flag, rules, value)


def _check_range(flag: str, rules: Flag, value: float) -> None:
    if value < rules.at_least:
        raise ValueError(f"{flag} {value}: must be at least {rules.at_least}")
    if value <= rules.above:
        raise ValueError(f"{flag} {value}: must be above {rules.above}")
    if value >= rules.below:
        raise ValueError(f"{flag} {value}: must be below {rules.below}")
