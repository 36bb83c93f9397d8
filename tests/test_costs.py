"""Costs of networks whose symmetries are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.costs import GOLDEN, PARTIAL, measure_costs, unsettled
from molaug.distributions import LearnedUniform, Uniform
from molaug.groups import SE3
from molaug.molecules.action import MoleculeAction
from molaug.molecules.batch import MoleculeBatch
from molaug.molecules.data import load_sample
from molaug.molecules.tasks import MoleculeExamples
from molaug.task import absolute_loss

UP = SE3().names.index("tz")


def test_costs_are_nothing_where_the_network_is_symmetric_and_all_where_it_is_not():
    """The true value is the height of the first atom: moving up and turning about x destroy it."""
    molecules = load_sample().take(np.arange(60))
    heights = molecules.positions[molecules.offsets[:-1], 2].astype(np.float64)
    examples = MoleculeExamples(molecules, heights)
    action = MoleculeAction()
    law = LearnedUniform(SE3())

    class Height(torch.nn.Module):
        def forward(self, batch):
            return batch.positions[:, 0, 2]

    model = AveragedModel(Height(), Augmentation(law, action))
    costs = measure_costs(model, [examples.gather(torch.arange(60))], absolute_loss)
    assert costs is law.costs
    assert (costs[[2, 3, 4]].abs() < 1e-5).all()  # rz, tx, ty
    assert (costs[[0, 1, 5]] > 0.5).all()
    again = measure_costs(model, [examples.gather(torch.arange(60))], absolute_loss).clone()
    assert torch.equal(costs, again)


class Signed(torch.nn.Module):
    """Of every second molecule the negative, so that the mean of what is predicted is zero."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch):
        return signs(len(batch)) * self.network(batch)


def signs(count: int) -> torch.Tensor:
    return 1.0 - 2 * (torch.arange(count) % 2)


class Window(torch.nn.Module):
    """The height of the first atom, of which nothing is left beyond `edge` Angstrom from zero."""

    def __init__(self, edge: float) -> None:
        super().__init__()
        self.edge = edge

    def forward(self, batch):
        height = batch.positions[:, 0, 2]
        return 1.0 * (height.abs() < self.edge)


ATOMS = MoleculeBatch(torch.zeros(128, 1, 3), torch.ones(128, 1, dtype=torch.int))


def cost_of_moving_up(network, target: float, share: float) -> float:
    """Of 128 atoms at the origin, with a width of that share of 5 Angstrom."""
    law = LearnedUniform(SE3(), share)
    model = AveragedModel(Signed(network), Augmentation(law, MoleculeAction()))
    return float(measure_costs(model, [(ATOMS, target * signs(128))], absolute_loss)[UP])


def test_costs_are_the_same_whatever_the_mean_of_the_targets():
    """Of a model that was given no scaling, too."""

    class Height(torch.nn.Module):
        def forward(self, batch):
            return 100 + batch.positions[:, 0, 2]

    atoms = MoleculeBatch(torch.randn(128, 1, 3), ATOMS.charges)
    model = AveragedModel(Height(), Augmentation(LearnedUniform(SE3()), MoleculeAction()))
    costs = measure_costs(model, [(atoms, 100 + atoms.positions[:, 0, 2])], absolute_loss)
    assert costs[UP] > 1
    assert costs[0] > 0.3
    assert (costs[[2, 3, 4]] < 1e-4).all()


def test_a_constant_learned_from_equal_targets_costs_nothing():
    class One(torch.nn.Module):
        def forward(self, batch):
            return torch.ones(len(batch))

    model = AveragedModel(One(), Augmentation(LearnedUniform(SE3()), MoleculeAction()))
    assert measure_costs(model, [(ATOMS, torch.ones(128))], absolute_loss).tolist() == [0.0] * 6


def test_a_symmetry_that_ends_somewhere_costs_little_until_the_width_is_there():
    window = Window(0.4 * 5.0)
    assert cost_of_moving_up(window, 1.0, 0.1) == pytest.approx(PARTIAL)
    assert cost_of_moving_up(window, 1.0, 0.2) == pytest.approx(PARTIAL)
    beyond = pytest.approx(0.6, abs=0.02)  # of the range lies beyond the edge
    assert cost_of_moving_up(window, 1.0, 0.4) == beyond
    assert cost_of_moving_up(window, 1.0, 0.9) == beyond


def test_the_cost_of_the_whole_range_is_kept_whatever_ends_within_it():
    law = LearnedUniform(SE3(), 0.1)
    model = AveragedModel(Signed(Window(0.4 * 5.0)), Augmentation(law, MoleculeAction()))
    costs = measure_costs(model, [(ATOMS, signs(128))], absolute_loss, places=[UP])
    assert costs[UP] == pytest.approx(PARTIAL)
    assert law.whole_costs.tolist() == pytest.approx([0.0] * UP + [0.6], abs=0.02)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_a_smooth_cost_is_no_less_for_a_small_width(share):
    """The prediction is 1 where it should be, and falls by the square of the height."""

    class Hill(torch.nn.Module):
        def forward(self, batch):
            return 1 - batch.positions[:, 0, 2].square() / 25

    third = pytest.approx(1 / 3, rel=0.02)  # the mean of u^2 over [-1, 1]
    assert cost_of_moving_up(Hill(), 1.0, share) == third


