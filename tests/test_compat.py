"""The reference's behaviours, as numbers that can be derived by hand."""

from __future__ import annotations

import math

import pytest
import torch

from molaug.compat import OneSidedUniform, RungeKuttaGroup, build_compat
from molaug.groups import SE3, SO3, Aff3


@pytest.mark.parametrize(("angle", "length"), [(2.0, 0.745), (math.pi, 2.02)])
def test_one_step_does_not_keep_lengths(angle, length):
    """|1 - a^2/2 + a^4/24 + i (a - a^3/6)|, where a rotation has 1."""
    element = RungeKuttaGroup(SO3()).exp(torch.tensor([0.0, 0.0, angle]))
    found = (element[:3, :3] @ torch.tensor([1.0, 0, 0])).norm().item()
    expected = math.hypot(1 - angle**2 / 2 + angle**4 / 24, angle - angle**3 / 6)
    assert math.isclose(found, expected, rel_tol=1e-5)
    assert math.isclose(found, length, rel_tol=0.01)


def test_a_half_turn_is_the_taylor_polynomial_at_pi():
    element = RungeKuttaGroup(SO3()).exp(torch.tensor([0.0, 0.0, math.pi]))
    cosine, sine = 1 - math.pi**2 / 2 + math.pi**4 / 24, math.pi - math.pi**3 / 6
    expected = torch.tensor([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    assert torch.allclose(element[:3, :3], expected, atol=1e-5)
    assert math.isclose(cosine, 0.124, abs_tol=1e-3)


def test_small_steps_are_exact_to_fifth_order():
    coefficients = 0.01 * torch.randn(20, 12, dtype=torch.float64)
    difference = RungeKuttaGroup(Aff3()).exp(coefficients) - Aff3().exp(coefficients)
    assert difference.abs().amax() < 1e-8


def test_draws_are_one_sided_and_widths_start_at_one():
    law = build_compat(SE3())
    assert isinstance(law, OneSidedUniform)
    assert torch.allclose(law.widths, torch.ones(6))
    draws = law.rsample(4, 1000).detach()
    assert (draws >= 0).all()
    assert (draws <= 1.0001).all()
    assert (draws.amax((0, 1)) > 0.99).all()
