"""A verdict on a network that somebody has trained: its widths are learned, it is left as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .augmentation import Augmentation
from .averaging import AveragedModel, Scaling, build_scaling, evaluating
from .costs import MEASURED, PARTIAL, learned_places, measure_costs
from .distributions import Distribution, LearnedUniform
from .evaluate import EVALUATION_BATCH, look_at_all
from .groups import SE2, SE3
from .images.action import ImageAction
from .images.batch import ImageBatch
from .molecules.action import MoleculeAction
from .objectives import Objective, ScaleFree
from .report import show_width
from .task import Examples, Task, absolute_error, seed_of
from .timetable import MEASUREMENTS
from .verdict import Verdict, judge

HELD_OUT = 5  # one example in five is kept for the verdict
FEWEST = 40  # examples, of which eight are held out
WIDTH_RATE = 40.0  # of the logarithm of a width, summed over the steps


@dataclass(frozen=True)
class Attached:
    """A trained network with the law that was learned in front of it.

    model: predicts in the unit of the network, averaged over copies. widths: in radian, Angstrom or
    1, by generator. verdicts: from held-out examples, by generator.
    """

    model: AveragedModel
    widths: Mapping[str, float]
    verdicts: Mapping[str, Verdict]

    def __str__(self) -> str:
        """A line per generator: `rx  absent, width 1 deg: shut, and up to ...`."""
        units = {one.name: one.unit for one in self.model.augmentation.distribution.group.members}
        return "\n".join(
            f"{name}  {found.verdict}, width {show_width(self.widths[name], units[name])}: "
            f"{found.reason}"
            for name, found in self.verdicts.items()
        )


class Standardised(nn.Module):
    """A network in physical units, as one with standardised outputs."""

    def __init__(self, network: nn.Module, scaling: Scaling) -> None:
        super().__init__()
        self.network, self.scaling = network, scaling

    def forward(self, batch: Any) -> Tensor:
        return self.scaling.to_standard(self.network(batch))


@dataclass(frozen=True)
class Some:
    """Some rows of a set of examples."""

    whole: Examples
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def sizes(self) -> np.ndarray:
        return self.whole.sizes[self.rows]

    @property
    def bulk(self) -> int:
        return getattr(self.whole, "bulk", 1)

    def gather(self, rows: Tensor) -> tuple[Any, Tensor]:
        return self.whole.gather(torch.from_numpy(self.rows)[rows])

    def describe(self, rows: Tensor) -> str:
        return self.whole.describe(torch.from_numpy(self.rows)[rows])


def learn_widths(
    network: nn.Module,
    data: Examples,
    *,
    augmentation: Augmentation | None = None,
    objective: Objective | None = None,
    error: Callable[[Tensor, Tensor], Float[Tensor, "graphs"]] | None = None,
    steps: int = 300,
    batch_size: int = 64,
    seed: int = 0,
) -> Attached:
    """Learn how far `network` may be moved, on four fifths of `data`, and judge it on the rest.

    network: any module that maps a batch to predictions (graphs, ...) in the unit of the targets,
    or to logits (graphs, classes) where targets are classes; it is frozen, in evaluation mode, and
    comes back as it was. data: such as `MoleculeExamples`.
    augmentation: its law is what is learned; by default all rigid motions, of space for molecules
    and of the plane for images, with the output that the shape of the targets suggests.
    error: per example, differentiable: what is minimised and what the verdict is about; by default
    the absolute error, of classes the cross-entropy [nat].

    The costs of generators that are no symmetries over their whole range are measured again as
    widths and directions change. A function of its arguments alone.

    Raises ValueError for fewer than 40 examples, predictions of another shape than the targets', or
    that are no numbers, or that change with moves of the inputs and have no gradient by them, and
    for a law without learned widths.
    """
    if not isinstance(data, Examples):
        raise ValueError(f"{type(data).__name__}: give examples, such as MoleculeExamples")
    if steps < 1 or batch_size < 1:
        raise ValueError(f"{steps} steps of {batch_size} examples: both must be at least 1")
    if len(data) < FEWEST:
        raise ValueError(f"{len(data)} examples: {FEWEST} or more are needed to learn and to judge")
    order = np.random.default_rng(seed).permutation(len(data))
    kept = len(data) // HELD_OUT
    train, held_out = Some(data, order[kept:]), Some(data, order[:kept])
    rows = torch.arange(min(MEASURED, len(train)))
    batches = [train.gather(part) for part in rows.split(max(1, EVALUATION_BATCH // train.bulk))]
    batch, target = batches[0]
    values = torch.cat([some for _, some in batches]).cpu().numpy()
    scaling = build_scaling(values) if target.is_floating_point() else Scaling()  # not of classes
    scaling.to(target.device)
    law_and_action = augmentation or default_augmentation(batch, target).to(target.device)
    if not len(law_and_action.distribution.learned):
        raise ValueError("the law of this augmentation has no widths to learn")
    model = AveragedModel(Standardised(network, scaling), law_and_action, scaling)
    error = error or (absolute_error if target.is_floating_point() else cross_entropy)
    devices = [target.device] if target.is_cuda else []
    with frozen(network), torch.random.fork_rng(devices):
        _check_predictions(network, batch, target)
        standard_loss = _loss_of(error, scaling)
        rewarded = objective or ScaleFree()
        _fit_widths(model, train, batches, rewarded, standard_loss, steps, batch_size, seed)
        task = Task(
            name="attached",
            unit="",
            train=train,
            validation=held_out,
            tests={"held out": held_out},
            model=model,
            loss=standard_loss,
            error=error,
        )
        look_at_all(model, held_out)
        verdicts = judge(model, task, held_out)
    law = law_and_action.distribution
    return Attached(model, dict(zip(law.group.names, law.widths.tolist(), strict=True)), verdicts)


def cross_entropy(output: Tensor, target: Tensor) -> Float[Tensor, "graphs"]:
    """Of logits (graphs, classes) and classes (graphs,) [nat]."""
    return torch.nn.functional.cross_entropy(output.float(), target.long(), reduction="none")


@torch.no_grad()
def _check_predictions(network: nn.Module, batch: Any, target: Tensor) -> None:
    output = network(batch)
    fits = output.shape == target.shape
    if not target.is_floating_point():
        fits = target.ndim == 1 and output.ndim == 2 and len(output) == len(target)
    if not fits:
        raise ValueError(
            f"the network predicts {tuple(output.shape)} where targets are {tuple(target.shape)}"
        )
    if not output.isfinite().all():
        raise ValueError("the network predicts what is no finite number")


def _fit_widths(
    model: AveragedModel,
    train: Some,
    measured: Sequence[tuple[Any, Tensor]],
    objective: Objective,
    loss: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    batch_size: int,
    seed: int,
) -> None:
    law = model.augmentation.distribution
    parameters = list(law.parameters())
    optimizer = torch.optim.Adam(parameters, betas=(0.9, 0.98))
    for step in range(steps):
        if objective.asks_for_costs and step % max(1, steps // MEASUREMENTS) == 0:
            measure_costs(model, measured, loss, _changing_places(law) if step else None)
        rows = np.random.default_rng((seed, step)).integers(len(train), size=batch_size)
        batch, target = train.gather(torch.from_numpy(rows))
        torch.manual_seed(seed_of(seed, step))
        output = model(batch)
        if not output.requires_grad and not law.costs.amax() < PARTIAL:
            raise ValueError(
                "predictions change with the places of the inputs, and have no gradient by them: "
                "does the network detach its inputs, or compute within no_grad?"
            )
        value = objective(loss(output, model.scaling.to_standard(target)), law)
        optimizer.param_groups[0]["lr"] = WIDTH_RATE / steps * min(1.0, 2 * (1 - step / steps))
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(value, parameters), strict=True
        ):
            parameter.grad = gradient
        optimizer.step()


def _changing_places(law: Distribution) -> list[int]:
    """Of generators whose costs change while the network does not: with the width, where the cost
    over the whole range is high, and with the directions."""
    is_turning = not torch.equal(law.directions, torch.eye(len(law.caps)).to(law.caps))
    costs = law.costs.tolist()
    return [i for i in learned_places(law) if is_turning or costs[i] >= PARTIAL]


def _loss_of(
    error: Callable[[Tensor, Tensor], Tensor], scaling: Scaling
) -> Callable[[Tensor, Tensor], Float[Tensor, ""]]:
    """The mean error, of standardised outputs and targets, over the standard deviation of these:
    whatever the unit, gradients are of the size that an optimiser expects."""

    def loss(output: Tensor, target: Tensor) -> Float[Tensor, ""]:
        physical = scaling.to_physical(target) if target.is_floating_point() else target
        return (error(scaling.to_physical(output), physical).mean() / scaling.scale).float()

    return loss


def default_augmentation(batch: Any, target: Tensor) -> Augmentation:
    """All rigid motions, with a small width each."""
    if isinstance(batch, ImageBatch):
        return Augmentation(LearnedUniform(SE2()), ImageAction())
    outputs = {1: "scalar", 2: "vector", 3: "tensor"}
    return Augmentation(LearnedUniform(SE3()), MoleculeAction(outputs[target.ndim]))  # type: ignore[arg-type]


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """In evaluation mode and without gradients of its own while open, then as it was."""
    before = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    network.requires_grad_(False)
    try:
        with evaluating(network):
            yield
    finally:
        for parameter, required in before:
            parameter.requires_grad_(required)