def test_changes_that_raise_some_losses_as_much_as_they_lower_others_bend_nothing():
    """Residuals of both signs, and a change small beside them: what is left to chance by a
    difference of losses is left out, and the bend is exactly zero up to where residuals end."""

    class Tilt(torch.nn.Module):
        def forward(self, batch):
            side = 1 - 2 * (torch.arange(len(batch)) // 2 % 2)
            return 2.0 + 0.5 * side + 2 * batch.positions[:, 0, 2].abs() / 5

    # Half of the residuals are 0.5 and half -0.5; moves change predictions by up to 2.
    assert cost_of_moving_up(Tilt(), 2.0, 0.1) == pytest.approx(PARTIAL)


def test_an_end_is_not_believed_in_for_the_noise_of_few_examples():
    """Of a false symmetry, with residuals far larger than the small moves: the bend that is seen
    comes from the few examples whose residual changes its sign."""

    class Height(torch.nn.Module):
        def forward(self, batch):
            return batch.positions[:, 0, 2]

    model = AveragedModel(Height(), Augmentation(LearnedUniform(SE3(), 0.01), MoleculeAction()))
    for _ in range(20):
        places = 3 * torch.randn(384, 1, 3)
        atoms = MoleculeBatch(places, ATOMS.charges.repeat(3, 1))
        target = places[:, 0, 2] + 2 * torch.randn(384)
        found, whole = (
            measure_costs(model, [(atoms, target)], absolute_loss, [UP], ends=ends)[UP].item()
            for ends in (True, False)
        )
        assert found > 0.5 * whole > 0.2


def test_widths_that_are_open_and_free_need_not_be_measured_again():
    law = LearnedUniform(SE3(), [0.95, 0.95, 0.5, 0.05], ["rx", "ry", "rz", "tz"])
    law.costs.copy_(torch.tensor([0.01, 0.3, 0.01, 0.0, 0.0, 0.5]))
    assert unsettled(law, 0.9) == [1, 2, UP]
    assert unsettled(law, 0.99) == [0, 1, 2, UP]
    assert unsettled(Uniform(SE3(), [1.0] * 6), 0.9) == []  # nothing is learned


def test_generators_that_are_not_asked_about_keep_their_costs():
    law = LearnedUniform(SE3(), 0.9)
    law.costs.fill_(7.0)
    model = AveragedModel(Signed(Window(2.0)), Augmentation(law, MoleculeAction()))
    costs = measure_costs(model, [(ATOMS, signs(128))], absolute_loss, places=[UP])
    assert costs.tolist() == pytest.approx([7.0] * UP + [0.6], abs=0.02)


def test_targets_of_another_shape_than_predictions_are_refused():
    molecules = load_sample().take(np.arange(8))
    batch, target = MoleculeExamples(molecules, np.arange(8.0)).gather(torch.arange(8))

    class Height(torch.nn.Module):
        def forward(self, batch):
            return batch.positions[:, 0, 2]

    model = AveragedModel(Height(), Augmentation(LearnedUniform(SE3()), MoleculeAction()))
    with pytest.raises(ValueError, match=r"predictions \(8,\) for targets \(8, 1\)"):
        measure_costs(model, [(batch, target[:, None])], absolute_loss)


def test_a_model_in_training_mode_keeps_its_mode_and_its_running_statistics():
    class Normalised(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(1)

        def forward(self, batch):
            return self.norm(batch.positions[:, 0, 2:])[:, 0]

    molecules = load_sample().take(np.arange(60))
    examples = MoleculeExamples(molecules, np.arange(60.0))
    model = AveragedModel(Normalised(), Augmentation(LearnedUniform(SE3()), MoleculeAction()))
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    measure_costs(model, [examples.gather(torch.arange(60))], absolute_loss)
    assert all(torch.equal(value, before[n]) for n, value in model.network.state_dict().items())
    assert all(part.training for part in model.modules())


def test_costs_are_shares_of_what_the_better_constant_leaves():
    """Of skewed numbers the median, with an absolute loss."""
    molecules = load_sample().take(np.arange(200))
    torch.manual_seed(0)
    examples = MoleculeExamples(molecules, (2 * torch.randn(200)).exp().double().numpy())
    batch, targets = examples.gather(torch.arange(200))

    class Half(torch.nn.Module):
        """The median, and less the lower the first atom is."""

        def forward(self, batch):
            return targets.median() * (1 + 0.1 * batch.positions[:, 0, 2].clamp(max=0))

    model = AveragedModel(Half(), Augmentation(LearnedUniform(SE3()), MoleculeAction()))
    cost = measure_costs(model, [(batch, targets)], absolute_loss, ends=False)[UP]
    elements = model.augmentation.distribution.group.exp(
        torch.eye(6)[UP] * 5 * (2 * (torch.arange(200) * GOLDEN % 1) - 1)[:, None]
    )
    moved = absolute_loss(Half()(MoleculeAction().act(elements, batch)), targets)
    still = absolute_loss(Half()(batch), targets)
    constant = absolute_loss(targets.median(), targets)
    assert constant < 0.8 * absolute_loss(targets.mean(), targets)
    learned = max(constant - still, 0.05 * constant)
    assert cost == pytest.approx(float((moved - still) / learned), rel=1e-4)
    assert cost > 0.02
