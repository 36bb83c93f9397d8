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


def test_atoms_keep_their_order():
    """Also where hydrogens come first, between and last."""
    charges = [[1, 6, 1, 8], [1, 0, 0, 0], [1, 1, 7, 0]]
    batch = MoleculeBatch(torch.arange(36.0).view(3, 4, 3), torch.tensor(charges))
    graph = batch.to_pyg()
    assert graph.z.tolist() == [1, 6, 1, 8, 1, 1, 1, 7]
    assert graph.pos[:, 0].tolist() == [0, 3, 6, 9, 12, 24, 27, 30]
    assert MoleculeBatch.from_pyg(graph).charges.tolist() == charges


def test_one_molecule_needs_no_batch_vector():
    from torch_geometric.data import Data

    data = Data(pos=torch.randn(3, 3), z=torch.tensor([1, 8, 1]))
    batch = MoleculeBatch.from_pyg(data)
    assert torch.equal(batch.positions, data.pos[None])
    assert batch.charges.tolist() == [[1, 8, 1]]


def test_mask_is_true_where_there_is_an_atom():
    molecules = load_sample().take(np.arange(9))
    assert sample().mask.sum(1).tolist() == molecules.sizes.tolist()
    assert (sample().positions[~sample().mask] == 0).all()


def test_pyg_batch_has_one_entry_per_atom():
    batch = sample()
    graph = batch.to_pyg()
    assert graph.num_graphs == len(batch)
    assert torch.equal(graph.batch.bincount(), batch.mask.sum(1))
    assert torch.equal(graph.ptr[1:] - graph.ptr[:-1], batch.mask.sum(1))
    assert (graph.z > 0).all()


def test_repeat_puts_copies_outermost():
    batch = sample(3)
    three = batch.repeat(3)
    assert len(three) == 9
    for copy in range(3):
        assert torch.equal(three.positions.unflatten(0, (3, 3))[copy], batch.positions)
        assert torch.equal(three.charges.unflatten(0, (3, 3))[copy], batch.charges)


def test_atoms_come_in_any_order_and_in_float32():
    from torch_geometric.data import Batch, Data

    first = Data(pos=torch.rand(3, 3, dtype=torch.float64), z=torch.tensor([8, 1, 1]))
    second = Data(pos=torch.rand(2, 3, dtype=torch.float64), z=torch.tensor([6, 7]))
    whole = Batch.from_data_list([first, second])
    expected = MoleculeBatch.from_pyg(whole)
    assert expected.positions.dtype == torch.float32
    order = torch.tensor([3, 0, 1, 4, 2])
    mixed = Data(pos=whole.pos[order], z=whole.z[order], batch=whole.batch[order])
    found = MoleculeBatch.from_pyg(mixed)
    assert torch.equal(found.charges, expected.charges)
    assert torch.equal(found.positions, expected.positions)
