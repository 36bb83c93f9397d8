"""Task loss and the reward for width: the only place that knows both.

Augmentation never lowers the training loss of a network that could do without, so something must
reward it. Each objective returns the scalar to differentiate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from .distributions import Distribution


class Objective(ABC):
    """Combines a loss with the widths; `progress` runs from 0, when widths are first free, to 1."""

    @abstractmethod
    def __call__(
        self, loss: Float[Tensor, ""], distribution: Distribution, progress: float
    ) -> Float[Tensor, ""]:
        """The scalar to minimise."""


@final
@dataclass(frozen=True)
class ScaleFree(Objective):
    """log(loss) - lambda * sum_i log(w_i), in the form

        loss - lambda * stop(loss) * sum_i log(w_i),

    which has the same stationary widths (both gradients are divided by the loss) and leaves the
    gradient of the network exactly that of the loss. A width grows while the loss rises by less
    than lambda per cent for each per cent of width: no unit, neither of the loss nor of the width.
    lambda is held near `start` and falls to `end` late, as start * (end / start)^(progress^3):
    generous while the network can still adapt, so that a symmetry which it has to learn first stays
    open; strict at the end, when it no longer moves, so that false ones shut.
    """

    start: float = 0.05
    end: float = 0.005

    def __call__(
        self, loss: Float[Tensor, ""], distribution: Distribution, progress: float
    ) -> Float[Tensor, ""]:
        weight = self.start * (self.end / self.start) ** min(max(progress, 0.0), 1.0) ** 3
        return loss - weight * loss.detach() * distribution.log_volume


@final
@dataclass(frozen=True)
class NormReward(Objective):
    """loss - lambda * ||w||, off as a whole once any width passes `shutdown`.

    The paper's objective for images (eq. 5), with the shutdown of its code.
    """

    weight: float = 0.01
    shutdown: float = 10.0

    def __call__(
        self, loss: Float[Tensor, ""], distribution: Distribution, progress: float
    ) -> Float[Tensor, ""]:
        widths = distribution.learned
        if not len(widths):
            return loss
        open_enough = (widths.detach().amax() < self.shutdown).to(loss.dtype)
        return loss - self.weight * open_enough * widths.norm()


@final
@dataclass(frozen=True)
class SquaredReward(Objective):
    """loss - lambda * sum_i w_i^2, the molecule objective of the paper's code."""

    weight: float = 0.001

    def __call__(
        self, loss: Float[Tensor, ""], distribution: Distribution, progress: float
    ) -> Float[Tensor, ""]:
        return loss - self.weight * distribution.learned.square().sum()


def build_objective(name: str, reward: float | None = None) -> Objective:
    """`scale_free`, `norm` or `squared`; `reward` is lambda (the first value of a falling one)."""
    if name == "scale_free":
        return ScaleFree() if reward is None else ScaleFree(reward, reward / 10)
    if name == "norm":
        return NormReward() if reward is None else NormReward(reward)
    if name == "squared":
        return SquaredReward() if reward is None else SquaredReward(reward)
    raise ValueError(f"objective {name!r}: choose scale_free, norm or squared")
