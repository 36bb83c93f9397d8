"""The graph network: what each level can and cannot see."""

from __future__ import annotations

from itertools import product

import contracts
import pytest
import torch
from torch import nn

from molaug.molecules.batch import MoleculeBatch
from molaug.molecules.networks import GraphNetwork, build_network

LEVELS = ("coordinates", "vectors", "distances")
KINDS = tuple(contracts.SHAPES)


def draw_network(level: str, kind: str = "scalar") -> nn.Module:
    """Away from its start, where outputs and updates are zero."""
    return contracts.awaken(GraphNetwork(level=level, output=kind, channels=16, layers=2))


def errors(level: str, kind: str) -> list[float]:
    """How far predictions are from symmetric under a shift, a rotation and a reflection."""
    network, batch = draw_network(level, kind), contracts.random_batch()
    shift = torch.tensor([1.5, -3.0, 2.0], dtype=torch.float64)
    turn = contracts.random_rotations(1)[0]
    mirror = contracts.random_rotations(1, reflected=True)[0]
    return [
        contracts.invariance_error(network, batch, kind, shift=shift),
        contracts.invariance_error(network, batch, kind, turn),
        contracts.invariance_error(network, batch, kind, mirror),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_distances_are_symmetric_by_construction(kind):
    assert max(errors("distances", kind)) < contracts.TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_symmetric_under_translations_alone(kind):
    shift, turn, mirror = errors("vectors", kind)
    assert shift < contracts.TOLERANCE
    assert min(turn, mirror) > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_negative_control_coordinates_have_no_symmetry(kind):
    assert min(errors("coordinates", kind)) > 1e-2


@pytest.mark.parametrize(
    ("level", "kind", "check"),
    [
        case
        for case in product(LEVELS, KINDS, contracts.CONTRACT)
        # One atom may have a direction where rotations are not built in.
        if case[0] == "distances" or case[2] is not contracts.check_atoms
    ],
)
def test_contract(level, kind, check):
    check(draw_network(level, kind), kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("level", ["coordinates", "vectors"])
def test_one_atom_has_whatever_output_is_asked_for(level, kind):
    one = contracts.random_batch((1,))
    prediction = draw_network(level, kind)(one)
    assert prediction.shape == (1, *contracts.SHAPES[kind])
    assert prediction.isfinite().all()


@pytest.mark.parametrize("level", LEVELS)
def test_single_atoms_are_told_apart(level):
    atoms = MoleculeBatch(torch.ones(5, 1, 3).double(), contracts.ELEMENTS[:, None])
    assert torch.pdist(draw_network(level)(atoms)[:, None]).min() > 1e-6


@pytest.mark.parametrize("level", LEVELS)
def test_mixed_precision_stays_close(level):
    network, double = draw_network(level).float(), contracts.random_batch()
    batch = MoleculeBatch(double.positions.float(), double.charges)
    exact = network(batch)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(batch)
        h, _, envelope = network.embed(batch)
    found.sum().backward()
    # Products are in bf16; geometry and the sum over atoms are not, to the last bit.
    expected_h, _, expected = network.embed(batch)
    assert torch.equal(envelope, expected)
    assert torch.equal(h, expected_h)
    assert found.dtype == torch.float32
    assert (found - exact).abs().max() < 0.1 * exact.abs().max()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_messages_pass_between_different_atoms_alone():
    batch = contracts.random_batch()
    network = GraphNetwork(channels=16, layers=1, reach=2.0).double()
    _, _, found = network.embed(batch)
    distance = (batch.positions[:, None] - batch.positions[:, :, None]).norm(dim=-1)
    both = batch.mask[:, :, None] & batch.mask[:, None] & ~torch.eye(8, dtype=torch.bool)
    assert torch.allclose(found, torch.exp(-distance.square() / 4) * both, atol=1e-6)


def test_updates_start_at_zero():
    network, batch = GraphNetwork(channels=16, layers=2).double(), contracts.random_batch()
    nn.init.normal_(network.readout[-1].weight)
    before = network(batch)
    network.layers = nn.ModuleList()
    assert torch.equal(network(batch), before)


@pytest.mark.parametrize("level", LEVELS)
def test_it_starts_at_the_same_guess_for_every_atom(level):
    batch = contracts.random_batch()
    prediction = GraphNetwork(level=level, channels=16, layers=2).double()(batch)
    per_atom = prediction / batch.mask.sum(1)
    assert torch.allclose(per_atom, per_atom[:1].expand(4), atol=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_tensors_are_symmetric_and_traceless(level):
    found = draw_network(level, "tensor")(contracts.random_batch())
    assert torch.allclose(found, found.mT)
    assert found.diagonal(dim1=1, dim2=2).sum(1).abs().max() < contracts.TOLERANCE


@pytest.mark.parametrize(("size", "low", "high"), [((48, 3), 5e4, 2e5), ((256, 8), 4e6, 6e6)])
def test_sizes(size, low, high):
    network = build_network("coordinates", channels=size[0], layers=size[1])
    assert low < sum(p.numel() for p in network.parameters()) < high


def test_unknown_network_is_refused():
    with pytest.raises(ValueError, match="unknown network 'coordinate'"):
        build_network("coordinate")
