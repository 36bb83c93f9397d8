"""What the loop, the evaluation and the report need to know of a task, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .averaging import AveragedModel


@runtime_checkable
class Examples(Protocol):
    """A set of examples, resident on one device."""

    def __len__(self) -> int: ...

    @property
    def sizes(self) -> np.ndarray:
        """(examples,) what decides the cost of an example, such as its number of atoms."""

    def gather(self, rows: Tensor) -> tuple[Any, Tensor]:
        """The batch and the targets, in physical units, of the examples in `rows`."""

    def describe(self, rows: Tensor) -> str:
        """The names by which a user can find these examples again."""


@dataclass(frozen=True)
class Task:
    """One thing to learn.

    tests maps a name, such as `canonical` or `rotated`, to examples. `error` gives the error of
    every example in `unit` from predictions and targets, both physical. `examples` is what one
    calls them. `scores` rate all of a test set at once, in per cent, from its predictions and
    targets. `shown` turns predictions into what a user reads, in `output_unit`.
    """

    name: str
    unit: str
    train: Examples
    validation: Examples
    tests: Mapping[str, Examples]
    model: AveragedModel
    loss: Callable[[Tensor, Tensor], Float[Tensor, ""]]
    error: Callable[[Tensor, Tensor], Float[Tensor, "graphs"]]
    metric: str = "MAE"
    scores: Mapping[str, Callable[[Tensor, Tensor], float]] = field(default_factory=dict)
    shown: Callable[[Tensor], Tensor] = lambda prediction: prediction
    output_unit: str = ""  # that of the error, unless given
    examples: str = "examples"
    about: Mapping[str, Any] = field(default_factory=dict)  # what it was measured on


def absolute_loss(output: Tensor, target: Tensor) -> Float[Tensor, ""]:
    """L1 on standardised targets."""
    return (output - target).abs().mean()


def absolute_error(prediction: Tensor, target: Tensor) -> Float[Tensor, "graphs"]:
    """Absolute error per example; the mean over components for vectors and tensors."""
    return (
        (prediction - target).abs().flatten(1).mean(1)
        if target.ndim > 1
        else (prediction - target).abs()
    )


def seed_of(*path: int) -> int:
    """One 63-bit seed from integers such as (seed, epoch, step, rank), well mixed."""
    return int(np.random.SeedSequence(path).generate_state(1, np.uint64)[0] >> np.uint64(1))


def draw_batches(sizes: np.ndarray, batch_size: int, *path: int) -> list[Tensor]:
    """All examples once, in batches of nearly one size, in random order: an epoch.

    A random permutation, stably sorted by size and cut, then the batches shuffled: padding all but
    disappears, and no example is dropped. A function of `path`, such as (seed, epoch).
    """
    generator = np.random.default_rng(path)
    order = generator.permutation(len(sizes))
    sorted_order = order[np.argsort(sizes[order], kind="stable")]
    batches = torch.from_numpy(sorted_order).split(batch_size)
    return [batches[i] for i in generator.permutation(len(batches))]


def sorted_batches(sizes: np.ndarray, batch_size: int) -> list[Tensor]:
    """All examples once, by size, without any randomness: for evaluation."""
    order = torch.from_numpy(np.argsort(sizes, kind="stable"))
    return list(order.split(batch_size))
