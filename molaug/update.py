"""What a step does once gradients are there: clips them, moves weights and widths, and follows with
the running average of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .averaging import AveragedModel
from .recipe import Recipe, pace, schedule

Places = list[tuple[nn.Module, nn.Module, str]]  # where two models have a buffer, and its name


class Update:
    """Of `model`, whose gradients are there, and of its running average `averaged`.

    optimizers: of the model; steps: what takes their steps, they themselves or Fabric's.
    """

    def __init__(
        self,
        model: AveragedModel,
        averaged: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        steps: Sequence[Any],
        recipe: Recipe,
    ) -> None:
        self.optimizers, self.steps, self.recipe = optimizers, steps, recipe
        self.network = [*model.network.parameters()]
        self.theirs = [p.detach() for p in model.parameters()]
        self.ours = [p.detach() for p in averaged.parameters()]
        self.buffers = buffer_places(averaged.network, model.network)  # type: ignore[arg-type]
        self.pace: Tensor | float = 1.0  # of the running average
        self.rates: Tensor | None = None  # those of all groups, and the pace, on their device

    def __call__(self) -> None:
        nn.utils.clip_grad_norm_(self.network, self.recipe.clip, foreach=True)
        for step in self.steps:
            step.step()
        follow(self.ours, self.theirs, self.pace)

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The parameters that have a rate, with it."""
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def use_tensors(self, device: torch.device) -> None:
        """Rates there from now on: what is captured reads numbers where they were."""
        self.rates = torch.zeros(len(self.groups) + 1, device=device)
        self.attach()

    def attach(self) -> None:
        """Rates where they belong, also after a state was loaded, perhaps from another device."""
        for i, group in enumerate(self.groups):
            group["lr"] = group["peak"] if self.rates is None else self.rates[i]
            if "capturable" in group:
                group["capturable"] = self.rates is not None
        for optimizer in self.optimizers:  # first steps are plain, of which AdamW would warn
            optimizer._warned_capturable_if_run_uncaptured = True
        if self.rates is not None:
            self.pace = self.rates[-1]

    def set_rates(self, step: int, total: int) -> None:
        """For that step of a run of `total`."""
        factors = schedule(step / total, self.recipe)
        rates = [group["peak"] * factors[group["role"]] for group in self.groups]
        following = pace(step, total, self.recipe.averaging)
        if self.rates is not None:
            self.rates.copy_(torch.tensor([*rates, following]), non_blocking=True)
            return
        self.pace = following
        for group, rate in zip(self.groups, rates, strict=True):
            group["lr"] = rate

    def state(self) -> list[Tensor]:
        """All that a call changes, gradients too."""
        states = [s for optimizer in self.optimizers for s in optimizer.state.values()]
        moments = [value for state in states for value in state.values()]
        gradients = [p.grad for group in self.groups for p in group["params"] if p.grad is not None]
        return [*self.theirs, *self.ours, *gradients, *(m for m in moments if torch.is_tensor(m))]

    @torch.no_grad()
    def copy_buffers(self) -> None:
        """As they are: the statistics of BatchNorm are running averages already. Looked up every
        time, because a network may put another tensor in the place of a buffer."""
        if self.buffers:
            ours, theirs = ([getattr(place[i], place[2]) for place in self.buffers] for i in (0, 1))
            torch._foreach_copy_(ours, theirs)


@torch.no_grad()
def follow(ours: list[Tensor], theirs: list[Tensor], pace: Tensor | float) -> None:
    """ours <- ours + pace (theirs - ours)."""
    if isinstance(pace, float):
        torch._foreach_lerp_(ours, theirs, pace)
        return
    way = torch._foreach_sub(theirs, ours)
    torch._foreach_mul_(way, pace)
    torch._foreach_add_(ours, way)


def buffer_places(averaged: nn.Module, model: nn.Module) -> Places:
    """Of the buffers that are saved with the model: others are constants, not worth the time."""
    saved = model.state_dict().keys()
    both = zip(averaged.named_modules(), model.modules(), strict=True)
    return [
        (ours, theirs, name)
        for (path, ours), theirs in both
        for name, _ in ours.named_buffers(recurse=False)
        if f"{path}.{name}".removeprefix(".") in saved
    ]
