"""The training loop: steps, three parameter groups (Muon's, the rest, widths), history, checkpoints
and exact resume.

All randomness is reseeded from (seed, epoch, step) before every step, and a process takes from it
what belongs to its share of the batch: a run continued from any checkpoint takes exactly the steps
that an uninterrupted run takes, and several processes take those of one, to rounding.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .augmentation import Share
from .averaging import AveragedModel
from .checkpoint import load_state, save_state
from .costs import MEASURED, OPENED, REACHED, ROUGHLY, measure_costs, unsettled
from .distributions import Distribution
from .engine import Capture, Capturing, Draw, Gradients
from .evaluate import look_at_all, mean_error
from .files import checksum
from .history import write_history
from .objectives import Objective
from .processes import noted_signals
from .recipe import Recipe, build_optimizers
from .task import Task, check_shapes, draw_batches, seed_of, sorted_batches
from .timetable import Timetable
from .update import Update


class NotFinite(RuntimeError):
    """The loss is NaN or infinite: the run has stopped, its last checkpoint is good."""


class Interrupted(SystemExit):
    """A signal stopped the run after its state was saved; exits with 128 + the signal's number."""


@dataclass
class Progress:
    """What changes from step to step, apart from weights. settled: whether all widths have opened
    and are known to be free of cost, so that they need not move any more."""

    step: int = 0
    settled: bool = False
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


Report = Callable[[Progress, int], None]  # progress and the number of steps of the run


MARKED = 64  # training examples by which a run knows its data again
SAVING = 0.05  # the share of the time that may go to saving states


class TrainingLoss(nn.Module):
    """The loss of a batch, and what the network asks for beside it, in one forward pass: what
    several processes must see to know which parameters took part.

    bf16: products of the network in bfloat16. Not by Fabric, which would round targets of -1e7 meV
    to float32 on their way, and does not take frozen batches apart.
    """

    def __init__(
        self, model: AveragedModel, loss: Callable[[Tensor, Tensor], Tensor], bf16: bool
    ) -> None:
        super().__init__()
        self.model, self.loss, self.bf16 = model, loss, bf16

    def forward(
        self,
        batch: Any,
        target: Tensor,
        copies: int,
        share: Share | None,
        elements: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | float]:
        with torch.autocast(target.device.type, torch.bfloat16, enabled=self.bf16):
            output = self.model(batch, copies, share, elements)
            auxiliary = self.model.pop_auxiliary_loss()
        check_shapes(output, target)
        output = output.float() if self.bf16 else output
        return self.loss(output, self.model.scaling.to_standard(target)), auxiliary


def describe(thing: object) -> str:
    """The same in every process, unlike the address in the repr of an ordinary class."""
    is_ordinary = type(thing).__repr__ is object.__repr__
    return type(thing).__qualname__ if is_ordinary else repr(thing)


