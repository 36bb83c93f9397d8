"""The residual network: shapes, independence of examples, and a start without residuals."""

from __future__ import annotations

import pytest
import torch

from molaug.images.batch import ImageBatch
from molaug.images.networks import ResidualBlock, ResidualNetwork


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 28, 28), (3, 32, 32), (1, 8, 20)])
def test_logits_of_small_pictures(channels, height, width):
    network = ResidualNetwork(inputs=channels, classes=7)
    logits = network(ImageBatch.whole(torch.rand(5, channels, height, width)))
    assert logits.shape == (5, 7)
    assert len(network(ImageBatch.whole(torch.rand(0, channels, height, width)))) == 0


def test_its_size():
    network = ResidualNetwork(inputs=3, classes=10)
    assert 60_000 < sum(p.numel() for p in network.parameters()) < 120_000


def test_an_example_does_not_depend_on_its_batch():
    network, images = ResidualNetwork(inputs=1, classes=4), torch.rand(6, 1, 28, 28)
    together = network(ImageBatch.whole(images))
    alone = network(ImageBatch.whole(images[2:3]))
    assert torch.allclose(together[2:3], alone, atol=1e-5)
    assert not list(network.buffers())


def test_a_block_starts_as_the_identity():
    x = torch.rand(2, 8, 6, 6)
    assert torch.equal(ResidualBlock(8, 8, stride=1)(x), x)


def test_every_parameter_learns_after_a_step():
    network = ResidualNetwork(inputs=1, classes=4)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        logits = network(ImageBatch.whole(torch.rand(8, 1, 28, 28)))
        torch.nn.functional.cross_entropy(logits, torch.arange(8) % 4).backward()
        optimizer.step()
    assert all(p.grad.abs().amax() > 0 for p in network.parameters())
