"""Molecules from the files of others: coordinates of any kind that ASE reads, SDF, and SMILES."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from molaug.options import suggest

from .config import SHAPES
from .data import MoleculeSet
from .targets import ELEMENTS

CLOSEST = 0.5  # [Angstrom], less than the length of any bond
FARTHEST = 1e4  # [Angstrom]; beyond it float32 rounds positions by more than 0.0005
SEED = 0  # of the geometries made for SMILES
DATA_ITEM = re.compile(r"^>.*<(.+?)>.*\n((?:.*\S.*\n?)*)", re.MULTILINE)  # of an sdf: name, value
PAIR = re.compile(r"^\w+=[-+.\d\"]")  # and a number, in that of a plain one
EXTENDED = re.compile(r"\b(properties|lattice|pbc)\s*=", re.IGNORECASE)  # in the comment of an xyz


class Found(NamedTuple):
    """A molecule of a file."""

    charges: np.ndarray  # (atoms,) nuclear charges
    positions: np.ndarray  # (atoms, 3) [Angstrom]
    properties: Mapping[str, Any] = MappingProxyType({})  # what else the file says of it
    unusual: str = ""  # "an ion, of charge +1" or "a radical", where the file says so


Maker = Callable[[], Found]  # raises ValueError where there is none


@dataclass(frozen=True)
class Label:
    """Where a molecule was found, and what its file calls it, if anything."""

    place: str
    name: str = ""


@dataclass(frozen=True)
class Rules:
    """Of which molecules a network can say something: those of the elements that it has seen, and,
    where it has seen no others, neutral and closed-shell ones."""

    source: str = "QM9"
    elements: frozenset[int] = frozenset(ELEMENTS)
    neutral: bool = True

    def check(self, place: str, molecule: Found) -> None:
        """Raises ValueError for another one."""
        for i, charge in enumerate(molecule.charges.tolist(), 1):
            if charge not in self.elements:
                from ase.data import chemical_symbols

                known = " ".join(chemical_symbols[z] for z in sorted(self.elements))
                raise ValueError(
                    f"{place}, atom {i}: element {charge} is not one of {self.source}'s ({known})"
                )
        if not self.neutral:
            return
        if molecule.unusual:
            raise ValueError(
                f"{place}: {molecule.unusual}; {self.source} is neutral and closed-shell"
            )
        if molecule.charges.sum() % 2:
            raise ValueError(
                f"{place}: an odd number of electrons, so a radical or an ion, or lacking a "
                f"hydrogen atom; {self.source} is neutral and closed-shell"
            )


QM9_RULES = Rules()


def read_labelled(
    files: Sequence[Path], target: str, kind: str = "scalar", refused: list[str] | None = None
) -> tuple[MoleculeSet, np.ndarray]:
    """The molecules of all files, numbered from 1 as they come, and the target of each: of a scalar
    (graphs,), of a vector (graphs, 3), of a symmetric and traceless tensor (graphs, 3, 3), float64.

    Extended xyz has targets in the comment of a molecule, as `energy=-3.2` or `dipole="0 0 1.8"`,
    sdf in its data items, a data base of ASE in its columns; other files that ASE reads in `info`,
    or as results of a calculator.

    refused: where to say which molecules are left out, and why.

    Raises FileNotFoundError for a missing file, ValueError, with its place, for a molecule that
    cannot be read, lacks the target, or has one of another shape or that is no finite number,
    unless there is `refused`.
    """
    values: list[np.ndarray] = []

    def keep_target(place: str, molecule: Found) -> None:
        values.append(_read_target(place, molecule.properties, target, kind))

    return _read(files, (), refused, keep_target)[1], np.array(values)


def _read_target(place: str, properties: Mapping[str, Any], target: str, kind: str) -> np.ndarray:
    if target not in properties:
        counts = {name: len(_numbers(value)) for name, value in properties.items()}
        names = [name for name, n in counts.items() if n in (1, 3, 9)]
        if not names:
            raise ValueError(f"{place}: has no numbers beside its atoms, of which --target is one")
        if not target:
            raise ValueError(f"{place}: give --target, one of {', '.join(names)}")
        raise ValueError(f"{place}: --target '{target}' is not in it: {suggest(target, names)}")
    numbers = _numbers(properties[target])
    count = 3 ** len(SHAPES[kind])
    if len(numbers) != count or not np.isfinite(numbers).all():
        found = str(properties[target])[:40]
        raise ValueError(
            f"{place}: {target} is {found}; --kind {kind} takes {count} finite "
            f"number{'s' * (count > 1)}"
        )
    value = numbers.reshape(SHAPES[kind])
    if kind == "tensor":
        excess = abs(value - value.T).max() + abs(np.trace(value))
        if excess > 1e-4 * abs(value).max():
            raise ValueError(f"{place}: {target} is not symmetric and traceless")
    return value


def _numbers(value: Any) -> np.ndarray:
    """All of a text, number or array, flat; none if it is something else."""
    try:
        words = value.replace(",", " ").split() if isinstance(value, str) else value
        found = np.asarray(words)
        return found.astype(np.float64).ravel() if found.dtype != bool else np.zeros(0)
    except (ValueError, TypeError):
        return np.zeros(0)


def read_molecules(
    files: Sequence[Path],
    smiles: Sequence[str] = (),
    refused: list[str] | None = None,
    rules: Rules = QM9_RULES,
) -> tuple[list[Label], MoleculeSet]:
    """The molecules of all files, then those of the SMILES, and a label of each.

    Files of a name that ends in `.sdf` or `.mol` are read by RDKit, in `.smi` as lines of SMILES,
    all others by ASE (xyz, extxyz, pdb, ...); `.gz`, `.bz2` or `.xz` may follow. For SMILES, RDKit
    adds hydrogen and finds a geometry (ETKDG, Riniker and Landrum 2015, then MMFF), which is not
    the B3LYP one of QM9.

    refused: where to say of which molecules nothing can be said, and which files cannot be read;
    they are then left out.

    Raises FileNotFoundError for a missing file, ValueError for what is no geometry of a molecule
    within the rules, with its place, unless there is `refused`.
    """
    return _read(files, smiles, refused, rules.check)


def _read(
    files: Sequence[Path],
    smiles: Sequence[str],
    refused: list[str] | None,
    check: Callable[[str, Found], None],
) -> tuple[list[Label], MoleculeSet]:
    """All molecules for which `check` of their place raises no ValueError, numbered from 1 as they
    come, with those that are left out."""
    found: list[tuple[int, Label, Found]] = []
    for number, (label, make) in enumerate(_sources(files, smiles), 1):
        try:
            molecule = make()
            _check_geometry(label.place, molecule)
            check(label.place, molecule)
        except ValueError as error:
            if refused is None:
                raise
            refused.append(str(error))
        else:
            found.append((number, label, molecule))
    if not found:
        where = files[0] if files else "all SMILES" if smiles else "no file and no SMILES"
        raise ValueError(
            f"{where}: none of {len(refused)} can be taken, the first because of {refused[0]}"
            if refused
            else f"{where}: no molecules there"
        )
    numbers, labels, molecules = zip(*found, strict=True)
    whole = MoleculeSet.from_atoms([(one.charges, one.positions) for one in molecules])
    return list(labels), replace(whole, index=np.array(numbers, np.int32))


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
    plain = Path(path.stem) if path.suffix.lower() in COMPRESSED else path
    try:
        yield from READERS.get(plain.suffix.lower(), _read_ase)(path)
    # The last three of a cut file.
    except (ValueError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        yield "", partial(_refuse, path, error)


def _refuse(path: Path, error: Exception) -> Found:
    if isinstance(error, ValueError) and str(path) in str(error):
        raise error
    raise ValueError(f"{path}: cannot be read ({error})") from error


def _open(path: Path, errors: str) -> io.TextIOWrapper:
    """A text, compressed if its name says so."""
    unpack = COMPRESSED.get(path.suffix.lower())
    file = unpack(path) if unpack else path.open("rb")
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors=errors)


def _check_geometry(name: str, molecule: Found) -> None:
    """Raises ValueError for atoms of no element, nowhere, or too close to each other."""
    charges, positions = molecule.charges, molecule.positions
    if not len(charges):
        raise ValueError(f"{name}: has no atoms")
    if len(bad := np.flatnonzero((charges < 1) | (charges > 118))):
        raise ValueError(f"{name}, atom {bad[0] + 1}: there is no element {charges[bad[0]]}")
    if not np.isfinite(positions).all():
        raise ValueError(f"{name}: has a position that is no number")
    if (reach := abs(positions).max()) > FARTHEST:
        raise ValueError(f"{name}: lies {reach:.3g} Angstrom from the origin; move it there")
    try:
        distances = np.linalg.norm(positions[:, None] - positions, axis=-1)
    except MemoryError as error:
        raise ValueError(
            f"{name}: its {len(charges):,} atoms need more memory than there is"
        ) from error
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
        images = ase.io.read(path, index=":", do_not_split_by_at_sign=True)
    except Exception as error:  # of every kind, by format
        raise ValueError(_complain(path, error)) from error
    for i, image in enumerate(images, 1):
        yield "", partial(_atoms_of_image, image, f"{path} {i}")


def _complain(place: Path | str, error: Exception) -> str:
    return f"{place}: ASE cannot read it ({type(error).__name__}: {error})"


def _atoms_of_image(image: Any, place: str) -> Found:
    if image.pbc.any():
        raise ValueError(f"{place}: has a periodic cell; give single molecules")
    results = image.calc.results if image.calc else {}
    properties = {**image.info, **results}
    return Found(image.get_atomic_numbers(), image.get_positions(), properties)


def _read_db(path: Path) -> Iterator[tuple[str, Maker]]:
    """Row by row of a data base of ASE, with its columns, which ASE's other reader leaves out."""
    import ase.db

    for i, row in enumerate(ase.db.connect(path).select(), 1):
        image = row.toatoms()
        image.info = {**row.data, **row.key_value_pairs}
        yield row.get("name", ""), partial(_atoms_of_image, image, f"{path} {i}")


