"""Task loss and the reward for width: the only place that knows both.

Augmentation never lowers the training loss of a network that could do without, so something must
reward it. Each objective returns the scalar to differentiate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor

from .distributions import Distribution

LEAST = 0.01  # of the reward, for a generator whatever it costs


class Objective(ABC):
    """Combines a loss with the widths of a law: the gradient of the network stays that of the loss,
    so that where widths stay nobody needs to call it.

    asks_for_costs: whether the costs of the law's generators must be measured while it trains.
    Without costs there are no probes, which of a false symmetry would be wrong answers.
    """

    asks_for_costs: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, loss: Float[Tensor, ""], distribution: Distribution) -> Float[Tensor, ""]:
        """The scalar to minimise."""


@final
@dataclass(frozen=True)
class ScaleFree(Objective):
    """log(loss) - sum_i lambda_i log(w_i), in the form

        loss - stop(loss) * sum_i lambda_i log(w_i),    lambda_i = weight * exp(-strictness * c_i),

    which has the same stationary widths (both gradients are divided by the loss) and leaves the
    gradient of the network exactly that of the loss. A width grows while the loss rises by less
    than lambda_i per cent for each per cent of width: no unit, neither of the loss nor of the
    width.

    c_i is the share of what the network has learned that is lost when inputs are moved over the
    whole natural range of generator i (`costs.measure_costs`; zero until measured). Where the
    prediction survives, as for a true symmetry even while its width is small, the reward is full
    and the width opens; where it does not, lambda_i falls, to no less than a hundredth of itself,
    and the width shuts as far as the loss asks.

    The loss must be above zero, as errors are; of one below the reward would be a punishment.
    Raises ValueError for one that is not a single number.
    """

    asks_for_costs: ClassVar[bool] = True
    weight: float = 0.3
    strictness: float = 12.0

    def __call__(self, loss: Float[Tensor, ""], distribution: Distribution) -> Float[Tensor, ""]:
        if loss.ndim:
            raise ValueError(f"a loss of shape {tuple(loss.shape)}: give a mean over examples")
        share = (-self.strictness * distribution.learned_costs).exp().clamp(LEAST, 1.0)
        reward = (share * distribution.learned.log()).sum()
        return loss - self.weight * loss.detach() * reward


@final
@dataclass(frozen=True)
class NormReward(Objective):
    """loss - lambda * ||w||, off as a whole once any width passes `shutdown`.

    The paper's objective for images (eq. 5), with the shutdown of its code.
    """

    weight: float = 0.01
    shutdown: float = 10.0

    def __call__(self, loss: Float[Tensor, ""], distribution: Distribution) -> Float[Tensor, ""]:
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

    def __call__(self, loss: Float[Tensor, ""], distribution: Distribution) -> Float[Tensor, ""]:
        return loss - self.weight * distribution.learned.square().sum()


def build_objective(name: str, reward: float | None = None) -> Objective:
    """`scale_free`, `norm` or `squared`; `reward` is lambda."""
    kinds: dict[str, Callable[..., Objective]]
    kinds = {"scale_free": ScaleFree, "norm": NormReward, "squared": SquaredReward}
    if name not in kinds:
        raise ValueError(f"objective {name!r}: choose scale_free, norm or squared")
    return kinds[name]() if reward is None else kinds[name](reward)
