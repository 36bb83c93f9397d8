"""Colour as a group: its laws, and what its elements do to pictures."""

from __future__ import annotations

import math

import pytest
import torch

from molaug.augmentation import Action, Augmentation
from molaug.distributions import LearnedUniform
from molaug.images.batch import ImageBatch
from molaug.images.colour import Colour, ColourAction, mean_exponential

NAMES = Colour().names


def element(dtype: torch.dtype = torch.float64, **coefficients: float) -> torch.Tensor:
    values = [coefficients.get(name, 0.0) for name in NAMES]
    return Colour().exp(torch.tensor([values], dtype=dtype))


def change(images: torch.Tensor, **coefficients: float) -> torch.Tensor:
    elements = element(images.dtype, **coefficients).expand(len(images), -1, -1)
    return ColourAction().act(elements, ImageBatch.whole(images)).images


def picture(channels: int = 3) -> torch.Tensor:
    return torch.rand(2, channels, 4, 5, dtype=torch.float64)


def intensity(images: torch.Tensor) -> torch.Tensor:
    return images.mean(1, keepdim=True)


def test_the_members_and_their_natural_ranges():
    assert set(NAMES) == {"hue", "brightness", "contrast", "saturation"}
    assert isinstance(ColourAction(), Action)


@pytest.mark.parametrize("scale", [0.0, 1e-8, 5e-3, 1e-2, 0.1, 1.0, 3.0])
def test_exponential_is_the_matrix_exponential(scale):
    coefficients = (2 * torch.rand(64, 4, dtype=torch.float64) - 1) * scale
    basis = Colour().generators(dtype=torch.float64)
    exact = torch.linalg.matrix_exp(torch.einsum("ga,aij->gij", coefficients, basis))
    error = (Colour().exp(coefficients) - exact).abs().amax() / exact.abs().amax()
    assert error < 1e-14


def test_inverse_is_the_exponential_of_minus():
    coefficients = 2 * torch.rand(16, 4, dtype=torch.float64) - 1
    product = Colour().exp(coefficients) @ Colour().exp(-coefficients)
    assert (product - torch.eye(4)).abs().amax() < 1e-13


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-4, 1.0])
def test_gradient_is_that_of_finite_differences(scale):
    coefficients = (scale * torch.rand(2, 4, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(Colour().exp, coefficients)


def test_zero_is_exactly_the_identity():
    assert torch.equal(element(torch.float32), torch.eye(4)[None])
    images = picture().float()
    assert torch.equal(change(images), images)
    assert torch.equal(change(images[:, :1]), images[:, :1])


def test_the_mean_exponential_has_no_hole():
    z = torch.tensor([-1.0, -1e-2, -9.9e-3, 0.0, 1e-9, 1e-2, 2.0], dtype=torch.float64)
    direct = torch.where(z == 0, 1.0, torch.expm1(z) / torch.where(z == 0, 1.0, z))
    assert torch.allclose(mean_exponential(z), direct, rtol=1e-15, atol=0)


def test_brightness_adds():
    images = picture()
    assert torch.allclose(change(images, brightness=0.2), images + 0.2)


def test_contrast_scales_about_mid_grey():
    images = picture()
    assert torch.allclose(change(images, contrast=0.3), 0.5 + math.exp(0.3) * (images - 0.5))


def test_saturation_scales_the_chroma():
    images = picture()
    mean = intensity(images)
    assert torch.allclose(change(images, saturation=-0.4), mean + math.exp(-0.4) * (images - mean))


def test_hue_permutes_the_channels_every_120_degrees():
    images = picture()
    assert torch.allclose(change(images, hue=2 * math.pi / 3), images.roll(1, 1))
    assert torch.allclose(change(images, hue=-2 * math.pi / 3), images.roll(-1, 1))


@pytest.mark.parametrize("name", ["hue", "saturation"])
def test_hue_and_saturation_keep_intensity_and_grey(name):
    images = picture()
    assert torch.allclose(intensity(change(images, **{name: 0.7})), intensity(images))
    grey = images[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(change(grey, **{name: 0.7}), grey)


def test_only_brightness_and_contrast_do_not_commute():
    for i, first in enumerate(NAMES):
        for second in NAMES[:i]:
            a, b = element(**{first: 0.5}), element(**{second: 0.3})
            commute = torch.allclose(a @ b, b @ a)
            assert commute == ({first, second} != {"brightness", "contrast"})


@pytest.mark.parametrize("name", NAMES)
def test_one_channel_is_a_grey(name):
    images = picture(channels=1)
    as_grey = change(images.expand(-1, 3, -1, -1), **{name: 0.4})
    assert torch.allclose(change(images, **{name: 0.4}), as_grey[:, :1])


def test_padding_keeps_its_colour():
    batch = ImageBatch(picture(), torch.zeros(2, 4, 5, dtype=torch.bool))
    moved = ColourAction().act(element(brightness=0.3).expand(2, -1, -1), batch)
    assert torch.equal(moved.images, batch.images)
    assert moved.valid is batch.valid


def test_a_learned_law_draws_colours_with_gradients():
    law = LearnedUniform(Colour(), 0.2, ("brightness", "contrast"))
    moved, _ = Augmentation(law, ColourAction())(ImageBatch.whole(picture().float()), copies=3)
    assert len(moved) == 6
    moved.images.square().mean().backward()
    assert law.parameter.grad.isfinite().all()
    assert law.parameter.grad.abs().amin() > 0


def test_outputs_do_not_depend_on_colour():
    logits = torch.rand(2, 5)
    assert ColourAction().act_on_output(element().float(), logits) is logits


def test_nothing_is_read_by_the_host():
    """`vmap` refuses whatever looks at a value."""
    batch, coefficients = ImageBatch.whole(picture()), torch.rand(3, 2, 4, dtype=torch.float64)

    def move(some: torch.Tensor) -> torch.Tensor:
        return ColourAction().act(Colour().exp(some), batch).images

    assert torch.allclose(torch.vmap(move)(coefficients)[1], move(coefficients[1]))
