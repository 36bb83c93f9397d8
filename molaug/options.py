"""What a field of a configuration says about its flag, and the checks that follow from it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from .external import is_external


@dataclass(frozen=True)
class Flag:
    """What a field says about its flag; a number is allowed if at_least <= it <= at_most and
    above < it < below.

    `unset` says what None, or no value at all, stands for; `external` that FILE.py:NAME may be
    given in place of a choice.
    """

    help: str
    section: str
    choices: Callable[[], tuple[str, ...]] = tuple
    external: bool = False
    unset: str = ""
    at_least: float = -math.inf
    above: float = -math.inf
    below: float = math.inf
    at_most: float = math.inf


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
        return [_plain(one) for one in value]
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
    if isinstance(value, str) and rules.choices() and not (rules.external and is_external(value)):
        check_choice(flag, value, (*rules.choices(), *("FILE.py:NAME",) * rules.external))
    if isinstance(value, bool | int | float):
        _check_range(flag, rules, value)


def _check_range(flag: str, rules: Flag, value: float) -> None:
    if value < rules.at_least:
        raise ValueError(f"{flag} {value}: must be at least {rules.at_least}")
    if value > rules.at_most:
        raise ValueError(f"{flag} {value}: must be at most {rules.at_most}")
    if value <= rules.above:
        raise ValueError(f"{flag} {value}: must be above {rules.above}")
    if value >= rules.below:
        raise ValueError(f"{flag} {value}: must be below {rules.below}")
