from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from molaug.molecules import targets
from molaug.molecules.data import MoleculeSet, load_sample
from molaug.molecules.targets import (
    ELEMENTS,
    TARGETS,
    composition,
    find_target,
    fit_references,
    isolated_atoms,
    sum_references,
    target_values,
)

ENERGIES = ("U0", "U", "H", "G")
# Methane by hand: the row of the file times 27.211386246 eV, for instance
# U0_atom = (-40.47893 + 37.846772 + 4 * 0.500273) Eh = -0.631066 Eh.
METHANE = {
    **{"mu": 0.0, "alpha": 13.21, "homo": -10549.9, "lumo": 3186.5, "gap": 13736.3},
    **{"r2": 35.3641, "zpve": 1217.7, "U0": -1101487.8, "U": -1101409.8, "H": -1101384.0},
    **{"G": -1102023.0, "Cv": 6.469, "U0_atom": -17172.2, "U_atom": -17286.8},
    **{"H_atom": -17389.7, "G_atom": -16151.9, "dipole_z": 0.0},
}
SHAPES = {"scalar": (), "vector": (3,), "tensor": (3, 3)}
UNITS = {"mu": "D", "alpha": "bohr^3", "r2": "bohr^2", "Cv": "cal/(mol K)", "dipole_z": "D"}


@pytest.fixture(scope="module")
def sample() -> MoleculeSet:
    return load_sample()


@pytest.mark.parametrize("name", METHANE)
def test_methane_in_every_unit(sample, name):
    assert TARGETS[name].unit == UNITS.get(name, "meV")
    assert target_values(sample.take([0]), name)[0] == pytest.approx(METHANE[name], abs=0.06)


@pytest.mark.parametrize("name", TARGETS)
def test_shapes_and_finite_float64(sample, name):
    values = target_values(sample, name)
    assert values.shape == (1000, *SHAPES[TARGETS[name].kind])
    assert values.dtype == np.float64
    assert np.isfinite(values).all()


def test_an_empty_set_has_no_values(sample):
    nothing = sample.take([])
    assert target_values(nothing, "U0_atom").shape == (0,)
    assert target_values(nothing, "dipole").shape == (0, 3)
    assert target_values(nothing, "quadrupole").shape == (0, 3, 3)


def test_gap_is_lumo_less_homo(sample):
    homo, lumo, gap = (target_values(sample, name) for name in ("homo", "lumo", "gap"))
    # Each is rounded to 1e-4 hartree in the files.
    np.testing.assert_allclose(gap, lumo - homo, atol=1.01e-4 * targets.MEV_PER_HARTREE)


def test_dipole_of_water_points_from_oxygen_to_the_hydrogens(sample):
    water = sample.take([2])
    dipole = target_values(water, "dipole")[0]
    by_hand = water.mulliken.astype(float) @ water.positions.astype(float) * 4.80320471
    np.testing.assert_allclose(dipole, by_hand, rtol=1e-7)
    assert dipole @ (water.positions[1] + water.positions[2] - 2 * water.positions[0]) > 0
    assert np.linalg.norm(dipole) == pytest.approx(1.8511, abs=0.4)  # the true norm


def molecule(charges: list[int], positions: list[list[float]], mulliken: list[float]):
    """A set of one molecule of which no property is known."""
    return MoleculeSet(
        positions=np.array(positions, np.float32),
        charges=np.array(charges, np.uint8),
        offsets=np.array([0, len(charges)]),
        index=np.array([1], np.int32),
        properties=np.zeros((1, 15)),
        mulliken=np.array(mulliken, np.float32),
        smiles=np.array([b"?"]),
    )


def test_quadrupole_of_carbon_dioxide_by_hand():
    """Oxygens with -0.4 e at 1.16 Angstrom along z: Q_zz = -0.8 * 1.16^2 e A^2 = -5.1706 D A, and
    half of that, of the other sign, across."""
    molecules = molecule(
        [6, 8, 8], [[1, 2, 3], [1, 2, 4.16], [1, 2, 1.84]], mulliken=[0.8, -0.4, -0.4]
    )
    expected = np.diag([2.5853, 2.5853, -5.1706])
    np.testing.assert_allclose(target_values(molecules, "quadrupole")[0], expected, atol=1e-4)


def test_quadrupole_is_about_the_centre_of_nuclear_charge():
    """Hydrogen fluoride, 0.92 Angstrom long: the centre is nine tenths of the way to fluorine, so
    that Q_zz = 0.4 (0.828^2 - 0.092^2) e A^2 = 0.270848 e A^2."""
    molecules = molecule([1, 9], [[0, 0, 0], [0, 0, 0.92]], mulliken=[0.4, -0.4])
    found = target_values(molecules, "quadrupole")[0, 2, 2]
    assert found == pytest.approx(0.270848 * 4.80320471, abs=1e-5)


