"""Averages over moved copies: exact where nothing moves, symmetric where everything does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel, Scaling, build_scaling, scaling_of
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
        vector = (x * x.new_tensor([1.0, 2.0, -1.0])).sum(1) * (1 + x[..., :1].sum(1))
        return vector if self.output == "vector" else vector[:, :, None] * x.sum(1)[:, None]


class Icosahedral(Distribution):
    """The 60 rotations of an icosahedron, one to each copy. They average polynomials of up to the
    fifth degree exactly as all rotations do, and `Moments` has no higher."""

    def __init__(self) -> None:
        super().__init__(SO3())
        self.vectors = torch.from_numpy(Rotation.create_group("I").as_rotvec())

    def rsample(self, copies, graphs):
        return self.vectors[:copies, None].expand(copies, graphs, 3)

    @property
    def widths(self):
        return self.caps


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
    """And neither the network alone nor half of the average is."""
    averaged, action = model(Icosahedral(), output), MoleculeAction(output)
    batch = MoleculeBatch(torch.randn(5, 4, 3).double(), torch.full((5, 4), 6))
    elements = SO3().exp(torch.randn(5, 3).double())
    turned = action.act(elements, batch)

    def error(copies: int) -> float:
        back = action.act_on_output(elements, averaged(turned, copies))
        return float((back - averaged(batch, copies)).abs().max())

    assert error(60) < 1e-10
    assert min(error(1), error(30)) > 0.1


@pytest.mark.parametrize("output", ["scalar", "vector", "tensor"])
def test_independent_draws_average_to_the_same(output):
    """Each component within six standard errors of the exact mean."""
    batch = draw_batch(3)
    double = MoleculeBatch(batch.positions.double(), batch.charges)
    exact = model(Icosahedral(), output)(double, 60)
    draws = torch.stack([model(Haar(SO3()), output)(batch, 40) for _ in range(100)]).double()
    assert ((draws.mean(0) - exact).abs() < 6 * draws.std(0) / 10).all()


def test_more_copies_vary_less():
    batch, averaged = draw_batch(), model(Haar(SO3()))
    spread = [
        torch.stack([averaged(batch, copies) for _ in range(50)]).var(0).mean()
        for copies in (1, 4, 16)
    ]
    assert spread[0] > 2 * spread[1] > 4 * spread[2]


@pytest.mark.parametrize("copies", [1, 2, 3])
@pytest.mark.parametrize(
    ("output", "shape"), [("scalar", ()), ("vector", (3,)), ("tensor", (3, 3))]
)
def test_one_prediction_per_molecule_whatever_the_copies(output, shape, copies):
    batch = draw_batch()
    before = batch.positions.clone()
    assert model(Haar(SE3(), 1.0), output)(batch, copies).shape == (5, *shape)
    assert torch.equal(batch.positions, before)


def test_reduction_sees_copies_first():
    averaged = model(Identity(SE3()))
    averaged.reduction = lambda predictions: predictions[2]
    batch = draw_batch()
    assert torch.equal(averaged(batch, 3), Moments("scalar")(batch))


def test_widths_receive_a_gradient():
    law = LearnedUniform(SE3(), 0.3)
    model(law)(draw_batch()).sum().backward()
    assert (law.parameter.grad[:3] != 0).all()


def test_scaling_survives_a_state_dict():
    one = model(Identity(SE3()))
    one.scaling = Scaling(-6000.0, 600.0)
    other = model(Identity(SE3()))
    other.load_state_dict(one.state_dict())
    values = torch.randn(5, dtype=torch.float64) * 600 - 6000
    standard = other.scaling.to_standard(values)
    assert standard.dtype == torch.float32
    assert standard.abs().max() < 5
    assert torch.allclose(other.scaling.to_physical(standard), values, atol=1e-3)


def test_scaling_keeps_millielectronvolts_of_a_total_energy():
    scaling = Scaling(-11_000_000.3, 1.0)
    assert scaling.to_physical(torch.tensor([0.25])).item() == -11_000_000.3 + 0.25


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


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 0.0), (0.0, -1.0), (float("nan"), 1.0)])
def test_a_scaling_that_loses_the_prediction_is_refused(shift, scale):
    with pytest.raises(ValueError, match="a finite shift and a scale above 0"):
        Scaling(shift, scale)


def test_an_average_is_of_one_copy_at_least():
    with pytest.raises(ValueError, match="copies=0: average over at least 1"):
        model(Identity(SE3())).predict(draw_batch(), copies=0)


@pytest.mark.parametrize("shape", [(), (3,), (3, 3)])
def test_values_that_are_all_the_same_are_left_at_their_size(shape):
    values = np.full((100, *shape), 0.0 if shape else 7.1)  # the mean of 7.1 is off by rounding
    scaling = build_scaling(values)
    assert scaling.shift.item() == pytest.approx(values.mean(), rel=1e-12)
    assert scaling.scale.item() == 1


def test_a_spread_is_kept_however_small_beside_the_mean():
    values = 1e7 + np.array([0.0, 1.0])
    assert build_scaling(values).scale.item() == pytest.approx(0.5)
    assert scaling_of(1e7, 1e-3).scale.item() == 1e-3
    assert scaling_of(1e7, 1e-9).scale.item() == 1
    assert scaling_of(0.0, 1e-30).scale.item() == 1e-30


def test_an_equivariant_target_is_not_shifted():
    scaling = build_scaling(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    assert float(scaling.shift) == 0
    assert np.isclose(float(scaling.scale), np.sqrt(28 / 6))


def test_equal_values_of_any_precision_have_no_deviation():
    scaling = build_scaling(np.full(1000, 0.1, np.float32))
    assert float(scaling.scale) == 1.0
