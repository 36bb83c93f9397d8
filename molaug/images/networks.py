"""Networks for small pictures, without any symmetry but that of convolutions."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from molaug.external import build_external, is_external

from .batch import ImageBatch
from .config import GROUPS_OF_CHANNELS
from .equivariant import CyclicNetwork


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """3 x 3, the size kept or divided by the stride."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def normalisation(channels: int) -> nn.GroupNorm:
    """Over groups of channels of one image: an example's prediction does not depend on its batch,
    and an averaged copy of the weights has no running statistics to go stale."""
    return nn.GroupNorm(GROUPS_OF_CHANNELS, channels)


class ResidualBlock(nn.Module):
    """x -> skip(x) + conv(silu(norm(conv(silu(norm(x)))))), the second term zero at the start."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride)
        self.branch = nn.Sequential(
            *(normalisation(inputs), nn.SiLU(), convolution(inputs, outputs, stride)),
            *(normalisation(outputs), nn.SiLU(), last := convolution(outputs, outputs)),
        )
        nn.init.zeros_(last.weight)

    def forward(
        self, x: Float[Tensor, "graphs inputs height width"]
    ) -> Float[Tensor, "graphs outputs rows columns"]:
        return self.skip(x) + self.branch(x)


class ResidualNetwork(nn.Module):
    """Residual blocks at a half, a quarter, an eighth ... of the size, then the mean over the
    plane: logits (graphs, classes).

    inputs: channels of the images. channels: of the first block, a multiple of 8; doubled at every
    halving. layers: the number of blocks. The default has some 80,000 parameters, and is meant for
    28 x 28 to 32 x 32 pixels.
    """

    def __init__(self, inputs: int, classes: int, channels: int = 16, layers: int = 3) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(layers)]
        self.blocks = nn.Sequential(
            convolution(inputs, channels, stride=2),
            ResidualBlock(channels, channels, stride=1),
            *(ResidualBlock(width // 2, width, stride=2) for width in widths[1:]),
            normalisation(widths[-1]),
            nn.SiLU(),
        )
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, batch: ImageBatch) -> Float[Tensor, "graphs classes"]:
        return self.head(self.blocks(batch.images - 0.5).mean((2, 3)))


class ThirteenLayers(nn.Module):
    """The network of the paper for CIFAR-10: nine convolutions with two halvings of the size, the
    mean over the plane and a linear layer; logits (graphs, classes).

    channels: of the first two convolutions, twice as many in the others; the paper has 128.
    Normalised over groups of channels where the paper normalises over the batch.
    """

    def __init__(self, inputs: int, classes: int, channels: int = 128) -> None:
        super().__init__()
        widths = (inputs, channels, channels, *(7 * [2 * channels]))
        layers: list[nn.Module] = []
        for i, (fewer, more) in enumerate(pairwise(widths)):
            layers += [nn.MaxPool2d(2)] if i in (3, 6) else []
            layers += [convolution(fewer, more), normalisation(more), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, batch: ImageBatch) -> Float[Tensor, "graphs classes"]:
        return self.head(self.layers(batch.images - 0.5).mean((2, 3)))


class MapNetwork(nn.Module):
    """Residual blocks down to smaller maps and up again, with the maps of every size handed across
    (Ronneberger et al. 2015): logits (graphs, classes, height, width), for any size of image.

    layers: the number of sizes; every one has half the pixels along a side and twice the channels.
    """

    def __init__(self, inputs: int, classes: int, channels: int = 16, layers: int = 3) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(layers)]
        self.stem = convolution(inputs, channels)
        self.down = nn.ModuleList(ResidualBlock(w // 2, w, stride=2) for w in widths[1:])
        self.up = nn.ModuleList(ResidualBlock(3 * w, w, stride=1) for w in widths[-2::-1])
        self.head = nn.Conv2d(channels, classes, 1)

    def forward(self, batch: ImageBatch) -> Float[Tensor, "graphs classes height width"]:
        # What comes from outside is grey, and not the black that a picture may have.
        maps = [self.stem((batch.images - 0.5) * batch.valid[:, None])]
        for block in self.down:
            maps.append(block(maps[-1]))
        x = maps.pop()
        for block, across in zip(self.up, maps[::-1], strict=True):
            wide = nn.functional.interpolate(x, across.shape[2:], mode="bilinear")
            x = block(torch.cat([wide, across], 1))
        return self.head(x)


def build_network(name: str, *, inputs: int, outputs: int, channels: int, layers: int) -> nn.Module:
    """`residual`, `conv13` or `c8`, or `unet`, whose output is a map; or FILE.py:NAME."""
    if is_external(name):
        return build_external(name)
    if name == "residual":
        return ResidualNetwork(inputs, outputs, channels, layers)
    if name == "conv13":
        return ThirteenLayers(inputs, outputs, channels)
    if name == "unet":
        return MapNetwork(inputs, outputs, channels, layers)
    if name == "c8":
        return CyclicNetwork(inputs, outputs, channels // 4, layers)
    raise ValueError(f"network {name!r}: choose residual, conv13, c8 or unet")
