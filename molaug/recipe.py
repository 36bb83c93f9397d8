"""How to train: the settings of a run, and which parameters move at which rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .averaging import AveragedModel
from .muon import Muon
from .timetable import stride

FLAT = 0.4  # the share of a run after which a linear schedule falls
MEMORY = 0.05  # the share of a run that the running average of weights remembers at most


@dataclass(frozen=True)
class Recipe:
    """How to train. `rate` is per step at its peak; `freeze` and `warmup` are shares of a run.

    width_rate: learning rate of the logarithm of a width, summed over the steps of a run, so that
    widths move as far in a short run as in a long one; they move in every `stride`-th step.
    precision: `32-true`, or `bf16-mixed` for the network's products in bfloat16.
    probing: share of the training copies, at most, that probe the whole range of one generator
    (`LearnedUniform`), falling to zero at the end; there are none in the first twelfth of a run.
    """

    epochs: int
    batch_size: int
    rate: float
    width_rate: float
    weight_decay: float
    clip: float
    averaging: float  # decay of the running average of weights, see `pace`
    freeze: float
    copies: int
    seed: int
    probing: float = 0.8
    optimizer: str = "muon"
    warmup: float = 0.05
    schedule: str = "cosine"
    precision: str = "32-true"


def split_parameters(model: AveragedModel) -> dict[str, list[Tensor]]:
    """Widths; weights of linear layers with at least ten rows and columns, for Muon (a head of ten
    classes is one); convolutions are among the rest."""
    widths: list[Tensor] = list(model.augmentation.distribution.parameters())
    found = [
        module.weight
        for module in model.network.modules()
        if isinstance(module, nn.Linear) and min(module.weight.shape) > 9
    ]
    matrices: list[Tensor] = [*dict.fromkeys(found)]  # layers may share one
    taken = {id(p) for p in widths + matrices}
    rest: list[Tensor] = [p for p in model.parameters() if id(p) not in taken]
    return {"widths": widths, "matrices": matrices, "rest": rest}


def build_optimizers(
    model: AveragedModel, recipe: Recipe, steps: int
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices and AdamW for the rest, or AdamW for all; widths have a rate of their
    own and no decay.

    steps: of the whole run.
    """
    parts = split_parameters(model)
    decay, rate = recipe.weight_decay, recipe.rate
    adam = [
        {"params": parts["rest"], "lr": rate, "weight_decay": decay, "role": "network"},
        {
            "params": parts["widths"],
            "lr": recipe.width_rate * stride(steps) / steps,
            "weight_decay": 0.0,
            "role": "widths",
        },
    ]
    optimizers: list[torch.optim.Optimizer] = []
    if recipe.optimizer == "muon" and parts["matrices"]:
        muon = {"params": parts["matrices"], "role": "network"}
        optimizers.append(Muon([muon], lr=rate, weight_decay=decay))
    else:
        adam[0]["params"] = parts["rest"] + parts["matrices"]
    adam = [group for group in adam if group["params"]]
    if adam:
        optimizers.append(torch.optim.AdamW(adam, betas=(0.9, 0.98), fused=True))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def schedule(done: float, recipe: Recipe) -> dict[str, float]:
    """Factors of the peak rates after the share `done` of a run: for the network a linear warm-up,
    then a cosine to zero or, `linear`, one until `FLAT` and a linear fall to zero; for widths zero
    while frozen, then one, and a linear fall at the end."""
    warm = min(1.0, done / recipe.warmup) if recipe.warmup else 1.0
    if recipe.schedule == "cosine":
        fall = 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    else:
        fall = min(1.0, (1 - min(done, 1.0)) / (1 - FLAT))
    free = 0.0 if done < recipe.freeze else min(1.0, 2 * (1 - done) + 0.05)
    return {"network": max(warm, 1e-3) * fall, "widths": free}


def pace(step: int, steps: int, averaging: float) -> float:
    """How far the running average of weights goes towards them in one of the `steps` of a run: with
    a shorter memory at first, so that the start is forgotten, and in short runs, where an average
    that lags behind by more than `MEMORY` of the run lacks what was learned last."""
    longest = 1 - 1 / max(10.0, MEMORY * steps)
    return 1 - min(averaging, longest, (step + 1) / (step + 10))
