"""What the loop, the evaluation and the report need to know of a task, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .averaging import AveragedModel


@runtime_checkable
class Examples(Protocol):
    """A set of examples whose batches come on one device.

    A set that is larger than memory may also have `windows`: rows in increasing order, the first
    0, at which parts begin that are visited one after another, as `draw_batches` says. One of large
    examples may have `bulk`: how many of usual size each takes the memory of.
    """

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


def check_shapes(output: Tensor, target: Tensor) -> None:
    """Raises ValueError for numbers of another shape than the targets': (n, 1) minus (n,) would be
    every prediction against every target. Of classes the loss says what fits."""
    if target.is_floating_point() and output.shape != target.shape:
        raise ValueError(
            f"predictions {tuple(output.shape)} for targets {tuple(target.shape)}: give both the "
            "same shape"
        )


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


CHUNK = 256  # batches that are sorted by size together, where a set has windows


def draw_batches(
    sizes: np.ndarray, batch_size: int, *path: int, windows: np.ndarray | None = None
) -> Iterable[Tensor]:
    """All examples once, in batches of nearly one size, in random order: an epoch.

    A random permutation, stably sorted by size and cut, then the batches shuffled: padding all but
    disappears, and no example is dropped. A function of `path`, such as (seed, epoch).

    windows: the first row of each part of a larger set. Then batches come from a generator that
    never holds an order of the whole set: parts come in random order, each shuffled, and what
    comes is cut into chunks of `CHUNK` batches, each sorted, cut and shuffled as a whole set is.
    There are as many batches as without windows, ceil(examples / batch_size).
    """
    generator = np.random.default_rng(path)
    if windows is None:
        return _cut_batches(generator.permutation(len(sizes)), sizes, batch_size, generator)
    return _stream_batches(sizes, batch_size, windows, generator)


def _cut_batches(
    order: np.ndarray, sizes: np.ndarray, batch_size: int, generator: np.random.Generator
) -> list[Tensor]:
    """The rows of `order`, stably sorted by size, in batches, shuffled."""
    sorted_order = order[np.argsort(sizes[order], kind="stable")]
    batches = torch.from_numpy(sorted_order).split(batch_size)
    return [batches[i] for i in generator.permutation(len(batches))]


def _stream_batches(
    sizes: np.ndarray, batch_size: int, windows: np.ndarray, generator: np.random.Generator
) -> Iterator[Tensor]:
    stops = np.append(windows[1:], len(sizes))
    waiting = np.zeros(0, np.int64)
    for part in generator.permutation(len(windows)):
        shuffled = windows[part] + generator.permutation(stops[part] - windows[part])
        waiting = np.concatenate([waiting, shuffled])
        # Whole batches only, so that none but the last chunk has one that is not full.
        while len(waiting) >= CHUNK * batch_size:
            chunk, waiting = np.split(waiting, [CHUNK * batch_size])
            yield from _cut_batches(chunk, sizes, batch_size, generator)
    if len(waiting):
        yield from _cut_batches(waiting, sizes, batch_size, generator)


def sorted_batches(sizes: np.ndarray, batch_size: int) -> list[Tensor]:
    """All examples once, by size, without any randomness: for evaluation."""
    order = torch.from_numpy(np.argsort(sizes, kind="stable"))
    return list(order.split(batch_size))