class Trainer:
    """Trains `task.model`; its running average is `averaged`, which is what is evaluated.

    fabric: a set-up Lightning Fabric, for device and processes.
    folder: where `state.pt` and `history.csv` are kept; an existing state is continued.
    capture: whether a single GPU takes steps by captured graphs (`engine`).
    """

    def __init__(
        self,
        task: Task,
        objective: Objective,
        recipe: Recipe,
        folder: Path,
        fabric: Any,
        capture: bool = True,
    ) -> None:
        self.task, self.objective, self.recipe, self.folder = task, objective, recipe, folder
        self.fabric = fabric
        self.averaged = copy.deepcopy(task.model).eval()
        task.model.train()  # a law in evaluation mode makes no probes
        self.steps_per_epoch = math.ceil(len(task.train) / recipe.batch_size)
        self.total = self.steps_per_epoch * recipe.epochs
        self.timetable = Timetable(self.total, recipe.freeze, recipe.probing)
        self.plain_optimizers = build_optimizers(task.model, recipe, self.total)
        training_loss = TrainingLoss(task.model, task.loss, recipe.precision == "bf16-mixed")
        self.training_loss, *steps = fabric.setup(training_loss, *self.plain_optimizers)
        self.averaged.to(fabric.device)
        self.update = Update(task.model, self.averaged, self.plain_optimizers, steps, recipe)
        self.take_gradients: Gradients = self._take_gradients
        self.move: Callable[[], None] = self.update
        self.draw: Draw = self._draw
        # What depends on the examples is known when they are looked at, and keeps the graph of its
        # gradient, which spoils a capture.
        if capture and self._alone and not self.law.looks and fabric.device.type == "cuda":
            self.capture_steps()
        self.draws_ahead = self.law.moves and not self.law.looks
        # A call costs a GPU's host as much as a large product, and a CPU a few microseconds.
        self.stretches = fabric.device.type != "cpu"
        self.learns = len(self.law.learned) > 0
        self.drawn: tuple[Any, Tensor] | None = None  # for which steps and examples, and elements
        self.progress, self.rated = Progress(), -1  # of which steps the law has the settings
        self.unchecked: list[tuple[Tensor, Tensor]] = []  # rows and loss, not yet seen by the host
        self.signals: list[int] = []  # that have come since the run began
        self.saved, self.saving = -math.inf, 0.0  # when, and the seconds that it took
        if self.state_file.exists():
            self.restore(load_state(self.state_file))

    def capture_steps(self, capture: Capture | None = None) -> None:
        """From now on, where it works (`engine`); capture: by default, as CUDA graphs."""
        self.update.use_tensors(self.fabric.device)
        model, update = self.task.model, self.update
        engine = Capturing(self._take_gradients, model, update, update.state, capture)
        self.take_gradients, self.move = engine, engine.move
        self.draw = lambda copies, graphs: engine.draw(self._draw, copies, graphs)

    @property
    def state_file(self) -> Path:
        return self.folder / "state.pt"

    def fit(self, report: Report | None = None) -> AveragedModel:
        """Train to the end and return the averaged model.

        Raises NotFinite, with the step and the examples, if the loss stops being a number, and
        Interrupted after SIGTERM or Ctrl-C, once the state is saved.
        """
        if self.progress.step == 0:
            self.save()
        with noted_signals() as self.signals:
            while self.progress.step < self.total:
                self._epoch(report or (lambda progress, total: None))
        return self.averaged

    def _epoch(self, report: Report) -> None:
        epoch, first = divmod(self.progress.step, self.steps_per_epoch)
        path = (self.recipe.seed, epoch)
        train = self.task.train
        windows = getattr(train, "windows", None)
        batches = draw_batches(train.sizes, self.recipe.batch_size, *path, windows=windows)
        for rows in islice(batches, first, None):
            start = time.perf_counter()
            self.unchecked.append((rows, self.step(rows)))
            self.progress.step += 1
            # A GPU is asked for its losses only now and then: every question makes it wait.
            if self.fabric.device.type == "cpu" or self.progress.step % 100 == 0:
                self._check()
            is_last = self.progress.step % self.steps_per_epoch == 0
            if is_last:
                self._check()  # for which a GPU has still been working
            self.progress.seconds += time.perf_counter() - start
            if is_last:
                self._end_epoch(epoch + 1)
                self._save_if_due()
            report(self.progress, self.total)
            if number := self._signalled():
                self._check()
                self._check_weights()
                self.save()
                raise Interrupted(128 + number)

    def step(self, rows: Tensor) -> Tensor:
        """One step on the examples in `rows`, of which every process takes its share; returns
        their loss, still on the device."""
        step = self.progress.step
        self.measure_costs(step)
        self._set_rates()
        # Where widths stay nobody needs the gradient of the geometry, a tenth of a step.
        moving = self.timetable.is_free(step) and not self.progress.settled
        self.law.requires_grad_(moving)
        elements = None if moving else self._drawn_ahead(len(rows))
        self._reseed(step, ahead=elements is not None)
        loss = self._gradients_of(rows, moving, elements)
        self.move()
        self.update.copy_buffers()
        return loss if self._alone else self.fabric.all_reduce(loss, reduce_op="mean")

    def _drawn_ahead(self, examples: int) -> Tensor | None:
        """The elements of a step that leaves widths as they are: drawn at once for all such steps
        of its group or stretch. None where the model draws them itself."""
        if not self.draws_ahead:
            return None
        count = self.timetable.together(self.resting)
        size = max(examples, self.recipe.batch_size)
        first = self.timetable.first(self.progress.step, self.resting)
        place = (first, count, size)
        if self.drawn is None or self.drawn[0] != place:
            self._reseed(first)
            found = self.draw(self.recipe.copies, count * size)
            self.drawn = place, found.unflatten(1, (count, size))
        return self.drawn[1][:, self.progress.step - first, :examples]

    def _draw(self, copies: int, graphs: int) -> Tensor:
        return self.task.model.augmentation.draw(copies, graphs)

    @property
    def resting(self) -> bool:
        """Whether widths stay as they are for longer than a group of steps, and it is worth while
        to draw for more of them."""
        is_frozen = self.progress.step < self.timetable.free_from
        return self.stretches and (is_frozen or self.progress.settled or not self.learns)

    def _gradients_of(self, rows: Tensor, moving: bool, elements: Tensor | None) -> Tensor:
        """Gradients from this process's share of `rows`, and its loss: both so weighted that the
        mean over processes is that of all rows, however they are spread."""
        if self._alone:
            return self.take_gradients(*self.task.train.gather(rows), moving, elements)
        share = Share(len(rows), self.fabric.global_rank, self.fabric.world_size)
        mine = rows[share.first :: share.step]
        weight = len(mine) * share.step / share.whole
        if not len(mine):  # more processes than examples: this one only keeps the others company
            mine, share = rows[:1], Share(len(rows), 0, len(rows))
        batch, target = self.task.train.gather(mine)
        return self._take_gradients(batch, target, moving, elements, share, weight)

    def _take_gradients(
        self,
        batch: Any,
        target: Tensor,
        moving: bool,
        elements: Tensor | None = None,
        share: Share | None = None,
        weight: float = 1.0,
    ) -> Tensor:
        """Forwards and backwards; returns the loss, without its gradient."""
        for parameter in self.task.model.parameters():
            parameter.grad = None
        copies = self.recipe.copies
        loss, auxiliary = self.training_loss(batch, target, copies, share, elements)
        if weight != 1:
            loss, auxiliary = loss * weight, auxiliary * weight
        total = self.objective(loss, self.law) if moving else loss
        self.fabric.backward(total + auxiliary)
        detached: Tensor = loss.detach()
        return detached

    def _signalled(self) -> int:
        """The number of a signal that any process has had, or zero: they stop at the same step."""
        if self._alone:
            return max(self.signals, default=0)
        if self.unchecked:  # not a moment at which the host waits for the device
            return 0
        number = torch.tensor(max(self.signals, default=0), device=self.fabric.device)
        return int(self.fabric.all_reduce(number, reduce_op="max"))

    def _reseed(self, step: int, ahead: bool = False) -> None:
        """ahead: for what else is random in a step whose elements were drawn already, perhaps from
        the numbers of this very step."""
        seed = seed_of(self.recipe.seed, step // self.steps_per_epoch, step, *[1] * ahead)
        # Of a CPU only its own generator: asking for all others costs a hundred times as much.
        if self.fabric.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    @property
    def _alone(self) -> bool:
        return int(self.fabric.world_size) == 1

    @property
    def law(self) -> Distribution:
        """What is trained beside the network."""
        return self.task.model.augmentation.distribution

    def measure_costs(self, step: int) -> None:
        """Once before probes begin, and now and then once widths are free: what each of them would
        cost if it were open."""
        is_due = self.timetable.is_measured(step) and not self.progress.settled
        if not is_due or not self.objective.asks_for_costs:
            return
        look_at_all(self.averaged, self.task.validation)  # as it is, whatever it was shown before
        law, train = self.averaged.augmentation.distribution, self.task.train
        is_first = not bool(law.costs.any())
        # Here and not at every step, because a GPU would have to wait for the answer.
        self.progress.settled = not is_first and not unsettled(law, REACHED)
        if not (places := unsettled(law, 1.0 if is_first else OPENED)):
            return
        # Others each time, so that chance evens out; what fits into memory in training fits here.
        count = min(MEASURED, 8 * self.recipe.batch_size, len(train))
        since = step - self.timetable.free_from
        if since < 0:  # only for probes, whose number need not be so exact
            count = min(count, ROUGHLY)
        if getattr(train, "windows", None) is None:
            chance = np.random.default_rng((self.recipe.seed, step, MEASURED))
            rows = torch.from_numpy(chance.choice(len(train), count, replace=False))
        else:  # from one part or two of a large set, in which examples are in no order
            rows = (since // self.timetable.between * count + torch.arange(count)) % len(train)
        parts = sorted_batches(train.sizes[rows.numpy()], self.recipe.batch_size)
        batches = [train.gather(rows[part]) for part in parts]
        # Before widths are free nobody asks where a symmetry ends: probes reach over whole ranges.
        measure_costs(self.averaged, batches, self.task.loss, places, ends=since >= 0)
        self.law.costs.copy_(law.costs)
        self.law.whole_costs.copy_(law.whole_costs)

    def _set_rates(self) -> None:
        self.update.set_rates(self.progress.step, self.total)
        first = self.timetable.first(self.progress.step, self.resting)
        if first == self.rated:
            return  # what is known about widths changes no more often
        self.rated = first
        probes = self.timetable.share_of_probes(first) if self.objective.asks_for_costs else 0.0
        self.law.probing.fill_(probes)
        self.law.limit.fill_(self.timetable.limit(first))

    def _check(self) -> None:
        """Read the losses of the last steps; stop at the first that is not a number."""
        if not self.unchecked:
            return
        losses = torch.stack([loss for _, loss in self.unchecked]).tolist()
        for i, loss in enumerate(losses):
            if not math.isfinite(loss):
                step = self.progress.step - len(losses) + i
                names = self.task.train.describe(self.unchecked[i][0])
                what = f"the loss is {loss} at step {step} of {self.total}, on {names}"
                raise self._not_finite(what, "these")
        self.progress.loss_sum += sum(losses)
        self.unchecked.clear()

    def _check_weights(self) -> None:
        """Before a state is saved: a finite loss may have had a gradient that is not a number."""
        if torch.stack([p.isnan().any() for p in self.task.model.parameters()]).any():
            what = f"weights are nan after step {self.progress.step} of {self.total}"
            raise self._not_finite(what, "the data")

    def _not_finite(self, what: str, suspects: str) -> NotFinite:
        return NotFinite(
            f"{what}; {self.state_file} holds the last good state: lower --rate, or look at "
            f"{suspects}"
        )

    def _end_epoch(self, epoch: int) -> None:
        task, progress = self.task, self.progress
        self._check_weights()  # nan that they predict of pictures passes for pixels from outside
        error = mean_error(self.averaged, task, task.validation, seed=self.recipe.seed)
        if not math.isfinite(error):
            what = f"the validation error is {error} after step {progress.step} of {self.total}"
            raise self._not_finite(what, "the validation examples")
        look_at_all(self.averaged, task.validation)
        widths = self.averaged.augmentation.distribution.widths.detach().tolist()
        names = self.averaged.augmentation.distribution.group.names
        row = {
            "epoch": float(epoch),
            "train_loss": progress.loss_sum / self.steps_per_epoch,
            "validation_error": error,
            "seconds": progress.seconds,
            **{f"width_{name}": width for name, width in zip(names, widths, strict=True)},
        }
        progress.history.append(row)
        progress.loss_sum = 0.0

    def _save_if_due(self) -> None:
        """At the end; and before, where that takes no more than `SAVING` of the time."""
        since = time.perf_counter() - self.saved
        # Several processes, whose clocks differ, must all come to the same.
        is_due = not self._alone or self.saving <= SAVING * since
        if is_due or self.progress.step == self.total:
            self.save()

    def save(self) -> None:
        """The whole state, then the history as CSV; each appears complete or not at all."""
        state = {
            "run": self._identity(),
            "model": self.task.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.plain_optimizers],
            "progress": vars(self.progress),
        }
        start = time.perf_counter()
        if self.fabric.is_global_zero:
            save_state(self.state_file, state)
            write_history(self.folder / "history.csv", self.progress.history)
        self.fabric.barrier()  # nobody goes on, or ends, before it is written
        self.saved = time.perf_counter()
        self.saving = self.saved - start

    @cached_property
    def mark(self) -> str:
        """A checksum of the first training examples."""
        batch, target = self.task.train.gather(torch.arange(min(MARKED, len(self.task.train))))
        parts = [batch, *getattr(batch, "__dict__", {}).values(), target]
        return checksum(part.cpu().numpy() for part in parts if isinstance(part, Tensor))

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a state to be continued."""
        task, scaling = self.task, self.task.model.scaling
        augmentation, law = task.model.augmentation, self.law
        shapes = {name: list(value.shape) for name, value in task.model.state_dict().items()}
        standard = [float(scaling.shift), float(scaling.scale)]
        return {
            **{"examples": len(task.train), "scaling": standard, "parameters": shapes},
            "data": self.mark,
            "recipe": {**vars(self.recipe)},
            "objective": describe(self.objective),
            "law": [type(law).__qualname__, *law.group.names, *law.caps.tolist()],
            "learned": [width > 0 for width in law.widths.tolist()],
            "moves": [describe(augmentation.action), augmentation.jitter],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Raises ValueError if it is the state of another run."""
        theirs, ours = state.get("run") or {}, self._identity()
        differing = [name for name in ours if ours[name] != theirs.get(name)]
        if differing:
            raise ValueError(
                f"{self.state_file} is of another run (other {', '.join(differing)}): choose "
                "another folder, or delete that one"
            )
        self.task.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        for optimizer, saved in zip(self.plain_optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.update.attach()
        self.progress = Progress(**state["progress"])
