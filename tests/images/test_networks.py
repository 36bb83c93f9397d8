"""The residual network: shapes, independence of examples, and a start without residuals."""

from __future__ import annotations

import pytest
import torch

from molaug.images.batch import ImageBatch
from molaug.images.config import CLASSIFIERS
from molaug.images.networks import (
    ResidualBlock,
    ResidualNetwork,
    ThirteenLayers,
    build_network,
)


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


@pytest.mark.parametrize("size", [(28, 28), (44, 44), (12, 20)])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_gives_logits_and_learns(name, size):
    network = build_network(name, inputs=1, outputs=3, channels=8, layers=2)
    logits = network(ImageBatch.whole(torch.rand(2, 1, *size)))
    assert logits.shape == (2, 3)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("size", [(48, 64), (13, 21)])
def test_maps_have_the_size_of_the_picture(size):
    network = build_network("unet", inputs=3, outputs=5, channels=8, layers=3)
    batch = ImageBatch.whole(torch.rand(2, 3, *size))
    assert network(batch).shape == (2, 5, *size)


def test_what_is_not_valid_is_not_looked_at():
    network = build_network("unet", inputs=3, outputs=5, channels=8, layers=2)
    images, valid = torch.rand(1, 3, 8, 8), torch.rand(1, 8, 8) > 0.5
    changed = torch.where(valid[:, None], images, torch.rand_like(images))
    same = torch.equal(network(ImageBatch(images, valid)), network(ImageBatch(changed, valid)))
    assert same


def test_the_papers_network_has_thirteen_layers_and_its_size():
    network = ThirteenLayers(inputs=3, classes=10)
    kinds = [type(m).__name__ for m in network.modules()]
    assert kinds.count("Conv2d") + kinds.count("MaxPool2d") + kinds.count("Linear") + 1 == 13
    assert 3.5e6 < sum(p.numel() for p in network.parameters()) < 4.5e6


def test_an_unknown_network_is_named():
    with pytest.raises(ValueError, match="network 'vgg': choose residual"):
        build_network("vgg", inputs=1, outputs=2, channels=8, layers=2)
