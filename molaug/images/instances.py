"""Widths of an image's own, for data in which classes differ in their symmetry."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, layer_norm

from .batch import ImageBatch

POOLED = 7  # pixels along a side


class Instances(nn.Module):
    """By which logarithm of a factor the widths of an image exceed the shared ones: linear in its
    pixels, pooled to 7 x 7 and standardised; (graphs, learned), zero at the start.

    Scaled so that the weights can move at the rate of widths, with which they are trained.
    """

    def __init__(self, inputs: int, learned: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs * POOLED**2, learned, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, batch: ImageBatch) -> Float[Tensor, "graphs learned"]:
        pooled = adaptive_avg_pool2d(batch.images, POOLED).flatten(1)
        standard = layer_norm(pooled, pooled.shape[1:])
        return self.linear(standard) / standard.shape[1] ** 0.5
