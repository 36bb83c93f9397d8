"""Matrix Lie groups: generators and exponential maps as homogeneous matrices.

An element of a group acting on points of `dimension` d is a (d+1, d+1) matrix

    g = exp(sum_i a_i G_i) = [[A, t], [0, 1]],        x -> A x + t,

with real coefficients a_i, one per generator G_i. The inverse of exp(a) is exp(-a). Everything runs
on the device of the coefficients, without a host synchronisation, and is differentiable with finite
gradients everywhere, at the identity too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from .exponentials import constant, exp_rotation, exp_scaled, homogeneous

Kind = Literal[
    "rotation", "translation", "shear", "squeeze", "scale",
    "hue", "brightness", "contrast", "saturation",
]  # fmt: skip


@dataclass(frozen=True)
class Generator:
    """One direction of a Lie algebra.

    cap: the natural range of its coefficient: pi for a rotation, 1 for a shear, squeeze or scale (a
    factor e) and for a translation of the plane (half an image), 5 (Angstrom) for one of space.
    unit: of its coefficient: rad, A (Angstrom), half-sides (of the shorter side of an image), or
    nothing for the logarithm of a factor.
    """

    name: str
    kind: Kind
    entries: tuple[tuple[int, int, float], ...]  # (row, column, value) of the homogeneous matrix
    cap: float = 1.0
    unit: str = ""


_CPU = torch.device("cpu")


@constant  # kept on its device: a copy from the host at every step would stop a GPU
def _basis(
    members: tuple[Generator, ...], size: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    basis = torch.zeros(len(members), size, size, dtype=dtype)
    for i, member in enumerate(members):
        for row, column, value in member.entries:
            basis[i, row, column] = value
    return basis.to(device)


class Group:
    """A matrix Lie group; subclasses are final and give `members`, and where there is one a closed
    form of `exp`."""

    dimension: int
    members: tuple[Generator, ...]

    @property
    def exact(self) -> Group:
        """The same group with the true exponential."""
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(member.name for member in self.members)

    def generators(
        self, device: torch.device = _CPU, dtype: torch.dtype = torch.float32
    ) -> Float[Tensor, "algebra n n"]:
        """The basis G_i of the algebra as homogeneous matrices."""
        return _basis(self.members, self.dimension + 1, device, dtype)

    def exp(self, coefficients: Float[Tensor, "*batch algebra"]) -> Float[Tensor, "*batch n n"]:
        """The element exp(sum_i a_i G_i)."""
        basis = self.generators(coefficients.device, coefficients.dtype)
        return exp_scaled(torch.einsum("...a,aij->...ij", coefficients, basis))


# ------------------------------------------------------------------------------------ the plane


_R = Generator("r", "rotation", ((0, 1, -1.0), (1, 0, 1.0)), math.pi, "rad")
_TX = Generator("tx", "translation", ((0, 2, 1.0),), 1.0, "half-sides")
_TY = Generator("ty", "translation", ((1, 2, 1.0),), 1.0, "half-sides")


@final
class SO2(Group):
    """Rotations of the plane: r [rad]."""

    dimension = 2
    members = (_R,)


@final
class SE2(Group):
    """Rotation and translations of the plane: r, tx, ty."""

    dimension = 2
    members = (_R, _TX, _TY)


@final
class Aff2(Group):
    """All affine maps of the plane: r, tx, ty, scale, squeeze (x out, y in), shear (along 45 deg).

    Squeeze and shear are the two symmetric traceless directions, so that each generator is a pure
    kind: an upper-triangular shear would be half a rotation.
    """

    dimension = 2
    members = (
        _R,
        _TX,
        _TY,
        Generator("scale", "scale", ((0, 0, 1.0), (1, 1, 1.0))),
        Generator("squeeze", "squeeze", ((0, 0, 1.0), (1, 1, -1.0))),
        Generator("shear", "shear", ((0, 1, 1.0), (1, 0, 1.0))),
    )


# ------------------------------------------------------------------------------------ space


_ROTATIONS = (
    Generator("rx", "rotation", ((1, 2, -1.0), (2, 1, 1.0)), math.pi, "rad"),
    Generator("ry", "rotation", ((0, 2, 1.0), (2, 0, -1.0)), math.pi, "rad"),
    Generator("rz", "rotation", ((0, 1, -1.0), (1, 0, 1.0)), math.pi, "rad"),
)
_TRANSLATIONS = tuple(
    Generator(name, "translation", ((axis, 3, 1.0),), 5.0, "A")
    for axis, name in enumerate(("tx", "ty", "tz"))
)
_STRETCHES = (
    Generator("shear_xy", "shear", ((0, 1, 1.0), (1, 0, 1.0))),
    Generator("shear_xz", "shear", ((0, 2, 1.0), (2, 0, 1.0))),
    Generator("shear_yz", "shear", ((1, 2, 1.0), (2, 1, 1.0))),
    Generator("squeeze_xy", "squeeze", ((0, 0, 1.0), (1, 1, -1.0))),
    # Orthogonal to squeeze_xy in the trace form, and of the same norm.
    Generator("squeeze_z", "squeeze", tuple((i, i, v / 3**0.5) for i, v in enumerate((1, 1, -2)))),
    Generator("scale", "scale", tuple((i, i, 1.0) for i in range(3))),
)


@final
class SO3(Group):
    """Rotations of space about the origin: rx, ry, rz [rad], a rotation vector."""

    dimension = 3
    members = _ROTATIONS

    def exp(self, coefficients: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4 4"]:
        return homogeneous(exp_rotation(coefficients)[0], torch.zeros_like(coefficients))


@final
class SE3(Group):
    """Rigid motions of space: rx, ry, rz [rad], tx, ty, tz [length]."""

    dimension = 3
    members = (*_ROTATIONS, *_TRANSLATIONS)

    def exp(self, coefficients: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 4 4"]:
        rotation, v = exp_rotation(coefficients[..., :3])
        return homogeneous(rotation, (v * coefficients[..., None, 3:]).sum(-1))


@final
class Aff3(Group):
    """All affine maps of space: 3 rotations, 3 translations, 3 shears, 2 squeezes, 1 scale.

    Shears and squeezes are the five symmetric traceless directions.
    """

    dimension = 3
    members = (*_ROTATIONS, *_TRANSLATIONS, *_STRETCHES)


GROUPS: dict[str, type[Group]] = {
    "so2": SO2,
    "se2": SE2,
    "aff2": Aff2,
    "so3": SO3,
    "se3": SE3,
    "aff3": Aff3,
}
