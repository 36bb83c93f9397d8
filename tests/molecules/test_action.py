"""How elements move molecules and bring predictions back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from molaug.augmentation import Share
from molaug.groups import SE3, Aff3
from molaug.molecules.action import MoleculeAction
from molaug.molecules.batch import MoleculeBatch

BATCH = MoleculeBatch(
    torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(1))
    * (torch.arange(5) < 3)[:, None],
    torch.tensor([1, 6, 8, 0, 0]).expand(4, 5),
)


@pytest.mark.parametrize("group", [SE3(), Aff3()])
def test_moving_and_moving_back_returns(group):
    coefficients = torch.rand(4, len(group.members)) - 0.5
    moved = MoleculeAction().act(group.exp(coefficients), BATCH)
    back = MoleculeAction().act(group.exp(-coefficients), moved)
    assert torch.allclose(back.positions, BATCH.positions, atol=1e-5)
    assert not torch.allclose(moved.positions, BATCH.positions, atol=0.1)


def test_padding_stays_at_the_origin_and_the_input_is_not_touched():
    before = BATCH.positions.clone()
    moved = MoleculeAction().act(SE3().exp(torch.ones(4, 6)), BATCH)
    assert (moved.positions[:, 3:] == 0).all()
    assert torch.equal(BATCH.positions, before)


def test_atoms_go_where_an_explicit_map_sends_them():
    quarter = torch.tensor([[0, -1, 0, 2], [1, 0, 0, 3], [0, 0, 1, 4], [0, 0, 0, 1.0]])
    moved = MoleculeAction().act(quarter.expand(4, 4, 4), BATCH).positions
    x, y, z = BATCH.positions[:, :3].unbind(-1)
    assert torch.allclose(moved[:, :3], torch.stack([2 - y, x + 3, z + 4], -1))


@pytest.mark.parametrize("group", [SE3(), Aff3()])
def test_two_elements_act_as_their_product(group):
    first, second = group.exp(torch.rand(2, 4, len(group.members)) - 0.5)
    once = MoleculeAction().act(second @ first, BATCH)
    twice = MoleculeAction().act(second, MoleculeAction().act(first, BATCH))
    assert torch.allclose(once.positions, twice.positions, atol=1e-5)


@pytest.mark.parametrize("group", [SE3(), Aff3()])
def test_outputs_are_brought_back_by_the_inverse(group):
    elements = group.exp(torch.rand(4, len(group.members)) - 0.5)
    a = elements[:, :3, :3]
    scalar, vector, tensor = torch.randn(4), torch.randn(4, 3), torch.randn(4, 3, 3)
    assert torch.equal(MoleculeAction("scalar").act_on_output(elements, scalar), scalar)
    turned = (a @ vector[..., None]).squeeze(-1)
    found = MoleculeAction("vector").act_on_output(elements, turned)
    assert torch.allclose(found, vector, atol=1e-5)
    found = MoleculeAction("tensor").act_on_output(elements, a @ tensor @ a.mT)
    assert torch.allclose(found, tensor, atol=1e-5)


def test_geometry_stays_in_single_precision_under_autocast():
    elements = SE3().exp(torch.randn(4, 6))
    exact = MoleculeAction().act(elements, BATCH).positions
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(MoleculeAction().act(elements, BATCH).positions, exact)


def test_an_output_that_nothing_is_known_of_is_refused():
    with pytest.raises(ValueError, match="output 'spinor': choose from scalar, vector, tensor"):
        MoleculeAction.__post_init__(SimpleNamespace(output="spinor"))  # past the check of types


@pytest.mark.parametrize("sizes", [[20, 40, 20, 40], [3, 5, 4, 40]])
def test_shares_are_disturbed_as_the_whole_whatever_their_largest_molecule(sizes):
    charges = (torch.arange(40) < torch.tensor(sizes)[:, None]).int()

    def disturb(rows, share):
        torch.manual_seed(0)
        batch = MoleculeBatch(torch.zeros(len(rows), 40, 3), charges[rows])
        nodes = max(sizes[row] for row in rows)
        batch = MoleculeBatch(batch.positions[:, :nodes], batch.charges[:, :nodes])
        moved = MoleculeAction().disturb(batch, 1.0, 1, share).positions
        return [one[: sizes[row]] for one, row in zip(moved, rows, strict=True)]

    whole = disturb([0, 1, 2, 3], Share(4))
    shares = [disturb([first, first + 2], Share(4, first, 2)) for first in (0, 1)]
    for row, expected in enumerate(whole):
        assert torch.equal(shares[row % 2][row // 2], expected)


@pytest.mark.parametrize(("output", "shape"), [("vector", (3,)), ("tensor", (3, 3))])
def test_a_prediction_of_another_shape_is_refused(output, shape):
    with pytest.raises(ValueError, match=rf"predicts \(2,\); {output}s of 2 molecules are \(2, 3"):
        MoleculeAction(output).act_on_output(torch.eye(4).expand(2, 4, 4), torch.zeros(2))
