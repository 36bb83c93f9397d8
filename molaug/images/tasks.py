"""What a task on images is made of: its examples, its loss and its error."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from .batch import ImageBatch
from .data import ImageSet


class ImageExamples:
    """Images and their targets, resident on one device and gathered there."""

    def __init__(self, some: ImageSet, device: torch.device | str = "cpu") -> None:
        self.name, self.index = some.name, some.index
        self.images = torch.from_numpy(some.images).to(device)  # bytes: a quarter of the memory
        self.valid = torch.from_numpy(some.valid.copy()).to(device)
        self.targets = torch.from_numpy(some.targets).to(device)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def sizes(self) -> np.ndarray:
        """(examples,) the same for all: an image costs what every other costs."""
        return np.ones(len(self), np.int64)

    def gather(self, rows: Tensor) -> tuple[ImageBatch, Tensor]:
        """The batch, with values from 0 to 1, and the targets."""
        rows = rows.to(self.images.device)
        return ImageBatch(self.images[rows].float() / 255, self.valid[rows]), self.targets[rows]

    def describe(self, rows: Tensor) -> str:
        return f"{self.name} images " + ", ".join(str(i) for i in self.index[rows.numpy()])


SMOOTHING = 0.1


def class_loss(logits: Float[Tensor, "graphs classes"], target: Tensor) -> Float[Tensor, ""]:
    """Cross-entropy [nat] with smoothed labels; classes (graphs,) may come as floats, having
    passed a scaling.

    A reward in proportion to the loss compares widths by the percentage by which they raise it.
    Plain cross-entropy of training images falls to 1e-4 and means nothing by then, yet any width
    raises it by a large percentage; smoothed labels give it the floor of their own entropy.
    """
    return cross_entropy(logits, target.long(), label_smoothing=SMOOTHING)


def class_error(logits: Float[Tensor, "graphs classes"], target: Tensor) -> Float[Tensor, "graphs"]:
    """100 where the most likely class is wrong, else 0: its mean is the error in per cent."""
    return 100.0 * (logits.argmax(1) != target.long())
