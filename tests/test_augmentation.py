"""Elements are drawn, one per copy and example, and act."""

from __future__ import annotations

import torch

from molaug.augmentation import Action, Augmentation, Batch
from molaug.distributions import Haar, Uniform
from molaug.groups import SE3
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


def test_draws_are_a_function_of_the_seed():
    augmentation = Augmentation(Uniform(SE3(), [1.0] * 6), MoleculeAction())
    torch.manual_seed(3)
    first, _ = augmentation(BATCH)
    torch.manual_seed(3)
    again, _ = augmentation(BATCH)
    other, _ = augmentation(BATCH)
    assert torch.equal(first.positions, again.positions)
    assert not torch.equal(first.positions, other.positions)
