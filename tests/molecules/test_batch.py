"""Dense batches, and the bridge to PyTorch Geometric."""

from __future__ import annotations

import numpy as np
import torch

from molaug.molecules.batch import MoleculeBatch
from molaug.molecules.data import load_sample


def sample(count: int = 9) -> MoleculeBatch:
    positions, charges = load_sample().take(np.arange(count)).padded()
    return MoleculeBatch(torch.from_numpy(positions), torch.from_numpy(charges).int())


def test_there_and_back_through_pyg():
    batch = sample()
    nodes = int(batch.mask.sum(1).max())
    back = MoleculeBatch.from_pyg(batch.to_pyg())
    assert torch.equal(back.positions, batch.positions[:, :nodes])
    assert torch.equal(back.charges, batch.charges[:, :nodes])


def test_pyg_batch_has_one_entry_per_atom():
    batch = sample()
    graph = batch.to_pyg()
    assert torch.equal(graph.batch.bincount(), batch.mask.sum(1))
    assert torch.equal(graph.ptr[1:] - graph.ptr[:-1], batch.mask.sum(1))
    assert (graph.z > 0).all()


def test_repeat_puts_copies_outermost():
    batch = sample(3)
    three = batch.repeat(3)
    assert len(three) == 9
    for copy in three.positions.unflatten(0, (3, 3)):
        assert torch.equal(copy, batch.positions)
