"""What it would cost to open a width, seen from the network as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from .averaging import AveragedModel, evaluating
from .distributions import Distribution
from .task import check_shapes

GOLDEN = (5**0.5 - 1) / 2  # its multiples modulo 1 are spread evenly, however many there are
MEASURED, ROUGHLY = 384, 96  # training examples from which costs are measured, well and at first
# Whether a symmetry ends is looked for so much beyond the width, and over this share of a range at
# least: of smaller moves too few examples have a say.
GROWTH, NEAR = 1.25, 1 / 16
CERTAIN, GROUPS = 3.0, 16  # standard errors, from so many groups of examples
FLAT, SMOOTH = 0.5, 0.9  # ratios of bends: up to a symmetry that ends, from a smooth cost
FREE = 0.05  # a generator that costs less is free
OPENED = 0.9  # share of its range from which a free generator is not measured again
REACHED = 0.99  # and from which its width need not grow
PARTIAL = 0.08  # the cost of a symmetry that ends somewhere, while the width has not come there

Loss = Callable[[Tensor, Tensor], Float[Tensor, ""]]  # of predictions and targets


@torch.no_grad()
def unsettled(law: Distribution, opened: float) -> list[int]:
    """The places of the generators with a learned width, but for those that have opened to more
    than the share `opened` of their range and cost next to nothing."""
    shares, costs = (law.widths / law.caps).tolist(), law.costs.tolist()
    return [i for i in learned_places(law) if not (shares[i] > opened and costs[i] < FREE)]


def learned_places(law: Distribution) -> list[int]:
    """Which coefficients have a width that is learned."""
    return [i for i, width in enumerate(law.widths.tolist()) if width] if len(law.learned) else []


@dataclass(frozen=True)
class _Part:
    """Some of the examples: how far each is moved, what is predicted of it unmoved, and the slope
    of their loss there; weight: their share of all; groups: which of them have a loss of their own,
    and that loss unmoved."""

    batch: Any
    target: Tensor  # standardised
    reach: Tensor
    still: Tensor
    slope: Tensor
    weight: float
    groups: list[tuple[slice, Tensor]]


class _Examples:
    """All of the examples, unmoved; `learned` is by how much the model's loss is below that of
    predicting a constant."""

    def __init__(
        self, model: AveragedModel, batches: Sequence[tuple[Any, Tensor]], loss: Loss
    ) -> None:
        self.model, self.loss = model, loss
        self.law = model.augmentation.distribution
        caps = self.law.caps
        counts = [len(batch) for batch, _ in batches]
        spread = 2 * (torch.arange(sum(counts), device=caps.device) * GOLDEN % 1) - 1
        targets = [model.scaling.to_standard(target) for _, target in batches]
        known = torch.cat([target.flatten() for target in targets])
        self.parts: list[_Part] = []
        unmoved, unlearned = caps.new_zeros(()), caps.new_zeros(())
        for (batch, _), target, reach in zip(batches, targets, spread.split(counts), strict=True):
            weight = len(batch) / sum(counts)
            still = model.move(self.law.group.exp(caps.new_zeros(len(batch), len(caps))), batch)
            check_shapes(still, target)
            value, slope = _value_and_slope(partial(self.rate, target=target), still)
            unmoved += weight * value
            rated = [self.rate(guess, target) for guess in constants(known, still)]
            unlearned = unlearned + weight * torch.stack(rated)
            every = max(1, min(GROUPS // len(batches), len(batch)))
            cuts = [slice(i, None, every) for i in range(every)]
            groups = [(cut, self.rate(still[cut], target[cut])) for cut in cuts]
            self.parts.append(_Part(batch, target, reach, still, slope, weight, groups))
        # The least that is learned: by a network that has learned nothing, or where all are equal.
        constant = unlearned.amin()
        self.learned = (constant - unmoved).clamp_min(0.05 * constant).clamp_min(1e-30)

    def rate(self, output: Tensor, target: Tensor) -> Tensor:
        """The loss of one copy."""
        return self.loss(self.model.reduction(output[None]), target)

    def rise_and_bend(self, share: float, direction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How much the loss rises, b(share), and the standard error of that."""
        rises, bends, weights = [], [], []
        for part in self.parts:
            elements = self.law.group.exp(share * part.reach[:, None] * direction)
            moved = self.model.move(elements, part.batch)
            change = moved - part.still
            change = torch.where(change.isnan(), 0.0, change)  # pixels from outside a picture
            linear = part.slope * change * len(moved)
            for group, still in part.groups:
                target, size = part.target[group], len(part.target[group])
                rises.append(self.rate(moved[group], target) - still)
                bends.append((rises[-1] - linear[group].sum() / size) / share**2)
                weights.append(part.weight * size / len(moved))
        weight = self.law.caps.new_tensor(weights)
        rise, bend = ((weight * torch.stack(values)).sum() for values in (rises, bends))
        spread = (weight * (torch.stack(bends) - bend).square()).sum().sqrt()
        return rise, bend, spread / max(1, len(bends) - 1) ** 0.5

    def cost(self, direction: Tensor, opened: float, ends: bool) -> tuple[Tensor, Tensor]:
        """Of moves along a direction in the algebra, whose width is the share `opened` of it: as
        far as the symmetry goes, and over the whole of it."""
        rise, whole, _ = self.rise_and_bend(1.0, direction)
        cost, share = rise / self.learned, max(GROWTH * opened, NEAR)
        if not ends or share >= 1 or float(cost) <= PARTIAL:
            return cost, cost
        _, bend, error = self.rise_and_bend(share, direction)
        ratio = (bend + CERTAIN * error) / whole.clamp_min(1e-9 * self.learned)
        flat = ((SMOOTH - ratio) / (SMOOTH - FLAT)).clamp(0, 1)
        return cost - flat * (cost - PARTIAL).clamp_min(0), cost


