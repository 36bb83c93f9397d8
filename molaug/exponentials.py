"""Exponentials of matrices in closed form or of a fixed degree, for the groups, and inverses.

On the device of their arguments, without a host synchronisation; differentiable with finite
gradients everywhere, at zero too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

F = TypeVar("F", bound=Callable[..., object])


def constant(make: F) -> F:
    """`functools.cache` for tensors: made as ordinary ones even where inference mode is on, because
    others may train with them."""
    return cache(torch.inference_mode(False)(make))  # type: ignore[return-value]


def homogeneous(linear: Tensor, translation: Tensor) -> Tensor:
    """[[A, t], [0, 1]] from A (..., d, d) and t (..., d)."""
    top = torch.cat([linear, translation[..., None]], -1)
    row = _last_row(top.shape[-1], top.device, top.dtype)
    return torch.cat([top, row.expand(*top.shape[:-2], 1, -1)], -2)


@constant
def _last_row(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(1, size): 0, ..., 0, 1."""
    return torch.eye(size, dtype=dtype, device=device)[-1:]


@constant
def _taylor(device: torch.device, dtype: torch.dtype) -> Tensor:
    """(3, 4): 1 / k! for k = 1 to 12."""
    terms = [1 / math.factorial(k) for k in range(1, 13)]
    return torch.tensor(terms, dtype=dtype, device=device).unflatten(0, (3, 4))


def exp_scaled(matrix: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
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


NEAR = 0.05  # |v|^2 below which a series replaces quotients


@constant
def _series(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Coefficients of (-z)^n, highest first, in cos t, sin(t)/t, (1 - cos t)/t^2 and
    (t - sin t)/t^3 of z = t^2."""
    rows = [[1 / math.factorial(start + 2 * n) for start in range(4)] for n in range(5, -1, -1)]
    return torch.tensor(rows, dtype=dtype, device=device).unbind()


def _rotation_functions(square: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 4"]:
    """cos t, sin(t)/t, (1 - cos t)/t^2 and (t - sin t)/t^3 as functions of t^2, smooth at zero."""
    safe = square.clamp_min(NEAR)
    angle = safe.sqrt()
    cosine, quotient = angle.cos(), angle.sin() / angle
    closed = [cosine, quotient, (1 - cosine) / safe, (1 - quotient) / safe]
    # One polynomial for all four: every operation on so little data costs only its call.
    value, *rest = _series(square.device, square.dtype)
    near = square.clamp_max(NEAR)[..., None]
    for coefficients in rest:
        value = torch.addcmul(coefficients, near, value, value=-1)
    return torch.where((square < NEAR)[..., None], value, torch.stack(closed, -1))


@constant
def _cross(device: torch.device, dtype: torch.dtype) -> Tensor:
    """(3, 9): the matrices of the cross products with x, y and z."""
    basis = torch.zeros(3, 3, 3, dtype=dtype)
    for i in range(3):
        basis[i, (i + 1) % 3, (i + 2) % 3], basis[i, (i + 2) % 3, (i + 1) % 3] = -1.0, 1.0
    return basis.flatten(1).to(device)


def skew(vector: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrix K of the cross product: K x = vector x x."""
    return (vector @ _cross(vector.device, vector.dtype)).unflatten(-1, (3, 3))


def exp_rotation(vector: Tensor) -> tuple[Tensor, Tensor]:
    """R = I + a K + b K^2 (Rodrigues) and V = I + b K + c K^2, with t = V u.

    With K^2 = v v^T - |v|^2 I they are R = cos|v| I + a K + b v v^T and V = a I + b K + c v v^T.
    """
    functions = _rotation_functions(vector.square().sum(-1))[..., None, None]
    identity = _identity(vector.device, vector.dtype)
    # R and V along the third axis from last.
    both = functions[..., :2, :, :] * identity
    both = torch.addcmul(both, functions[..., 1:3, :, :], skew(vector)[..., None, :, :])
    outer = vector[..., :, None] * vector[..., None, :]
    both = torch.addcmul(both, functions[..., 2:, :, :], outer[..., None, :, :])
    rotation, v = both.unbind(-3)
    return rotation, v


@constant
def _identity(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.eye(3, dtype=dtype, device=device)


def invert(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """A^-1 = adj(A) / det(A), whose columns are cross products of the rows of A; a library that
    factorises matrices may wait for the device."""
    x, y, z = matrix.unbind(-2)
    columns = torch.stack([torch.linalg.cross(a, b) for a, b in ((y, z), (z, x), (x, y))], -1)
    return columns / (x * columns[..., 0]).sum(-1)[..., None, None]
