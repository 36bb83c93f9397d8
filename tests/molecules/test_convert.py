from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from molaug.molecules import convert
from molaug.molecules.data import MoleculeSet, load_sample
from molaug.molecules.targets import ELEMENTS

TEXT = {"XYZ_file", "SMILES", "InChi", "Stoichiometry", "Elements", "XYZ_Ang", "Mulliken_pop"}


def _row(molecule: MoleculeSet) -> list[str]:
    """One molecule as the files write it."""
    positions = ",".join("[" + ",".join(map(repr, p)) + "]" for p in molecule.positions.tolist())
    symbols = ",".join(f"'{ELEMENTS[int(charge)]}'" for charge in molecule.charges)
    return [
        *(f"dsgdb9nsd_{molecule.index[0]:06d}.xyz", str(molecule.index[0])),
        *(molecule.smiles[0].decode(), "InChI=", str(len(molecule.charges)), "[]"),
        *(f"[{symbols}]", f"[{positions}]", str(molecule.mulliken.tolist()).replace(" ", "")),
        *("[]", *map(repr, molecule.properties[0].tolist())),
    ]


@pytest.fixture(scope="module")
def molecules() -> MoleculeSet:
    return load_sample().take(slice(0, 60))


@pytest.fixture
def folder(tmp_path: Path, molecules: MoleculeSet) -> Path:
    """Three files of 20 molecules each: line 2 is the first."""
    for part, name in enumerate(convert.PARTS):
        with open(tmp_path / name, "w", newline="") as file:
            file.write(convert.HEADER + "\n")
            writer = csv.writer(file, quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
            rows = range(20 * part, 20 * part + 20)
            writer.writerows(_row(molecules.take([row])) for row in rows)
    return tmp_path


def _edit(path: Path, line: int, old: str, new: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    assert re.search(old, lines[line - 1])
    lines[line - 1] = re.sub(old, new, lines[line - 1], count=1)
    path.write_text("".join(lines))


@pytest.mark.parametrize("rows_at_once", [1, 7, 4096])
def test_csv_files_give_the_molecules(folder, molecules, monkeypatch, rows_at_once):
    monkeypatch.setattr(convert, "ROWS_AT_ONCE", rows_at_once)
    arrays = convert.read_source(folder, expected=60)
    assert set(arrays) == set(convert.FIELDS)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, getattr(molecules, name))
        assert array.dtype == getattr(molecules, name).dtype == convert.FIELDS[name]


def test_compressed_file_gives_the_molecules_and_equal_bytes(tmp_path, molecules):
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    convert.write_compressed(first, vars(molecules))
    convert.write_compressed(second, convert.read_source(first, expected=60))
    assert first.read_bytes() == second.read_bytes()


def test_command_line_writes_the_compressed_file(folder, monkeypatch, capsys):
    monkeypatch.setattr(convert, "check", lambda *_: None)  # of the number of molecules
    target = folder / "qm9.npz"
    convert.main(["--compressed", str(target), "--qm9-dir", str(folder)])
    assert len(convert.read_source(target, expected=60)["index"]) == 60
    with pytest.raises(SystemExit, match="error: there is no file or folder nowhere"):
        convert.main(["--compressed", str(target), "--qm9-dir", "nowhere"])


def test_source_may_be_a_package_folder(folder):
    (folder / "data").mkdir()
    for name in convert.PARTS:
        (folder / name).rename(folder / "data" / name)
    assert convert.find_source(folder) == folder / "data"


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(convert, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install qm9pack .* --qm9-dir"):
        convert.find_source()


def test_missing_file_is_named(folder):
    (folder / "qm9_part2.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no qm9_part2\.csv"):
        convert.read_source(folder, None)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (r"\[\[-?[\d.e-]+", "[[oops", "XYZ_Ang has a value that is not a finite number"),
        (r"\[\[-?[\d.e-]+", "[[nan", "XYZ_Ang has a value that is not a finite number"),
        (r"\[\[-?[\d.e-]+,", "[[", r"XYZ_Ang has \d+ numbers instead of \d+"),
        (r"'C'", "'Cl'", "Elements is not a list of N_atoms of H, C, N, O, F"),
        (r"'C',", "", "Elements is not a list"),
        (r",InChI=,(\d+)", r",InChI=,\g<1>x", "invalid literal for int"),
        (r",InChI=,(\d+)", r",InChI=,1\g<1>", r"XYZ_Ang has \d+ numbers instead of \d+"),
        (r",[^,]+\n", "\n", "24 columns instead of 25"),
        (r",[^,]+\n", ",\n", "properties has a value that is not a finite number"),
        (r"InChI=", "InChI=\N{BULLET}", "truncated or malformed"),
    ],
)
def test_malformed_row_is_named(folder, old, new, reason):
    _edit(folder / "qm9_part2.csv", 12, old, new)
    where = r"qm9_part2\.csv, line \d+" if "trunc" in reason else r"qm9_part2\.csv, line 12"
    with pytest.raises(ValueError, match=f"{where}: {reason}") as caught:
        convert.read_source(folder, None)
    assert "\n" not in str(caught.value)


