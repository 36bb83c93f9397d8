"""What can be concluded about each generator, and from what.

Two kinds of evidence: how far the width opened, and what held-out examples say: the share of what
the network has learned that is lost when they are moved by one value along one generator,

    lost(v) = (error at v - error at 0) / (error of the best constant - error at 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .augmentation import Action
from .averaging import AveragedModel, evaluating
from .costs import constants, learned_places
from .distributions import Distribution
from .evaluate import EVALUATION, in_parts, orbit_elements, some_rows
from .task import Examples, Task

Word = Literal["full", "partial", "absent", "undecided"]

OPEN = 0.8  # share of the natural range from which a width counts as open
SHUT = 0.1  # and up to which as shut
TOLERANCE = 0.05  # the share of what was learned that a symmetry may cost
CERTAIN = 2.5  # standard errors; more than two, because two sides are looked at
COARSE, HALVINGS = 8, 4  # values along an orbit, and halvings of the interval with the edge
# 97.5 % quantiles of Student's t, by degrees of freedom: intervals of 95 % over a few seeds.
STUDENT = (math.inf, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)


@dataclass(frozen=True)
class Verdict:
    """What was concluded about one generator.

    low, high: bounds of the range of the symmetry, in the unit of the coefficient: the learned
    width, and where the error of held-out examples begins to rise (the cap, if nowhere).
    lost: at most, within the natural range. told_apart: how well a linear classifier tells moved
    inputs from unmoved ones (0.5: inputs are spread over the range already), nan if not measured.
    """

    verdict: Word
    low: float
    high: float
    reason: str
    lost: float
    told_apart: float = math.nan

    def to_dict(self) -> dict[str, Any]:
        return {k: None if v != v else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Orbit:
    """What held-out examples say about one generator.

    edge: the value, as a share of the cap, from which on predictions are lost; None if nowhere.
    lost: the greatest share of what was learned that is lost within the range; NaN if nothing was
    learned. learned: whether the network predicts better than a constant at all.
    """

    edge: float | None
    lost: float
    learned: bool


def conclude(share: float, cap: float, orbit: Orbit, told_apart: float = math.nan) -> Verdict:
    """The verdict from a width, as a share of its cap, and held-out errors."""
    word, reason = weigh(share, orbit)
    if word == "full" and abs(told_apart - 0.5) < 0.05:
        reason += "; inputs are already spread over it"
    low = 0.0 if word == "absent" else min(share, 1.0 if orbit.edge is None else orbit.edge)
    high = 1.0 if orbit.edge is None else orbit.edge
    if word == "undecided":
        low, high = 0.0, 1.0
    return Verdict(word, low * cap, max(low, high) * cap, reason, orbit.lost, told_apart)


def weigh(share: float, orbit: Orbit) -> tuple[Word, str]:
    """The word and its reason."""
    if not orbit.learned:
        return "undecided", "the network predicts held-out examples no better than a constant"
    if orbit.edge is None:
        if share >= OPEN:
            return "full", "open, and held-out errors stay level over the whole range"
        return "undecided", "held-out errors stay level, but the width did not open"
    beyond = f"up to {orbit.lost:.0%} of what was learned is lost within the range"
    if share <= SHUT:
        return "absent", f"shut, and {beyond}"
    if share >= OPEN or share > 1.25 * orbit.edge:
        return "undecided", f"open, but {beyond}"
    return "partial", "held-out errors stay level as far as the width, and rise beyond it"


@torch.no_grad()
def walk_orbit(
    model: AveragedModel, task: Task, examples: Examples, generator: str, most: int = 256
) -> Orbit:
    """Move `most` of the examples along the generator, half of them backwards, and find where the
    error of the bare network begins to rise, either way. The law of the model stays out of it,
    or its own moves would add to those that are asked about."""
    parts = in_parts(model, examples, most)
    law = model.augmentation.distribution
    cap = law.caps[law.group.names.index(generator)]
    sizes = [len(batch) for batch, _ in parts]
    count = sum(sizes)
    ends = cap * (1.0 - 2 * (torch.arange(count, device=cap.device) % 2))
    known = torch.cat([model.scaling.to_standard(target).flatten() for _, target in parts])

    def errors(share: float) -> Float[Tensor, "examples"]:
        found, elements = [], orbit_elements(law, generator, share * ends)
        for (batch, target), some in zip(parts, elements.split(sizes), strict=True):
            output = model.move(some, batch)
            found.append(task.error(model.scaling.to_physical(output), target))
        return torch.cat(found)

    def guessed(batch: Any, target: Tensor) -> list[Tensor]:
        guesses = constants(known, model.network(batch))
        return [task.error(model.scaling.to_physical(guess), target) for guess in guesses]

    still = errors(0.0)
    rated = [torch.cat(each) for each in zip(*(guessed(*part) for part in parts), strict=True)]
    unlearned = min(rated, key=lambda error: float(error.mean()))
    learned = float((unlearned - still).mean())
    noise = float((unlearned - still).std()) / count**0.5
    if not learned > max(2 * noise, TOLERANCE * float(unlearned.mean())):
        return Orbit(None, math.nan, False)

    def lost(share: float) -> tuple[float, bool]:
        """Either way by itself, because one may gain what the other loses; the worse one."""
        rise = errors(share) - still
        found = []
        for side in (rise[::2], rise[1::2]):
            value = float(side.mean()) / learned
            noise = float(side.std()) / len(side) ** 0.5 / learned
            found.append((value, value > TOLERANCE and value > CERTAIN * noise))
        return max(value for value, _ in found), any(is_lost for _, is_lost in found)

    grid = {k / COARSE: lost(k / COARSE) for k in range(1, COARSE + 1)}
    edge = next((share for share, (_, is_lost) in grid.items() if is_lost), None)
    if edge is not None:
        edge = find_edge(edge - 1 / COARSE, edge, lambda share: lost(share)[1])
    return Orbit(edge, max(value for value, _ in grid.values()), True)


def find_edge(kept: float, edge: float, is_lost: Callable[[float], bool]) -> float:
    """Where predictions begin to be lost, between two shares of a range, by halving."""
    for _ in range(HALVINGS):
        middle = (kept + edge) / 2
        kept, edge = (kept, middle) if is_lost(middle) else (middle, edge)
    return edge


def judge(
    model: AveragedModel, task: Task, examples: Examples, *, most: int = 256
) -> dict[str, Verdict]:
    """A verdict for every generator whose width is learned, from held-out examples.

    most: how many examples are moved. A function of its arguments alone.
    """
    law = model.augmentation.distribution
    verdicts = {}
    with evaluating(model):
        for i in learned_places(law):
            name, cap = law.group.names[i], float(law.caps[i])
            orbit = walk_orbit(model, task, examples, name, most)
            apart = tell_apart(examples, model.augmentation.action, law, name)
            verdicts[name] = conclude(float(law.widths[i].detach()) / cap, cap, orbit, apart)
    return verdicts


@dataclass(frozen=True)
class Agreement:
    """The verdict on one generator over seeds, lengths and angles in the unit of its coefficient.

    verdict: the word that all seeds have; undecided if they differ. width: mean of what was
    learned. interval: of 95 %, of that mean (Student's t, within the natural range); None for one
    seed. edges: the least and the greatest value over seeds from which held-out errors rise; None
    where they do not, or where seeds do not agree that they do. by_seed: the word of each.
    """

    verdict: Word
    width: float
    interval: tuple[float, float] | None
    edges: tuple[float, float] | None
    reason: str
    by_seed: Mapping[int, Word]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def agree(seeds: Mapping[int, Mapping[str, Any]], widths: Sequence[float], cap: float) -> Agreement:
    """One verdict out of those of several seeds, as `Verdict.to_dict` gives them, with the width
    that each of them learned."""
    words: dict[int, Word] = {seed: one["verdict"] for seed, one in seeds.items()}
    middle, interval = mean(widths), mean_interval(widths)
    if interval:
        most = cap if max(widths) <= cap else math.inf  # of a law without caps
        interval = max(interval[0], 0.0), min(interval[1], most)
    kinds = sorted(set(words.values()))
    if len(kinds) > 1:
        counts = [
            f"{kind} ({', '.join(str(seed) for seed, word in words.items() if word == kind)})"
            for kind in kinds
        ]
        reason = f"seeds differ: {', '.join(counts)}"
        return Agreement("undecided", middle, interval, None, reason, words)
    first, one = next(iter(seeds.items()))
    is_shared = len({other["reason"] for other in seeds.values()}) == 1
    reason = one["reason"] if is_shared else f"{one['reason']} (seed {first})"
    ends = [other["high"] for other in seeds.values()]
    edges = (min(ends), max(ends)) if kinds[0] in ("partial", "absent") else None
    return Agreement(kinds[0], middle, interval, edges, reason, words)


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The interval of 95 % of the mean of normal values (Student's t); None for a single one."""
    if len(values) < 2:
        return None
    quantile = STUDENT[min(len(values), len(STUDENT)) - 1]
    spread = quantile * stdev(values) / len(values) ** 0.5
    return mean(values) - spread, mean(values) + spread


@torch.no_grad()
def tell_apart(
    examples: Examples, action: Action, law: Distribution, generator: str, most: int = 512
) -> float:
    """How often a linear classifier tells inputs that were moved over the whole range of one
    generator from others as they are: 0.5 where the data is already spread over it.

    Least squares on what `features()` of the batch gives, fitted on half of the examples and
    scored on the other half; nan for a batch without features.
    """
    count, place = min(most, len(examples)) // 4 * 4, law.group.names.index(generator)
    batch, _ = examples.gather(some_rows(examples, count))
    features: Callable[[], Tensor] | None = getattr(batch, "features", None)
    if features is None or not count:
        return math.nan
    spread = 2 * torch.rand(count, generator=torch.Generator().manual_seed(EVALUATION)) - 1
    elements = orbit_elements(law, generator, float(law.caps[place]) * spread)
    before, after = features().double(), action.act(elements, batch).features().double()
    is_moved = torch.arange(count, device=before.device) % 2 == 1
    inputs = torch.where(is_moved[:, None], after, before)
    return classify(inputs, 2.0 * is_moved - 1)


def classify(inputs: Float[Tensor, "n k"], labels: Float[Tensor, "n"]) -> float:
    """The accuracy of regularised least squares on the second half, fitted on the first."""
    scaled = (inputs - inputs.mean(0)) / inputs.std(0).clamp_min(1e-9)
    scaled = torch.cat([scaled, scaled.square() - 1, torch.ones_like(scaled[:, :1])], 1)
    half = len(labels) // 2
    train, test = scaled[:half], scaled[half:]
    penalty = 0.1 * half * torch.eye(train.shape[1], dtype=train.dtype, device=train.device)
    weights = torch.linalg.solve(train.mT @ train + penalty, train.mT @ labels[:half].to(train))
    return float(((test @ weights) * labels[half:] > 0).double().mean())