def test_quadrupole_turns_with_the_frame_and_ignores_translation(sample):
    turn = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]], dtype=np.float32)
    moved = replace(sample, positions=sample.positions @ turn.T + np.float32(2))
    found = target_values(sample, "quadrupole")
    expected = turn @ found @ turn.T
    # Charges are rounded to 1e-6 e, positions to float32.
    np.testing.assert_allclose(target_values(moved, "quadrupole"), expected, atol=1e-3)
    np.testing.assert_allclose(np.trace(found, axis1=1, axis2=2), 0, atol=1e-10)
    np.testing.assert_allclose(found, found.swapaxes(1, 2), atol=1e-10)
    assert np.abs(found[0]).max() < 1e-2  # methane has none


def test_dipole_turns_with_the_frame_and_ignores_translation(sample):
    turn = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]], dtype=np.float32)
    moved = replace(sample, positions=sample.positions @ turn.T + np.float32(2))
    dipole = target_values(sample, "dipole")
    # Charges are rounded to 1e-6 e, positions to float32.
    np.testing.assert_allclose(target_values(moved, "dipole"), dipole @ turn.T, atol=5e-4)
    np.testing.assert_array_equal(target_values(sample, "dipole_z"), dipole[:, 2])


def test_length_of_the_dipole_follows_mu(sample):
    lengths = np.linalg.norm(target_values(sample, "dipole"), axis=1)
    assert np.corrcoef(lengths, target_values(sample, "mu"))[0, 1] == pytest.approx(0.94, abs=0.02)


def test_composition_counts_atoms(sample):
    counts = composition(sample, [*ELEMENTS])
    assert counts[:3].tolist() == [[4, 1, 0, 0, 0], [3, 0, 1, 0, 0], [2, 0, 0, 1, 0]]
    assert np.array_equal(counts.sum(1), sample.sizes)


@pytest.mark.parametrize("name", ENERGIES)
def test_atomisation_is_the_energy_less_its_atoms(sample, name):
    energy, atomisation = target_values(sample, name), target_values(sample, f"{name}_atom")
    references = isolated_atoms(name)
    assert references.shape == (10,)
    assert references[0] == 0
    padded = np.stack([np.pad(references[m], (0, 29 - len(m))) for m in _charges(sample)])
    np.testing.assert_allclose(energy - padded.sum(1), atomisation, atol=1e-6)
    assert (atomisation < 0).all()


def _charges(molecules: MoleculeSet) -> list[np.ndarray]:
    return np.split(molecules.charges, molecules.offsets[1:-1])


def test_references_recover_an_additive_quantity(sample):
    truth = np.zeros(10)
    truth[[1, 6, 7, 8, 9]] = [-1.5, 2.0, 3.25, -4.0, 7.0]
    values = np.array([truth[charges].sum() for charges in _charges(sample)])
    np.testing.assert_allclose(fit_references(values, sample), truth, atol=1e-10)


@pytest.mark.parametrize("name", ENERGIES)
def test_references_are_undone_in_float64_and_would_not_be_in_float32(sample, name):
    values = target_values(sample, name)
    references = fit_references(values, sample, isolated_atoms(name))
    rest = values - sum_references(sample, references)
    assert abs(rest.mean()) < 50
    assert rest.std() < 2000
    back = rest + sum_references(sample, references)
    np.testing.assert_allclose(back, values, atol=1e-6)
    single = values.astype(np.float32) - (values - rest).astype(np.float32)
    assert 0.1 < np.abs(single - rest).mean() < 1  # what float32 costs [meV]


def test_references_come_from_the_training_molecules_only(sample):
    values = target_values(sample, "U0")
    train = np.arange(500)
    references = fit_references(values[train], sample.take(train))
    spoilt = values.copy()
    spoilt[500:] = 0
    assert np.array_equal(references, fit_references(spoilt[train], sample.take(train)))


def test_an_element_without_training_molecules_keeps_its_isolated_atom(sample):
    fluorine = composition(sample, [*ELEMENTS])[:, 4] > 0
    train = sample.take(~fluorine)
    start = isolated_atoms("U0")
    references = fit_references(target_values(train, "U0"), train, start)
    assert references[9] == pytest.approx(start[9], abs=1e-6)
    others = sample.take(fluorine)
    rest = target_values(others, "U0") - sum_references(others, references)
    assert np.abs(rest).max() < 30_000  # and not the 2,700,000 meV of a fluorine atom


@pytest.mark.parametrize(
    ("name", "hint"),
    [("hommo", "'homo'"), ("HOMO", "'homo'"), ("U_0", "'U0'"), ("dipolez", "'dipole")],
)
def test_unknown_target_suggests_the_closest(name, hint):
    with pytest.raises(ValueError, match=f"unknown target '{name}': did you mean {hint}"):
        find_target(name)


def test_unknown_target_lists_all_if_none_is_close(sample):
    with pytest.raises(ValueError, match="choose from mu, alpha"):
        target_values(sample, "xyzzy")


def test_the_data_layer_does_not_import_torch():
    modules = "convert, data, splits, targets"
    code = f"import sys; from molaug.molecules import {modules}; sys.exit('torch' in sys.modules)"
    root = Path(targets.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
