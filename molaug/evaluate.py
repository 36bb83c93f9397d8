"""Errors on held-out examples, in physical units, and how invariant the predictions are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .augmentation import Augmentation
from .averaging import AveragedModel
from .distributions import Haar
from .groups import SO2, SO3
from .task import Examples, Task, seed_of, sorted_batches

EVALUATION = 7  # sets these random streams apart from those of training
EVALUATION_BATCH = 256  # moved molecules at a time; small enough for a laptop's caches


@torch.no_grad()
def errors(
    model: AveragedModel, task: Task, examples: Examples, *, copies: int = 1, seed: int = 0
) -> Float[Tensor, "examples"]:
    """The error of every example in `task.unit`, in no particular order.

    A function of `seed` and the examples alone: every batch reseeds its own draws.
    """
    found = []
    for i, rows in enumerate(sorted_batches(examples.sizes, max(1, EVALUATION_BATCH // copies))):
        torch.manual_seed(seed_of(seed, EVALUATION, copies, i))
        batch, target = examples.gather(rows)
        found.append(task.error(model.predict(batch, copies), target))
    return torch.cat(found)


def mean_error(
    model: AveragedModel, task: Task, examples: Examples, *, copies: int = 1, seed: int = 0
) -> float:
    """The mean of `errors`."""
    return float(errors(model, task, examples, copies=copies, seed=seed).mean())


def measure(
    model: AveragedModel, task: Task, *, copies: int = 8, seed: int = 0
) -> dict[str, float | int]:
    """Errors on every test set with 1 and with `copies` copies, and the invariance error."""
    found: dict[str, float | int] = {"copies": copies}
    for name, examples in task.tests.items():
        many = mean_error(model, task, examples, copies=copies, seed=seed)
        found[f"test_mae_{name}"] = many
        found[f"test_mae_{name}_1_copy"] = mean_error(model, task, examples, seed=seed)
    first = next(iter(task.tests.values()))
    found["invariance_error"] = invariance_error(model, first, copies=copies, seed=seed)
    return found


@torch.no_grad()
def invariance_error(
    model: AveragedModel,
    examples: Examples,
    *,
    copies: int = 8,
    rotations: int = 8,
    most: int = 256,
    seed: int = 0,
) -> float:
    """How far predictions change when inputs are rotated, in physical units.

    The standard deviation over `rotations` uniform rotations of the prediction (brought back, for
    an equivariant output), as a root mean square over the first `most` examples and components. A
    model that is symmetric by construction scores rounding error.
    """
    action = model.augmentation.action
    # Exact rotations, whatever the exponential of the model's own group.
    group = {2: SO2, 3: SO3}[model.augmentation.distribution.group.dimension]()
    turn = Augmentation(Haar(group).to(model.scaling.shift.device), action)
    variances = []
    for i, rows in enumerate(torch.arange(min(most, len(examples))).split(32)):
        torch.manual_seed(seed_of(seed, EVALUATION, rotations, copies, i))
        batch, _ = examples.gather(rows)
        moved, elements = turn(batch, rotations)
        back = action.act_on_output(elements.double(), model.predict(moved, copies))
        variances.append(back.unflatten(0, (rotations, len(rows))).var(0).flatten())
    return float(torch.cat(variances).mean().sqrt())
