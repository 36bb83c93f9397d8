"""QM9 from its csv files to arrays, and to the compressed file that carries it elsewhere:

python -m molaug.molecules.convert --compressed qm9.npz
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from molaug.files import atomic
from molaug.molecules.splits import QM9_COUNT
from molaug.molecules.targets import ELEMENTS, PROPERTIES

Arrays = Mapping[str, np.ndarray]  # the fields of a MoleculeSet by name

FIELDS = {
    "positions": "<f4",  # (atoms, 3) [Angstrom]
    "charges": "|u1",  # (atoms,) nuclear charges
    "offsets": "<i8",  # (graphs + 1,)
    "index": "<i4",  # (graphs,)
    "properties": "<f8",  # (graphs, 15) in the units of the files
    "mulliken": "<f4",  # (atoms,) [e]
    "smiles": "|S28",  # (graphs,); 28 characters is the longest of QM9
}

PARTS = ("qm9_part1.csv", "qm9_part2.csv", "qm9_part3.csv")
# The columns of the files, their spelling included; the properties are the last 15.
HEADER = (
    "XYZ_file,Index,SMILES,InChi,N_atoms,Stoichiometry,Elements,XYZ_Ang,Mulliken_pop,"
    "Harmonic_Freq_cmi,RotA_GHz,RotB_GHz,RotC_GHz,Dipole_debye,Polarizability_bohr3,HOMO_au,"
    "LUMO_au,HOMO_LUMO_gap_au,R2_bohr2,ZPVE_au,InternalEnergy_0K_au,InternalEnergy_298K_au,"
    "Enthalphy_298K_au,GibbsFreeEnergy_298K_au,Heatcapacity_Cv_cal_mol_K"
)
COLUMNS = HEADER.split(",")
ROWS_AT_ONCE = 4096  # bounds the memory: about 6 MB of text

_UNKNOWN = 255

INSTALL = 'pip install qm9pack (or pip install -e ".[qm9]"), or name its folder with --qm9-dir'


def find_source(qm9_dir: Path | None = None) -> Path:
    """The folder of csv files, or the compressed file, to convert.

    Without `qm9_dir` it is the data folder of the installed package qm9pack, which is located
    and not imported: importing it needs modules that it does not declare.
    """
    if qm9_dir is None:
        spec = find_spec("qm9pack")
        if spec is None or not spec.submodule_search_locations:
            raise FileNotFoundError(f"QM9 is not installed: {INSTALL}")
        return Path(spec.submodule_search_locations[0]) / "data"
    if not qm9_dir.exists():
        raise FileNotFoundError(f"there is no file or folder {qm9_dir}: {INSTALL}")
    nested = qm9_dir / "data"
    return nested if (nested / PARTS[0]).exists() else qm9_dir


def read_source(source: Path, expected: int | None = QM9_COUNT) -> Arrays:
    """Arrays from a folder of csv files or from a compressed file; `expected` as in `check`."""
    arrays = read_csv_folder(source) if source.is_dir() else read_compressed(source)
    check(arrays, source, expected)
    return arrays


def read_csv_folder(folder: Path) -> Arrays:
    """Arrays from the three csv files of qm9pack.

    Raises
    ------
    FileNotFoundError
        If one of the files is missing.
    ValueError
        If a row is truncated or malformed; the message names the file and the line.
    """
    for name in PARTS:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}: {INSTALL}")
    chunks = [chunk for name in PARTS for chunk in _read_part(folder / name)]
    sizes = np.concatenate([chunk.pop("sizes") for chunk in chunks])
    # Popped field by field, so that no more than one field is in memory twice.
    joined = {name: np.concatenate([c.pop(name) for c in chunks]) for name in list(chunks[0])}
    return joined | {"offsets": np.concatenate([[0], np.cumsum(sizes)])}


def _read_part(path: Path) -> Iterator[dict[str, np.ndarray]]:
    with open(path, newline="", encoding="ascii") as file:
        reader = csv.reader(file, strict=True)
        try:
            if next(reader, None) != COLUMNS:
                raise ValueError(f"{path}, line 1: not the columns of qm9pack 1.0.3")
            while rows := list(islice(reader, ROWS_AT_ONCE)):
                yield _parse_or_name_line(rows, path, reader.line_num - len(rows) + 1)
            if not _ends_with_newline(path):  # the last number may have lost its last digits
                raise csv.Error("the file does not end with a complete line")
        except (csv.Error, UnicodeDecodeError) as error:
            message = f"{path}, line {reader.line_num}: truncated or malformed ({error})"
            raise ValueError(message) from error


def _ends_with_newline(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _parse_or_name_line(rows: list[list[str]], path: Path, line: int) -> dict[str, np.ndarray]:
    try:
        return _parse(rows)
    except ValueError:
        for place, row in enumerate(rows):  # row by row only to say which one it is
            try:
                _parse([row])
            except ValueError as error:
                raise ValueError(f"{path}, line {line + place}: {error}") from error
        raise


def _parse(rows: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    for row in rows:
        if len(row) != len(COLUMNS):
            raise ValueError(f"{len(row)} columns instead of {len(COLUMNS)}, a truncated row?")
    column = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    sizes = np.array([int(text) for text in column["N_atoms"]])
    properties = [",".join(row[-len(PROPERTIES) :]) for row in rows]
    return {
        "sizes": sizes,
        "positions": _numbers("XYZ_Ang", column["XYZ_Ang"], 3 * sizes, "<f4").reshape(-1, 3),
        "charges": _charges(column["Elements"], sizes),
        "index": np.array([int(text) for text in column["Index"]], FIELDS["index"]),
        "properties": _numbers(
            "properties", properties, np.full(len(rows), len(PROPERTIES)), "<f8"
        ).reshape(-1, len(PROPERTIES)),
        "mulliken": _numbers("Mulliken_pop", column["Mulliken_pop"], sizes, "<f4"),
        "smiles": _smiles(column["SMILES"]),
    }


def _numbers(name: str, texts: Sequence[str], counts: np.ndarray, dtype: str) -> np.ndarray:
    """All numbers of a column in one pass; json is no use here, the files write `0.`"""
    found = np.array([text.count(",") + 1 for text in texts])
    if (found != counts).any():
        worst = np.flatnonzero(found != counts)[0]
        raise ValueError(f"{name} has {found[worst]} numbers instead of {counts[worst]}")
    joined = ",".join(texts).replace("[", "").replace("]", "")
    try:
        values = np.fromstring(joined, sep=",")
    except (ValueError, DeprecationWarning):  # older versions of numpy warn, and return less
        values = np.empty(0)
    if len(values) != counts.sum() or not np.isfinite(values).all():
        raise ValueError(f"{name} has a value that is not a finite number")
    return values.astype(dtype)


def _charges(texts: Sequence[str], sizes: np.ndarray) -> np.ndarray:
    table = np.full(256, _UNKNOWN, np.uint8)
    table[list(b"[]', ")] = 0
    for charge, symbol in ELEMENTS.items():
        table[ord(symbol)] = charge
    found = table[np.frombuffer("".join(texts).encode(), np.uint8)]
    charges = found[found > 0]
    atoms = np.array([text.count(",") + 1 for text in texts])
    if _UNKNOWN in charges or (atoms != sizes).any() or len(charges) != sizes.sum():
        raise ValueError(f"Elements is not a list of N_atoms of {', '.join(ELEMENTS.values())}")
    return charges


def _smiles(texts: Sequence[str]) -> np.ndarray:
    smiles = np.array(texts, dtype="S")
    if smiles.dtype.itemsize > np.dtype(FIELDS["smiles"]).itemsize:
        raise ValueError("SMILES is longer than any of QM9")
    return smiles.astype(FIELDS["smiles"])


def check(arrays: Arrays, where: Path, expected: int | None) -> None:
    """Raise a ValueError that names `where` unless the arrays fit together.

    Parameters
    ----------
    expected : int, optional
        How many molecules there must be; None accepts any number above zero.
    """
    count, atoms = len(arrays["index"]), len(arrays["charges"])
    if count != (expected or max(count, 1)):
        raise ValueError(f"{where} has {count:,} molecules, and must have {expected or 1:,}")
    shapes = {
        **{"positions": (atoms, 3), "charges": (atoms,), "offsets": (count + 1,)},
        **{"index": (count,), "properties": (count, len(PROPERTIES)), "mulliken": (atoms,)},
        "smiles": (count,),
    }
    for name, dtype in FIELDS.items():
        if (arrays[name].shape, arrays[name].dtype) != (shapes[name], np.dtype(dtype)):
            found = f"{arrays[name].dtype} {arrays[name].shape}"
            raise ValueError(f"{where}: {name} is {found} instead of {dtype} {shapes[name]}")
    _check_values(arrays, where)


def _check_values(arrays: Arrays, where: Path) -> None:
    offsets, steps = arrays["offsets"], np.diff(arrays["index"])
    if offsets[0] != 0 or offsets[-1] != len(arrays["charges"]) or (np.diff(offsets) < 1).any():
        raise ValueError(f"{where}: the offsets do not divide the atoms into molecules")
    if (steps < 1).any():
        row = np.flatnonzero(steps < 1)[0]
        first, second = arrays["index"][row : row + 2]
        raise ValueError(f"{where}: index {second} follows {first}, the rows must be sorted by it")
    if not np.isin(arrays["charges"], list(ELEMENTS)).all():
        raise ValueError(f"{where}: an atom is none of {', '.join(ELEMENTS.values())}")
    for name in ("positions", "properties", "mulliken"):
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{where}: {name} has a value that is not finite")


def read_compressed(path: Path) -> Arrays:
    """Arrays from an npz file written by `write_compressed`, in memory."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in FIELDS}
    except Exception as error:  # a damaged archive can raise nearly anything
        why = "no archive" if "pickle" in str(error) else error  # not numpy's advice to trust it
        raise ValueError(f"{path} is not a complete npz file of molecules: {why}") from error


def write_compressed(path: Path, arrays: Arrays) -> None:
    """Write an npz file; numpy puts no date in it, so that equal molecules give equal bytes."""
    named: Any = {name: arrays[name] for name in FIELDS}
    with atomic(path) as file:
        np.savez_compressed(file, **named)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the compressed form of QM9."""
    parser = argparse.ArgumentParser(prog="python -m molaug.molecules.convert", description=__doc__)
    parser.add_argument("--compressed", type=Path, required=True, metavar="FILE.npz")
    parser.add_argument("--qm9-dir", type=Path, help="folder of the csv files of qm9pack")
    options = parser.parse_args(arguments)
    try:
        write_compressed(options.compressed, read_source(find_source(options.qm9_dir)))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
