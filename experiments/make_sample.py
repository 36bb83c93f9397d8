"""Draw the sample of QM9 that the tests and the first steps use, data/qm9/sample.npz."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from molaug.molecules.convert import write_compressed
from molaug.molecules.data import MoleculeSet, load_qm9

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "qm9" / "sample.npz"


def draw(molecules: MoleculeSet, count: int = 1000, seed: int = 0) -> MoleculeSet:
    """Methane, ammonia, water, the first of the largest, and others at random; sorted by index."""
    always = np.array([0, 1, 2, molecules.sizes.argmax()])
    others = np.setdiff1d(np.arange(len(molecules)), always)
    drawn = np.random.RandomState(seed).permutation(others)[: count - len(always)]
    return molecules.take(np.sort(np.concatenate([always, drawn])))


if __name__ == "__main__":
    write_compressed(SAMPLE, dataclasses.asdict(draw(load_qm9())))
