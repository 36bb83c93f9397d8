"""Which examples train, validate and test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .files import atomic


@dataclass(frozen=True)
class Split:
    """Rows of a set, in the order in which they were drawn; no example is in two of the three; test
    rows may count in a source of their own."""

    train: np.ndarray  # (train,) int64
    validation: np.ndarray  # (validation,) int64
    test: np.ndarray  # (test,) int64

    def save(self, path: Path) -> None:
        """The three arrays as .npz."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as file:
            np.savez_compressed(file, **vars(self))
