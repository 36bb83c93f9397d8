"""Timing on a machine that is not one's own: everything in turn, and ratios round by round.

A machine that slows down for a while slows all cases of a round, so that a ratio within a round
stays what it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Case = Callable[[], Any]


def interleave(cases: Mapping[str, Case], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of every case in every round; each is called once beforehand, to be warm."""
    for case in cases.values():
        case()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            start = time.perf_counter()
            case()
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def spread(values: np.ndarray, unit: float = 1.0, digits: int = 4) -> dict[str, float]:
    """Median and quartiles, in `unit`."""
    low, middle, high = np.percentile(values / unit, [25, 50, 75])
    names = ("median", "lower_quartile", "upper_quartile")
    return {
        name: float(f"{value:.{digits}g}")
        for name, value in zip(names, (middle, low, high), strict=True)
    }
