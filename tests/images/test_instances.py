"""Widths of an image's own: the shared ones at first, then learned from its pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from molaug import loop
from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.config import CONFIGS, resolve
from molaug.costs import measure_costs
from molaug.distributions import LearnedUniform
from molaug.evaluate import look_at_all, mean_rotation
from molaug.groups import SE2
from molaug.images.action import ImageAction
from molaug.images.batch import ImageBatch
from molaug.images.instances import Instances
from molaug.images.tasks import build_task, open_data
from molaug.loop import Trainer
from molaug.objectives import ScaleFree
from molaug.processes import start_fabric
from molaug.train import build_recipe


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


def test_a_continued_run_measures_costs_at_the_widths_of_a_whole_one(tmp_path, monkeypatch):
    """Widths of an image's own are known once images were looked at, which a new start forgets."""
    settings = {"train_size": 64, "validation_size": 16, "test_size": 16, "channels": 8}
    settings["probing"] = 0.0  # with them widths are open before much is seen
    asked = CONFIGS["sprites"](preset="quick", ranges="instance", layers=2, epochs=24, **settings)
    config = replace(resolve(asked, gpu=False), batch_size=16)
    pictures = open_data(config)
    seen = []

    def measured(model, *arguments, **more):
        seen.append(model.augmentation.distribution.widths.detach()[0].item())
        return measure_costs(model, *arguments, **more)

    monkeypatch.setattr(loop, "measure_costs", measured)

    def trainer(folder):
        task = build_task(pictures, config, symmetry="learned", network="residual", seed=0)[0]
        return Trainer(task, ScaleFree(), build_recipe(config, 0), folder, start_fabric("cpu"))

    trainer(tmp_path / "whole").fit()
    expected, _ = list(seen), seen.clear()

    def kill(progress, total):
        if progress.step % 4 == 0:  # at the end of an epoch, before costs are measured
            raise KeyboardInterrupt

    for _ in range(24):
        one = trainer(tmp_path / "stopped")
        with pytest.raises(KeyboardInterrupt):
            one.fit(kill)
        one.save()
    trainer(tmp_path / "stopped").fit()
    assert len(set(expected)) > 10
    assert seen == expected
