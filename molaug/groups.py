"""Matrix Lie groups: generators and exponential maps as homogeneous matrices.

An element of a group acting on points of `dimension` d is a (d+1, d+1) matrix

    g = exp(sum_i a_i G_i) = [[A, t], [0, 1]],        x -> A x + t,

with real coefficients a_i, one per generator G_i. The inverse of exp(a) is exp(-a). Everything runs
on the device of the coefficients, without a host synchronisation, and is differentiable with finite
gradients everywhere, at the identity too.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Kind = Literal["rotation", "translation", "shear", "squeeze", "scale"]


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


@cache  # kept on its device: a copy from the host at every step would stop a GPU
def _basis(
    members: tuple[Generator, ...], size: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    basis = torch.zeros(len(members), size, size, dtype=dtype)
    for i, member in enumerate(members):
        for row, column, value in member.entries:
            basis[i, row, column] = value
    return basis.to(device)


class Group(ABC):
    """A matrix Lie group; subclasses are final and give `members` and `exp`."""

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

    @abstractmethod
    def exp(self, coefficients: Float[Tensor, "*batch algebra"]) -> Float[Tensor, "*batch n n"]:
        """The element exp(sum_i a_i G_i)."""


def _bottom_row(linear: Tensor, translation: Tensor) -> Tensor:
    """[[A, t], [0, 1]] from A (..., d, d) and t (..., d)."""
    top = torch.cat([linear, translation[..., None]], -1)
    row = torch.zeros_like(top[..., :1, :])
    row[..., -1] = 1.0
    return torch.cat([top, row], -2)


# ------------------------------------------------------------------------------------ the plane


def _functions_of_square(z: Tensor) -> tuple[Tensor, Tensor]:
    """cosh(sqrt z) and sinh(sqrt z) / sqrt z, for z of either sign (cos and sinc for z < 0).

    Both are entire functions of z; near zero their series replaces the quotient, and the argument
    of the branch that is not taken is moved away from zero so that its gradient stays finite.
    """
    small = z.abs() < 1e-2
    safe = torch.where(small, torch.ones_like(z), z)
    root = safe.abs().sqrt()
    hyperbolic, bounded = safe > 0, torch.where(safe > 0, root, torch.zeros_like(root))
    cosine = torch.where(hyperbolic, bounded.cosh(), root.cos())
    sine = torch.where(hyperbolic, bounded.sinh(), root.sin()) / root
    cosine_series = 1 + z / 2 * (1 + z / 12 * (1 + z / 30 * (1 + z / 56)))
    sine_series = 1 + z / 6 * (1 + z / 20 * (1 + z / 42 * (1 + z / 72)))
    return torch.where(small, cosine_series, cosine), torch.where(small, sine_series, sine)


def _exp_2x2(matrix: Float[Tensor, "*batch 2 2"]) -> Float[Tensor, "*batch 2 2"]:
    """exp(M) = e^m (cosh(s) I + sinh(s)/s B), with m = tr(M)/2, B = M - m I and s^2 = -det B."""
    identity = torch.eye(2, dtype=matrix.dtype, device=matrix.device)
    mean = (matrix[..., 0, 0] + matrix[..., 1, 1])[..., None, None] / 2
    rest = matrix - mean * identity
    square = rest[..., 0, 0] ** 2 + rest[..., 0, 1] * rest[..., 1, 0]
    cosine, sine = _functions_of_square(square)
    return mean.exp() * (cosine[..., None, None] * identity + sine[..., None, None] * rest)


@cache
def _quadrature(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Nodes and weights (2, 12) of the Gauss-Legendre rule on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    return torch.tensor(np.stack([(nodes + 1) / 2, weights / 2]), dtype=dtype, device=device)


def _exp_plane(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Closed exponential of [[M, u], [0, 0]]: exp(M) and t = (int_0^1 exp(s M) ds) u.

    The integral has removable singularities wherever M does not invert; Gauss-Legendre quadrature
    of the closed form has none and is exact to rounding for |M| up to a full turn.
    """
    linear, velocity = matrix[..., :2, :2], matrix[..., :2, 2:]
    nodes, weights = _quadrature(matrix.device, matrix.dtype)
    path = _exp_2x2(linear[..., None, :, :] * nodes[:, None, None])
    average = (path * weights[:, None, None]).sum(-3)
    return _bottom_row(_exp_2x2(linear), (average @ velocity).squeeze(-1))


@cache
def _taylor(device: torch.device, dtype: torch.dtype) -> Tensor:
    """(3, 4): 1 / k! for k = 1 to 12."""
    terms = [1 / math.factorial(k) for k in range(1, 13)]
    return torch.tensor(terms, dtype=dtype, device=device).unflatten(0, (3, 4))


