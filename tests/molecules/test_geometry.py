"""What pairs of atoms see, and what the atoms of a molecule amount to together."""

from __future__ import annotations

import pytest
import torch

from molaug.molecules.batch import MoleculeBatch
from molaug.molecules.geometry import assemble, gather, separations, traceless


def test_separations_by_hand():
    """Two atoms 5 Angstrom apart, a third on top of the first, and padding."""
    positions = torch.tensor([[[0.0, 0, 0], [3, 0, 4], [0, 0, 0], [0, 0, 0]]])
    batch = MoleculeBatch(positions, torch.tensor([[1, 6, 8, 0]]))
    distance, direction, connected = separations(batch)
    pairs = {(0, 1), (1, 0), (1, 2), (2, 1)}
    assert {tuple(pair) for pair in connected[0].nonzero().tolist()} == pairs
    assert distance[0, 0, 1] == 5
    assert direction[0, 0, 1].tolist() == pytest.approx([0.6, 0, 0.8])
    assert (direction[~connected] == 0).all()


def test_gather_is_the_sum_over_neighbours():
    kernels, features = torch.randn(2, 4, 3, 4), torch.randn(2, 4, 5)
    expected = torch.einsum("gikj,gjc->gikc", kernels, features)
    torch.testing.assert_close(gather(kernels, features), expected)


def test_charges_give_multipoles():
    """Unit charges of opposite sign at +-1 on x: a dipole of 2, and with equal sign a quadrupole
    diag(4, -2, -2) / 3; both in units of 18 atoms."""
    positions = torch.tensor([[[6.0, 5, 5], [4, 5, 5], [0, 0, 0]]])
    batch = MoleculeBatch(positions, torch.tensor([[9, 9, 0]]))
    opposite, equal = torch.tensor([[1.0, -1, 7]]), torch.tensor([[1.0, 1, 7]])
    dipole, quadrupole = assemble("vector", batch, opposite), assemble("tensor", batch, equal)
    torch.testing.assert_close(dipole * 18, torch.tensor([[2.0, 0, 0]]))
    expected = torch.diag(torch.tensor([4.0, -2, -2]) / 3)[None]
    torch.testing.assert_close(quadrupole * 18, expected)


def test_traceless_keeps_what_is_traceless():
    tensor = traceless(torch.randn(4, 3, 3))
    torch.testing.assert_close(traceless(tensor), tensor)