def _read_xyz(path: Path) -> Iterator[tuple[str, Maker]]:
    """Frame by frame, because ASE ends a file at a blank line between two, and a bad frame of many
    is to be named."""
    with _open(path, "replace") as file:
        for i, frame in enumerate(_split_xyz(file), 1):
            comment = _comment(frame)
            name = "" if EXTENDED.search(comment) or PAIR.search(comment) else comment
            yield name, partial(_atoms_of_frame, frame, f"{path} {i}")


def _split_xyz(lines: Iterable[str]) -> Iterator[list[tuple[int, str]]]:
    """Numbered lines of each frame. One begins at every line that holds a number alone, but for
    that below it, the comment, so that a frame that lacks atoms does not take those of the next."""
    frame: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        is_comment = len(frame) == 1 and _is_count(frame[0][1])
        if frame and _is_count(line) and not is_comment:
            yield frame
            frame = []
        if frame or line.strip():
            frame.append((number, line))
    if frame:
        yield frame


def _is_count(line: str) -> bool:
    return line.strip().isdecimal()


def _comment(frame: list[tuple[int, str]]) -> str:
    return frame[1][1].strip() if len(frame) > 1 else ""


def _atoms_of_frame(frame: list[tuple[int, str]], place: str) -> Found:
    first, head = frame[0]
    atoms = [(number, line) for number, line in frame[2:] if line.strip()]
    count = int(head) if _is_count(head) else None
    if count is None or len(atoms) > count:
        number, line = frame[0] if count is None else atoms[count]
        raise ValueError(
            f"{place}: line {number} is {line.strip()[:40]!r} where a number of atoms should be"
        )
    if len(atoms) < count:
        raise ValueError(f"{place}: has {len(atoms)} atoms, not {count} as line {first} says")
    if not EXTENDED.search(comment := _comment(frame)):
        found = [_atom_of_line(place, *atom) for atom in atoms]
        charges = np.array([charge for charge, _ in found])
        return Found(charges, np.array([where for _, where in found]), _read_pairs(comment))
    import ase.io

    text = "".join([f"{count}\n", comment, "\n", *(line for _, line in atoms)])
    try:
        image = ase.io.read(io.StringIO(text), format="extxyz")
    except Exception as error:
        raise ValueError(_complain(place, error)) from error
    return _atoms_of_image(image, place)


