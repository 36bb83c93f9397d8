"""What every network on molecules must do, as plain functions that several test modules share.

Each `check_*` takes a network in float64 and the kind of its output, and fails with AssertionError.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from molaug.molecules.batch import MoleculeBatch

SHAPES = {"scalar": (), "vector": (3,), "tensor": (3, 3)}
ELEMENTS = torch.tensor([1, 6, 7, 8, 9])
TOLERANCE = 1e-10  # relative, in float64


def random_batch(sizes: tuple[int, ...] = (8, 5, 6, 3), seed: int = 0) -> MoleculeBatch:
    """Molecules of these sizes in float64, atoms some 1.5 Angstrom apart; a molecule of five atoms
    or more holds all of H C N O F."""
    generator = torch.Generator().manual_seed(seed)
    charges = torch.zeros(len(sizes), max(sizes), dtype=torch.long)
    for row, size in zip(charges, sizes, strict=True):
        order = torch.randperm(size, generator=generator)
        row[:size] = ELEMENTS[order % len(ELEMENTS)]
    shape = (*charges.shape, 3)
    positions = torch.randn(shape, generator=generator, dtype=torch.float64) * 1.5
    return MoleculeBatch(positions * (charges > 0)[..., None], charges)


def random_rotations(count: int, *, reflected: bool = False, seed: int = 0) -> Tensor:
    """Orthogonal matrices (count, 3, 3) of determinant 1, or -1 if reflected."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(count, 3, 3, generator=generator, dtype=torch.float64)
    orthogonal = torch.linalg.qr(normal).Q
    sign = torch.linalg.det(orthogonal) * (-1 if reflected else 1)
    return orthogonal * sign[:, None, None]


def moved(
    batch: MoleculeBatch, rotation: Tensor | None = None, shift: Tensor | None = None
) -> MoleculeBatch:
    """The batch with every molecule rotated, by one matrix (3, 3) or each by its own (graphs, 3,
    3), then shifted; padding stays at the origin."""
    positions = batch.positions if rotation is None else batch.positions @ rotation.mT
    positions = positions if shift is None else positions + shift
    return MoleculeBatch(positions * batch.mask[..., None], batch.charges)


def rotated(prediction: Tensor, rotation: Tensor, kind: str) -> Tensor:
    """What an equivariant network must predict for the rotated molecules."""
    if kind == "scalar":
        return prediction
    if kind == "vector":
        return (rotation @ prediction[..., None]).squeeze(-1)
    return rotation @ prediction @ rotation.mT


def invariance_error(
    network: nn.Module,
    batch: MoleculeBatch,
    kind: str,
    rotation: Tensor | None = None,
    shift: Tensor | None = None,
) -> float:
    """max |f(g x) - g f(x)|, relative to the root mean square of f(x)."""
    rotation = torch.eye(3, dtype=batch.positions.dtype) if rotation is None else rotation
    with torch.no_grad():
        before = network(batch)
        after = network(moved(batch, rotation, shift))
    return _distance(after, rotated(before, rotation, kind))


def _distance(actual: Tensor, expected: Tensor) -> float:
    size = expected.square().mean().sqrt()
    assert size > 1e-3, "the network predicts nothing, so that nothing can be said"
    assert actual.shape == expected.shape
    return float((actual - expected).abs().max() / size)


