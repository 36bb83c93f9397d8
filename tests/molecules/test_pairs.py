"""Pairs of atoms: the gradient written by hand, and the product that is called a convolution."""

from __future__ import annotations

import contracts
import pytest
import torch
from torch import nn

from molaug.molecules.pairs import PairGeometry, PairLinear

CENTRES = torch.linspace(0.6, 6.0, 5, dtype=torch.float64)


@pytest.mark.parametrize("directed", [True, False])
def test_features_and_envelope_are_as_defined(directed):
    positions = contracts.random_batch().positions
    features, envelope = PairGeometry.apply(positions, CENTRES, 1.7, 4.0, directed)
    difference = positions[:, None] - positions[:, :, None]
    distance = difference.norm(dim=-1, keepdim=True)
    expected = torch.exp(-1.7 * (distance - CENTRES) ** 2)
    torch.testing.assert_close(features[..., :5], expected, atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(
        envelope, torch.exp(-(distance[..., 0] ** 2) / 16), atol=1e-6, rtol=0
    )
    if directed:
        direction = difference / (distance + 1)
        torch.testing.assert_close(features[..., 5:], direction, atol=1e-3, rtol=0)
    assert features.shape[-1] == (8 if directed else 5)


@pytest.mark.parametrize("directed", [True, False])
def test_its_gradient_is_that_of_finite_differences(directed):
    positions = contracts.random_batch((4, 3)).positions.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: PairGeometry.apply(x, CENTRES, 1.7, 4.0, directed), (positions,)
    )


def test_two_atoms_in_one_place_have_a_finite_gradient():
    positions = torch.zeros(1, 2, 3, requires_grad=True)
    features, envelope = PairGeometry.apply(positions, CENTRES.float(), 1.7, 4.0, True)
    (features.sum() + envelope.sum()).backward()
    assert positions.grad.isfinite().all()


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_map_of_pairs_is_a_linear_map(bias):
    pairs, weights = torch.randn(4, 7, 7, 5, requires_grad=True), PairLinear(5, 6, bias=bias)
    found = weights(pairs)
    expected = nn.functional.linear(pairs, weights.weight, weights.bias)
    torch.testing.assert_close(found, expected)
    learned = [pairs, *weights.parameters()]
    ours = torch.autograd.grad(found.sin().sum(), learned)
    torch.testing.assert_close(ours, torch.autograd.grad(expected.sin().sum(), learned))
