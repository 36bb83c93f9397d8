"""Moves of the plane and changes of colour at once."""

from __future__ import annotations

import pytest
import torch

from molaug.augmentation import Action, Augmentation
from molaug.distributions import Identity, LearnedUniform
from molaug.groups import SE2
from molaug.images.action import ImageAction
from molaug.images.batch import ImageBatch
from molaug.images.colour import Colour, ColourAction
from molaug.images.product import Product, ProductAction

GROUP = Product(SE2(), Colour())
ACTION = ProductAction(ImageAction("map"), ColourAction(), GROUP.size)


def test_the_generators_of_both():
    assert GROUP.names == (*SE2().names, *Colour().names)
    assert GROUP.generators().shape == (7, 7, 7)
    assert isinstance(ACTION, Action)


@pytest.mark.parametrize("scale", [0.0, 0.1, 2.0])
def test_exponential_is_the_matrix_exponential(scale):
    coefficients = (2 * torch.rand(5, 4, 7, dtype=torch.float64) - 1) * scale
    basis = GROUP.generators(dtype=torch.float64)
    exact = torch.linalg.matrix_exp(torch.einsum("...a,aij->...ij", coefficients, basis))
    assert (GROUP.exp(coefficients) - exact).abs().amax() < 1e-12


def test_both_act():
    coefficients = torch.rand(2, 7) - 0.5
    batch = ImageBatch.whole(torch.rand(2, 3, 16, 16))
    elements = GROUP.exp(coefficients)
    moved = ACTION.act(elements, batch)
    coloured = ColourAction().act(Colour().exp(coefficients[:, 3:]), batch)
    expected = ImageAction().act(SE2().exp(coefficients[:, :3]), coloured)
    assert torch.equal(moved.images, expected.images)
    assert torch.equal(moved.valid, expected.valid)
    assert (moved.images[:, 0, 0, 0] == 0).any()  # padding stays black
    back = ACTION.act_on_output(elements, moved.images)
    alone = ImageAction("map").act_on_output(SE2().exp(coefficients[:, :3]), moved.images)
    assert torch.equal(back.isnan(), alone.isnan())
    assert torch.equal(back.nan_to_num(), alone.nan_to_num())


def test_no_augmentation_is_no_change():
    batch = ImageBatch.whole(torch.rand(2, 3, 16, 16))
    moved, _ = Augmentation(Identity(GROUP), ACTION)(batch)
    assert torch.equal(moved.images, batch.images)


def test_every_width_gets_a_gradient():
    law = LearnedUniform(GROUP, 0.1)
    moved, _ = Augmentation(law, ACTION)(ImageBatch.whole(torch.rand(4, 3, 16, 16)), copies=2)
    (moved.images * torch.rand(16, 16)).square().mean().backward()
    assert law.parameter.grad.isfinite().all()
    assert law.parameter.grad.abs().amin() > 0
