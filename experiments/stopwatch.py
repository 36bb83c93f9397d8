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


def wait(device: str) -> None:
    """Until a GPU has done what it was given."""
    if device == "gpu":
        import torch

        torch.cuda.synchronize()


def interleave(
    cases: Mapping[str, Case], rounds: int, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Seconds of a call of every case in every round; each is called beforehand, to be warm.

    device: on a `gpu`, which takes calls ahead of time, ten in a row, after as many warm ones
    as steps need to be captured.
    """
    warm, calls = (5, 10) if device == "gpu" else (1, 1)
    for case in cases.values():
        for _ in range(warm):
            case()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            wait(device)
            start = time.perf_counter()
            for _ in range(calls):
                case()
            wait(device)
            seconds[name].append((time.perf_counter() - start) / calls)
    return {name: np.array(values) for name, values in seconds.items()}


def spread(values: np.ndarray, unit: float = 1.0, digits: int = 4) -> dict[str, float]:
    """Median and quartiles, in `unit`."""
    low, middle, high = np.percentile(values / unit, [25, 50, 75])
    names = ("median", "lower_quartile", "upper_quartile")
    return {
        name: float(f"{value:.{digits}g}")
        for name, value in zip(names, (middle, low, high), strict=True)
    }
