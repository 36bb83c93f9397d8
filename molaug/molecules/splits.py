"""Which molecules train, validate and test: the splits of the literature, and a random one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from molaug.options import suggest
from molaug.split import Split

QM9_COUNT = 130_831  # QM9 without the 3,054 uncharacterised molecules


@dataclass(frozen=True)
class NamedSplit:
    """A split of the whole of QM9, its molecules sorted by index, that publications share."""

    train: int
    validation: int
    permutation: Callable[[int], np.ndarray]  # number of molecules -> their order


def _legacy(seed: int) -> Callable[[int], np.ndarray]:
    # RandomState(seed) draws what np.random.seed(seed) does, and leaves the global state alone.
    return lambda count: np.random.RandomState(seed).permutation(count)


def _generator(seed: int) -> Callable[[int], np.ndarray]:
    return lambda count: np.random.default_rng(seed).permutation(count)


NAMED_SPLITS: Mapping[str, NamedSplit] = MappingProxyType(
    {
        "dimenet": NamedSplit(110_000, 10_000, _legacy(42)),  # and PONITA
        "equiformer": NamedSplit(110_000, 10_000, _generator(1)),  # and TorchMD-NET
        "cormorant": NamedSplit(100_000, 17_748, _legacy(0)),  # and EGNN, LieConv
    }
)
SPLITS = (*NAMED_SPLITS, "random")


def split(
    molecules: int | Sized, name: str = "random", seed: int = 0, train_size: int | None = None
) -> Split:
    """Divide molecules into training, validation and test rows.

    Parameters
    ----------
    molecules : int or Sized
        The molecules, sorted by QM9 index, or how many there are.
    name : str
        `dimenet`, `equiformer` or `cormorant`, each a permutation of all of QM9 fixed by the
        publication of that name, or `random`: any number of molecules, in the proportions
        110,000 : 10,000 : 10,831.
    seed : int
        Of the random split; a named split has its own.
    train_size : int, optional
        Keep only the first so many training molecules of the permutation. Validation and test
        stay as they are, so that results with different training sizes compare.

    Raises
    ------
    ValueError
        Unknown name, a count that the split is not defined for, or an impossible training size.
    """
    count = len(molecules) if isinstance(molecules, Sized) else int(molecules)
    order, train, validation = _draw(count, name, seed)
    rows = np.split(order.astype(np.int64), [train, train + validation])
    return Split(_first(rows[0], train_size, name), rows[1], rows[2])


def check_split_name(name: str) -> None:
    """Raise a ValueError that suggests the closest name if there is no such split."""
    if name not in SPLITS:
        raise ValueError(f"unknown split '{name}': {suggest(name, SPLITS)}")


def _draw(count: int, name: str, seed: int) -> tuple[np.ndarray, int, int]:
    check_split_name(name)
    if name == "random":
        return _draw_random(count, seed)
    named = NAMED_SPLITS[name]
    if count != QM9_COUNT:
        raise ValueError(
            f"split '{name}' is defined on all {QM9_COUNT:,} molecules of QM9, not on {count:,}: "
            "use 'random'"
        )
    return named.permutation(count), named.train, named.validation


def _draw_random(count: int, seed: int) -> tuple[np.ndarray, int, int]:
    if count < 3:
        raise ValueError(f"cannot split {count} molecules into three parts: give at least 3")
    # RandomState, whose stream numpy has frozen, so that a seed names the same split for good.
    order = np.random.RandomState(seed).permutation(count)
    validation = max(1, round(count * 10_000 / QM9_COUNT))
    test = max(1, round(count * 10_831 / QM9_COUNT))
    return order, count - validation - test, validation


def _first(train: np.ndarray, size: int | None, name: str) -> np.ndarray:
    if size is None:
        return train
    if not 1 <= size <= len(train):
        raise ValueError(
            f"train_size {size} is impossible: split '{name}' has {len(train):,} training "
            "molecules, choose from 1 to that many"
        )
    return train[:size]
