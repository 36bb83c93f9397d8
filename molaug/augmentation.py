"""Group, distribution and action together: a batch becomes moved copies of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .distributions import Distribution


@runtime_checkable
class Batch(Protocol):
    """Anything with examples along its first axis."""

    def __len__(self) -> int: ...

    def repeat(self, copies: int) -> Any:
        """All examples once, then all of them again, `copies` times."""


@runtime_checkable
class Action(Protocol):
    """How the elements of a group move an input, and the output that belongs to it."""

    def act(self, elements: Float[Tensor, "graphs n n"], batch: Any) -> Any:
        """The batch with example i moved by elements[i]: g x."""

    def act_on_output(self, elements: Float[Tensor, "graphs n n"], prediction: Tensor) -> Tensor:
        """The prediction for g x brought back to x: rho(g)^-1 f(g x)."""


@dataclass(frozen=True)
class Share:
    """The examples first, first + step, ... of a `whole` number of them."""

    whole: int
    first: int = 0
    step: int = 1


class Augmentation(nn.Module):
    """Draws one element per copy and example, g = exp(a) with a from `distribution`, and acts."""

    def __init__(self, distribution: Distribution, action: Action) -> None:
        super().__init__()
        self.distribution = distribution
        self.action = action

    def forward(
        self, batch: Batch, copies: int = 1, share: Share | None = None
    ) -> tuple[Any, Float[Tensor, "all n n"]]:
        """The moved batch of copies x graphs examples (copies outermost), and the elements.

        share: of a whole batch that is spread over processes; the elements are those that one
        process would draw for all of it.
        """
        if not self.distribution.moves:
            n, device = self.distribution.group.dimension + 1, self.distribution.caps.device
            identity = torch.eye(n, device=device).expand(copies * len(batch), n, n)
            return batch.repeat(copies), identity
        share = share or Share(len(batch))
        # In float32 whatever the precision of the network, as the action.
        with torch.autocast(self.distribution.caps.device.type, enabled=False):
            self.distribution.look(batch)
            drawn = self.distribution.rsample(copies, share.whole)
            coefficients = drawn[:, share.first :: share.step]
            elements = self.distribution.group.exp(coefficients.flatten(0, 1))
        return self.action.act(elements, batch.repeat(copies)), elements
