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
    """Draws one element per copy and example, g = exp(a) with a from `distribution`, and acts.

    jitter: in training, the standard deviation of the noise by which the action's
    `disturb(batch, deviation, copies, share)` moves parts of an example against each other; for
    actions that have one.
    """

    def __init__(self, distribution: Distribution, action: Action, jitter: float = 0.0) -> None:
        super().__init__()
        self.distribution = distribution
        self.action = action
        self.jitter = jitter

    def draw(self, copies: int, graphs: int) -> Float[Tensor, "copies graphs n n"]:
        """Elements of the group, in float32 whatever the precision of the network."""
        with torch.autocast(self.distribution.caps.device.type, enabled=False):
            return self.distribution.group.exp(self.distribution.rsample(copies, graphs))

    def forward(
        self,
        batch: Batch,
        copies: int = 1,
        share: Share | None = None,
        elements: Float[Tensor, "copies whole n n"] | None = None,
    ) -> tuple[Any, Float[Tensor, "all n n"]]:
        """The moved batch of copies x graphs examples (copies outermost), and the elements.

        share: of a whole batch that is spread over processes; the elements are those that one
        process would draw for all of it.
        elements: for the whole batch, where they have been drawn already.
        """
        share = share or Share(len(batch))
        if not self.distribution.moves:
            n, device = self.distribution.group.dimension + 1, self.distribution.caps.device
            identity = torch.eye(n, device=device).expand(copies * len(batch), n, n)
            return self._disturbed(batch.repeat(copies), copies, share), identity
        if elements is None:
            with torch.autocast(self.distribution.caps.device.type, enabled=False):
                self.distribution.look(batch)
            elements = self.draw(copies, share.whole)
        mine = elements[:, share.first :: share.step].flatten(0, 1)
        moved = self.action.act(mine, batch.repeat(copies))
        return self._disturbed(moved, copies, share), mine

    def _disturbed(self, batch: Any, copies: int, share: Share) -> Any:
        if not (self.training and self.jitter):
            return batch
        return self.action.disturb(batch, self.jitter, copies, share)  # type: ignore[attr-defined]
