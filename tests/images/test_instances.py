"""Widths of an image's own: the shared ones at first, then learned from its pixels."""

from __future__ import annotations

import numpy as np
import torch

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import LearnedUniform
from molaug.evaluate import look_at_all, mean_rotation
from molaug.groups import SE2
from molaug.images.action import ImageAction
from molaug.images.batch import ImageBatch
from molaug.images.instances import Instances


def law_and_batch(noise: float = 0.0) -> tuple[LearnedUniform, ImageBatch]:
    instances = Instances(inputs=1, learned=3)
    instances.linear.weight.data += noise * torch.randn_like(instances.linear.weight)
    batch = ImageBatch.whole(torch.rand(6, 1, 14, 14))
    return LearnedUniform(SE2(), 0.2, instances=instances), batch


def test_at_the_start_every_image_has_the_shared_widths():
    law, batch = law_and_batch()
    shared = LearnedUniform(SE2(), 0.2)
    law.look(batch)
    assert torch.allclose(law.widths_of_each(), shared.widths.expand(6, -1))
    assert torch.allclose(law.widths, shared.widths)
    torch.manual_seed(0)
    ours = law.rsample(4, 6)
    torch.manual_seed(0)
    assert torch.allclose(ours, shared.rsample(4, 6))


def test_draws_stay_within_the_widths_of_their_image():
    law, batch = law_and_batch(noise=3.0)
    law.look(batch)
    widths = law.widths_of_each()
    draws = law.eval().rsample(64, 6).abs()
    assert (widths.std(0) > 0.01).all()
    assert (draws <= widths).all()
    assert (draws.amax(0) > 0.8 * widths).all()
    assert torch.allclose(law.widths.log(), widths.log().mean(0))


def test_an_augmentation_looks_at_what_it_moves_and_both_parts_learn():
    law, batch = law_and_batch()
    moved, _ = Augmentation(law, ImageAction())(batch, 2)
    (moved.images.square().sum() + law.learned.log().sum()).backward()
    assert law.parameter.grad.abs().min() > 0
    assert law.instances.linear.weight.grad.abs().sum() > 0


def test_draws_for_other_images_than_those_looked_at_take_their_widths_in_turn():
    law, batch = law_and_batch(noise=3.0)
    law.look(batch)
    widths = law.widths_of_each()
    draws = law.eval().rsample(64, 15).abs()
    assert (draws.amax(0) <= widths[torch.arange(15) % 6]).all()
    assert mean_rotation(law) is not None


def test_reported_widths_are_means_over_all_examples():
    law, batch = law_and_batch(noise=3.0)
    model = AveragedModel(torch.nn.Flatten(), Augmentation(law, ImageAction()))

    class Pictures:
        sizes = np.ones(6)

        def __len__(self):
            return 6

        def gather(self, rows):
            return ImageBatch(batch.images[rows], batch.valid[rows]), rows

        def describe(self, rows):
            return "pictures"

    law.look(batch)
    expected = law.widths
    law.look(ImageBatch(batch.images[:2], batch.valid[:2]))
    assert not torch.allclose(law.widths, expected)
    look_at_all(model, Pictures())
    assert torch.allclose(law.widths, expected)
