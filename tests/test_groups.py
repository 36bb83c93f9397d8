"""Exponential maps: against the general matrix exponential, and the laws of a group."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from molaug.exponentials import constant, skew
from molaug.groups import GROUPS, SE3, SO3, Aff3

NAMES = sorted(GROUPS)


def draw(name: str, scale: float, count: int = 64, dtype: torch.dtype = torch.float64):
    group = GROUPS[name]()
    return group, (2 * torch.rand(count, len(group.members), dtype=dtype) - 1) * scale


def oracle(group, coefficients):
    basis = group.generators(dtype=coefficients.dtype)
    return torch.linalg.matrix_exp(torch.einsum("...a,aij->...ij", coefficients, basis))


@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e-5, 1e-3, 0.1, 0.32, 1.0, 3.0, 4.0])
@pytest.mark.parametrize("name", NAMES)
def test_exponential_is_the_matrix_exponential(name, scale):
    group, coefficients = draw(name, scale)
    exact = oracle(group, coefficients)
    error = (group.exp(coefficients) - exact).abs().amax() / exact.abs().amax()
    assert error < 1e-13


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_keeps_its_digits(name):
    group, coefficients = draw(name, 3.0)
    error = group.exp(coefficients.float()) - oracle(group, coefficients)
    assert error.abs().amax() / oracle(group, coefficients).abs().amax() < 3e-6


@given(name=st.sampled_from(NAMES), scale=st.floats(0, 3), seed=st.integers(0, 10**6))
def test_inverse_is_the_exponential_of_minus(name, scale, seed):
    torch.manual_seed(seed)
    group, coefficients = draw(name, scale, count=4)
    product = group.exp(coefficients) @ group.exp(-coefficients)
    size = group.dimension + 1
    bound = 1e-12 * float(group.exp(coefficients).abs().amax()) ** 2
    assert (product - torch.eye(size)).abs().amax() < bound


@given(name=st.sampled_from(NAMES), s=st.floats(-1, 1), t=st.floats(-1, 1))
def test_one_parameter_subgroups_add(name, s, t):
    group, direction = draw(name, 1.0, count=3)
    together = group.exp((s + t) * direction)
    assert torch.allclose(group.exp(s * direction) @ group.exp(t * direction), together, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_zero_is_exactly_the_identity(name):
    group, coefficients = draw(name, 0.0, dtype=torch.float32)
    assert torch.equal(group.exp(coefficients), torch.eye(group.dimension + 1).expand(64, -1, -1))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-4, 1.0])
def test_gradient_is_that_of_finite_differences(name, scale):
    group, coefficients = draw(name, scale, count=2)
    assert torch.autograd.gradcheck(group.exp, coefficients.requires_grad_())


@pytest.mark.parametrize("name", NAMES)
def test_gradient_at_the_identity_is_the_generators(name):
    group = GROUPS[name]()
    zero = torch.zeros(len(group.members), dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(group.exp, zero)
    assert torch.allclose(jacobian.movedim(-1, 0), group.generators(dtype=torch.float64))


@pytest.mark.parametrize("name", NAMES)
def test_generators_are_independent(name):
    group = GROUPS[name]()
    flat = group.generators(dtype=torch.float64).flatten(1)
    assert torch.linalg.matrix_rank(flat) == len(group.members)


@pytest.mark.parametrize("shape", [(), (5,), (2, 3)])
def test_any_leading_shape(shape):
    group = SE3()
    assert group.exp(torch.zeros(*shape, 6)).shape == (*shape, 4, 4)


@given(angle=st.floats(-20, 20), axis=st.integers(0, 2))
def test_rotation_by_an_angle(angle, axis):
    vector = torch.zeros(3, dtype=torch.float64)
    vector[axis] = angle
    rotation = SO3().exp(vector)[:3, :3]
    assert torch.allclose(rotation @ rotation.T, torch.eye(3).double(), atol=1e-12)
    assert math.isclose(float(rotation.trace()), 1 + 2 * math.cos(angle), abs_tol=1e-10)
    assert math.isclose(float(rotation.det()), 1, abs_tol=1e-12)


@given(
    name=st.sampled_from(["shear_xy", "shear_xz", "shear_yz", "squeeze_xy", "squeeze_z"]),
    width=st.floats(-2, 2),
)
def test_shears_and_squeezes_keep_volume_and_scale_does_not(name, width):
    group = Aff3()
    coefficients = torch.zeros(12, dtype=torch.float64)
    coefficients[group.names.index(name)] = width
    assert math.isclose(float(group.exp(coefficients).det()), 1, rel_tol=1e-10)
    coefficients.zero_()[-1] = width
    assert math.isclose(float(group.exp(coefficients).det()), math.exp(3 * width), rel_tol=1e-10)


def test_skew_is_the_cross_product():
    a, b = torch.randn(2, 7, 3)
    assert torch.allclose((skew(a) @ b[..., None]).squeeze(-1), torch.linalg.cross(a, b), atol=1e-6)


def test_constants_that_were_made_within_inference_mode_can_be_trained_with():
    ones = constant(lambda: torch.ones(1))
    with torch.inference_mode():
        assert not ones().is_inference()
        assert torch.empty(1).is_inference()
    assert ones() is ones()
