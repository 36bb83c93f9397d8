"""Averages over moved copies: exact where nothing moves, symmetric where everything does."""

from __future__ import annotations

import pytest
import torch

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel, Scaling
from molaug.distributions import Distribution, Haar, Identity, LearnedUniform, Uniform
from molaug.groups import SE3, SO3
from molaug.molecules.action import MoleculeAction
from molaug.molecules.batch import MoleculeBatch


class Moments(torch.nn.Module):
    """Not invariant: scalars, vectors and tensors that depend on how a molecule is oriented."""

    def __init__(self, output: str) -> None:
        super().__init__()
        self.output = output

    def forward(self, batch):
        x = batch.positions
        if self.output == "scalar":
            return (x[..., 0] ** 3).sum(1)
        vector = (x * torch.tensor([1.0, 2.0, -1.0])).sum(1) * (1 + x[..., :1].sum(1))
        return vector if self.output == "vector" else vector[:, :, None] * x.sum(1)[:, None]


def model(law: Distribution, output: str = "scalar") -> AveragedModel:
    return AveragedModel(Moments(output), Augmentation(law, MoleculeAction(output)))


def draw_batch(graphs: int = 5) -> MoleculeBatch:
    return MoleculeBatch(torch.randn(graphs, 4, 3), torch.full((graphs, 4), 6))


@pytest.mark.parametrize("law", [Identity(SE3()), Uniform(SE3(), [0.0] * 6)])
@pytest.mark.parametrize("output", ["scalar", "vector", "tensor"])
@pytest.mark.parametrize("copies", [1, 2, 4])
def test_no_width_is_the_network_itself_bit_for_bit(law, output, copies):
    batch = draw_batch()
    assert torch.equal(model(law, output)(batch, copies), Moments(output)(batch))


@pytest.mark.parametrize("output", ["scalar", "vector", "tensor"])
def test_average_over_all_rotations_is_equivariant(output):
    """Within Monte-Carlo error; the network alone is far from it."""
    averaged, alone = model(Haar(SO3()), output), Moments(output)
    action, batch = MoleculeAction(output), draw_batch(3)
    elements = SO3().exp(torch.randn(3, 3))
    turned = action.act(elements, batch)
    back = action.act_on_output(elements, averaged(turned, 20_000))
    scale = alone(batch).abs().mean()
    assert (back - averaged(batch, 20_000)).abs().max() / scale < 0.15
    assert (action.act_on_output(elements, alone(turned)) - alone(batch)).abs().max() / scale > 0.3


def test_more_copies_vary_less():
    batch, averaged = draw_batch(), model(Haar(SO3()))
    spread = [
        torch.stack([averaged(batch, copies) for _ in range(50)]).var(0).mean()
        for copies in (1, 4, 16)
    ]
    assert spread[0] > 2 * spread[1] > 4 * spread[2]


def test_copies_are_outermost_and_stay_with_their_molecule():
    """A width of zero but for a network that only sees which molecule it is."""
    batch = draw_batch()
    assert torch.allclose(
        model(Identity(SE3()))(batch, 3), torch.stack([Moments("scalar")(batch)] * 3).mean(0)
    )
    moved, elements = Augmentation(LearnedUniform(SE3()), MoleculeAction())(batch, 3)
    again = MoleculeAction().act(elements, batch.repeat(3))
    assert torch.equal(moved.positions, again.positions)


def test_widths_receive_a_gradient():
    law = LearnedUniform(SE3(), 0.3)
    model(law)(draw_batch()).sum().backward()
    assert (law.parameter.grad[:3] != 0).all()


def test_scaling_survives_a_state_dict():
    one = Scaling(-6000.0, 600.0)
    other = Scaling()
    other.load_state_dict(one.state_dict())
    values = torch.randn(5, dtype=torch.float64) * 600 - 6000
    assert torch.allclose(other.to_physical(other.to_standard(values)), values, atol=1e-3)


def test_predictions_are_physical_and_carry_no_gradient():
    averaged = model(LearnedUniform(SE3()))
    averaged.scaling = Scaling(10.0, 2.0)
    batch = draw_batch()
    torch.manual_seed(5)
    predicted = averaged.predict(batch, 2)
    torch.manual_seed(5)
    assert torch.allclose(predicted, 10 + 2 * averaged(batch, 2).double())
    assert predicted.dtype == torch.float64
    assert not predicted.requires_grad
