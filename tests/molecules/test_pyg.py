"""PyTorch Geometric's networks through the adapter, and graphs built without its extensions."""

from __future__ import annotations

from functools import cache

import contracts
import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Batch
from torch_geometric.nn import GIN, DimeNetPlusPlus
from torch_geometric.nn.models import dimenet
from torch_geometric.utils import scatter

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import LearnedUniform
from molaug.groups import SE3
from molaug.molecules import pyg
from molaug.molecules.action import MoleculeAction
from molaug.molecules.batch import MoleculeBatch
from molaug.molecules.data import load_sample
from molaug.molecules.networks import build_network
from molaug.molecules.pyg import PygNetwork, build_pyg, connect, find_triplets
from molaug.molecules.tasks import MoleculeExamples

NAMES = ("schnet", "dimenetpp", "visnet")


@cache
def small(name: str) -> nn.Module:
    few = {"spherical": 2} if name == "dimenetpp" else {}  # its basis takes seconds to derive
    model = pyg.BUILDERS[name](channels=16, layers=2, **few)
    return contracts.awaken(PygNetwork(model))


@pytest.mark.parametrize("check", [*contracts.SYMMETRIES, *contracts.CONTRACT])
@pytest.mark.parametrize("name", NAMES)
def test_contract(name, check):
    check(small(name), "scalar")


@pytest.mark.parametrize("name", ["schnet", "visnet"])
def test_a_cutoff_is_passed_on(name):
    near, far = (build_pyg(name, channels=16, layers=1, cutoff=cutoff) for cutoff in (2.0, 9.0))
    far.load_state_dict(near.state_dict(), strict=False)
    batch = contracts.random_batch()
    network = [contracts.awaken(model)(batch) for model in (near, far)]
    assert (network[0] - network[1]).abs().max() > 1e-3


def test_connect_finds_every_pair_within_the_cutoff():
    batch = contracts.random_batch((8, 1, 5, 12))
    data = batch.to_pyg()
    distance = torch.cdist(data.pos, data.pos)
    near = (distance < 3) & (data.batch[:, None] == data.batch)
    near.fill_diagonal_(False)
    edges = {tuple(edge) for edge in connect(data.pos, data.batch, 3.0).T.tolist()}
    assert edges == {tuple(edge) for edge in near.nonzero().tolist()}


def test_connect_leaves_out_atoms_in_one_place():
    positions = torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 0, 0]])
    edges = connect(positions, torch.zeros(3, dtype=torch.long), 5.0)
    assert sorted(edges.T.tolist()) == [[0, 2], [1, 2], [2, 0], [2, 1]]


def test_triplets_are_all_pairs_of_edges_that_meet():
    data = contracts.random_batch((6, 3, 1)).to_pyg()
    edges = connect(data.pos, data.batch, 3.0)
    pairs = edges.T.tolist()
    expected = {
        (a, b)
        for a, (k, j) in enumerate(pairs)
        for b, (start, i) in enumerate(pairs)
        if start == j and k != i
    }
    found = torch.stack(find_triplets(edges, len(data.z))).T.tolist()
    assert len(found) == len(expected)
    assert {tuple(pair) for pair in found} == expected


def test_dimenetpp_is_that_of_pyg(monkeypatch):
    """PyG's own forward, given our graph and triplets in place of its extensions."""
    network = small("dimenetpp")

    def triplets(edges, num_nodes):
        kj, ji = find_triplets(edges, num_nodes)
        source, target = edges
        return target, source, target[ji], source[ji], source[kj], kj, ji

    def radius_graph(pos, r, batch, max_num_neighbors):
        return connect(pos, batch, r)

    monkeypatch.setattr(dimenet, "radius_graph", radius_graph)
    monkeypatch.setattr(dimenet, "triplets", triplets)
    data = contracts.random_batch().to_pyg()
    with torch.no_grad():
        theirs = DimeNetPlusPlus.forward(network.model, data.z, data.pos, data.batch)
        ours = network.model(data.z, data.pos, data.batch)
    torch.testing.assert_close(ours, theirs)


class TakesData(nn.Module):
    """(graphs, components) from a PyG batch: the sum of positions, repeated."""

    def __init__(self, components: int) -> None:
        super().__init__()
        self.components = components

    def forward(self, data: Batch) -> torch.Tensor:
        total = torch.zeros(data.num_graphs, 3, dtype=data.pos.dtype)
        total = total.index_add(0, data.batch, data.pos)
        return total.repeat(1, 3)[:, : self.components]


@pytest.mark.parametrize(("output", "components"), [("scalar", 1), ("vector", 3), ("tensor", 9)])
def test_any_model_that_takes_data(output, components):
    batch = contracts.random_batch()
    prediction = PygNetwork(TakesData(components), output=output)(batch)
    assert prediction.shape == (4, *contracts.SHAPES[output])
    expected = batch.positions.sum(1).repeat(1, 3)[:, :components]
    torch.testing.assert_close(prediction.reshape(4, components), expected)


def test_a_scale_is_a_factor():
    batch, model = contracts.random_batch(), TakesData(3)
    one, half = (PygNetwork(model, output="vector", scale=scale)(batch) for scale in (1.0, 0.5))
    torch.testing.assert_close(half, one / 2)


def test_a_prediction_of_another_shape_is_refused():
    network = PygNetwork(TakesData(3), output="scalar")
    with pytest.raises(ValueError, match=r"TakesData predicted .*\(4, 3\); a scalar .* \(4,\)"):
        network(contracts.random_batch())


