"""Segmentation commutes with the action where nothing comes from outside."""

from __future__ import annotations

import math

import torch

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import Uniform
from molaug.groups import SO2
from molaug.images.action import ImageAction
from molaug.images.batch import ImageBatch
from molaug.images.losses import average_probabilities
from molaug.images.networks import MapNetwork


def smooth_scene(size: int = 32) -> ImageBatch:
    side = torch.linspace(-1, 1, size)
    x, y = torch.meshgrid(side, side, indexing="xy")
    picture = torch.stack([0.5 + 0.4 * (3 * x).sin(), 0.5 + 0.4 * (2 * y + x).cos(), 0.5 + 0.3 * y])
    return ImageBatch.whole(picture[None])


def change(network: torch.nn.Module, width: float, copies: int) -> float:
    """|h(g x) - g h(x)| of probabilities in the inner disc, over the spread of h(x) there."""
    action = ImageAction("map")
    law = Augmentation(Uniform(SO2(), [width]), action)
    model = AveragedModel(network, law, reduction=average_probabilities)
    batch, element = smooth_scene(), SO2().exp(torch.tensor([[math.radians(70)]]))
    with torch.no_grad():
        torch.manual_seed(0)
        still = model(batch, copies).exp()
        back = action.act_on_output(element, model(action.act(element, batch), copies).exp())
    side = torch.linspace(-1, 1, 32)
    inner = side.square()[:, None] + side.square() < 0.5
    return float((back - still)[..., inner].std() / still[..., inner].std())


def test_averaged_over_all_rotations_predictions_turn_with_the_picture():
    torch.manual_seed(0)
    network = MapNetwork(inputs=3, classes=4, channels=8, layers=2)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    assert change(network, math.pi, copies=64) < 0.25 * change(network, 0.0, copies=1)
