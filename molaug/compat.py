"""The behaviour of the method's first molecule code, for measurement beside ours and nothing else.

Three of its properties, each a class so that one can be had without the others: coefficients drawn
from [0, w], one-sided; a matrix exponential that is one Runge-Kutta step, so that a rotation by pi
becomes a scaling by two; widths that start at 1, whatever the generator, and have no cap. (The
fourth, a test on one random copy, is the one-copy column of every table.)
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .distributions import Distribution
from .groups import Group


class AlteredGroup(Group):
    """`group` with another exponential, which subclasses give."""

    def __init__(self, group: Group) -> None:
        self.dimension, self.members, self.group = group.dimension, group.members, group

    @property
    def exact(self) -> Group:
        return self.group.exact


@final
class RungeKuttaGroup(AlteredGroup):
    """`group` with exp replaced by one classical Runge-Kutta step of dX/dt = M X over [0, 1]:
    the Taylor polynomial I + M + M^2/2 + M^3/6 + M^4/24."""

    def exp(self, coefficients: Float[Tensor, "*batch algebra"]) -> Float[Tensor, "*batch n n"]:
        basis = self.generators(coefficients.device, coefficients.dtype)
        matrix = torch.einsum("...a,aij->...ij", coefficients, basis)
        identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        element = identity
        for n in (4, 3, 2, 1):
            element = identity + matrix @ element / n
        return element


@final
class OneSidedGroup(AlteredGroup):
    """`group` with every coefficient taken without its sign: U[-w, w] acts as U[0, w]."""

    def exp(self, coefficients: Float[Tensor, "*batch algebra"]) -> Float[Tensor, "*batch n n"]:
        return self.group.exp(coefficients.abs())


@final
class UncappedUniform(Distribution):
    """a_i ~ U[-w_i, w_i] with w_i = softplus(parameter_i), initially 1, without a cap."""

    def __init__(self, group: Group) -> None:
        super().__init__(group)
        start = torch.ones(len(group.members)).expm1().log()  # softplus^-1(1)
        self.parameter = nn.Parameter(start)

    @property
    def widths(self) -> Float[Tensor, "algebra"]:
        return nn.functional.softplus(self.parameter)

    @property
    def learned(self) -> Float[Tensor, "learned"]:
        return self.widths

    def rsample(self, copies: int, graphs: int) -> Float[Tensor, "copies graphs algebra"]:
        draw = torch.rand(copies, graphs, len(self.parameter), device=self.parameter.device)
        return self.widths * (2 * draw - 1)


def build_compat(group: Group) -> Distribution:
    """The law of `--symmetry augerino_compat`: all of it."""
    return UncappedUniform(OneSidedGroup(RungeKuttaGroup(group)))
