"""Two groups at once, such as a move of the plane and a change of colour."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from molaug.augmentation import Action
from molaug.groups import Generator, Group


def _shift(member: Generator, by: int) -> Generator:
    """The same generator, `by` rows and columns further down the diagonal."""
    return replace(member, entries=tuple((i + by, j + by, value) for i, j, value in member.entries))


@final
class Product(Group):
    """Pairs of elements, [[g, 0], [0, k]], with the generators of the first group and then those of
    the second. Elements of the one commute with those of the other."""

    def __init__(self, first: Group, second: Group) -> None:
        self.first, self.second = first, second
        self.size = first.dimension + 1  # rows of the upper block
        self.dimension = self.size + second.dimension
        self.members = (*first.members, *(_shift(member, self.size) for member in second.members))

    def exp(self, coefficients: Float[Tensor, "*batch algebra"]) -> Float[Tensor, "*batch n n"]:
        upper, lower = coefficients.split([len(self.first.members), len(self.second.members)], -1)
        g, k = self.first.exp(upper), self.second.exp(lower)
        above = torch.cat([g, g.new_zeros(*g.shape[:-1], k.shape[-1])], -1)
        below = torch.cat([k.new_zeros(*k.shape[:-1], self.size), k], -1)
        return torch.cat([above, below], -2)


@dataclass(frozen=True)
class ProductAction:
    """Acts with the second element of each pair and then with the first; outputs the other way.

    size: rows of an element of the first group, `Product.size`.

    Take the plane first and colour second: colour then changes the picture before padding appears.
    """

    first: Action
    second: Action
    size: int

    def act(self, elements: Float[Tensor, "graphs n n"], batch: Any) -> Any:
        """The batch with example i moved by both blocks of elements[i]."""
        g, k = self._split(elements)
        return self.first.act(g, self.second.act(k, batch))

    def act_on_output(self, elements: Float[Tensor, "graphs n n"], prediction: Tensor) -> Tensor:
        """The predictions for the moved examples, brought back."""
        g, k = self._split(elements)
        return self.second.act_on_output(k, self.first.act_on_output(g, prediction))

    def _split(self, elements: Tensor) -> tuple[Tensor, Tensor]:
        n = self.size
        return elements[..., :n, :n], elements[..., n:, n:]
