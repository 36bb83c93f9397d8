"""Every molecule of a file is read, or named with the reason why not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma

import ase.io
import numpy as np
import pytest
from ase import Atoms
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from molaug.molecules import read
from molaug.molecules.read import read_molecules

PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
WATER = "3\n\nO 0 0 0.12\nH 0 0.76 -0.48\nH 0 -0.76 -0.48\n"
AMMONIA = "4\ncomment\nN 0 0 0.1\nH 0 0.9 -0.3\nH 0.8 -0.5 -0.3\nH -0.8 -0.5 -0.3\n"


def block(smiles: str, title: str = "") -> str:
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    rdDistGeom.EmbedMolecule(molecule, randomSeed=1)
    molecule.SetProp("_Name", title)
    return Chem.MolToMolBlock(molecule)


def entries(*blocks: str) -> str:
    return "".join(text + "$$$$\n" for text in blocks)


def read_text(path, text: str | bytes):
    """Place and name of what is found, sizes, and what is refused, of a file of that text."""
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(PACK.get(path.suffix, bytes)(data))
    refused: list[str] = []
    labels, molecules = read_molecules([path], refused=refused)
    places = [int(label.place.removeprefix(f"{path} ")) for label in labels]
    return places, [label.name for label in labels], molecules.sizes.tolist(), refused


@pytest.mark.parametrize(
    "name", ["a.xyz", "a.XYZ", "a.extxyz", "a.xyz.gz", "a.xyz.bz2", "a.xyz.xz"]
)
@pytest.mark.parametrize(
    "text",
    [
        WATER + AMMONIA + WATER,
        WATER + "\n" + AMMONIA + "\n\n" + WATER + "\n",
        "\n" + WATER + AMMONIA + WATER,
        (WATER + "\n" + AMMONIA + WATER).replace("\n", "\r\n"),
        WATER + AMMONIA.replace("comment", "4") + WATER,
        WATER + AMMONIA.replace("comment", "it's \"Properties") + WATER,
    ],
)
def test_every_frame_of_an_xyz_is_read(name, text, tmp_path):
    places, names, sizes, refused = read_text(tmp_path / name, text)
    assert (places, sizes, refused) == ([1, 2, 3], [3, 4, 3], [])
    assert names[::2] == ["", ""]
    assert names[1] in ("comment", "4", "it's \"Properties")


def test_extended_and_plain_frames_stand_in_one_file(tmp_path):
    extended = (
        "3\nProperties=id:I:1:pos:R:3:species:S:1 energy=-1.5\n"
        "1 0 0 0.12 O\n2 0 0.76 -0.48 H\n3 0 -0.76 -0.48 H\n"
    )
    path = tmp_path / "a.xyz"
    path.write_text(WATER + "\n" + extended)
    _, molecules = read_molecules([path])
    assert molecules.charges.tolist() == [8, 1, 1] * 2
    assert np.array_equal(*np.split(molecules.positions, 2))
    crystal = '3\nLattice="3 0 0 0 3 0 0 0 3"\n' + WATER.split("\n\n")[1]
    assert read_text(path, WATER + crystal)[3] == [
        f"{path} 2: has a periodic cell; give single molecules"
    ]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("5\n\nO 0 0 0\nH 0 0 1\n", "{} 2: has 2 atoms, not 5 as line 7 says"),
        ("1\n\nO 0 0 0\nH 0 0 1\n", "{} 2: line 10 is 'H 0 0 1' where a number of atoms should be"),
        ("1\n\nO 0 zero 0\n", "{} 2: line 9 is 'O 0 zero 0'; give an element and three coord"),
        ("1\n\nO 0 0\n", "{} 2: line 9 is 'O 0 0'; give an element and three coordinates"),
        ("1\n\nOx 0 0 0\n", "{} 2: line 9 is 'Ox 0 0 0'; give an element and three coordinates"),
        ("1\n\nCl 0 0 0\n", "{} 2, atom 1: element 17 is not one of QM9's"),
        ("0\n\n", "{} 2: has no atoms"),
    ],
)
def test_a_bad_frame_costs_no_other(bad, why, tmp_path):
    path = tmp_path / "a.xyz"
    places, _, sizes, refused = read_text(path, "\n" + WATER + bad + WATER)
    assert (places, sizes, len(refused)) == ([1, 3], [3, 3], 1)
    assert refused[0].startswith(why.format(path))
    with pytest.raises(ValueError, match=r"a\.xyz 2"):
        read_molecules([path])


def test_words_in_place_of_a_number_of_atoms_are_named_with_their_line(tmp_path):
    path = tmp_path / "a.xyz"
    places, _, _, refused = read_text(path, "\nfive\n" + WATER)
    assert places == [2]
    assert refused == [f"{path} 1: line 2 is 'five' where a number of atoms should be"]


@pytest.mark.parametrize("name", ["a.sdf", "a.sdf.gz", "a.mol.gz", "a.sdf.xz"])
@pytest.mark.parametrize("end", ["", "\n\n"])
def test_every_entry_of_an_sdf_is_read(name, end, tmp_path):
    text = entries(block("CCO", "ethanol"), block("C", "methane"), block("O", "water")) + end
    names = ["ethanol", "methane", "water"]
    assert read_text(tmp_path / name, text) == ([1, 2, 3], names, [9, 5, 3], [])


@pytest.mark.parametrize("name", ["a.sdf", "a.sdf.gz"])
def test_a_bad_entry_costs_no_other(name, tmp_path):
    path = tmp_path / name
    cut = "\n".join(block("CC").splitlines()[:7]) + "\n"
    bare = Chem.MolToMolBlock(Chem.RemoveHs(Chem.MolFromMolBlock(block("CO"), removeHs=False)))
    text = entries(block("O"), cut, "", bare, block("C")) + block("N")  # the last without its end
    places, _, sizes, refused = read_text(path, text)
    assert (places, sizes) == ([1, 5, 6], [3, 5, 4])
    assert refused == [
        f"{path} 2: RDKit cannot read it",
        f"{path} 3: RDKit cannot read it",
        f"{path} 4: lacks 4 hydrogen atoms; add them, or give SMILES",
    ]


def test_a_title_in_another_encoding_costs_nothing(tmp_path):
    text = entries(block("O", "?thanol"), block("C", "methane")).replace("?", "é")
    places, names, _, refused = read_text(tmp_path / "a.sdf", text.encode("latin-1"))
    assert (places, refused) == ([1, 2], [])
    assert names == ["\ufffdthanol", "methane"]


def test_compressed_smiles_are_read(tmp_path):
    path = tmp_path / "a.smi.gz"
    path.write_bytes(gzip.compress("CCO éthanol\nO\n".encode()))
    labels, _ = read_molecules([path])
    assert [(label.place, label.name) for label in labels] == [
        (f"{path} 1", "éthanol"),
        (f"{path} 2", "O"),
    ]


@pytest.mark.parametrize("name", ["a.sdf.gz", "a.xyz.gz", "a.smi.gz", "a.xyz.bz2", "a.xyz.xz"])
def test_a_damaged_archive_is_named(name, tmp_path):
    path = tmp_path / name
    whole = PACK[path.suffix](np.random.default_rng(0).bytes(1000).hex().encode())
    for data in (whole[:-200], whole[:100] + b"~" * 20 + whole[120:], b"3\n\n"):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=rf"{path}: (cannot be read|not a text)") as caught:
            read_molecules([path])
        assert len(str(caught.value).splitlines()) == 1


def test_any_complaint_about_a_file_names_it(tmp_path, monkeypatch):
    def complain(path):
        raise ValueError("went wrong")
        yield

    path = tmp_path / "a.sdf"
    path.touch()
    monkeypatch.setitem(read.READERS, ".sdf", complain)
    with pytest.raises(ValueError, match=rf"{path}: cannot be read \(went wrong\)"):
        read_molecules([path])


CHARGED = [
    ("[NH4+]", "an ion, of charge +1; QM9 is neutral and closed-shell"),
    ("C[O-]", "an ion, of charge -1; QM9 is neutral and closed-shell"),
    ("[NH3+]CC[NH3+]", "an ion, of charge +2; QM9 is neutral and closed-shell"),
    ("C[CH2]", "a radical; QM9 is neutral and closed-shell"),
    ("[CH2]", "a radical; QM9 is neutral and closed-shell"),
]


@pytest.mark.parametrize(("smiles", "why"), CHARGED)
def test_ions_and_radicals_are_refused(smiles, why, tmp_path):
    with pytest.raises(ValueError) as caught:
        read_molecules([], [smiles])
    assert str(caught.value) == f"{smiles}: {why}"
    path = tmp_path / "a.sdf"
    path.write_text(entries(block("C"), block(smiles)))
    with pytest.raises(ValueError) as caught:
        read_molecules([path])
    assert str(caught.value) == f"{path} 2: {why}"


def test_zwitterions_are_read(tmp_path):
    glycine = "[NH3+]CC(=O)[O-]"
    path = tmp_path / "a.sdf"
    path.write_text(block(glycine))
    _, molecules = read_molecules([path], [glycine, "[C-]#[O+]"])
    assert molecules.sizes.tolist() == [10, 10, 2]


@pytest.mark.parametrize("name", ["a.xyz", "a.pdb"])
def test_an_odd_number_of_electrons_is_refused(name, tmp_path):
    path = tmp_path / name
    ase.io.write(path, Atoms("OH", [[0, 0, 0], [0, 0, 0.97]]))
    with pytest.raises(ValueError) as caught:
        read_molecules([path])
    assert str(caught.value).startswith(f"{path} 1: an odd number of electrons, so a radical or an")


@pytest.mark.parametrize("name", ["a@1.xyz", "a@0:1.pdb", "a@1.sdf"])
def test_a_name_may_hold_an_at_sign(name, tmp_path):
    path = tmp_path / name
    water = ase.io.read(io.StringIO(WATER), format="xyz")
    ase.io.write(tmp_path / "a", [water] * 3, format="proteindatabank")  # which is not asked for
    if path.suffix == ".pdb":
        path.write_bytes((tmp_path / "a").read_bytes())
    else:
        path.write_text(block("O") if path.suffix == ".sdf" else WATER)
    labels, _ = read_molecules([path])
    assert len(labels) == (3 if path.suffix == ".pdb" else 1)


def test_what_ase_cannot_read_is_named(tmp_path):
    path = tmp_path / "a.cif"
    path.write_text("five\n")
    with pytest.raises(ValueError, match=r"a\.cif: ASE cannot read it \("):
        read_molecules([path])


def test_too_many_atoms_for_the_memory_are_named(tmp_path, monkeypatch):
    def exhaust(*_, **__):
        raise MemoryError

    monkeypatch.setattr(read.np.linalg, "norm", exhaust)
    path = tmp_path / "a.xyz"
    path.write_text(WATER)
    with pytest.raises(ValueError, match=r"a\.xyz 1: its 3 atoms need more memory than there is"):
        read_molecules([path])


def test_elements_of_an_xyz_may_be_numbers(tmp_path):
    text = WATER.replace("O", "8").replace("H", "1")
    assert text != WATER
    (tmp_path / "a.xyz").write_text(WATER + text)
    _, molecules = read_molecules([tmp_path / "a.xyz"])
    assert molecules.charges.tolist() == [8, 1, 1] * 2