def _read_pairs(comment: str) -> dict[str, Any]:
    """The key=value of a comment."""
    if "=" not in comment:
        return {}
    from ase.io.extxyz import key_val_str_to_dict

    try:
        return dict(key_val_str_to_dict(comment))
    except Exception:  # of every kind; it may be a name, such as the SMILES C=C
        return {}


def _atom_of_line(place: str, number: int, line: str) -> tuple[int, list[float]]:
    """Nuclear charge and position, from an element, by its symbol or number, and coordinates."""
    from ase.data import atomic_numbers

    element, *numbers = line.split()
    try:
        charge = int(element) if element.isdecimal() else atomic_numbers[element.capitalize()]
        x, y, z = (float(text) for text in numbers[:3])
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{place}: line {number} is {line.strip()[:40]!r}; give an element and three "
            "coordinates [Angstrom]"
        ) from error
    return charge, [x, y, z]


def _read_sdf(path: Path) -> Iterator[tuple[str, Maker]]:
    """Entry by entry, because RDKit goes wrong after one that is cut short, and its reader of
    compressed files takes blank lines at the end for an entry."""
    with _open(path, "replace") as file:  # titles may be in any encoding
        for i, entry in enumerate(_split_sdf(file), 1):
            yield entry[0].strip(), partial(_atoms_of_entry, "".join(entry), f"{path} {i}")


