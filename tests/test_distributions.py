"""Laws over coefficients: their range, uniformity, gradients, and the exact identity at zero."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from molaug.distributions import (
    DISBELIEVED,
    DOUBTFUL,
    Haar,
    Identity,
    LearnedUniform,
    Uniform,
    haar_rotation_vectors,
    stratified_uniform,
)
from molaug.groups import SE2, SE3, SO2, SO3, Aff3

FAILURE_RATE = 1e-6  # of a test against a sampled law, over all possible seeds


def test_learned_starts_at_the_same_share_of_every_cap():
    law = LearnedUniform(Aff3(), 0.05)
    assert torch.allclose(law.widths / law.caps, torch.full((12,), 0.05))


@pytest.mark.parametrize("value", [-50.0, -3.0, 0.0, 3.0, 50.0])
def test_widths_are_positive_and_capped(value):
    law = LearnedUniform(SE3())
    torch.nn.init.constant_(law.parameter, value)
    widths = law.widths
    assert ((widths > 0) & (widths <= law.caps)).all()
    widths.sum().backward()
    assert law.parameter.grad.isfinite().all()


def test_samples_stay_inside_and_reach_the_widths():
    law = LearnedUniform(SE3(), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    draws = law.rsample(1, 20_000).flatten(0, 1).abs()
    assert (draws <= law.widths).all()
    assert (draws.amax(0) > 0.999 * law.widths).all()


@pytest.mark.parametrize("copies", [1, 2, 8])
def test_every_copy_alone_is_uniform(copies):
    draws = stratified_uniform(copies, 4000, 2, torch.zeros(1))
    for copy in (0, copies - 1):
        assert stats.kstest(draws[copy, :, 0], stats.uniform(-1, 2).cdf).pvalue > FAILURE_RATE


def test_copies_visit_every_interval_once():
    strata = ((stratified_uniform(8, 50, 3, torch.zeros(1)) + 1) * 4).floor().sort(0).values
    assert torch.equal(strata, torch.arange(8.0)[:, None, None].expand(8, 50, 3))


def test_stratified_copies_lower_the_variance_of_an_average():
    independent = (2 * torch.rand(8, 2000, 1) - 1).square().mean(0).var()
    assert stratified_uniform(8, 2000, 1, torch.zeros(1)).square().mean(0).var() < independent / 4


def test_only_chosen_generators_open():
    law = LearnedUniform(SE3(), generators=["rz", "tx"])
    assert torch.equal(law.widths > 0, torch.tensor([0, 0, 1, 1, 0, 0]).bool())
    assert len(law.learned) == 2
    draws = law.rsample(3, 5)
    assert (draws[..., [0, 1, 4, 5]] == 0).all()


def test_wrong_names_and_widths_are_refused():
    with pytest.raises(ValueError, match="no generator rq"):
        LearnedUniform(SE3(), generators=["rq"])
    with pytest.raises(ValueError, match="between 0 and 1"):
        LearnedUniform(SE3(), 1.5)


def test_caps_can_be_given():
    law = LearnedUniform(SE3(), 0.5, caps={"tx": 1.0})
    assert math.isclose(law.widths[3].item(), 0.5, rel_tol=1e-5)


def test_gradient_of_a_width_is_that_of_finite_differences():
    """With common random numbers the sample is a smooth function of the widths."""
    law = LearnedUniform(SE3(), 0.3).double()
    point = torch.randn(4, dtype=torch.float64)

    def moved(parameter):
        torch.manual_seed(3)
        return torch.func.functional_call(law, {"parameter": parameter}, (1, 16), strict=False)

    law.forward = lambda copies, graphs: (
        law.group.exp(law.rsample(copies, graphs)).to(point) @ point
    ).square()
    assert torch.autograd.gradcheck(moved, law.parameter.detach().clone().requires_grad_())


def test_identity_and_zero_widths_do_nothing_at_all():
    for law in (Identity(SE3()), Uniform(SE3(), [0.0] * 6)):
        elements = law.group.exp(law.rsample(2, 3))
        assert torch.equal(elements, torch.eye(4).expand(2, 3, 4, 4))


def test_haar_rotations_are_uniform():
    """The angle has density (1 - cos t) / pi, and every matrix entry of R averages to zero."""
    vectors = haar_rotation_vectors(stratified_uniform(1, 20_000, 3, torch.zeros(1))[0])
    angle = vectors.norm(dim=1)
    cdf = lambda t: (t - torch.sin(torch.as_tensor(t)).numpy()) / math.pi  # noqa: E731
    assert stats.kstest(angle.numpy(), cdf).pvalue > FAILURE_RATE
    mean = SO3().exp(vectors)[:, :3, :3].mean(0)
    assert mean.abs().amax() < 5.5 * math.sqrt(1 / 3 / 20_000)


@pytest.mark.parametrize("group", [SO2(), SE2(), SO3(), SE3()])
def test_fixed_law_has_all_rotations_and_the_asked_for_translations(group):
    law = Haar(group, 2.0)
    draws = law.rsample(1, 8000)[0]
    assert draws.shape == (8000, len(group.members))
    turns = len(law.turns)
    moves = draws[:, turns:]
    for move in moves.unbind(1):
        assert math.isclose(float(move.std()), 2.0 / math.sqrt(3), rel_tol=0.1)
    assert draws[:, :turns].norm(dim=1).amax() <= math.pi + 1e-5


def test_rotations_are_found_wherever_they_stand_among_the_generators():
    class Reordered(SE2):
        members = SE2.members[::-1]

    law = Haar(Reordered())
    draws = law.rsample(1, 8000)[0]
    assert law.widths.tolist() == pytest.approx([0, 0, math.pi])
    assert float(draws[:, 2].std()) == pytest.approx(math.pi / math.sqrt(3), rel=0.1)
    assert not draws[:, :2].any()


def test_rotations_that_have_all_opened_are_uniform_and_a_single_one_stays_a_box():
    law = LearnedUniform(SE3(), 0.999999).eval()
    rotations = law.group.exp(law.rsample(1, 20_000)[0])[:, :3, :3]
    assert rotations.mean(0).abs().amax() < 5.5 * math.sqrt(1 / 3 / 20_000)
    one = LearnedUniform(SE3(), [0.01, 0.01, 0.999999, 0.1, 0.1, 0.1]).eval().rsample(1, 4000)
    uniform = stats.uniform(-math.pi, 2 * math.pi).cdf
    assert stats.kstest(one[0, :, 2].detach(), uniform).pvalue > FAILURE_RATE


def test_a_full_box_of_rotation_vectors_would_not_be_uniform():
    """What the change of law in LearnedUniform is for: the negative control of the test above."""
    vectors = math.pi * stratified_uniform(1, 20_000, 3, torch.zeros(1))[0]
    assert SO3().exp(vectors)[:, :3, :3].mean(0).abs().amax() > 0.1


def share_beyond_the_widths(law: LearnedUniform) -> torch.Tensor:
    """Of draws, by generator; one over the whole range stays inside a width of 1 % in one of a
    hundred cases."""
    beyond = (law.rsample(1, 20_000)[0].abs() > law.widths).float()
    assert beyond.sum(1).amax() == 1
    return beyond.mean(0) / 0.99


def test_probes_visit_the_whole_range_of_one_learned_generator_while_training():
    law = LearnedUniform(SE3(), 0.01, generators=["rx", "ty"])
    law.probing.fill_(0.8)
    law.whole_costs.fill_(DOUBTFUL)
    asked = share_beyond_the_widths(law)
    assert asked[[1, 2, 3, 5]].sum() == 0
    expected = 0.4 * math.exp(-((DOUBTFUL / DISBELIEVED) ** 2))
    assert (asked[[0, 4]] - expected).abs().amax() < 5 * math.sqrt(expected / 20_000)
    assert (law.eval().rsample(1, 2000)[0].abs() <= law.widths).all()


def test_what_is_in_doubt_is_probed_most_what_costs_nothing_little_and_what_is_false_hardly():
    law = LearnedUniform(SE3(), 0.01)
    law.probing.fill_(0.9)
    law.whole_costs.copy_(torch.tensor([-0.5, 0.0, 0.2, 0.45, 0.9, 12.0]))
    law.costs.fill_(0.08)  # as far as a symmetry goes that ends: probes go beyond
    asked = share_beyond_the_widths(law) / 0.15
    assert asked[:2].tolist() == pytest.approx([1 / 8, 1 / 8], rel=0.25)
    assert asked[2] == pytest.approx(math.exp(-((0.2 / 0.35) ** 2)), rel=0.1)
    assert asked[3] == pytest.approx(math.exp(-((0.45 / 0.35) ** 2)), rel=0.2)
    assert asked[4] < 0.01
    assert asked[5] == 0


def test_directions_that_still_turn_have_the_probes_of_what_costs_nothing():
    law = LearnedUniform(SE3(), 0.01, directions=True)
    law.probing.fill_(0.8)
    law.whole_costs.fill_(0.2)
    asked = share_beyond_the_widths(law)
    assert torch.allclose(asked, torch.full((6,), 0.1 / 6), rtol=0.3)


def test_without_probing_training_draws_are_those_of_the_law():
    law = LearnedUniform(SE3(), 0.3)
    torch.manual_seed(0)
    training = law.rsample(2, 50)
    torch.manual_seed(0)
    assert torch.equal(training, law.eval().rsample(2, 50))


def test_learned_directions_start_at_the_generators_and_turn_within_each_kind():
    law = LearnedUniform(SE3(), [0.4, 0.01, 0.01, 0.3, 0.01, 0.01], directions=True)
    assert torch.equal(law.directions, torch.eye(6))
    torch.nn.init.normal_(law.turns)
    axes = law.directions
    assert torch.allclose(axes @ axes.T, torch.eye(6), atol=1e-6)
    assert (axes[:3, 3:] == 0).all()
    assert (axes[3:, :3] == 0).all()
    draws = law.rsample(1, 4000)[0]
    assert (draws @ axes.T).abs().amax(0).le(law.widths * 1.0001).all()
    widest = torch.linalg.svd(draws[:, :3])[2][0]
    assert (widest @ axes[0, :3]).abs() > 0.999


def test_a_width_along_a_learned_direction_pulls_the_direction():
    """Moving along x is free, along y it costs: the wide direction must turn towards x."""
    law = LearnedUniform(SE3(), [0.5, 0.05, 0.05, 0.1, 0.1, 0.1], directions=True)
    with torch.no_grad():
        law.turns[0, 2] = 0.5
    law.rsample(1, 4000)[0, :, 1].square().mean().backward()
    assert law.turns.grad[0, 2] > 0
    assert law.turns.grad[0, :2].abs().amax() < 0.1 * law.turns.grad[0, 2]


def test_directions_need_whole_spaces():
    with pytest.raises(ValueError, match="let all three"):
        LearnedUniform(SE3(), generators=["rx", "ry", "tx", "ty", "tz"], directions=True)


def test_no_draw_goes_beyond_the_limit():
    law = LearnedUniform(SE3(), 0.5).eval()
    law.limit.fill_(0.05)
    assert (law.rsample(1, 4000)[0].abs().amax(0) / law.caps <= 0.05).all()
    assert torch.allclose(law.widths, 0.5 * law.caps)


def test_a_width_beyond_the_limit_still_feels_the_loss():
    law = LearnedUniform(SE3(), 0.5, ["tx"]).eval()
    law.limit.fill_(0.05)
    law.rsample(1, 4000).square().mean().backward()
    assert float(law.parameter.grad) > 0


def test_widths_and_caps_must_be_those_of_the_group():
    with pytest.raises(ValueError, match="2 widths for the 6 generators of SE3"):
        Uniform(SE3(), [1.0, 2.0])
    for cap in (-1.0, 0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"cap of tx .*: must be above 0 and finite"):
            LearnedUniform(SE3(), caps={"tx": cap})
