"""How an affine map moves an image, and a prediction about it.

Coordinates are those of mathematics: the origin is the centre of the image, x points right and y
up, and the shorter side runs from -1 to 1. One unit is therefore the same number of pixels along
both sides: a disc turns into a disc on an image of any shape, and a translation by 1 moves the
content by half the shorter side. x -> A x + t moves the content, so that a positive angle turns the
picture counter-clockwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample

from molaug.exponentials import invert

from .batch import ImageBatch
from .data import VOID

Output = Literal["scalar", "map"]
Padding = Literal["zeros", "border", "reflection"]

_INSIDE = 1 - 1e-3  # a bilinear weight of the valid pixels; less than 1 by rounding alone is valid


def sampling_grid(
    source: Float[Tensor, "graphs 3 3"], height: int, width: int
) -> Float[Tensor, "graphs height width 2"]:
    """Where every pixel p is read, `source` p, as `grid_sample` wants it: each side from -1 to 1
    between the outer edges of its pixels (align_corners=False), and y down.

    The identity then reads a pixel exactly where the sides are powers of two, and elsewhere within
    the rounding of `grid_sample`, some 1e-6 of a difference between neighbours.
    """
    shorter = min(height, width)
    x = _centres(width, source) / shorter
    y = -_centres(height, source)[:, None] / shorter
    across, up, _ = (
        row[:, 0, None, None] * x + row[:, 1, None, None] * y + row[:, 2, None, None]
        for row in source.unbind(-2)
    )
    return torch.stack([across * (shorter / width), up * (-shorter / height)], -1)


def _centres(pixels: int, like: Tensor) -> Float[Tensor, "pixels"]:
    """Pixel centres along one side, in half pixels from its middle: exact integers."""
    return torch.arange(1 - pixels, pixels, 2, device=like.device, dtype=like.dtype)


def sample(
    maps: Float[Tensor, "graphs channels height width"],
    grid: Float[Tensor, "graphs height width 2"],
    padding: Padding = "zeros",
) -> Float[Tensor, "graphs channels height width"]:
    """The maps read at the points of the grid, bilinearly."""
    return grid_sample(maps, grid, mode="bilinear", padding_mode=padding, align_corners=False)


@torch.no_grad()
def sample_valid(
    valid: Bool[Tensor, "graphs height width"], grid: Float[Tensor, "graphs height width 2"]
) -> Bool[Tensor, "graphs height width"]:
    """True where all the pixels that a value is interpolated from are inside and valid."""
    return sample(valid[:, None].to(grid.dtype), grid)[:, 0] > _INSIDE


@torch.no_grad()
def sample_labels(
    labels: Int[Tensor, "graphs height width"], grid: Float[Tensor, "graphs height width 2"]
) -> Int[Tensor, "graphs height width"]:
    """The labels of the nearest pixels; VOID where the points lie outside."""
    known = (labels - VOID)[:, None].to(grid.dtype)  # what lies outside reads as zero
    moved = grid_sample(known, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return moved[:, 0].round().to(labels.dtype) + VOID


@dataclass(frozen=True)
class ImageAction:
    """x -> A x + t on the plane of every image; outputs are invariant or maps.

    scalar (graphs, ...): invariant: an angle, the logits of the classes of a whole image.
    map (graphs, channels, height, width): warped back, bilinearly; NaN where it comes from outside.

    padding: what a moved image shows where there was no picture: black, its outermost pixels, or
    its mirror image. None of these is ever valid.
    """

    output: Output = "scalar"
    padding: Padding = "zeros"

    def act(self, elements: Float[Tensor, "graphs 3 3"], batch: ImageBatch) -> ImageBatch:
        """The images with image i moved by elements[i]: pixel p shows what was at g^-1 p."""
        # In float32 whatever the precision of the network: bf16 would be off by 0.1 pixel.
        with torch.autocast(batch.images.device.type, enabled=False):
            grid = sampling_grid(invert(elements), *batch.images.shape[-2:])
            moved = sample(batch.images, grid, self.padding)
        return ImageBatch(moved, sample_valid(batch.valid, grid))

    def act_on_labels(
        self, elements: Float[Tensor, "graphs 3 3"], labels: Int[Tensor, "graphs height width"]
    ) -> Int[Tensor, "graphs height width"]:
        """The label maps that belong to the moved images."""
        return sample_labels(labels, sampling_grid(invert(elements), *labels.shape[-2:]))

    def act_on_output(self, elements: Float[Tensor, "graphs 3 3"], prediction: Tensor) -> Tensor:
        """Predictions (graphs, ...) for the moved images, brought back: pixel p shows what was
        predicted at g p."""
        if self.output == "scalar":
            return prediction
        dtype = torch.promote_types(prediction.dtype, elements.dtype)
        with torch.autocast(prediction.device.type, enabled=False):
            grid = sampling_grid(elements.to(dtype), *prediction.shape[-2:])
            back = sample(prediction.to(dtype), grid)
        inside = sample_valid(torch.ones_like(back[:, 0], dtype=torch.bool), grid)
        return torch.where(inside[:, None], back, torch.nan)
