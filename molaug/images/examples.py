"""Images and their targets on one device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .batch import ImageBatch
from .data import ImageSet

USUAL = 64 * 64  # pixels of a picture of usual size


class ImageExamples:
    """Images and their targets, resident on one device and gathered there."""

    def __init__(self, some: ImageSet, device: torch.device | str = "cpu") -> None:
        self.name, self.index = some.name, some.index
        self.images = torch.from_numpy(some.images).to(device)  # bytes: a quarter of the memory
        self.valid = torch.from_numpy(some.valid.copy()).to(device)
        self.targets = torch.from_numpy(some.targets).to(device)
        self.sizes = np.ones(len(some), np.int64)  # an image costs what every other costs
        self.bulk = -(-some.images[0, 0].size // USUAL)

    def __len__(self) -> int:
        return len(self.index)

    def gather(self, rows: Tensor) -> tuple[ImageBatch, Tensor]:
        """The batch, with values from 0 to 1, and the targets."""
        rows = rows.to(self.images.device, non_blocking=True)
        return ImageBatch(self.images[rows].float() / 255, self.valid[rows]), self.targets[rows]

    def describe(self, rows: Tensor) -> str:
        return f"{self.name} images " + ", ".join(str(i) for i in self.index[rows.numpy()])