def _exp_scaled(matrix: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """Scaling and squaring, exp(M) = T_12(M / 64)^64, for |M| up to about 20.

    `torch.linalg.matrix_exp` looks at the norms on the host to choose its degree, which stops a
    GPU at every step; a fixed degree does not.
    """
    scaled = matrix.reshape(-1, *matrix.shape[-2:]) / 64
    square = scaled @ scaled
    fourth = square @ square
    # T_12 - 1 in few products (Paterson and Stockmeyer 1973); without 1 small entries keep digits.
    powers = torch.stack([scaled, square, square @ scaled, fourth]).flatten(1)
    low, middle, high = (_taylor(matrix.device, matrix.dtype) @ powers).unflatten(1, scaled.shape)
    rest = torch.baddbmm(low, fourth, torch.baddbmm(middle, fourth, high))
    for _ in range(6):
        rest = torch.baddbmm(rest, rest, rest, beta=2)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return (identity + rest).reshape(matrix.shape)


_R = Generator("r", "rotation", ((0, 1, -1.0), (1, 0, 1.0)), math.pi, "rad")
_TX = Generator("tx", "translation", ((0, 2, 1.0),), 1.0, "half-sides")
_TY = Generator("ty", "translation", ((1, 2, 1.0),), 1.0, "half-sides")


class _Plane(Group):
    dimension = 2

    def exp(self, coefficients: Float[Tensor, "*batch algebra"]) -> Float[Tensor, "*batch 3 3"]:
        basis = self.generators(coefficients.device, coefficients.dtype)
        return _exp_plane(torch.einsum("...a,aij->...ij", coefficients, basis))


@final
class SO2(_Plane):
    """Rotations of the plane: r [rad]."""

    members = (_R,)


@final
class SE2(_Plane):
    """Rotation and translations of the plane: r, tx, ty."""

    members = (_R, _TX, _TY)


@final
class Aff2(_Plane):
    """All affine maps of the plane: r, tx, ty, scale, squeeze (x out, y in), shear (along 45 deg).

    Squeeze and shear are the two symmetric traceless directions, so that each generator is a pure
    kind: an upper-triangular shear would be half a rotation.
    """

    members = (
        _R,
        _TX,
        _TY,
        Generator("scale", "scale", ((0, 0, 1.0), (1, 1, 1.0))),
        Generator("squeeze", "squeeze", ((0, 0, 1.0), (1, 1, -1.0))),
        Generator("shear", "shear", ((0, 1, 1.0), (1, 0, 1.0))),
    )


# ------------------------------------------------------------------------------------ space


@cache
def _series(device: torch.device, dtype: torch.dtype) -> Tensor:
    """(6, 3): coefficients of (-z)^n in sin(t)/t, (1 - cos t)/t^2 and (t - sin t)/t^3, z = t^2."""
    rows = [[1 / math.factorial(start + 2 * n) for start in (1, 2, 3)] for n in range(6)]
    return torch.tensor(rows, dtype=dtype, device=device)


def _rotation_series(square: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 3"]:
    """sin(t)/t, (1 - cos t)/t^2 and (t - sin t)/t^3 as functions of t^2, smooth at zero."""
    small = square < 1e-1
    safe = torch.where(small, 1.0, square)
    angle = safe.sqrt()
    sine = angle.sin()
    closed = [sine / angle, (1 - angle.cos()) / safe, (angle - sine) / (safe * angle)]
    # One polynomial for all three: every operation on so little data costs only its call.
    series = _series(square.device, square.dtype)
    value = series[5]
    for n in range(4, -1, -1):
        value = torch.addcmul(series[n], square[..., None], value, value=-1)
    return torch.where(small[..., None], value, torch.stack(closed, -1))


def skew(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrix K of the cross product: K x = vector x x."""
    basis = _basis(_ROTATIONS, 3, vector.device, vector.dtype)
    return (vector @ basis.flatten(1)).unflatten(-1, (3, 3))


def _exp_rotation(vector: Tensor) -> tuple[Tensor, Tensor]:
    """R = I + a K + b K^2 (Rodrigues) and V = I + b K + c K^2, with t = V u."""
    square = vector.square().sum(-1)
    series = _rotation_series(square)[..., None, None]
    # K^2 = v v^T - |v|^2 I is cheaper and more exact than a product of matrices.
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    k_square = vector[..., :, None] * vector[..., None, :] - square[..., None, None] * identity
    k = skew(vector)[..., None, :, :]
    both = torch.addcmul(
        identity, series[..., :2, :, :], k
    )  # R and V along the third axis from last
    both = torch.addcmul(both, series[..., 1:, :, :], k_square[..., None, :, :])
    rotation, v = both.unbind(-3)
    return rotation, v


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
        return _bottom_row(_exp_rotation(coefficients)[0], torch.zeros_like(coefficients))


@final
class SE3(Group):
    """Rigid motions of space: rx, ry, rz [rad], tx, ty, tz [length]."""

    dimension = 3
    members = (*_ROTATIONS, *_TRANSLATIONS)

    def exp(self, coefficients: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 4 4"]:
        rotation, v = _exp_rotation(coefficients[..., :3])
        return _bottom_row(rotation, (v @ coefficients[..., 3:, None]).squeeze(-1))


@final
class Aff3(Group):
    """All affine maps of space: 3 rotations, 3 translations, 3 shears, 2 squeezes, 1 scale.

    Shears and squeezes are the five symmetric traceless directions. The only group here without a
    closed exponential.
    """

    dimension = 3
    members = (*_ROTATIONS, *_TRANSLATIONS, *_STRETCHES)

    def exp(self, coefficients: Float[Tensor, "*batch 12"]) -> Float[Tensor, "*batch 4 4"]:
        basis = self.generators(coefficients.device, coefficients.dtype)
        return _exp_scaled(torch.einsum("...a,aij->...ij", coefficients, basis))


GROUPS: dict[str, type[Group]] = {
    "so2": SO2,
    "se2": SE2,
    "aff2": Aff2,
    "so3": SO3,
    "se3": SE3,
    "aff3": Aff3,
}