def test_two_rows_that_are_wrong_by_the_same_amount_are_noticed(folder):
    _edit(folder / "qm9_part1.csv", 5, r"\[\[", "[[0.0,0.0,0.0],[")
    _edit(folder / "qm9_part1.csv", 9, r"\[\[[^]]*\],", "[")
    with pytest.raises(ValueError, match=r"qm9_part1\.csv, line 5: XYZ_Ang has"):
        convert.read_source(folder, None)


@pytest.mark.parametrize("lost", [1, 3, 60, 300, 700])
def test_truncated_file_is_named(folder, lost):
    path = folder / "qm9_part3.csv"
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(ValueError, match=r"qm9_part3\.csv, line 2[01]: "):
        convert.read_source(folder, None)


def test_file_without_its_header_is_refused(folder):
    (folder / "qm9_part1.csv").write_text("")
    with pytest.raises(ValueError, match=r"qm9_part1\.csv, line 1: not the columns"):
        convert.read_source(folder, None)


def test_wrong_number_of_molecules_is_refused(folder):
    with pytest.raises(ValueError, match="has 60 molecules, and must have 130,831"):
        convert.read_source(folder)


def test_rows_that_are_not_sorted_are_refused(folder):
    first, third = folder / "qm9_part1.csv", folder / "qm9_part3.csv"
    first.rename(folder / "other")
    third.rename(first)
    (folder / "other").rename(third)
    with pytest.raises(ValueError, match="the rows must be sorted"):
        convert.read_source(folder, None)


@pytest.mark.parametrize("place", [40, 5_000, -5])
def test_damaged_compressed_file_is_refused(tmp_path, molecules, place):
    path = tmp_path / "qm9.npz"
    convert.write_compressed(path, vars(molecules))
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"qm9\.npz") as caught:
        convert.read_source(path, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("positions", lambda x: x.astype(np.float64), "positions is float64"),
        ("mulliken", lambda x: x[:-1], "mulliken is float32"),
        ("charges", lambda x: x + np.uint8(1), "an atom is none of H, C, N, O, F"),
        ("offsets", lambda x: x[::-1].copy(), "the offsets do not divide the atoms"),
        ("index", lambda x: x[::-1].copy(), "index 7544 follows 7670, the rows must be"),
        ("properties", lambda x: np.full_like(x, np.nan), "properties has a value"),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(molecules, name, change, reason):
    arrays = vars(molecules) | {name: change(getattr(molecules, name))}
    with pytest.raises(ValueError, match=f"here.npz: {reason}"):
        convert.check(arrays, Path("here.npz"), None)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="stop"), convert.atomic(path) as file:
        file.write(b"new")
        raise RuntimeError("stop")
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
    assert path.read_bytes() == b"old"
