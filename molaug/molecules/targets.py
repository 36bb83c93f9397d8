"""What can be predicted on QM9: names, published units, values, and references of the atoms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from molaug.options import suggest

if TYPE_CHECKING:
    from molaug.molecules.action import Output
    from molaug.molecules.data import MoleculeSet

# The columns of `MoleculeSet.properties`, in the order and the units of the QM9 files:
# GHz, debye, bohr^3, hartree (homo, lumo, gap), bohr^2, hartree (zpve to G), cal/(mol K).
PROPERTIES = (
    *("rotA", "rotB", "rotC", "mu", "alpha", "homo", "lumo", "gap"),
    *("r2", "zpve", "U0", "U", "H", "G", "Cv"),
)

MEV_PER_HARTREE = 27211.386246
DEBYE_PER_ELECTRON_ANGSTROM = 4.803204712570263

ELEMENTS: Mapping[int, str] = MappingProxyType({1: "H", 6: "C", 7: "N", 8: "O", 9: "F"})

# Energies of the isolated atoms [hartree], at the level of the data set, B3LYP/6-31G(2df,p).
# Source: "Atomref: Reference thermochemical energies of H, C, N, O, F atoms", figshare 1057643.
_ATOM_ENERGIES = {
    "U0": {1: -0.500273, 6: -37.846772, 7: -54.583861, 8: -75.064579, 9: -99.718730},
    "U": {1: -0.498857, 6: -37.845355, 7: -54.582445, 8: -75.063163, 9: -99.717314},
    "H": {1: -0.497912, 6: -37.844411, 7: -54.581501, 8: -75.062219, 9: -99.716370},
    "G": {1: -0.510927, 6: -37.861317, 7: -54.598897, 8: -75.079532, 9: -99.733544},
}


@dataclass(frozen=True)
class Target:
    """One quantity to predict."""

    name: str
    unit: str  # the unit of published errors: meV, D, D A, bohr^3, bohr^2 or cal/(mol K)
    kind: Output  # how it turns with the molecule
    description: str
    # The generators under which a prediction, brought back, should stay what it is.
    symmetries: tuple[str, ...] = ("rx", "ry", "rz", "tx", "ty", "tz")


def _scalars(unit: str, **descriptions: str) -> list[Target]:
    return [Target(name, unit, "scalar", text) for name, text in descriptions.items()]


_ALL = [
    *_scalars("D", mu="dipole moment, its norm"),
    *_scalars("bohr^3", alpha="isotropic polarizability"),
    *_scalars(
        "meV",
        homo="energy of the highest occupied molecular orbital",
        lumo="energy of the lowest unoccupied molecular orbital",
        gap="difference between lumo and homo",
    ),
    *_scalars("bohr^2", r2="electronic spatial extent"),
    *_scalars(
        "meV",
        zpve="zero-point vibrational energy",
        U0="internal energy at 0 K",
        U="internal energy at 298.15 K",
        H="enthalpy at 298.15 K",
        G="free energy at 298.15 K",
    ),
    *_scalars("cal/(mol K)", Cv="heat capacity at 298.15 K"),
    *_scalars(
        "meV",
        U0_atom="atomisation energy at 0 K",
        U_atom="atomisation energy at 298.15 K",
        H_atom="atomisation enthalpy at 298.15 K",
        G_atom="atomisation free energy at 298.15 K",
    ),
    Target("dipole", "D", "vector", "dipole vector of the Mulliken charges, sum of q r"),
    Target(
        "dipole_z",
        "D",
        "scalar",
        "z component of the Mulliken dipole vector",
        symmetries=("rz", "tx", "ty", "tz"),
    ),
    Target(
        "quadrupole",
        "D A",
        "tensor",
        "traceless quadrupole of the Mulliken charges about the centre of nuclear charge",
    ),
]

TARGETS: Mapping[str, Target] = MappingProxyType({target.name: target for target in _ALL})


def find_target(name: str) -> Target:
    """The target of that name; a ValueError that suggests the closest name if there is none."""
    if name not in TARGETS:
        raise ValueError(f"unknown target '{name}': {suggest(name, [*TARGETS])}")
    return TARGETS[name]


def other_properties(target: str) -> tuple[str, ...]:
    """The scalar properties of QM9 without that of a target, and without rotational constants."""
    quantity = target.partition("_")[0]
    return tuple(name for name in PROPERTIES[3:] if name != quantity)


def target_values(molecules: MoleculeSet, name: str) -> np.ndarray:
    """The values of a target, in its published unit.

    Parameters
    ----------
    molecules : MoleculeSet
        In the frame the values are wanted in: dipoles and quadrupoles turn with the molecules.
    name : str
        A key of `TARGETS`.

    Returns
    -------
    (graphs,), for a vector (graphs, 3), for a tensor (graphs, 3, 3) float64. Total energies (`U0`,
    `U`, `H`, `G`) are near -1e7 meV, where float32 resolves 1 meV: subtract references before
    leaving float64.
    """
    target = find_target(name)
    if name == "dipole":
        return mulliken_dipole(molecules)
    if name == "dipole_z":
        return mulliken_dipole(molecules)[:, 2]
    if name == "quadrupole":
        return mulliken_quadrupole(molecules)
    quantity, _, atomisation = name.partition("_")
    factor = MEV_PER_HARTREE if target.unit == "meV" else 1.0
    values = factor * np.asarray(molecules.properties[:, PROPERTIES.index(quantity)])
    if atomisation:
        return values - sum_references(molecules, isolated_atoms(quantity))
    return values


def mulliken_dipole(molecules: MoleculeSet) -> np.ndarray:
    """Sum of q r over the atoms of each molecule [D], (graphs, 3) float64.

    The molecules are neutral, so the vector does not depend on the origin.
    """
    charges = molecules.mulliken.astype(np.float64)[:, None]
    moments = np.add.reduceat(charges * molecules.positions, molecules.offsets[:-1])
    return DEBYE_PER_ELECTRON_ANGSTROM * moments


def mulliken_quadrupole(molecules: MoleculeSet) -> np.ndarray:
    """Q = sum_a q_a (3 r_a r_a^t - |r_a|^2 I) / 2 of each molecule [D A], (graphs, 3, 3) float64.

    Symmetric and traceless (Buckingham 1959). The molecules are neutral but most have a dipole, so
    that Q depends on the origin: r is counted from the centre of nuclear charge, sum Z r / sum Z,
    which moves with the molecule, so that Q does not change under translations.
    """
    charges = molecules.mulliken.astype(np.float64)[:, None, None]
    arm = molecules.positions - np.repeat(charge_centres(molecules), molecules.sizes, axis=0)
    second = np.add.reduceat(charges * arm[:, :, None] * arm[:, None], molecules.offsets[:-1])
    trace = np.trace(second, axis1=1, axis2=2)[:, None, None]
    return DEBYE_PER_ELECTRON_ANGSTROM * (3 * second - trace * np.eye(3)) / 2


def charge_centres(molecules: MoleculeSet) -> np.ndarray:
    """Centres of nuclear charge, sum Z r / sum Z [Angstrom], (graphs, 3) float64."""
    weights = molecules.charges.astype(np.float64)[:, None]
    starts = molecules.offsets[:-1]
    return np.add.reduceat(weights * molecules.positions, starts) / np.add.reduceat(weights, starts)


def isolated_atoms(name: str) -> np.ndarray:
    """Reference per nuclear charge from isolated atoms [meV], (10,) float64; zero if none exists.

    Entry 0 is zero, so that padded atoms contribute nothing.
    """
    energies = _ATOM_ENERGIES.get(find_target(name).name, {})
    references = np.zeros(max(ELEMENTS) + 1)
    references[list(energies)] = np.multiply(MEV_PER_HARTREE, list(energies.values()))
    return references


def fit_references(
    values: np.ndarray, training: MoleculeSet, start: np.ndarray | None = None
) -> np.ndarray:
    """One reference per element, by least squares on the molecules given.

    Pass the training molecules only: references fitted on others would leak their targets.

    Parameters
    ----------
    values : (graphs,) float64
        Target values of `training`.
    start : (charges,) float64, optional
        What a reference is where the molecules do not determine it, for instance that of an
        element which none of them contains: `isolated_atoms(name)`. Zero by default.

    Returns
    -------
    (charges,) float64, by nuclear charge, in the unit of the values; entry 0 (padding) is zero.
    """
    elements = training.elements
    references = np.zeros(elements.max() + 1) if start is None else start.astype(np.float64)
    # The minimum-norm solution for the rest leaves undetermined references where they started.
    rest = values - sum_references(training, references)
    solution = np.linalg.lstsq(composition(training, elements), rest, rcond=None)[0]
    references[elements] += solution
    return references


def sum_references(molecules: MoleculeSet, references: np.ndarray) -> np.ndarray:
    """The sum over the atoms of each molecule of their references, (graphs,) float64."""
    elements = molecules.elements
    return composition(molecules, elements) @ references[elements]


def composition(molecules: MoleculeSet, elements: Sequence[int] | np.ndarray) -> np.ndarray:
    """How many atoms of each element, by nuclear charge, a molecule has, (graphs, elements)."""
    present = np.asarray(molecules.charges)[:, None] == np.asarray(elements)
    return np.add.reduceat(present.astype(np.float64), molecules.offsets[:-1])
