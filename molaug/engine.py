"""How a GPU takes the gradients of a step: by graphs, captured once for every shape of a batch.

A step of a small network is hundreds of operations of microseconds each, which the host takes
longer to start than the device to do. A captured graph is started as one.
"""

from __future__ import annotations

import gc
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

WARM = 3  # plain steps of a shape before it is captured: libraries choose kernels in them
ALIKE = 0.01  # of the norm of all gradients, by which a replayed step may differ from a plain one

# Takes batch, targets, whether widths move, and the elements that move inputs if they are drawn
# already; leaves gradients, and returns the loss without any.
Gradients = Callable[[Any, Tensor, bool, Tensor | None], Tensor]
Draw = Callable[[int, int], Tensor]  # of copies and examples
Outputs = list[Tensor | None]
Capture = Callable[[Callable[[], Outputs]], tuple[Outputs, Callable[[], Any]]]


class NotCaptured(RuntimeError):
    """A step could not be captured, and since then the device takes none."""


@dataclass(frozen=True)
class Captured:
    """The step of one shape: what it reads, what starts it, and what it writes."""

    inputs: list[Tensor]  # of the batch, targets and elements
    replay: Callable[[], Any]
    outputs: Outputs  # the loss, and the gradient of every parameter


class Capturing:
    """As `gradients`, but from the fourth step of a shape on by a graph of it; `move`, as `update`,
    by one for each set of parameters that have gradients: with widths and without; and `draw` by
    one for each number of elements.

    Draws are those of a plain step: a graph reads the seed anew whenever it is started. Before one
    is used, it is compared with the plain step on the same batch. Where a step cannot be captured,
    or does not come to the same, this and all later ones are plain, and a line in the log says so.

    model: whose parameters get gradients. state: the tensors that `update` changes. capture: turns
    a function that returns tensors into these and what writes over them again, by default a CUDA
    graph.
    """

    def __init__(
        self,
        gradients: Gradients,
        model: nn.Module,
        update: Callable[[], None],
        state: Callable[[], list[Tensor]],
        capture: Capture | None = None,
    ) -> None:
        self.gradients, self.model, self.parameters = gradients, model, [*model.parameters()]
        self.update, self.state = update, state
        self.capture = capture or CudaGraphs()
        self.seen: Counter[Any] = Counter()
        self.made: Counter[tuple[bool, ...]] = Counter()
        self.captured: dict[Any, Captured] = {}
        self.moves: dict[tuple[bool, ...], Callable[[], Any]] = {}
        self.asked: Counter[tuple[int, int]] = Counter()
        self.draws: dict[tuple[int, int], tuple[Tensor, Callable[[], Any]]] = {}
        self.works = self.updates = self.drawing = True
        # Where the gradients of all shapes are left, because an update reads them from one place.
        self.fixed = [torch.zeros_like(parameter) for parameter in self.parameters]

    def __call__(
        self, batch: Any, target: Tensor, moving: bool, elements: Tensor | None = None
    ) -> Tensor:
        if not self.works:
            return self.gradients(batch, target, moving, elements)
        if not has_tensors_alone(batch):
            return self._give(self._outputs(batch, target, moving, elements))
        inputs = [*tensors_of(batch).values(), target, *([] if elements is None else [elements])]
        shape = (moving, *((t.shape, t.dtype) for t in inputs))
        if shape in self.captured:
            return self._replay(self.captured[shape], inputs)
        self.seen[shape] += 1
        if self.seen[shape] <= WARM:
            return self._give(self._outputs(batch, target, moving, elements))
        try:
            self.captured[shape] = self._capture(batch, target, moving, elements)
            return self._replay(self.captured[shape], inputs)
        except RuntimeError as error:
            self.works = self.updates = self.drawing = False
            self.captured.clear()
            self.moves.clear()
            self.draws.clear()
            reason = warn("steps on this GPU are not captured", error)
            return self._after(reason, batch, target, moving, elements)

    def _after(
        self, reason: str, batch: Any, target: Tensor, moving: bool, elements: Tensor | None
    ) -> Tensor:
        """A plain step, which some failed captures do not let a process take any more."""
        try:
            return self.gradients(batch, target, moving, elements)
        except RuntimeError as error:
            raise NotCaptured(
                f"a step could not be captured ({reason}), and none can be taken since; the same "
                "command with --engine plain continues"
            ) from error

    def _replay(self, step: Captured, inputs: Sequence[Tensor]) -> Tensor:
        torch._foreach_copy_(step.inputs, list(inputs))
        step.replay()
        return self._give(step.outputs).clone()  # the next step of this shape writes over it

    def _give(self, outputs: Outputs) -> Tensor:
        """The gradients to their parameters; returns the loss."""
        loss, *gradients = outputs
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        assert loss is not None
        return loss

    def move(self) -> None:
        """What has a gradient along it."""
        kind = tuple(parameter.grad is not None for parameter in self.parameters)
        if kind in self.moves:
            self.moves[kind]()
            return
        self.made[kind] += 1
        if not self.updates or self.made[kind] <= WARM:
            self.update()
            return
        try:
            self.moves[kind] = self._capture_update()
        except RuntimeError as error:
            self.updates = False
            self.moves.clear()
            warn("updates are not captured", error)

    def draw(self, draw: Draw, copies: int, graphs: int) -> Tensor:
        """What `draw` returns for so many; good until it is called again."""
        size = (copies, graphs)
        if size in self.draws:
            found, replay = self.draws[size]
            replay()
            return found
        self.asked[size] += 1
        if not self.drawing or self.asked[size] <= WARM:
            return draw(copies, graphs)
        devices = [self.fixed[0].device] if self.fixed[0].is_cuda else []
        with torch.random.fork_rng(devices):
            plain = draw(copies, graphs)
        found = torch.empty_like(plain)

        def fill() -> Outputs:
            found.copy_(draw(copies, graphs))
            return []

        try:
            with torch.random.fork_rng(devices), alarmed(plain.device):
                fill()
            with torch.random.fork_rng(devices):
                _, replay = self.capture(fill)
            with torch.random.fork_rng(devices):
                found.zero_()
                replay()
            if not (difference := relative_difference([found], [plain])) <= ALIKE:
                raise RuntimeError(f"elements come out {100 * difference:.0f} % different")
            self.draws[size] = found, replay
        except RuntimeError as error:
            self.drawing = False
            self.draws.clear()
            warn("draws are not captured", error)
        return plain

    def _capture_update(self) -> Callable[[], Any]:
        """A graph of the update, which has been made once afterwards.

        Raises RuntimeError, once it has been made plainly, if a graph of it cannot be had.
        """
        state, weights = self.state(), [p.detach() for p in self.parameters]
        before, start = [[one.clone() for one in some] for some in (state, weights)]
        self.update()
        after, way = [one.clone() for one in state], differences(weights, start)
        try:
            torch._foreach_copy_(state, before)
            with alarmed(state[0].device):
                self.update()
            torch._foreach_copy_(state, before)
            _, replay = self.capture(self._updated)
            torch._foreach_copy_(state, before)
            replay()
            # The moments and the running average come from the same operations.
            if not (share := relative_difference(differences(weights, start), way)) <= ALIKE:
                raise RuntimeError(f"weights move {100 * share:.0f} % differently")
        except RuntimeError:
            torch._foreach_copy_(state, after)
            raise
        return replay

    def _updated(self) -> Outputs:
        self.update()
        return []

    def _capture(
        self, batch: Any, target: Tensor, moving: bool, elements: Tensor | None
    ) -> Captured:
        """A graph of the step, tried on this batch; draws, and the statistics of BatchNorm, go on
        as if it had not been made.

        Raises RuntimeError if a step waits for the device, or makes buffers anew, or a replayed one
        is not a plain one.
        """
        fixed = {name: value.clone() for name, value in tensors_of(batch).items()}
        still, aim = replace(batch, **fixed), target.clone()
        drawn = None if elements is None else elements.clone()
        inputs = [*fixed.values(), aim, *([] if drawn is None else [drawn])]

        def step() -> Outputs:
            return self._outputs(still, aim, moving, drawn)

        # Each part draws what the plain step draws, and nothing has been drawn afterwards.
        devices = [target.device] if target.is_cuda else []
        buffers = Buffers(self.model)
        try:
            with torch.random.fork_rng(devices), alarmed(target.device):
                plain = [None if one is None else one.clone() for one in step()]
            if not buffers.restore():
                raise RuntimeError("the network puts other tensors in the place of its buffers")
            with torch.random.fork_rng(devices):
                outputs, replay = self.capture(step)
            captured = Captured(inputs, replay, outputs)
            with torch.random.fork_rng(devices):
                self._replay(captured, inputs)
        finally:
            buffers.restore()
            self._give([target, *[None] * len(self.parameters)])
        if not (difference := relative_difference(outputs, plain)) <= ALIKE:
            raise RuntimeError(f"gradients come out {100 * difference:.0f} % different")
        return captured

    def _outputs(
        self, batch: Any, target: Tensor, moving: bool, elements: Tensor | None
    ) -> Outputs:
        """The loss of a plain step, and its gradients, in `fixed`."""
        loss = self.gradients(batch, target, moving, elements)
        found = [parameter.grad for parameter in self.parameters]
        there = [(f, g) for f, g in zip(self.fixed, found, strict=True) if g is not None]
        if there:
            torch._foreach_copy_([f for f, _ in there], [g for _, g in there])
        return [loss, *(None if g is None else f for f, g in zip(self.fixed, found, strict=True))]


