"""Pairs of atoms: the gradient written by hand, and the product that is called a convolution."""

from __future__ import annotations

import contracts
import pytest
import torch
from torch import nn

from molaug.molecules.pairs import (
    PairGeometry,
    PairLinear,
    PairTerms,
    gather_messages,
    multiply,
    pair_terms,
)

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


@pytest.mark.parametrize("in_place", [True, False])
def test_terms_of_all_layers_at_once_are_those_of_each(in_place):
    pairs = torch.randn(2, 3, 3, 5, dtype=torch.float64)
    weights = torch.randn(4, 6, 5, dtype=torch.float64)
    slopes = torch.randn(4, 2, 3, 3, 6, dtype=torch.float64)

    class Slope(torch.autograd.Function):
        """Gradients where the terms lay, as kernels leave them, or elsewhere."""

        @staticmethod
        def forward(ctx, term, slope):
            ctx.term, ctx.slope = term, slope
            return (term * slope).sum()

        @staticmethod
        def backward(ctx, above):
            found = ctx.slope * above
            return (ctx.term.data.copy_(found) if in_place else found), None

    found = []
    for at_once in (True, False):
        ours = [one.clone().requires_grad_() for one in (pairs, weights)]
        if at_once:
            terms = PairTerms.apply(ours[0], torch.cat([*ours[1]]), len(weights))
        else:
            terms = pair_terms(ours[0], [*ours[1]])
        total = sum(Slope.apply(t, s) for t, s in zip(terms, slopes, strict=True))
        total.backward()
        found.append([total.detach(), ours[0].grad, ours[1].grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_terms_are_made_one_layer_after_another_where_no_kernels_wait_for_them():
    pairs, weights = torch.randn(1, 2, 2, 3), torch.randn(2, 4, 3)
    terms = pair_terms(pairs, [*weights])
    assert not isinstance(terms, tuple)
    for term, weight in zip(terms, weights, strict=True):
        torch.testing.assert_close(term, multiply(pairs, weight))


def test_messages_are_summed_with_their_weights():
    terms, ends, envelope = torch.randn(2, 3, 3, 4), torch.randn(2, 3, 8), torch.rand(2, 3, 3)
    found = gather_messages(terms, ends, envelope)
    for g, i in ((0, 0), (1, 2)):
        said = nn.functional.silu(terms[g, i] + ends[g, i, :4] + ends[g, :, 4:])
        torch.testing.assert_close(found[g, i], envelope[g, i] @ said)
