"""Molecules from the files of others: coordinates of any kind that ASE reads, SDF, and SMILES."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .data import MoleculeSet
from .targets import ELEMENTS

CLOSEST = 0.5  # [Angstrom], less than the length of any bond
SEED = 0  # of the geometries made for SMILES

Atoms = tuple[np.ndarray, np.ndarray]  # nuclear charges (atoms,) and positions (atoms, 3)
Maker = Callable[[], Atoms]  # raises ValueError where there are none


@dataclass(frozen=True)
class Label:
    """Where a molecule was found, and what its file calls it, if anything."""

    place: str
    name: str = ""


def read_molecules(
    files: Sequence[Path], smiles: Sequence[str] = (), refused: list[str] | None = None
) -> tuple[list[Label], MoleculeSet]:
    """The molecules of all files, then those of the SMILES, and a label of each.

    Files of a name that ends in `.sdf` or `.mol` are read by RDKit, in `.smi` as lines of SMILES,
    all others by ASE (xyz, extxyz, pdb, ...). For SMILES, RDKit adds hydrogen and finds a geometry
    (ETKDG, Riniker and Landrum 2015, then MMFF), which is not the B3LYP one of QM9.

    refused: where to say of which molecules nothing can be said, and which files cannot be read;
    they are then left out.

    Raises FileNotFoundError for a missing file, ValueError for what is no geometry of molecules of
    H, C, N, O and F, with its place, unless there is `refused`.
    """
    found: list[tuple[Label, Atoms]] = []
    for label, make in _sources(files, smiles):
        try:
            atoms = make()
            _check(label.place, *atoms)
        except ValueError as error:
            if refused is None:
                raise
            refused.append(str(error))
        else:
            found.append((label, atoms))
    if not found:
        where = files[0] if files else "all SMILES" if smiles else "no file and no SMILES"
        raise ValueError(
            f"{where}: none of {len(refused)} can be predicted, the first because of {refused[0]}"
            if refused
            else f"{where}: no molecules there"
        )
    return [label for label, _ in found], MoleculeSet.from_atoms([atoms for _, atoms in found])


def _sources(files: Sequence[Path], smiles: Sequence[str]) -> Iterator[tuple[Label, Maker]]:
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file")
    for path in files:
        for i, (name, make) in enumerate(_entries(path), 1):
            yield Label(f"{path} {i}", name), make
    for text in smiles:
        yield Label(text), partial(_embed, text, text)


def _entries(path: Path) -> Iterator[tuple[str, Maker]]:
    """What is in a file. Where it cannot be read there is an entry that says so when it is made, so
    that it can be left out as a molecule can."""
    try:
        yield from READERS.get(path.suffix.lower(), _read_ase)(path)
    except (ValueError, OSError) as error:
        yield "", partial(_refuse, path, error)


def _refuse(path: Path, error: Exception) -> Atoms:
    if isinstance(error, OSError):
        raise ValueError(f"{path}: cannot be read ({error})") from error
    raise error


def _check(name: str, charges: np.ndarray, positions: np.ndarray) -> None:
    """Raises ValueError if a network that was trained on QM9 can say nothing of it."""
    if not len(charges):
        raise ValueError(f"{name}: has no atoms")
    for i, charge in enumerate(charges.tolist(), 1):
        if charge not in ELEMENTS:
            known = " ".join(ELEMENTS.values())
            raise ValueError(f"{name}, atom {i}: element {charge} is not one of QM9's ({known})")
    if not np.isfinite(positions).all():
        raise ValueError(f"{name}: has a position that is no number")
    distances = np.linalg.norm(positions[:, None] - positions, axis=-1)
    distances[np.diag_indices(len(charges))] = np.inf
    if distances.min() < CLOSEST:
        i, j = np.unravel_index(distances.argmin(), distances.shape)
        raise ValueError(
            f"{name}: atoms {min(i, j) + 1} and {max(i, j) + 1} are {distances.min():.2g} Angstrom "
            "apart; are these coordinates in Angstrom?"
        )


def _read_ase(path: Path) -> Iterator[tuple[str, Maker]]:
    import ase.io

    try:
        images = ase.io.read(path, index=":")
    except Exception as error:  # of every kind, by format
        raise ValueError(f"{path}: ASE cannot read it ({type(error).__name__}: {error})") from error
    for i, image in enumerate(images, 1):
        yield "", partial(_atoms_of_image, image, f"{path} {i}")


def _atoms_of_image(image: Any, place: str) -> Atoms:
    if image.pbc.any():
        raise ValueError(f"{place}: has a periodic cell; give single molecules")
    return image.get_atomic_numbers(), image.get_positions()


def _read_sdf(path: Path) -> Iterator[tuple[str, Maker]]:
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs(), Chem.SDMolSupplier(str(path), removeHs=False) as supplier:
        for i, molecule in enumerate(supplier, 1):
            named = molecule is not None and molecule.HasProp("_Name")
            title = molecule.GetProp("_Name") if named else ""
            yield title, partial(_atoms_of_entry, molecule, f"{path} {i}")


def _atoms_of_entry(molecule: Any, place: str) -> Atoms:
    if molecule is None:
        raise ValueError(f"{place}: RDKit cannot read it")
    if not molecule.GetConformer().Is3D():
        raise ValueError(f"{place}: a drawing; give coordinates in space, or SMILES")
    if missing := sum(atom.GetTotalNumHs() for atom in molecule.GetAtoms()):
        raise ValueError(f"{place}: lacks {missing} hydrogen atoms; add them, or give SMILES")
    return _atoms_of(molecule)


def _read_smiles(path: Path) -> Iterator[tuple[str, Maker]]:
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text of SMILES") from error
    for i, line in enumerate(lines, 1):
        if line.strip():
            smiles, *title = line.split(maxsplit=1)
            name = title[0].strip() if title else smiles
            yield name, partial(_embed, smiles, f"{path} line {i}")


def _embed(smiles: str, name: str) -> Atoms:
    """Hydrogen added, in space."""
    from rdkit import Chem, rdBase
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or not molecule.GetNumAtoms():
            raise ValueError(f"{name}: {smiles!r} is no SMILES")
        if len(Chem.GetMolFrags(molecule)) > 1:
            raise ValueError(f"{name}: several molecules; give one at a time")
        molecule = Chem.AddHs(molecule)
        if rdDistGeom.EmbedMolecule(molecule, randomSeed=SEED):
            raise ValueError(f"{name}: RDKit finds no geometry; give coordinates")
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(molecule):
            rdForceFieldHelpers.MMFFOptimizeMolecule(molecule, maxIters=2000)
    return _atoms_of(molecule)


def _atoms_of(molecule: Any) -> Atoms:
    charges = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    return charges, molecule.GetConformer().GetPositions()


READERS: dict[str, Callable[[Path], Iterator[tuple[str, Maker]]]] = {
    ".sdf": _read_sdf,
    ".mol": _read_sdf,
    ".smi": _read_smiles,
}