@torch.no_grad()
def measure_costs(
    model: AveragedModel,
    batches: Sequence[tuple[Any, Tensor]],
    loss: Loss,
    places: Sequence[int] | None = None,
    ends: bool = True,
) -> Float[Tensor, "algebra"]:
    """The costs of generators, kept in the law, `model.augmentation.distribution`, as `costs`.

    The share of what the network has learned that is lost when example k is moved by u_k of the
    natural range of one generator, the u_k spread evenly over [-1, 1]:

        c = (loss of moved - loss of unmoved) / (loss of the best constant - loss of unmoved).

    Near 0 for a symmetry, be its width still small, near 1 where a move destroys the prediction.

    A symmetry that ends within the range has a high cost too, and a low one up to its end. Whether
    the end is still ahead is seen from how much moves over a share r of the range bend the loss,

        b(r) = [loss(f(gx)) - loss(f(x)) - <loss'(f(x)), f(gx) - f(x)>] / r^2,

    which for a convex loss is never negative and has far less noise than a difference of losses.
    For a smooth cost b(r) is b(1) or more. Where b(r) is certainly below half of it, r a little
    beyond the width, the cost is at most `PARTIAL`, and in between it is interpolated; certainly,
    because of an absolute loss small moves bend only the terms of few examples: to b(r) three
    standard errors are added. The cost before that is kept in the law as `whole_costs`.

    batches: examples and their targets, in physical units. places: of the generators to be
    measured, by default all; others keep their costs. ends: whether symmetries that end are looked
    for. The model is asked in evaluation mode. A function of its arguments alone, without random
    draws. Raises ValueError for targets of another shape than the predictions, and for no batches.
    """
    if not len(batches):
        raise ValueError("costs are measured on examples: give at least one (batch, target)")
    law = model.augmentation.distribution
    places = range(len(law.caps)) if places is None else places
    if len(places):
        shares = (law.widths / law.caps).tolist()
        directions = law.caps[:, None] * law.directions
        with evaluating(model):
            examples = _Examples(model, batches, loss)
            for i in places:
                law.costs[i], law.whole_costs[i] = examples.cost(directions[i], shares[i], ends)
    return law.costs


def constants(targets: Tensor, output: Tensor) -> list[Tensor]:
    """What a network might say that looks at nothing, in the shape of `output`: the mean and the
    median of scalars, of which an absolute error prefers the second; zero of vectors and tensors,
    which have no other mean; of classes, along the second axis, the logarithms of their
    frequencies."""
    if targets.is_floating_point():
        of_scalars = output.ndim == 1
        found = [targets.mean(), targets.median()] if of_scalars else [targets.new_zeros(())]
        return [value.expand_as(output) for value in found]
    counts = targets[targets >= 0].bincount(minlength=output.shape[1]) + 1
    scores = counts.to(output).log()
    return [scores.view(-1, *[1] * (output.ndim - 2)).expand_as(output)]


def _value_and_slope(
    function: Callable[[Tensor], Float[Tensor, ""]], point: Tensor
) -> tuple[Tensor, Tensor]:
    """A function and its gradient there."""
    point = point.detach().requires_grad_()
    with torch.enable_grad():
        value = function(point)
    return value.detach(), torch.autograd.grad(value, point)[0]
