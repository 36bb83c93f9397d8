"""Does training find the range of rotations that leaves the class of a sprite unchanged?

python experiments/sprites.py [SEEDS]      20 s per seed on one core; SEEDS is 1 by default

Two sprites, each upright or upside down and turned by up to 45 degrees, in four classes: the true
range is 45 degrees. Written to results/sprites.json.
"""

from __future__ import annotations

import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import LearnedUniform
from molaug.evaluate import mean_error
from molaug.files import write_json
from molaug.groups import SO2
from molaug.images.action import ImageAction
from molaug.images.drawing import SPRITE_CLASSES, draw_sprites
from molaug.images.examples import ImageExamples
from molaug.images.losses import average_logits, class_error, class_loss
from molaug.images.networks import ResidualNetwork
from molaug.loop import Recipe, Trainer, start_fabric
from molaug.objectives import ScaleFree
from molaug.task import Task

TRAIN, TEST = 2048, 512
RECIPE = Recipe(
    epochs=15, batch_size=64, rate=3e-3, width_rate=14.4, weight_decay=0.01, clip=1.0,
    averaging=0.99, freeze=0.1, copies=1, seed=0,
)  # fmt: skip


def build_task(seed: int) -> Task:
    train = ImageExamples(draw_sprites(TRAIN, seed=2 * seed))
    test = ImageExamples(draw_sprites(TEST, seed=2 * seed + 1))
    torch.manual_seed(seed)
    model = AveragedModel(
        ResidualNetwork(inputs=3, classes=len(SPRITE_CLASSES)),
        Augmentation(LearnedUniform(SO2(), initial=0.05), ImageAction()),
        reduction=average_logits,
    )
    return Task(
        name="sprites",
        unit="%",
        metric="error",
        train=train,
        validation=test,
        tests={"canonical": test},
        model=model,
        loss=class_loss,
        error=class_error,
    )


def run(seed: int) -> dict[str, float]:
    task = build_task(seed)
    with tempfile.TemporaryDirectory() as folder:
        recipe, fabric = replace(RECIPE, seed=seed), start_fabric("cpu")
        model = Trainer(task, ScaleFree(), recipe, Path(folder), fabric).fit()
    width = math.degrees(float(model.augmentation.distribution.widths.detach()))
    error = mean_error(model, task, task.tests["canonical"], copies=8)
    return {"seed": seed, "width": width, "error": error}


def main(seeds: int = 1) -> None:
    rows = []
    for seed in range(seeds):
        rows.append(row := run(seed))
        print(f"seed {seed}: {row['width']:.1f} of 45 degrees, test error {row['error']:.2f} %")
    write_json(Path(__file__).parent / "results" / "sprites.json", {"true_width": 45, "rows": rows})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
