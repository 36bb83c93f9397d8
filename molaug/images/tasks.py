"""From a configuration to a task on images: data, law, action, network, loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from molaug.augmentation import Action, Augmentation
from molaug.averaging import AveragedModel, Scaling, build_scaling, mean_of_outputs
from molaug.checkpoint import check_data, read_run, restore_weights
from molaug.distributions import Distribution, Identity, LearnedUniform, Uniform
from molaug.groups import GROUPS, Group
from molaug.split import Split
from molaug.task import Task, absolute_error, absolute_loss

from .action import ImageAction
from .colour import Colour, ColourAction, Light
from .examples import ImageExamples
from .instances import Instances
from .losses import REDUCTIONS, class_error, class_loss, mean_iou, probabilities
from .networks import build_network
from .pictures import draw_law, draw_maps, measure_plateau
from .product import Product, ProductAction
from .sources import OPENERS, Pictures

if TYPE_CHECKING:
    from .config import ImageConfig

COLOURS: dict[str, type[Group]] = {"light": Light, "colour": Colour}


def open_data(config: ImageConfig) -> Pictures:
    """The pictures of the task.

    Raises ValueError for `--symmetry fixed_true` where nobody knows the truth, and for more layers
    than pictures of this size can be halved for."""
    pictures = OPENERS[config.task](config)
    wanted = {*(config.generators or build_group(config.group, "scalar")[0].names)}
    if "fixed_true" in config.symmetry and not wanted & {*pictures.true_widths}:
        raise ValueError(
            f"--symmetry fixed_true: nobody knows how far {config.task} is symmetric under "
            f"{' '.join(sorted(wanted))}; take fixed"
        )
    if "c8" in config.network:
        _check_halvings(config.layers or 1, *pictures.train.images.shape[2:])
    return pictures


def arrays_of(pictures: Pictures) -> list[np.ndarray]:
    """By which the data is known again."""
    sets = [pictures.train, pictures.validation, *pictures.tests.values()]
    return [array for part in sets for array in (part.images, part.targets)]


def _check_halvings(layers: int, height: int, width: int) -> None:
    """The other networks go on with a single pixel; c8 would have none left."""
    most = min(height, width).bit_length()
    if layers > most:
        raise ValueError(
            f"--layers {layers}: c8 halves pictures at every layer but the first, and those of "
            f"{height} x {width} pixels allow at most {most}"
        )


def build_group(name: str, output: str) -> tuple[Group, Action]:
    """A group such as so2, light or se2_colour, and how it acts; output: scalar or map."""
    plane, _, colour = name.rpartition("_") if "_" in name else ("", "", name)
    if name in GROUPS:
        return GROUPS[name](), ImageAction(output)  # type: ignore[arg-type]
    if not plane:
        return COLOURS[colour](), ColourAction()
    moves, action = build_group(plane, output)
    both = Product(moves, COLOURS[colour]())
    return both, ProductAction(action, ColourAction(), both.size)


def build_distribution(
    symmetry: str, group: Group, config: ImageConfig, pictures: Pictures
) -> Distribution:
    """The law of a `--symmetry`: learned, none, or fixed: up to the natural range of every
    generator asked for, or as far as the truth allows."""
    if symmetry == "learned":
        learned = len(config.generators or group.names)
        inputs = pictures.train.images.shape[1]
        own = Instances(inputs, learned) if config.ranges == "instance" else None
        return LearnedUniform(group, config.initial_width, config.generators, instances=own)
    if symmetry == "none":
        return Identity(group)
    reach = {member.name: member.cap for member in group.members}
    chosen = reach if symmetry == "fixed" else pictures.true_widths
    wanted = config.generators or group.names
    return Uniform(group, [chosen.get(n, 0.0) if n in wanted else 0.0 for n in group.names])


def build_task(
    pictures: Pictures,
    config: ImageConfig,
    *,
    symmetry: str,
    network: str | nn.Module,
    seed: int,
    device: torch.device | str = "cpu",
) -> tuple[Task, Split]:
    """Everything the loop needs for one run, and the split it was given.

    The network starts from `seed`, whatever was drawn before.
    """
    kind = KINDS[config.kind]
    group, action = build_group(config.group, kind["output"])
    train = pictures.train
    classes = len(train.classes)
    torch.manual_seed(seed)
    if isinstance(network, str):
        assert config.channels is not None, "resolve() fills the sizes"
        assert config.layers is not None
        network = build_network(
            network,
            inputs=train.images.shape[1],
            outputs=classes or 1,
            channels=config.channels,
            layers=config.layers,
        )
    law = build_distribution(symmetry, group, config, pictures)
    reduction: Callable[[Tensor], Tensor] = mean_of_outputs
    scaling = Scaling()
    if config.kind == "angle":
        scaling = build_scaling(train.targets)
        network = nn.Sequential(network, nn.Flatten(0))
    else:
        reduction = REDUCTIONS[config.mean_of]
    task = Task(
        name=config.task,
        train=ImageExamples(train, device),
        validation=ImageExamples(pictures.validation, device),
        tests={name: ImageExamples(some, device) for name, some in pictures.tests.items()},
        model=AveragedModel(network, Augmentation(law, action), scaling, reduction),
        examples="images",
        about={
            "task": config.task,
            "unit": kind["unit"],
            "pictures": pictures.origin,
            "classes": list(train.classes),
            "train_count": len(train),
            "test_count": len(next(iter(pictures.tests.values()))),
            "true_widths": {
                name: width for name, width in pictures.true_widths.items() if name in group.names
            },
        },
        **{key: value for key, value in kind.items() if key != "output"},
    )
    return task, pictures.split


_CLASSES = {
    **{"unit": "%", "metric": "error", "loss": class_loss, "error": class_error},
    **{"shown": probabilities, "output_unit": "% of probability"},
}
KINDS: dict[str, dict[str, Any]] = {  # how a kind of prediction moves and is rated
    "class": {"output": "scalar", **_CLASSES},
    "map": {"output": "map", "scores": {"mIoU": mean_iou}, **_CLASSES},
    "angle": {
        **{"output": "scalar", "unit": "deg", "loss": absolute_loss, "error": absolute_error},
    },
}


def describe(config: ImageConfig, rows: list[dict[str, Any]]) -> str:
    """What the table was measured on, in one line."""
    row = rows[0]
    return (
        f"{row['pictures']} [{row['metric']} in {row['unit']}]: {row['train_count']:,} training "
        f"and {row['test_count']:,} test images"
    )


def illustrate(model: AveragedModel, task: Task) -> dict[str, Any]:
    """Pictures for the page, and the numbers of those that all runs share."""
    examples, law = task.tests["canonical"], model.augmentation.distribution
    found: dict[str, Any] = {"drawing": draw_law(model.augmentation, examples)}
    if "r" in law.group.names and task.loss is class_loss:
        if task.scores:  # of maps
            found["maps"] = draw_maps(model, ImageAction("map"), examples, copies=8)
        else:
            found["plateau"] = measure_plateau(model, examples)
    return found


def load_task(run: Path | str, device: torch.device | str = "cpu") -> Task:
    """The task of a finished run, its model with the trained weights and set to evaluate; run: its
    folder, or that of a command with one run.

    Raises FileNotFoundError if the run has no weights yet, ValueError if it was not on images.
    """
    from .config import CONFIGS

    weights, cell, settings = read_run(run)
    if settings["run"].get("task") not in CONFIGS:
        raise ValueError(f"{run}: not a run on images, but of {settings['task']}")
    config = CONFIGS[settings["run"]["task"]].from_dict(settings["config"])
    pictures = open_data(config)
    check_data(run, settings, arrays_of(pictures))
    task, _ = build_task(pictures, config, **cell, device=device)
    return restore_weights(task, weights)
