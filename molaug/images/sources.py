"""From a configuration to pictures: which are trained on, and how they are turned once for all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from molaug.split import Split

from .convert import read_mnist, read_mnist_sample
from .data import ImageSet, turn_within
from .drawing import draw_sprites

if TYPE_CHECKING:
    from .config import DigitsConfig, ImageConfig, SpritesConfig

PICTURES_SEED, TURNED_SEED = 0, 1  # a picture is the same in every run, whatever its seed


@dataclass(frozen=True)
class Pictures:
    """The sets of a task. split: rows of the source; those of test may be of a source of its own.

    true_widths: how far the truth allows each generator that it knows to go, in its unit.
    """

    train: ImageSet
    validation: ImageSet
    tests: dict[str, ImageSet]
    split: Split
    true_widths: dict[str, float]
    origin: str  # for a title: what pictures these are


def open_digits(config: DigitsConfig) -> Pictures:
    """MNIST, every digit turned once within `--degrees`; `rotated`: to any angle instead."""
    if config.data_dir:
        pool, test = (read_mnist(config.data_dir, part) for part in ("train", "test"))
    else:
        pool, test = read_mnist_sample(), None
    train, validation, test, rows = divide(pool, test, config)
    return Pictures(
        train=turn_within(train, config.degrees, PICTURES_SEED),
        validation=turn_within(validation, config.degrees, PICTURES_SEED),
        tests={
            "canonical": turn_within(test, config.degrees, PICTURES_SEED),
            "rotated": turn_within(test, 180, TURNED_SEED),
        },
        split=rows,
        true_widths={"r": math.radians(config.degrees)},
        origin=f"digits of MNIST turned within {config.degrees:g} degrees",
    )


def open_sprites(config: SpritesConfig) -> Pictures:
    """Drawn sprites; no test set of other angles, at which up and down are not told apart."""
    count = sum(size or 0 for size in (config.train_size, config.validation_size, config.test_size))
    pool = draw_sprites(count, degrees=config.degrees, seed=PICTURES_SEED)
    train, validation, test, rows = divide(pool, None, config)
    return Pictures(
        train=train,
        validation=validation,
        tests={"canonical": test},
        split=rows,
        true_widths={"r": math.radians(90 - config.degrees)},
        origin=f"sprites drawn within {config.degrees:g} degrees",
    )


def divide(
    pool: ImageSet, test: ImageSet | None, config: ImageConfig
) -> tuple[ImageSet, ImageSet, ImageSet, Split]:
    """Disjoint rows of a pool in a random order, and a test set, also of it if there is no other.

    Raises ValueError if the sizes asked for are more than there is.
    """
    order = np.random.default_rng(PICTURES_SEED).permutation(len(pool))
    held = order
    if test is None:
        count = config.test_size or len(pool) // 5
        test, rows = pool, order[:count]
        held = order[count:]
    else:
        rows = np.random.default_rng(PICTURES_SEED).permutation(len(test))[: config.test_size]
    validation = config.validation_size or len(held) // 10
    train = config.train_size or max(len(held) - validation, 0)
    if train + validation > len(held) or len(rows) < (config.test_size or 0):
        raise ValueError(
            f"{pool.name}: {train:,} + {validation:,} examples to train and validate, and "
            f"{config.test_size or len(rows):,} to test, are more than its {len(held):,} and "
            f"{len(test):,}: lower --train-size, --validation-size or --test-size"
        )
    split = Split(held[validation : validation + train], held[:validation], rows)
    return pool.take(split.train), pool.take(split.validation), test.take(split.test), split


OPENERS: dict[str, Callable[..., Pictures]] = {"digits": open_digits, "sprites": open_sprites}
