"""The cyclic network: exact for quarter turns, nearly so for 45 degrees; an ordinary one is not."""

from __future__ import annotations

import math

import pytest
import torch

from molaug.images.action import ImageAction
from molaug.images.batch import ImageBatch
from molaug.images.equivariant import STEPS, CyclicConvolution, CyclicNetwork, turned_basis
from molaug.images.networks import ResidualNetwork


def pictures(size: int = 28) -> ImageBatch:
    """Smooth and within the disc that every turn keeps, on grey, as networks see nothing."""
    side = torch.linspace(-1, 1, size)
    x, y = torch.meshgrid(side, side, indexing="xy")
    places = 0.6 * torch.rand(4, 3, 2) - 0.3
    bumps = [
        sum(torch.exp(-((x - a) ** 2 + (y - b) ** 2) / 0.04) for a, b in one.tolist())
        for one in places
    ]
    return ImageBatch.whole(0.5 + 0.4 * torch.stack(bumps)[:, None])


def test_four_turns_of_a_kernel_are_those_of_the_grid():
    basis = turned_basis()
    kernels = torch.randn(basis.shape[1]) @ basis
    for quarter in range(4):
        expected = kernels[0].reshape(5, 5).rot90(quarter).flatten()
        assert torch.allclose(kernels[2 * quarter], expected, atol=1e-5)


@pytest.mark.parametrize("orientations", [1, STEPS])
def test_features_turn_and_move_on_when_the_input_does(orientations):
    layer, x = CyclicConvolution(2, 3, orientations), torch.randn(1, 2, orientations, 9, 9)
    moved = x.rot90(1, (3, 4)).roll(2, 2) if orientations > 1 else x.rot90(1, (3, 4))
    expected = layer(x).rot90(1, (3, 4)).roll(2, 2)
    assert torch.allclose(layer(moved), expected, atol=1e-5)


def test_quarter_turns_of_a_picture_change_nothing():
    network, batch = CyclicNetwork(inputs=1, classes=5), pictures()
    turned = ImageBatch.whole(batch.images.rot90(1, (2, 3)))
    assert torch.allclose(network(turned), network(batch), atol=1e-5)


def change(network: torch.nn.Module, degrees: float) -> float:
    """Of logits when pictures turn by that much, relative to how far those of pictures differ."""
    batch = pictures()
    angle = torch.tensor(math.radians(degrees))
    element = torch.eye(3)
    element[:2, :2] = torch.stack(
        [torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])]
    )
    action = ImageAction(padding="border")
    with torch.no_grad():
        before = network(batch)
        after = network(action.act(element.expand(len(batch), -1, -1), batch))
    return float((after - before).norm() / (before - before.mean(0)).norm())


def test_an_eighth_of_a_turn_changes_little_and_an_ordinary_network_much():
    cyclic = [change(CyclicNetwork(inputs=1, classes=5), 45.0) for _ in range(4)]
    ordinary = [change(ResidualNetwork(inputs=1, classes=5), 45.0) for _ in range(4)]
    assert sum(cyclic) < sum(ordinary) / 4


def test_every_parameter_has_a_gradient():
    network = CyclicNetwork(inputs=1, classes=5)
    network(pictures()).square().sum().backward()
    assert all(p.grad.abs().amax() > 0 for p in network.parameters())
