"""The adapter, shown with PyTorch Geometric's SchNet."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import Haar, LearnedUniform
from molaug.groups import SE3
from molaug.molecules.action import MoleculeAction
from molaug.molecules.batch import MoleculeBatch
from molaug.molecules.data import load_sample
from molaug.molecules.networks import build_network
from molaug.molecules.pyg import CompleteGraph


@pytest.fixture
def batch() -> MoleculeBatch:
    positions, charges = load_sample().take(np.arange(12)).padded()
    return MoleculeBatch(torch.from_numpy(positions), torch.from_numpy(charges).int())


@pytest.fixture
def schnet() -> torch.nn.Module:
    return build_network("schnet", channels=16, layers=2)


def test_complete_graph_joins_all_pairs_within_molecules_once(batch):
    graph = batch.to_pyg()
    edges, lengths = CompleteGraph()(graph.pos, graph.batch)
    sizes = batch.mask.sum(1)
    assert edges.shape[1] == int((sizes * (sizes - 1)).sum())
    assert torch.equal(graph.batch[edges[0]], graph.batch[edges[1]])
    assert len(torch.unique(edges, dim=1).T) == edges.shape[1]
    assert torch.allclose(lengths, (graph.pos[edges[0]] - graph.pos[edges[1]]).norm(dim=1))


def test_schnet_is_invariant_and_says_something(batch, schnet):
    law = Haar(SE3(), 5.0)
    moved, _ = Augmentation(law, MoleculeAction())(batch)
    assert torch.allclose(schnet(batch), schnet(moved), atol=1e-4)
    assert schnet(batch).std() > 1e-4


def test_batched_equals_single(batch, schnet):
    together = schnet(batch)
    assert together.shape == (12,)
    for i in range(12):
        n = int(batch.mask[i].sum())
        one = MoleculeBatch(batch.positions[i : i + 1, :n], batch.charges[i : i + 1, :n])
        assert torch.allclose(schnet(one), together[i], atol=1e-5)


def test_schnet_takes_the_place_of_a_network(batch, schnet):
    law = LearnedUniform(SE3())
    model = AveragedModel(schnet, Augmentation(law, MoleculeAction()))
    model(batch, copies=2).sum().backward()
    assert all(p.grad.isfinite().all() for p in schnet.parameters() if p.grad is not None)
    assert law.parameter.grad is not None


def test_a_vector_is_refused():
    with pytest.raises(ValueError, match="predicts scalars only"):
        build_network("schnet", output="vector")
