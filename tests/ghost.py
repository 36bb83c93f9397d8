"""A device that is there and has no numbers, to see what a step asks of a GPU where there is none.

Tensors on it are fake: they have a shape, a type and a device. An operation that mixes devices, or
that needs a value on the host, fails. A script, because torch cannot forget a device again:

    python tests/ghost.py      what each of three steps copied between host and device, as JSON
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode

from molaug.config import CONFIGS, resolve
from molaug.loop import Trainer
from molaug.molecules.data import load_sample
from molaug.objectives import ScaleFree
from molaug.train import build_recipe, tasks_of

NAME = "ghost"
STEPS = 3
KEPT: list[torch.library.Library] = []  # an operation is forgotten with its library
SMALL = {
    **{"train_size": 64, "validation_size": 16, "test_size": 16},
    **{"epochs": 2, "batch_size": 8, "channels": 16, "layers": 1},
}
CASES = {  # the task, its symmetry and other settings
    "homo": ("qm9", "learned", {"partial_charges": 0.5, "properties": 1.0}),
    "homo, fixed": ("qm9", "fixed", {"copies": 2}),
    "dipole in Aff(3)": ("qm9", "learned", {"target": "dipole", "group": "aff3", "copies": 2}),
    "quadrupole": ("qm9", "learned", {"target": "quadrupole"}),
    "tilted axes": ("qm9", "learned", {"directions": "learned"}),
    "vector channels": ("qm9", "learned", {"network": ("vector_channels",)}),
    "classes": ("sprites", "learned", {}),
    "scenes": ("scenes", "learned", {"copies": 2}),
    "colours": ("sprites", "learned", {"group": "se2_colour"}),
}


def register() -> None:
    """The device, and what torch lacks for one that is registered in Python."""
    module = backend_registration._DummyBackendModule()
    module.get_amp_supported_dtype = lambda: [torch.bfloat16]
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=module)
    # Of AdamW with a rate that is a tensor, torch says no shapes; it works in place.
    KEPT.append(torch.library.Library("aten", "IMPL", "Meta"))
    KEPT[0].impl("_fused_adamw_.tensor_lr", lambda *tensors, **settings: None)
    plain = torch.tensor

    def tensor(data, *, device=None, **settings):
        made = plain(data, **settings)
        return made if device is None else made.to(device)

    torch.tensor = tensor
    nn.Module.to = lambda self, *where: self  # all are there already
    FakeTensor.numpy = lambda rows: np.arange(len(rows))  # what the host has it may look at


class Watch(TorchDispatchMode):
    """Notes what is copied between devices."""

    def __init__(self) -> None:
        super().__init__()
        self.copied: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        out = function(*arguments, **(settings or {}))
        there = [one for one in (*arguments, out) if isinstance(one, Tensor)]
        # Operations, but not copies, take a number of the host as they take one of Python's.
        kinds = {one.device.type for one in there if one.dim() or "copy" in str(function)}
        if len(kinds) > 1:
            over = "aten.copy_." in str(function)  # what is there already
            source, way = (there[1], "into") if over else (there[0], "to")
            path = f"{source.device.type} {way} {there[-1].device.type}"
            self.copied.append(f"{path}: {there[-1].dtype}")
        return out


def build(case: str):
    name, symmetry, settings = CASES[case]
    given = {**SMALL, **({"split": "random"} if name == "qm9" else {}), **settings}
    config = resolve(replace(CONFIGS[name](), preset="quick", **given), gpu=False)
    tasks = tasks_of(config)
    data = load_sample() if name == "qm9" else tasks.open_data(config)
    network = config.network[0]
    task, _ = tasks.build_task(data, config, symmetry=symmetry, network=network, seed=0)
    return task, build_recipe(config, 0)


def holders(task):
    """Where a task has its tensors: dictionaries by name."""
    for module in task.model.modules():
        yield from (module._parameters, module._buffers)
    yield vars(task.train)


def move(task, values, mode) -> None:
    """All tensors of a task to the ghost; values: them, by id, as no gradient knows them."""
    for holder in holders(task):
        for name, value in holder.items():
            if isinstance(value, Tensor):
                fake = mode.from_tensor(values[id(value)]).to(NAME)
                is_trained = isinstance(value, nn.Parameter)
                holder[name] = nn.Parameter(fake, value.requires_grad) if is_trained else fake


def steps(task, recipe, fabric) -> list[list[str]]:
    trainer = Trainer(task, ScaleFree(), recipe, Path(mkdtemp()), fabric)
    trainer.update.use_tensors(fabric.device)  # as where updates are captured
    trainer.measure_costs = lambda step: None  # it does ask the device, but seldom
    copied = []
    for step in range(trainer.total // 2, trainer.total // 2 + STEPS):
        trainer.progress.step = step
        with Watch() as watch:
            trainer.step(torch.arange(8))
        copied.append(watch.copied)
    return copied


def main() -> dict[str, list[list[str]] | str]:
    built = {case: build(case) for case in CASES}
    tensors = [
        value
        for task, _ in built.values()
        for holder in holders(task)
        for value in holder.values()
        if isinstance(value, Tensor)
    ]
    values = {id(value): value.detach() for value in tensors}
    register()
    fabric = SimpleNamespace(
        **{"device": torch.device(NAME), "world_size": 1, "global_rank": 0},
        **{"setup": lambda *parts: parts, "backward": lambda loss: loss.backward()},
    )
    found: dict[str, list[list[str]] | str] = {}
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        for case, (task, recipe) in built.items():
            move(task, values, mode)
            found[case] = steps(task, recipe, fabric)
        try:
            float(torch.ones(3, device=NAME).sum())
        except RuntimeError as error:
            found["asking"] = type(error).__name__
    return found


if __name__ == "__main__":
    print(json.dumps(main()), flush=True)
    os._exit(0)  # the threads of a device that is none do not end