@pytest.mark.parametrize(("name", "largest"), pyg.LARGEST_CHARGES.items())
def test_unknown_elements_are_refused(name, largest):
    positions = torch.tensor([[[0.0, 0, 0], [0, 0, 1.5]]])
    network = PygNetwork(small(name).model, largest_charge=largest)
    known = MoleculeBatch(positions.double(), torch.tensor([[1, largest]]))
    assert network(known).isfinite().all()
    unknown = MoleculeBatch(positions.double(), torch.tensor([[1, largest + 1]]))
    with pytest.raises(ValueError, match=f"charge {largest + 1}; its last is {largest}"):
        network(unknown)


@pytest.mark.parametrize("name", ["schnet", "visnet"])
def test_published_sizes_unless_told_otherwise(name):
    count = sum(parameter.numel() for parameter in build_pyg(name).parameters())
    assert count == {"schnet": 455_809, "visnet": 1_687_398}[name]


def test_dimenetpp_narrows_in_proportion():
    model = small("dimenetpp").model
    assert model.interaction_blocks[0].lin_down.weight.shape == (8, 16)
    assert model.output_blocks[0].lin_up.weight.shape == (32, 16)


@pytest.mark.parametrize("name", ["schnet", "visnet"])
def test_takes_the_place_of_a_network(name):
    """By its name, in float32, on real molecules, with a learned law around it."""
    positions, charges = load_sample().take(np.arange(12)).padded()
    batch = MoleculeBatch(torch.from_numpy(positions), torch.from_numpy(charges).int())
    network, law = build_network(name, channels=16, layers=2), LearnedUniform(SE3())
    model = AveragedModel(network, Augmentation(law, MoleculeAction()))
    prediction = model(batch, copies=2)
    assert prediction.shape == (12,)
    assert prediction.abs().max() < 2
    assert prediction.std() > 1e-4
    prediction.sum().backward()
    assert law.parameter.grad is not None
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match="unknown network 'gemnet': choose from schnet"):
        build_pyg("gemnet")
    with pytest.raises(ValueError, match="schnet predicts scalars only, not a vector"):
        build_pyg("schnet", output="vector")


class _Squeezed(torch.nn.Module):
    def forward(self, pos, z, batch):  # in an order of its own
        total = torch.zeros(int(batch.max()) + 1, 1).index_add(0, batch, z[:, None].float())
        return total.squeeze()


class _Defaults(torch.nn.Module):
    def forward(self, z, pos=None, batch=None):
        return torch.zeros(int(batch.max()) + 1).index_add(0, batch, z.float())


class _Data(torch.nn.Module):
    def forward(self, data):
        one_hot = torch.nn.functional.one_hot(data.z, 10)  # of int64 only
        return scatter(one_hot @ torch.arange(10), data.batch).float()


class _Words(torch.nn.Module):
    def forward(self, data):
        return {"energy": data.z}


@pytest.mark.parametrize("model", [_Squeezed(), _Defaults(), _Data()])
def test_models_are_called_by_the_names_of_their_arguments(model):
    molecules = load_sample()
    examples = MoleculeExamples(molecules, molecules.properties[:, 5])
    for count in (1, 3):  # what is squeezed of a single molecule has no axis at all
        batch, _ = examples.gather(torch.arange(count))
        assert torch.equal(PygNetwork(model)(batch), batch.charges.sum(1).float())


def test_a_model_that_predicts_no_tensor_is_refused():
    molecules = load_sample()
    batch, _ = MoleculeExamples(molecules, molecules.properties[:, 5]).gather(torch.arange(2))
    with pytest.raises(ValueError, match="_Words predicted a dict, not a tensor"):
        PygNetwork(_Words())(batch)


class Edged(torch.nn.Module):
    """How many pairs are within the cutoff."""

    def forward(self, z, edge_index, batch):
        ones = torch.ones(edge_index.shape[1])
        return torch.zeros(int(batch.max()) + 1).index_add(0, batch[edge_index[0]], ones)


class OfData(Edged):
    def forward(self, data):
        return super().forward(data.z, data.edge_index, data.batch)


class Loose(Edged):
    def forward(self, z, edge_index, batch, pos=None, **more):
        assert pos is not None
        return super().forward(z, edge_index, batch)


@pytest.mark.parametrize("model", [Edged(), OfData(), Loose()])
def test_a_model_that_asks_for_edges_gets_those_within_the_cutoff(model):
    places = [[[0.0, 0, 0], [1, 0, 0], [3, 0, 0]], [[0.0, 0, 0], [9, 0, 0], [0, 0, 0]]]
    positions = torch.tensor(places)
    batch = MoleculeBatch(positions, torch.tensor([[8, 1, 1], [6, 6, 0]]))
    assert PygNetwork(model, cutoff=2.5)(batch).tolist() == [4.0, 0.0]
    assert PygNetwork(model, cutoff=1.5)(batch).tolist() == [2.0, 0.0]


def test_a_model_that_can_do_without_edges_needs_no_cutoff():
    class Own(torch.nn.Module):
        def forward(self, z, pos, batch, edge_index=None):
            return torch.full((int(batch.max()) + 1,), 0.0 if edge_index is None else 1.0)

    batch = MoleculeBatch(torch.rand(2, 3, 3), torch.full((2, 3), 6))
    assert PygNetwork(Own())(batch).tolist() == [0.0, 0.0]
    assert PygNetwork(Own(), cutoff=5.0)(batch).tolist() == [1.0, 1.0]


def test_edges_without_a_cutoff_and_unknown_arguments_are_refused():
    with pytest.raises(ValueError, match=r"Edged.forward asks for edge_index: give PygNetwork"):
        PygNetwork(Edged())
    with pytest.raises(ValueError, match=r"GIN.forward asks for x: give a module whose forward"):
        PygNetwork(GIN(4, 4, 1), cutoff=5.0)