class Buffers:
    """Those of a module, as they are now."""

    def __init__(self, module: nn.Module) -> None:
        self.places = [
            (part, name, value, value.clone())
            for part in module.modules()
            for name, value in part.named_buffers(recurse=False)
        ]

    @torch.no_grad()
    def restore(self) -> bool:
        """Them, and what they held; returns whether they were still the same tensors."""
        others = [one for one in self.places if getattr(one[0], one[1]) is not one[2]]
        for part, name, value, _ in others:
            setattr(part, name, value)
        for _, _, value, held in self.places:
            value.copy_(held)
        return not others


class CudaGraphs:
    """Captures on the current GPU. All graphs share the memory in which they work, because one is
    started after another; inputs and outputs are held by whoever uses them."""

    def __init__(self) -> None:
        gc.collect()  # the graphs of a run before this one, and the memory that they hold
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Callable[[], Outputs]) -> tuple[Outputs, Callable[[], Any]]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            outputs = function()
        return outputs, graph.replay


def warn(what: str, error: BaseException) -> str:
    """A line in the log; returns the first of the error."""
    reason = str(error).partition("\n")[0]
    logging.getLogger(__name__).warning("%s: %s", what, reason)
    return reason


def has_tensors_alone(batch: Any) -> bool:
    """Whether all that a step reads of a batch can be written over: no numbers, no lists."""
    return is_dataclass(batch) and all(
        value is None or isinstance(value, Tensor)
        for value in (getattr(batch, spec.name) for spec in fields(batch))
    )


def tensors_of(batch: Any) -> dict[str, Tensor]:
    """The fields of a batch that are tensors, by name."""
    values = {spec.name: getattr(batch, spec.name) for spec in fields(batch)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


@contextmanager
def alarmed(device: torch.device) -> Iterator[None]:
    """Whatever waits for the GPU inside raises RuntimeError, before it could spoil a capture."""
    if device.type != "cuda":
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the mode is a prototype
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def differences(ends: Sequence[Tensor], starts: Sequence[Tensor]) -> Outputs:
    """From start to end, in double precision."""
    return [end.double() - start.double() for end, start in zip(ends, starts, strict=True)]


def relative_difference(found: Outputs, expected: Outputs) -> float:
    """The norm of the difference of all tensors as a share of that of the expected; infinite if
    other ones are there."""
    pairs = list(zip(found, expected, strict=True))
    if any((a is None) != (b is None) for a, b in pairs):
        return float("inf")
    there = [(a, b) for a, b in pairs if a is not None and b is not None]
    missed = torch.stack([(a.double() - b.double()).square().sum() for a, b in there]).sum()
    whole = torch.stack([b.double().square().sum() for _, b in there]).sum()
    return float((missed / whole.clamp_min(1e-30)).sqrt())
