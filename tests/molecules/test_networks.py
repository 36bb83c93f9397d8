"""The graph network: what each level can and cannot see."""

from __future__ import annotations

import pytest
import torch

from molaug.augmentation import Augmentation
from molaug.distributions import Haar, Uniform
from molaug.groups import SE3
from molaug.molecules.action import MoleculeAction
from molaug.molecules.batch import MoleculeBatch
from molaug.molecules.networks import GraphNetwork, build_network

LEVELS = ["coordinates", "vectors", "distances"]
SHAPES = {"scalar": (6,), "vector": (6, 3), "tensor": (6, 3, 3)}


def draw_batch(graphs: int = 6, nodes: int = 9) -> MoleculeBatch:
    """Random molecules of different sizes, every element of QM9 present."""
    charges = torch.tensor([1, 6, 7, 8, 9])[torch.arange(graphs * nodes) % 5].view(graphs, nodes)
    sizes = torch.arange(graphs) % (nodes - 2) + 2
    mask = torch.arange(nodes) < sizes[:, None]
    positions = 2 * torch.randn(graphs, nodes, 3, dtype=torch.float64)
    return MoleculeBatch(positions * mask[..., None], charges * mask)


def draw_network(level: str, output: str = "scalar") -> GraphNetwork:
    """Away from its start, where outputs and updates are zero."""
    network = GraphNetwork(level=level, output=output, channels=16, layers=2).double()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def change(network, law, output="scalar", batch=None) -> float:
    """The relative change of the prediction, brought back, under draws of a law."""
    action = MoleculeAction(output)
    batch = batch or draw_batch()
    moved, elements = Augmentation(law.double(), action)(batch)
    before, after = network(batch), action.act_on_output(elements, network(moved))
    return float((before - after).detach().abs().max() / before.detach().abs().max())


TURN = Haar(SE3())
SHIFT = Uniform(SE3(), [0, 0, 0, 3, 3, 3])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("output", SHAPES)
def test_shapes_and_finite_gradients(level, output):
    network, batch = draw_network(level, output), draw_batch()
    batch.positions[0, 1] = batch.positions[0, 0]  # two atoms in one place
    batch.positions.requires_grad_()
    prediction = network(batch)
    assert prediction.shape == SHAPES[output]
    prediction.square().sum().backward()
    assert batch.positions.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("output", SHAPES)
def test_distances_are_symmetric_by_construction(output):
    network = draw_network("distances", output)
    assert change(network, TURN, output) < 1e-9
    assert change(network, SHIFT, output) < 1e-9


def mirror_change(network, output) -> float:
    """As `change`, for the reflection z -> -z."""
    action, batch = MoleculeAction(output), draw_batch()
    elements = torch.diag(torch.tensor([1.0, 1, -1, 1]).double()).expand(len(batch), 4, 4)
    before, after = network(batch), network(action.act(elements, batch))
    error = action.act_on_output(elements, after) - before
    return float(error.detach().abs().max() / before.detach().abs().max())


@pytest.mark.parametrize("output", SHAPES)
def test_distances_keep_reflections_and_nothing_else_does(output):
    assert mirror_change(draw_network("distances", output), output) < 1e-9
    for level in ("vectors", "coordinates"):
        assert mirror_change(draw_network(level, output), output) > 1e-3


@pytest.mark.parametrize("output", SHAPES)
def test_vectors_see_rotations_and_not_translations(output):
    network = draw_network("vectors", output)
    assert change(network, SHIFT, output) < 1e-9
    assert change(network, TURN, output) > 1e-3


@pytest.mark.parametrize("output", SHAPES)
def test_negative_control_coordinates_see_everything(output):
    network = draw_network("coordinates", output)
    assert change(network, SHIFT, output) > 1e-3
    assert change(network, TURN, output) > 1e-3


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("output", SHAPES)
def test_batched_equals_single_and_padding_is_not_seen(level, output):
    network, batch = draw_network(level, output), draw_batch()
    together = network(batch)
    for i in range(len(batch)):
        n = int(batch.mask[i].sum())
        one = MoleculeBatch(batch.positions[i : i + 1, :n], batch.charges[i : i + 1, :n])
        assert torch.allclose(network(one)[0], together[i], atol=1e-12)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("output", SHAPES)
def test_order_of_atoms_does_not_matter(level, output):
    network, batch = draw_network(level, output), draw_batch()
    order = torch.randperm(batch.mask.shape[1])
    shuffled = MoleculeBatch(batch.positions[:, order], batch.charges[:, order])
    assert torch.allclose(network(batch), network(shuffled), atol=1e-12)


@pytest.mark.parametrize("level", LEVELS)
def test_elements_matter(level):
    network, batch = draw_network(level), draw_batch()
    swapped = torch.where(batch.charges == 6, 7, batch.charges)
    assert not torch.allclose(network(batch), network(MoleculeBatch(batch.positions, swapped)))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("output", SHAPES)
def test_one_atom_works(level, output):
    network = draw_network(level, output)
    one = MoleculeBatch(torch.ones(1, 1, 3, dtype=torch.float64), torch.tensor([[8]]))
    prediction = network(one)
    assert prediction.shape == (1, *SHAPES[output][1:])
    # Nothing of one atom that turns with it can be told from distances.
    alone = level == "distances" and output != "scalar"
    assert bool(prediction.isfinite().all())
    assert bool((prediction == 0).all()) == alone


@pytest.mark.parametrize("level", LEVELS)
def test_mixed_precision_stays_close(level):
    network, batch = draw_network(level).float(), draw_batch()
    single = MoleculeBatch(batch.positions.float(), batch.charges)
    exact = network(single)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(single)
    found.float().sum().backward()
    assert (found - exact).abs().max() < 0.1 * exact.abs().max()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("level", LEVELS)
def test_it_starts_at_the_same_guess_for_every_molecule_of_a_size(level):
    """The weights of the readout and all updates start at zero."""
    prediction = GraphNetwork(level=level, channels=16, layers=2).double()(draw_batch())
    per_atom = prediction / draw_batch().mask.sum(1)
    assert torch.allclose(per_atom, per_atom[:1].expand(6), atol=1e-12)


@pytest.mark.parametrize(("size", "low", "high"), [((48, 3), 5e4, 2e5), ((256, 8), 4e6, 6e6)])
def test_sizes(size, low, high):
    network = build_network("coordinates", channels=size[0], layers=size[1])
    assert low < sum(p.numel() for p in network.parameters()) < high


def test_unknown_network_is_refused():
    with pytest.raises(ValueError, match="unknown network"):
        build_network("coordinate")
