"""A small residual network for small pictures, without any symmetry but that of convolutions."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from .batch import ImageBatch

GROUPS_OF_CHANNELS = 8  # normalised together


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
    """Three residual blocks at a half, a quarter and an eighth of the size, then the mean over the
    plane: logits (graphs, classes).

    inputs: channels of the images. channels: of the first block, a multiple of 8; doubled at every
    halving. The default has some 80,000 parameters, and is meant for 28 x 28 to 32 x 32 pixels.
    """

    def __init__(self, inputs: int, classes: int, channels: int = 16) -> None:
        super().__init__()
        widths = (channels, channels, 2 * channels, 4 * channels)
        self.blocks = nn.Sequential(
            convolution(inputs, channels, stride=2),
            ResidualBlock(widths[0], widths[1], stride=1),
            ResidualBlock(widths[1], widths[2], stride=2),
            ResidualBlock(widths[2], widths[3], stride=2),
            normalisation(widths[3]),
            nn.SiLU(),
        )
        self.head = nn.Linear(widths[3], classes)

    def forward(self, batch: ImageBatch) -> Float[Tensor, "graphs classes"]:
        return self.head(self.blocks(batch.images - 0.5).mean((2, 3)))
