"""The two equivariant networks of ours, and whether the checks of networks can fail."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import contracts
import pytest
import torch
from e3nn import o3
from torch import nn

from molaug.molecules.batch import MoleculeBatch
from molaug.molecules.equivariant import E3nnNetwork, Linear, squares
from molaug.molecules.geometry import separations
from molaug.molecules.networks import GraphNetwork, build_network
from molaug.molecules.vector_channels import VectorChannelNetwork

KINDS = ("scalar", "vector", "tensor")


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """e3nn keeps its coupling coefficients in the default type of when a network is built."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@cache
def equivariant(name: str, kind: str) -> nn.Module:
    return contracts.awaken(build_network(name, output=kind, channels=12, layers=2))


@pytest.mark.parametrize("check", [*contracts.SYMMETRIES, *contracts.CONTRACT])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["e3nn", "vector_channels"])
def test_contract(name, kind, check):
    check(equivariant(name, kind), kind)


@pytest.mark.parametrize("name", ["e3nn", "vector_channels"])
def test_tensors_are_symmetric_and_traceless(name):
    prediction = equivariant(name, "tensor")(contracts.random_batch())
    torch.testing.assert_close(prediction, prediction.mT)
    trace = prediction.diagonal(dim1=1, dim2=2).sum(1)
    torch.testing.assert_close(trace, torch.zeros(len(prediction)))


@pytest.mark.parametrize("name", ["e3nn", "vector_channels"])
def test_prediction_does_not_jump_as_an_atom_leaves(name):
    """Gaussians of the distance fade, with no cutoff for an atom to cross."""
    batch = contracts.random_batch((3,))

    def predict(distance: float) -> torch.Tensor:
        positions = batch.positions.clone()
        positions[0, 2] = torch.tensor([distance, 0.0, 0.0])
        with torch.no_grad():
            return equivariant(name, "scalar")(MoleculeBatch(positions, batch.charges))

    for distance in (1.0, 3.5, 5.0):
        step = predict(distance + 1e-7) - predict(distance)
        assert step.abs().max() < 1e-4


@pytest.mark.parametrize("network", [E3nnNetwork, VectorChannelNetwork])
def test_defaults_are_small_and_start_near_unit_scale(network):
    built = network()
    assert 5e4 < sum(parameter.numel() for parameter in built.parameters()) < 1.5e5
    with torch.no_grad():
        assert built(contracts.random_batch((18,) * 8)).abs().max() < 1


def test_e3nn_stays_in_full_precision():
    network, batch = equivariant("e3nn", "vector"), contracts.random_batch()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = network(batch)
    assert torch.equal(mixed, network(batch))


@pytest.mark.parametrize("level", ["coordinates", "vectors"])
def test_a_network_without_rotations_is_not_invariant(level):
    network = contracts.awaken(GraphNetwork(level=level, channels=12, layers=2))
    rotation = contracts.random_rotations(1)[0]
    error = contracts.invariance_error(network, contracts.random_batch(), "scalar", rotation)
    assert error > 1e-2
    with pytest.raises(AssertionError):
        contracts.check_rotations(network, "scalar")


class Faulty(nn.Module):
    """An invariant of every molecule, with one fault."""

    def __init__(self, fault: str = "none") -> None:
        super().__init__()
        self.fault, self.weight = fault, nn.Parameter(torch.randn(119))

    def forward(self, batch: MoleculeBatch) -> torch.Tensor:
        x, mask = batch.positions, batch.mask
        distance, direction, _ = separations(batch)
        weight = self.weight[batch.charges] * mask
        pair = weight[:, :, None] * weight[:, None] * (distance - 1)
        prediction = pair.sum((1, 2)) + weight.sum(1)
        match self.fault:
            case "rotations":
                prediction = prediction + (weight * x[..., 0]).square().sum(1)
            case "reflections":
                arms = torch.einsum("gij,gijx,gikx->gjkx", pair, direction, direction)
                axis = torch.linalg.cross(arms[:, 0], arms[:, 1])
                prediction = prediction + (axis * arms[:, 2]).sum((1, 2))
            case "translations":
                prediction = prediction + x.square().sum((1, 2))
            case "permutations":
                prediction = prediction + weight[:, 0]
            case "padding":
                prediction = prediction + x.sum((1, 2)) - (x * mask[..., None]).sum((1, 2))
            case "single":
                prediction = prediction + prediction.mean()
            case "elements":
                prediction = prediction - prediction + distance.sum((1, 2))
            case "gradients":
                norm = (x[:, :, None] - x[:, None]).square().sum(-1).sqrt()
                prediction = prediction + (norm * mask[:, :, None] * mask[:, None]).sum((1, 2))
            case "purity":
                prediction = prediction + torch.rand(())
        return prediction


@pytest.mark.parametrize("check", [*contracts.SYMMETRIES, *contracts.CONTRACT])
def test_a_check_passes_what_is_right(check):
    check(Faulty(), "scalar")


@pytest.mark.parametrize(
    "fault",
    [
        "rotations",
        "reflections",
        "translations",
        "permutations",
        "padding",
        "single",
        "elements",
        "gradients",
        "purity",
    ],
)
def test_a_check_finds_its_fault(fault):
    with pytest.raises(AssertionError):
        getattr(contracts, f"check_{fault}")(Faulty(fault), "scalar")


def test_a_network_that_predicts_nothing_is_no_evidence():
    silent = Faulty()
    nn.init.zeros_(silent.weight)
    with pytest.raises(AssertionError, match="predicts nothing"):
        contracts.check_rotations(silent, "scalar")


def test_linear_acts_as_its_weights_say():
    """Inputs of l = 1 from two blocks, so that the norm counts both."""
    linear = Linear(o3.Irreps("3x0e + 2x1o + 4x1o"), o3.Irreps("5x0e + 6x1o"))
    x = torch.randn(7, linear.irreps_in.dim)
    scalars = x[:, :3] @ linear.weight[:15].reshape(3, 5)
    torch.testing.assert_close(linear(x)[:, :5], scalars)
    vectors = x[:, 3:].reshape(7, 6, 3)
    weight = linear.weight[15:].reshape(6, 6)
    torch.testing.assert_close(
        linear(x)[:, 5:], torch.einsum("nim,io->nom", vectors, weight).flatten(1)
    )


def test_weights_start_at_the_size_of_their_inputs():
    weight = Linear(o3.Irreps("100x1o + 300x1o"), o3.Irreps("100x1o")).weight
    assert weight.std().item() == pytest.approx(400**-0.5, rel=0.02)


def test_squares_hold_every_product_once():
    product = squares(o3.Irreps("3x0e + 3x1o + 3x2e"))
    assert product.irreps_out.simplify() == o3.Irreps("9x0e + 12x1o + 12x2e")
    x, y = torch.randn(27), torch.randn(27)
    torch.testing.assert_close(product(x, y)[:3].abs(), (x * y)[:3].abs())
