"""A batch of images: one size, on one device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d


@dataclass(frozen=True)
class ImageBatch:
    """Images of one size, and where they still show the original picture.

    Rows run downwards and columns to the right, as in every image file.
    """

    images: Float[Tensor, "graphs channels height width"]  # from 0 (black) to 1
    valid: Bool[Tensor, "graphs height width"]  # True where a pixel comes from inside the picture

    def __len__(self) -> int:
        return self.images.shape[0]

    @staticmethod
    def whole(images: Float[Tensor, "graphs channels height width"]) -> ImageBatch:
        """Images of which every pixel is valid."""
        return ImageBatch(images, torch.ones_like(images[:, 0], dtype=torch.bool))

    def repeat(self, copies: int) -> ImageBatch:
        """Every image `copies` times: all of the first copy, then all of the second, ..."""
        if copies == 1:
            return self
        return ImageBatch(self.images.repeat(copies, 1, 1, 1), self.valid.repeat(copies, 1, 1))

    def features(self) -> Float[Tensor, "graphs features"]:
        """Numbers in which a change of pose or of colour shows: an 8 x 8 thumbnail in grey, and the
        mean and the spread of every channel."""
        grey = adaptive_avg_pool2d(self.images.mean(1, keepdim=True), 8)
        colours = self.images.flatten(2)
        return torch.cat([grey.flatten(1), colours.mean(2), colours.std(2)], 1)

    def to(self, device: torch.device | str) -> ImageBatch:
        """The same batch on another device."""
        return ImageBatch(self.images.to(device), self.valid.to(device))
