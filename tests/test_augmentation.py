"""Elements are drawn, one per copy and example, and act."""

from __future__ import annotations

import pytest
import torch

from molaug.augmentation import Action, Augmentation, Batch, Share
from molaug.distributions import Haar, Identity, LearnedUniform, Uniform
from molaug.groups import SE3, Aff3
from molaug.molecules.action import MoleculeAction
from molaug.molecules.batch import MoleculeBatch

BATCH = MoleculeBatch(torch.ones(3, 2, 3), torch.ones(3, 2, dtype=torch.int32))


def test_molecules_keep_the_contracts():
    assert isinstance(BATCH, Batch)
    assert isinstance(MoleculeAction(), Action)


def test_every_copy_and_example_has_its_own_element():
    moved, elements = Augmentation(Haar(SE3(), 1.0), MoleculeAction())(BATCH, copies=4)
    assert elements.shape == (12, 4, 4)
    assert len(moved) == 12
    assert len(torch.unique(elements.flatten(1), dim=0)) == 12


@pytest.mark.parametrize("law", [Identity(SE3()), Uniform(SE3(), [0.0] * 6)])
@pytest.mark.parametrize("copies", [1, 2, 3])
def test_no_width_moves_nothing_bit_for_bit(law, copies):
    moved, _ = Augmentation(law, MoleculeAction())(BATCH, copies)
    assert torch.equal(moved.positions, BATCH.positions.repeat(copies, 1, 1))


def test_copies_are_outermost():
    """Draws are stratified over the copies of one example: each visits every interval once."""
    law = Uniform(SE3(), [0, 0, 0, 1.0, 0, 0])
    moved, elements = Augmentation(law, MoleculeAction())(BATCH, copies=8)
    shift = elements[:, 0, 3].unflatten(0, (8, 3))
    strata = ((shift + 1) * 4).floor().sort(0).values
    assert torch.equal(strata, torch.arange(8.0)[:, None].expand(8, 3))
    assert torch.equal(moved.positions[:, 0, 0], 1 + elements[:, 0, 3])


def test_the_input_is_not_touched():
    before = BATCH.positions.clone()
    Augmentation(Haar(SE3(), 1.0), MoleculeAction())(BATCH, copies=2)
    assert torch.equal(BATCH.positions, before)


@pytest.mark.parametrize("group", [SE3(), Aff3()])
def test_geometry_stays_in_single_precision_under_autocast(group):
    augmentation = Augmentation(LearnedUniform(group, 0.5), MoleculeAction())
    torch.manual_seed(3)
    exact, _ = augmentation(BATCH, 2)
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16):
        moved, elements = augmentation(BATCH, 2)
    assert elements.dtype == torch.float32
    assert torch.equal(moved.positions, exact.positions)


def test_draws_are_a_function_of_the_seed():
    augmentation = Augmentation(Uniform(SE3(), [1.0] * 6), MoleculeAction())
    torch.manual_seed(3)
    first, _ = augmentation(BATCH)
    torch.manual_seed(3)
    again, _ = augmentation(BATCH)
    other, _ = augmentation(BATCH)
    assert torch.equal(first.positions, again.positions)
    assert not torch.equal(first.positions, other.positions)


def test_jitter_moves_every_atom_of_its_own_in_training_only():
    sizes = torch.tensor([9] * 200 + [4] * 200)
    charges = (torch.arange(9) < sizes[:, None]).int()
    batch = MoleculeBatch(torch.zeros(400, 9, 3), charges)
    for law in (Identity(SE3()), Haar(SE3())):
        augmentation = Augmentation(law, MoleculeAction(), jitter=0.1)
        moved = augmentation(batch, 2)[0].positions
        there = batch.repeat(2).mask
        assert not moved[~there].any()
        assert moved[there].std().item() == pytest.approx(0.1, rel=0.05)
        assert moved[:400].ne(moved[400:])[there[:400]].all()
        assert not augmentation.eval()(batch, 2)[0].positions.any()


def test_shares_of_a_batch_get_the_noise_of_the_whole():
    augmentation = Augmentation(Identity(SE3()), MoleculeAction(), jitter=0.1)
    batch = MoleculeBatch(torch.zeros(5, 6, 3), torch.ones(5, 6, dtype=torch.int))

    def noise(part: MoleculeBatch, share: Share) -> torch.Tensor:
        torch.manual_seed(1)
        return augmentation(part, 3, share)[0].positions.unflatten(0, (3, len(part)))

    whole = noise(batch, Share(5))
    for first in (0, 1):
        smaller = MoleculeBatch(batch.positions[first::2, :4], batch.charges[first::2, :4])
        assert torch.equal(noise(smaller, Share(5, first, 2)), whole[:, first::2, :4])
