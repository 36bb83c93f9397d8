"""When widths move, how far draws may go, when they probe, and when costs are measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

NARROW = 0.05  # the share of a range that is used at most while widths are frozen
RISE = 0.05  # the share of a run in which that rises to all of it
FIRST = 1 / 12  # the share of a run after which costs are first asked for, and probes begin
MEASUREMENTS = 24  # of the costs of generators, in a run
STRETCH = 8  # groups of steps for which elements are drawn at once where widths rest


def stride(steps: int) -> int:
    """Widths move in every so many steps of a run, the more seldom the longer it is: they are few
    and the same for all examples, and the way back to them through the geometry costs a seventh of
    a step."""
    return min(8, max(1, math.isqrt(steps) // 11))


@dataclass(frozen=True)
class Timetable:
    """Of a run of so many steps. freeze: the share of it before widths are free. probing: the share
    of copies that are probes, at most (`Recipe`).

    Steps come in groups of `stride`: widths, and what is known about them, change in the first of a
    group only. Every method is a function of the number of a step.
    """

    steps: int
    freeze: float
    probing: float

    @property
    def every(self) -> int:
        """Steps of a group."""
        return stride(self.steps)

    def together(self, resting: bool) -> int:
        """Steps whose elements are drawn at once: of a group, or of a stretch of them where widths
        rest, because so little work costs its calls."""
        return self.every * (STRETCH if resting else 1)

    def first(self, step: int, resting: bool = False) -> int:
        """Of the group of that step, or of its stretch."""
        return step // self.together(resting) * self.together(resting)

    def is_free(self, step: int) -> bool:
        """Whether widths may move in it."""
        return step / self.steps >= self.freeze and step == self.first(step)

    @property
    def free_from(self) -> int:
        """The first step of the first group in all of which widths are free."""
        return math.ceil(self.freeze * self.steps / self.every) * self.every

    @property
    def probed_from(self) -> int:
        """The first step with probes: of a false symmetry they are wrong answers, so that there are
        none before it is known what they cost."""
        return int(FIRST * self.steps / self.every) * self.every

    @property
    def between(self) -> int:
        """Steps from one measurement of costs to the next, once widths are free."""
        return max(1, self.steps // MEASUREMENTS // self.every) * self.every

    def is_measured(self, step: int) -> bool:
        """Whether costs are: once before probes begin, and now and then once widths are free."""
        since = step - self.free_from
        return step == self.probed_from if since < 0 else since % self.between == 0

    def share_of_probes(self, step: int) -> float:
        """Of the copies; falls to none at the end."""
        first = self.first(step)
        return self.probing * (1 - first / self.steps) if first >= self.probed_from else 0.0

    def limit(self, step: int) -> float:
        """The share of a range that is used at most. Where widths start must not decide what the
        network is first trained on; once they are free the limit rises, faster than a width can, so
        that wide ones which should not be have the time to shut."""
        done = self.first(step) / self.steps
        risen = min(1.0, (done - self.freeze) / RISE) if self.freeze else 1.0
        return float(NARROW ** (1 - max(0.0, risen)))
