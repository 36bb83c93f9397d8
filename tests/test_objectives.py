"""Which widths an objective settles at, in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from molaug.distributions import Haar, LearnedUniform
from molaug.groups import SE3
from molaug.objectives import NormReward, ScaleFree, SquaredReward, build_objective

STRICTNESS = ScaleFree().strictness


def width_gradient(objective, loss_of_widths, costs=0.0, initial=0.3):
    law = LearnedUniform(SE3(), initial)
    law.costs.fill_(costs)
    loss = loss_of_widths(law.widths)
    objective(loss, law).backward()
    return law.parameter.grad


def test_scale_free_does_not_know_the_unit_of_the_loss():
    loss = lambda w: 1 + w.square().sum()  # noqa: E731
    small = width_gradient(ScaleFree(), loss)
    large = width_gradient(ScaleFree(), lambda w: 1000 * loss(w))
    assert torch.allclose(1000 * small, large, rtol=1e-4)


def test_scale_free_balances_where_loss_rises_by_lambda_per_cent():
    """With loss = w_rx^0.02 a per cent of width costs 0.02 per cent of loss."""
    loss = lambda w: w[0] ** 0.02  # noqa: E731
    assert width_gradient(ScaleFree(0.02), loss)[0].abs() < 1e-6
    assert width_gradient(ScaleFree(0.03), loss)[0] < 0  # reward wins: the width grows
    assert width_gradient(ScaleFree(0.01), loss)[0] > 0


def test_scale_free_leaves_the_gradient_of_the_network_alone():
    weight = torch.tensor(2.0, requires_grad=True)
    loss = weight**2
    ScaleFree()(loss, LearnedUniform(SE3())).backward()
    assert float(weight.grad) == 4.0


def test_what_a_generator_costs_takes_its_reward_away_down_to_the_least():
    reward = [
        -width_gradient(ScaleFree(), lambda w: 1 + 0 * w.sum(), costs) for costs in (0, 0.2, 5, 50)
    ]
    assert torch.allclose(reward[1] / reward[0], torch.tensor(math.exp(-0.2 * STRICTNESS)))
    assert torch.equal(reward[2], reward[3])
    assert (reward[3] > 0).all()


def test_a_move_that_improves_the_loss_earns_no_more_than_one_that_is_free():
    free, better = (width_gradient(ScaleFree(), lambda w: w.sum(), c) for c in (0.0, -0.5))
    assert torch.equal(free, better)


def test_each_cost_belongs_to_its_own_generator():
    law = LearnedUniform(SE3(), generators=["ry", "tz"])
    law.costs.copy_(torch.tensor([9.0, 0.0, 9.0, 9.0, 9.0, 9.0]))
    ScaleFree()(torch.tensor(1.0), law).backward()
    assert law.parameter.grad[0] < 10 * law.parameter.grad[1] < 0


def test_norm_reward_is_off_as_a_whole_once_one_width_passes_its_shutdown():
    law = LearnedUniform(SE3(), 0.3)
    on = NormReward(0.1, shutdown=10.0)(torch.tensor(1.0), law)
    assert math.isclose(on.item(), 1 - 0.1 * law.widths.norm().item(), rel_tol=1e-5)
    assert NormReward(0.1, shutdown=1.0)(torch.tensor(1.0), law).item() == 1.0


def test_squared_reward():
    law = LearnedUniform(SE3(), 0.3)
    value = SquaredReward(0.1)(torch.tensor(1.0), law)
    assert math.isclose(value.item(), 1 - 0.1 * law.widths.square().sum().item(), rel_tol=1e-5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("scale_free", ScaleFree), ("norm", NormReward), ("squared", SquaredReward)],
)
def test_objectives_are_built_by_name_and_reward(name, kind):
    assert build_objective(name) == kind()
    assert build_objective(name, 0.0) == kind(0.0)
    assert build_objective(name, 0.7) == kind(weight=0.7)


@pytest.mark.parametrize("name", ["scale_free", "norm", "squared"])
def test_fixed_laws_pay_and_earn_nothing(name):
    value = build_objective(name)(torch.tensor(1.5), Haar(SE3(), 5.0))
    assert float(value) == 1.5


def test_unknown_objective_is_refused():
    with pytest.raises(ValueError, match="choose scale_free"):
        build_objective("nrom")
