"""Colour as a matrix group on (r, g, b, 1), and how its elements change an image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from molaug.groups import Generator, Group

from .batch import ImageBatch

_AXES = range(3)
# Rotation about the grey axis (1, 1, 1) / sqrt 3, from red towards green.
_TURN = tuple((i, j, (-1) ** ((j - i) % 3) / math.sqrt(3)) for i in _AXES for j in _AXES if i != j)
_CHROMA = tuple((i, j, float(i == j) - 1 / 3) for i in _AXES for j in _AXES)


@final
class Colour(Group):
    """Affine maps of colours that keep the grey axis.

    With m = (r + g + b) / 3 the intensity of a colour and c - m its chroma,

    hue [rad]: turns the chroma about the grey axis; 2 pi / 3 takes red to green;
    brightness [pixel value]: adds to all channels;
    contrast [log of a factor]: scales about mid-grey, 1/2 + e^a (c - 1/2);
    saturation [log of a factor]: scales the chroma, m + e^a (c - m).

    Only brightness and contrast do not commute. The intensity is the plain mean: a luma with
    weights of its own would be changed by a turn of hue.
    """

    dimension = 3
    members = (
        Generator("hue", "hue", _TURN, math.pi, "rad"),
        Generator("brightness", "brightness", tuple((i, 3, 1.0) for i in _AXES), 0.5),
        Generator(
            "contrast",
            "contrast",
            (*((i, i, 1.0) for i in _AXES), *((i, 3, -0.5) for i in _AXES)),
        ),
        Generator("saturation", "saturation", _CHROMA),
    )

    def exp(self, coefficients: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4 4"]:
        """e^contrast (I + (e^s cos h - 1) Q + e^s sin h K), where Q takes the chroma and K turns
        it by a right angle, and t = (brightness - contrast / 2) (e^contrast - 1) / contrast."""
        turn, _, _, chroma = self.generators(coefficients.device, coefficients.dtype)
        hue, brightness, contrast, saturation = (
            x[..., None, None] for x in coefficients.unbind(-1)
        )
        along = saturation.exp() * hue.cos() - 1
        across = saturation.exp() * hue.sin()
        identity = torch.eye(4, dtype=coefficients.dtype, device=coefficients.device)
        element = identity + along * chroma + across * turn
        shift = (brightness - contrast / 2) * mean_exponential(contrast)
        linear = contrast.exp() * element[..., :3, :3]
        top = torch.cat([linear, shift.expand_as(linear[..., :1])], -1)
        return torch.cat([top, element[..., 3:, :]], -2)


@final
class Light(Group):
    """Brightness and contrast alone, which are all that there is on grey pictures; see `Colour`."""

    dimension = 3
    members = Colour.members[1:3]

    def exp(self, coefficients: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 4 4"]:
        zero = torch.zeros_like(coefficients[..., :1])
        return Colour().exp(torch.cat([zero, coefficients, zero], -1))


def mean_exponential(z: Tensor) -> Tensor:
    """(e^z - 1) / z, the mean of e^(s z) for s from 0 to 1; by its series near zero."""
    small = z.abs() < 1e-2
    safe = torch.where(small, torch.ones_like(z), z)
    series = 1 + z / 2 * (1 + z / 3 * (1 + z / 4 * (1 + z / 5 * (1 + z / 6))))
    return torch.where(small, series, safe.expm1() / safe)


@dataclass(frozen=True)
class ColourAction:
    """c -> A c + t on the colour of every valid pixel; no output depends on it.

    Images have three channels, or one. A single channel is a grey (v, v, v), on which hue and
    saturation do nothing: leave them out of the law. Values may leave [0, 1]: clipping them could
    not be undone.
    """

    def act(self, elements: Float[Tensor, "graphs 4 4"], batch: ImageBatch) -> ImageBatch:
        """The images with the colours of image i changed by elements[i]; padding stays."""
        linear, shift = elements[:, :3, :3], elements[:, :3, 3]
        if batch.images.shape[1] == 1:
            linear, shift = linear[:, :1].sum(-1, keepdim=True), shift[:, :1]
        with torch.autocast(elements.device.type, enabled=False):
            changed = torch.einsum("gij,gjhw->gihw", linear, batch.images)
        changed = changed + shift[..., None, None]
        return ImageBatch(torch.where(batch.valid[:, None], changed, batch.images), batch.valid)

    def act_on_output(self, elements: Float[Tensor, "graphs 4 4"], prediction: Tensor) -> Tensor:
        """The predictions as they are."""
        return prediction
