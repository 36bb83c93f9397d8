"""The reference's behaviours, as numbers that can be derived by hand."""

from __future__ import annotations

import math

import pytest
import torch

from molaug.compat import RungeKuttaGroup, UncappedUniform, build_compat
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


def test_widths_start_at_one_and_know_no_cap():
    law = UncappedUniform(SE3())
    assert torch.allclose(law.widths, torch.ones(6))
    assert torch.allclose(law.rsample(4, 1000).abs().amax((0, 1)), torch.ones(6), atol=0.01)
    torch.nn.init.constant_(law.parameter, 20.0)
    assert (law.widths > 19).all()


def test_all_of_it_together():
    """Coefficients of both signs become one-sided; on translations the exponential is exact."""
    law = build_compat(SE3())
    draws = law.rsample(4, 1000).detach()
    draws[..., :3] = 0
    shifts = law.group.exp(draws)[..., :3, 3]
    assert draws[..., 3:].amin() < -0.99
    torch.testing.assert_close(shifts, draws[..., 3:].abs())
    turn = law.group.exp(torch.tensor([0.0, 0.0, -2.0, 0, 0, 0]))
    torch.testing.assert_close(turn, RungeKuttaGroup(SE3()).exp(torch.tensor([0.0, 0, 2, 0, 0, 0])))
