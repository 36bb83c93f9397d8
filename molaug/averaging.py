"""One network, averaged over moved copies of its input.

h(x) = E_{g ~ mu_w} [ rho(g)^-1 f(g x) ]        (Benton et al. 2020, eq. 1 and 3)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .augmentation import Augmentation, Batch, Share


def mean_of_outputs(predictions: Float[Tensor, "copies ..."]) -> Tensor:
    """The reduction for regression."""
    return predictions.mean(0)


class Scaling(nn.Module):
    """prediction = shift + scale * output, kept with the weights so that a reloaded model speaks
    physical units. For an equivariant output the shift must be zero.

    Raises ValueError for a scale that is not above zero, or numbers that are not finite.
    """

    def __init__(self, shift: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        if not (math.isfinite(shift) and 0 < scale < math.inf):
            raise ValueError(f"Scaling({shift}, {scale}): give a finite shift and a scale above 0")
        # float64: a total energy of -1e7 meV has errors of 1 meV in float32.
        self.shift = nn.Buffer(torch.tensor(shift, dtype=torch.float64))
        self.scale = nn.Buffer(torch.tensor(scale, dtype=torch.float64))

    def to_physical(self, output: Tensor) -> Tensor:
        return self.shift + self.scale * output.double()

    def to_standard(self, value: Tensor) -> Tensor:
        """Classes, which are integers, as they are."""
        if not value.is_floating_point():
            return value
        return ((value - self.shift) / self.scale).float()


def build_scaling(values: np.ndarray) -> Scaling:
    """Mean and standard deviation of training values (graphs,); for vectors (graphs, 3) no shift,
    which would break equivariance, and the root mean square of a component."""
    values = values.astype(np.float64)  # of which equal ones have no deviation by rounding
    if values.ndim == 1:
        return scaling_of(float(values.mean()), float(values.std()))
    return scaling_of(0.0, float(np.sqrt((values**2).mean())))


def scaling_of(mean: float, deviation: float) -> Scaling:
    """Values that are all the same, but for rounding, are left at their size."""
    is_constant = deviation <= 1e-12 * abs(mean)
    return Scaling(mean, 1.0 if is_constant else deviation)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """In evaluation mode while open, then every part of it in the mode in which it was."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, was_training in modes:
            part.training = was_training


class AveragedModel(nn.Module):
    """`network` over `copies` moved copies of a batch, in one forward pass.

    network: maps a batch to predictions, examples along the first axis.
    augmentation: draws the copies; `augmentation.action` brings outputs back.
    reduction: over the first axis of (copies, graphs, ...); the mean of outputs by default.
    """

    def __init__(
        self,
        network: nn.Module,
        augmentation: Augmentation,
        scaling: Scaling | None = None,
        reduction: Callable[[Tensor], Tensor] = mean_of_outputs,
    ) -> None:
        super().__init__()
        self.network = network
        self.augmentation = augmentation
        self.scaling = scaling if scaling is not None else Scaling()
        self.reduction = reduction

    def forward(
        self,
        batch: Batch,
        copies: int = 1,
        share: Share | None = None,
        elements: Float[Tensor, "copies whole n n"] | None = None,
    ) -> Tensor:
        """Standardised predictions (graphs, ...), averaged over `copies` draws; `share` and
        `elements` are as in `Augmentation`."""
        if copies < 1:
            raise ValueError(f"copies={copies}: average over at least 1")
        moved, elements = self.augmentation(batch, copies, share, elements)
        prediction = self.augmentation.action.act_on_output(elements, self.network(moved))
        return self.reduction(prediction.unflatten(0, (copies, len(batch))))

    def move(self, elements: Float[Tensor, "graphs n n"], batch: Batch) -> Tensor:
        """rho(g)^-1 f(g x) of the network alone, standardised, with g the elements in place of what
        the law draws."""
        action = self.augmentation.action
        return action.act_on_output(elements, self.network(action.act(elements, batch)))

    def pop_auxiliary_loss(self) -> Tensor | float:
        """What the network asks for beside its predictions of the last forward pass: the
        `pop_auxiliary_loss()` of a network that has one, in the unit of the task's loss, else 0."""
        pop = getattr(self.network, "pop_auxiliary_loss", None)
        return pop() if pop else 0.0

    def predict(self, batch: Batch, copies: int = 8) -> Tensor:
        """Predictions in physical units, float64, without gradients."""
        with torch.no_grad():
            return self.scaling.to_physical(self(batch, copies))
