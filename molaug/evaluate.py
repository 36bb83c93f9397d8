"""Errors on held-out examples, in physical units, and how invariant the predictions are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from .augmentation import Augmentation
from .averaging import AveragedModel
from .distributions import Distribution, Haar, LearnedUniform
from .task import Examples, Task, seed_of, sorted_batches

EVALUATION = 7  # sets these random streams apart from those of training
# Moved molecules at a time: few enough for a laptop's caches, or enough to keep a GPU busy.
EVALUATION_BATCH, GPU_BATCH = 256, 1024


@torch.no_grad()
def predictions_and_targets(
    model: AveragedModel,
    examples: Examples,
    *,
    copies: int = 1,
    most: int | None = None,
    seed: int = 0,
    element: Float[Tensor, "n n"] | None = None,
) -> tuple[Float[Tensor, "examples *output"], Shaped[Tensor, "examples *target"]]:
    """Both in physical units, of `most` of the examples (default all), in no particular order.

    element: moves every input first; its prediction is brought back: rho(g)^-1 f(g x).
    A function of `seed`, the examples and the kind of device alone: every batch reseeds its own
    draws.
    """
    found, batch_size = [], _batch_size(model, examples, copies)
    chosen = some_rows(examples, most)
    for i, rows in enumerate(sorted_batches(examples.sizes[chosen.numpy()], batch_size)):
        torch.manual_seed(seed_of(seed, EVALUATION, copies, i))
        batch, target = examples.gather(chosen[rows])
        found.append((predict_moved(model, batch, element, copies), target))
    predictions, targets = zip(*found, strict=True)
    return torch.cat(predictions), torch.cat(targets)


def some_rows(examples: Examples, most: int | None) -> Tensor:
    """At most so many rows, by chance and always the same: a set may be in some order."""
    if most is None:
        return torch.arange(len(examples))
    return torch.from_numpy(np.random.default_rng(EVALUATION).permutation(len(examples))[:most])


def _batch_size(model: AveragedModel, examples: Examples, copies: int) -> int:
    """Examples at a time."""
    most = GPU_BATCH if model.scaling.shift.is_cuda else EVALUATION_BATCH
    return max(1, most // (copies * getattr(examples, "bulk", 1)))


def in_parts(model: AveragedModel, examples: Examples, most: int) -> list[tuple[Any, Tensor]]:
    """`some_rows` with their targets, as many at a time as memory has room for."""
    rows = some_rows(examples, most)
    return [examples.gather(part) for part in rows.split(_batch_size(model, examples, 1))]


def predict_moved(
    model: AveragedModel, batch: Any, element: Float[Tensor, "*graphs n n"] | None, copies: int
) -> Tensor:
    """rho(g)^-1 f(g x) for one g, or one per example; f(x) without a g."""
    if element is None:
        return model.predict(batch, copies)
    action, elements = model.augmentation.action, element.expand(len(batch), -1, -1)
    prediction = model.predict(action.act(elements, batch), copies)
    return action.act_on_output(elements.to(prediction.dtype), prediction)


def errors(
    model: AveragedModel,
    task: Task,
    examples: Examples,
    *,
    copies: int = 1,
    most: int | None = None,
    seed: int = 0,
    element: Float[Tensor, "n n"] | None = None,
) -> Float[Tensor, "examples"]:
    """The error of every example in `task.unit`; arguments as `predictions_and_targets`."""
    return task.error(
        *predictions_and_targets(
            model, examples, copies=copies, most=most, seed=seed, element=element
        )
    )


@torch.no_grad()
def look_at_all(model: AveragedModel, examples: Examples) -> None:
    """So that the widths of a law with ones of each example's own are means over all of these, and
    not over those that happened to be moved last."""
    law = model.augmentation.distribution
    if isinstance(law, LearnedUniform) and law.looks:
        found = []
        for rows in torch.arange(len(examples)).split(_batch_size(model, examples, 1)):
            law.look(examples.gather(rows)[0])
            found.append(law.seen)
        law.seen = torch.cat(found)


def mean_error(
    model: AveragedModel, task: Task, examples: Examples, *, copies: int = 1, seed: int = 0
) -> float:
    """The mean of `errors`."""
    return float(errors(model, task, examples, copies=copies, seed=seed).mean())


def measure(
    model: AveragedModel, task: Task, *, copies: int = 8, seed: int = 0
) -> dict[str, float | int]:
    """Errors and scores on every test set, averaged over `copies` copies and, errors, over 1, as
    test_mae_rotated and test_mae_rotated_1_copy; the invariance error, if anything rotates."""
    found: dict[str, float | int] = {"copies": copies}
    metric = task.metric.lower()
    for name, examples in task.tests.items():
        pair = predictions_and_targets(model, examples, copies=copies, seed=seed)
        found[f"test_{metric}_{name}"] = float(task.error(*pair).mean())
        found[f"test_{metric}_{name}_1_copy"] = mean_error(model, task, examples, seed=seed)
        for score, rate in task.scores.items():
            found[f"test_{score.lower()}_{name}"] = rate(*pair)
    if any(member.kind == "rotation" for member in model.augmentation.distribution.group.members):
        first = next(iter(task.tests.values()))
        found["invariance_error"] = invariance_error(
            model, first, copies=copies, seed=seed, shown=task.shown
        )
    return found


def turn_at_random(model: AveragedModel) -> AveragedModel:
    """The same network under uniform rotations about the origin, in place of its own law."""
    group = model.augmentation.distribution.group.exact
    law = Haar(group).to(model.scaling.shift.device)
    turned = Augmentation(law, model.augmentation.action)
    return AveragedModel(model.network, turned, model.scaling, model.reduction)


@torch.no_grad()
def invariance_error(
    model: AveragedModel,
    examples: Examples,
    *,
    copies: int = 8,
    rotations: int = 8,
    most: int = 256,
    seed: int = 0,
    shown: Callable[[Tensor], Tensor] = lambda prediction: prediction,
) -> float:
    """How far predictions change when inputs are rotated, in physical units.

    The standard deviation over `rotations` uniform rotations of what is `shown` of the prediction
    (brought back, for an equivariant output), as a root mean square over `most` of the examples
    and components. Pixels that a rotation took from outside are NaN and left out. A model that is
    symmetric by construction scores rounding error.
    """
    turn, variances = turn_at_random(model).augmentation, []
    size = _batch_size(model, examples, copies)
    for i, rows in enumerate(some_rows(examples, most).split(size)):
        torch.manual_seed(seed_of(seed, EVALUATION, rotations, copies, i))
        batch, _ = examples.gather(rows)
        elements = turn.draw(rotations, len(rows))
        turned = [shown(predict_moved(model, batch, each, copies)) for each in elements]
        variances.append(variance(torch.stack(turned)).flatten())
    return float(torch.cat(variances).nanmean().sqrt())


def variance(values: Float[Tensor, "copies ..."]) -> Float[Tensor, "..."]:
    """Over the first axis, of what is a number; NaN where fewer than two are."""
    known = ~values.isnan()
    count = known.sum(0)
    rest = torch.where(known, values - values.nanmean(0), 0.0)
    return torch.where(count > 1, rest.square().sum(0) / (count - 1).clamp_min(1), torch.nan)


@torch.no_grad()
def mean_rotation(law: Distribution, draws: int = 4096) -> float | None:
    """||E R|| / sqrt(d), in the Frobenius norm, of the rotations R that are drawn: 1 if nothing is
    turned, 0 if they are uniform (Haar), to within the noise of the draws, 1 / sqrt(draws). None
    for a group without rotations, or of more than one space, and for a law that draws no rotations.
    A function of its arguments alone."""
    turns = torch.tensor([member.kind == "rotation" for member in law.group.members])
    if law.group.dimension > 3 or not turns.any():
        return None
    torch.manual_seed(seed_of(EVALUATION))
    coefficients = law.rsample(1, draws)[0] * turns.to(law.caps)
    linear = law.group.exp(coefficients)[:, :-1, :-1]
    length = float(linear.mean(0).norm() / len(linear[0]) ** 0.5)
    return length if length < 1 + 1e-4 else None


@torch.no_grad()
def orbit_elements(
    law: Distribution, generator: str, values: Float[Tensor, "values"]
) -> Float[Tensor, "values n n"]:
    """exp(value G), by the exact exponential in double precision whatever that of the law's group;
    G is the generator of that name, or the learned direction that takes its place."""
    direction = law.directions[law.group.names.index(generator)].double()
    return law.group.exact.exp(values.to(direction)[:, None] * direction).float()


def error_along_orbit(
    model: AveragedModel,
    task: Task,
    examples: Examples,
    generator: str,
    values: Sequence[float],
    *,
    copies: int = 1,
    most: int = 200,
    seed: int = 0,
) -> dict[str, list[float]]:
    """The error when every input is moved by exp(value G) and its prediction brought back.

    G is the generator of that name, or the learned direction that takes its place.

    A model that is symmetric along G has the same error at every value. The model's own draws are
    the same for every value. Returns `value` [rad, length or 1], `error` and `standard_error` (of
    the mean over `most` of the examples) in `task.unit`.
    """
    elements = orbit_elements(model.augmentation.distribution, generator, torch.tensor(values))
    found = [
        errors(model, task, examples, copies=copies, most=most, seed=seed, element=element)
        for element in elements
    ]
    return {"value": list(values), **_summary(found)}


def error_against_copies(
    model: AveragedModel,
    task: Task,
    examples: Examples,
    *,
    copies: Sequence[int] = (1, 2, 4, 8, 16),
    most: int = 200,
    seed: int = 0,
) -> dict[str, list[Any]]:
    """The error of averages over more and more copies, as `copies`, `error`, `standard_error`."""
    found = [errors(model, task, examples, copies=c, most=most, seed=seed) for c in copies]
    return {"copies": list(copies), **_summary(found)}


def _summary(found: Sequence[Float[Tensor, "examples"]]) -> dict[str, list[float]]:
    """Mean and its standard error, of each tensor."""
    return {
        "error": [float(e.mean()) for e in found],
        "standard_error": [float(e.std(correction=0) / len(e) ** 0.5) for e in found],
    }


def measure_curves(
    model: AveragedModel, task: Task, *, copies: int = 8, most: int = 128, seed: int = 0
) -> dict[str, Any]:
    """What the page draws of a trained model, as plain numbers, on `most` test examples.

    Errors along the orbit of every generator (one copy, 9 values over its natural range), errors
    against the number of copies, and predictions averaged over `copies` with their targets, unless
    these are classes.
    """
    name, examples = next(iter(task.tests.items()))
    law = model.augmentation.distribution
    orbits = {
        member: error_along_orbit(
            model,
            task,
            examples,
            member,
            torch.linspace(-cap, cap, 9).tolist(),
            most=most,
            seed=seed,
        )
        for member, cap in zip(law.group.names, law.caps.tolist(), strict=True)
    }
    predictions, targets = predictions_and_targets(
        model, examples, copies=copies, most=most, seed=seed
    )
    pairs = {"predicted": predictions.flatten().tolist(), "true": targets.flatten().tolist()}
    return {
        "measured_on": f"{len(predictions):,} test {task.examples} ({name})",
        "orbits": orbits,
        "copies": error_against_copies(model, task, examples, most=most, seed=seed),
        **(pairs if targets.is_floating_point() else {}),  # classes are no axis
        "averaged_over": copies,
    }