def _split_sdf(lines: Iterable[str]) -> Iterator[list[str]]:
    """The lines of each entry, without those of $$$$ that end them."""
    entry: list[str] = []
    for line in lines:
        if line.startswith("$$$$"):
            yield entry or [""]
            entry = []
        else:
            entry.append(line)
    if any(line.strip() for line in entry):
        yield entry


def _atoms_of_entry(text: str, place: str) -> Found:
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        molecule = Chem.MolFromMolBlock(text, removeHs=False)
    if molecule is None:
        raise ValueError(f"{place}: RDKit cannot read it")
    if not molecule.GetNumAtoms():
        raise ValueError(f"{place}: has no atoms")
    if not molecule.GetConformer().Is3D():
        raise ValueError(f"{place}: a drawing; give coordinates in space, or SMILES")
    if missing := sum(atom.GetTotalNumHs() for atom in molecule.GetAtoms()):
        raise ValueError(f"{place}: lacks {missing} hydrogen atoms; add them, or give SMILES")
    return _molecule_of(molecule)._replace(properties=dict(DATA_ITEM.findall(text)))


def _read_smiles(path: Path) -> Iterator[tuple[str, Maker]]:
    try:
        with _open(path, "strict") as file:
            lines = list(file)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text of SMILES") from error
    for i, line in enumerate(lines, 1):
        if line.strip():
            smiles, *title = line.split(maxsplit=1)
            name = title[0].strip() if title else smiles
            yield name, partial(_embed, smiles, f"{path} line {i}")


def _embed(smiles: str, name: str) -> Found:
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
    return _molecule_of(molecule)


def _molecule_of(molecule: Any) -> Found:
    from rdkit import Chem

    atoms = [*molecule.GetAtoms()]
    unusual = ""
    if charge := Chem.GetFormalCharge(molecule):  # those of zwitterions cancel
        unusual = f"an ion, of charge {charge:+}"
    elif sum(atom.GetNumRadicalElectrons() for atom in atoms):
        unusual = "a radical"
    charges = np.array([atom.GetAtomicNum() for atom in atoms])
    return Found(charges, molecule.GetConformer().GetPositions(), unusual=unusual)


COMPRESSED: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.GzipFile,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}
READERS: dict[str, Callable[[Path], Iterator[tuple[str, Maker]]]] = {
    ".xyz": _read_xyz,
    ".extxyz": _read_xyz,
    ".db": _read_db,
    ".sdf": _read_sdf,
    ".mol": _read_sdf,
    ".smi": _read_smiles,
}