def awaken(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network in float64 with noise on every parameter, so that none is zero as initialised."""
    generator = torch.Generator().manual_seed(seed)
    network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.1 * noise)
    return network


def check_rotations(network: nn.Module, kind: str) -> None:
    """Every molecule by its own."""
    batch = random_batch()
    rotations = random_rotations(len(batch))
    assert invariance_error(network, batch, kind, rotations) < TOLERANCE


def check_reflections(network: nn.Module, kind: str) -> None:
    """Every molecule by its own, each turned as well."""
    batch = random_batch()
    reflections = random_rotations(len(batch), reflected=True)
    assert invariance_error(network, batch, kind, reflections) < TOLERANCE


def check_translations(network: nn.Module, kind: str) -> None:
    batch = random_batch()
    shift = torch.tensor([1.5, -3.0, 2.0], dtype=torch.float64)
    assert invariance_error(network, batch, kind, shift=shift) < TOLERANCE


def check_permutations(network: nn.Module, kind: str) -> None:
    """In any order of atoms, padding between them included."""
    batch = random_batch()
    order = torch.randperm(batch.charges.shape[1], generator=torch.Generator().manual_seed(1))
    permuted = MoleculeBatch(batch.positions[:, order], batch.charges[:, order])
    with torch.no_grad():
        assert _distance(network(permuted), network(batch)) < TOLERANCE


def check_padding(network: nn.Module, kind: str) -> None:
    """More of it changes nothing, nor does what lies at its positions."""
    batch = random_batch()
    junk = torch.full((len(batch), 3, 3), 0.7, dtype=torch.float64)
    padded = MoleculeBatch(
        torch.cat([batch.positions, junk], 1),
        torch.nn.functional.pad(batch.charges, (0, 3)),
    )
    with torch.no_grad():
        assert _distance(network(padded), network(batch)) < TOLERANCE


def check_single(network: nn.Module, kind: str) -> None:
    """A molecule alone is predicted as among others."""
    batch = random_batch()
    with torch.no_grad():
        alone = [
            network(MoleculeBatch(positions[mask][None], charges[mask][None]))
            for positions, charges, mask in zip(
                batch.positions, batch.charges, batch.mask, strict=True
            )
        ]
        assert _distance(torch.cat(alone), network(batch)) < TOLERANCE


def check_atoms(network: nn.Module, kind: str) -> None:
    """Single atoms work; about a point there is no direction, so a vector or tensor vanishes."""
    atoms = MoleculeBatch(torch.ones(5, 1, 3, dtype=torch.float64), ELEMENTS[:, None])
    with torch.no_grad():
        prediction = network(atoms)
    assert prediction.shape == (5, *SHAPES[kind])
    assert prediction.isfinite().all()
    if kind != "scalar":
        assert prediction.abs().max() < TOLERANCE


def check_elements(network: nn.Module, kind: str) -> None:
    """Every element is told apart from every other, in the same place."""
    batch = random_batch((5, 5, 5, 5, 5))
    positions = batch.positions[:1].expand(5, -1, -1)
    charges = batch.charges[:1].repeat(5, 1)
    charges[:, 2] = ELEMENTS
    with torch.no_grad():
        prediction = network(MoleculeBatch(positions, charges)).reshape(5, -1)
    different = torch.pdist(prediction) / prediction.norm(dim=1).mean()
    assert different.min() > 1e-6


def check_gradients(network: nn.Module, kind: str) -> None:
    """Finite in every parameter and position, with padding, one atom alone and two in one place."""
    batch = random_batch((5, 3, 1))
    positions = batch.positions.clone()
    positions[1, 1] = positions[1, 0]
    positions.requires_grad_()
    network.zero_grad()
    prediction = network(MoleculeBatch(positions, batch.charges))
    prediction.sin().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert positions.grad.isfinite().all()
    assert positions.grad.abs().max() > 0
    assert (positions.grad[~batch.mask] == 0).all()


def check_purity(network: nn.Module, kind: str) -> None:
    """The shape is as declared, the input is left alone, and the same again gives the same."""
    batch = random_batch()
    positions, charges = batch.positions.clone(), batch.charges.clone()
    with torch.no_grad():
        first, second = network(batch), network(batch)
    assert first.shape == (len(batch), *SHAPES[kind])
    assert torch.equal(first, second)
    assert torch.equal(positions, batch.positions)
    assert torch.equal(charges, batch.charges)


Check = Callable[[nn.Module, str], None]
SYMMETRIES: tuple[Check, ...] = (check_rotations, check_reflections, check_translations)
CONTRACT: tuple[Check, ...] = (
    check_permutations,
    check_padding,
    check_single,
    check_atoms,
    check_elements,
    check_gradients,
    check_purity,
)


def check_network(network: nn.Module, kind: str) -> None:
    """All that a network with the symmetry of E(3) built in must do."""
    for check in (*SYMMETRIES, *CONTRACT):
        check(network, kind)
