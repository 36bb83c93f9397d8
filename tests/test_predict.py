"""Predictions for molecules from files are those of the trained model."""

from __future__ import annotations

import csv
import io
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from molaug import predict
from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import LearnedUniform
from molaug.groups import SE3
from molaug.molecules.action import MoleculeAction
from molaug.molecules.data import MoleculeSet, load_qm9, load_sample
from molaug.molecules.networks import GraphNetwork
from molaug.molecules.read import Label
from molaug.molecules.targets import ELEMENTS, sum_references
from molaug.molecules.tasks import MoleculeExamples, load_task
from molaug.predict import main
from molaug.train import main as train

needs_qm9 = pytest.mark.skipif(find_spec("qm9pack") is None, reason="needs the qm9pack wheel")

SMALL = ["qm9", "--device", "cpu", "--train-size", "96", "--validation-size", "16", "--epochs", "2"]
SMALL += ["--test-size", "16", "--channels", "8", "--layers", "1", "--batch-size", "16"]


def write_xyz(path: Path, charges: np.ndarray, positions: np.ndarray) -> None:
    lines = [
        f"{ELEMENTS[z]} {x:.6f} {y:.6f} {w:.6f}"
        for z, (x, y, w) in zip(charges, positions, strict=True)
    ]
    with path.open("a") as file:
        file.write("\n".join([str(len(lines)), "", *lines]) + "\n")


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A command with one run: of a network that is invariant, so that frames do not matter."""
    folder = tmp_path_factory.mktemp("distances")
    arguments = ["--network", "distances", "--symmetry", "none", "--run-dir", str(folder)]
    assert train([*SMALL, "--target", "U0", *arguments]) == 0
    return folder


@needs_qm9
def test_predictions_are_those_of_the_model_with_its_references_in_any_company(
    run, tmp_path, capsys
):
    molecules = load_qm9().take(np.array([500, 7, 90_000]))
    for a, b in zip(molecules.offsets[:-1], molecules.offsets[1:], strict=True):
        write_xyz(tmp_path / "some.xyz", molecules.charges[a:b], molecules.positions[a:b] + 30)
    assert main([str(run), str(tmp_path / "some.xyz")]) == 0
    shown = capsys.readouterr()
    rows = read(shown.out)
    assert [row["molecule"] for row in rows] == [f"{tmp_path / 'some.xyz'} {i}" for i in (1, 2, 3)]
    assert [int(row["atoms"]) for row in rows] == molecules.sizes.tolist()
    assert "trained on 96 molecules of QM9; 3 molecules, 8 copies" in shown.err
    task = load_task(run / "none-distances-0", load_qm9())
    batch, _ = MoleculeExamples(molecules, np.zeros(3)).gather(torch.arange(3))
    references = np.array(task.about["atom_references"])
    expected = task.model.predict(batch).numpy() + sum_references(molecules, references)
    known = molecules.properties[:, 10] * 27211.386246
    for row, prediction, energy in zip(rows, expected, known, strict=True):
        assert float(row["U0 [meV]"]) == pytest.approx(prediction, rel=1e-7)
        assert prediction == pytest.approx(energy, rel=0.01)
        assert float(row["copies differ: U0 [meV]"]) < 1e-3 * float(task.model.scaling.scale)
    alone = tmp_path / "alone.xyz"
    write_xyz(
        alone, *(part[: molecules.sizes[0]] for part in (molecules.charges, molecules.positions))
    )
    assert main([str(run), str(alone), "--out", str(tmp_path / "found.csv")]) == 0
    again = read((tmp_path / "found.csv").read_text())[0]["U0 [meV]"]
    assert float(again) == pytest.approx(float(rows[0]["U0 [meV]"]), rel=1e-6)


@needs_qm9
def test_a_vector_has_three_columns_and_copies_of_a_learned_law_differ(tmp_path, capsys):
    arguments = ["--target", "dipole", "--symmetry", "learned", "--run-dir", str(tmp_path / "run")]
    assert train([*SMALL, *arguments]) == 0
    capsys.readouterr()
    assert main([str(tmp_path / "run"), "--smiles", "CCO", "O"]) == 0
    shown = capsys.readouterr()
    rows = read(shown.out)
    assert [row["molecule"] for row in rows] == ["CCO", "O"]
    assert {"dipole x [D]", "dipole y [D]", "dipole z [D]"} < set(rows[0])
    assert float(rows[0]["copies differ: dipole x [D]"]) > 0
    assert "Believe 2 of them less: 99 % of what it was trained on has 11 to 24 atoms." in shown.err
    assert main([str(tmp_path / "run"), "--smiles", "CCO"]) == 0
    again = read(capsys.readouterr().out)[0]
    assert float(again["dipole x [D]"]) == pytest.approx(float(rows[0]["dipole x [D]"]), abs=2e-4)


@needs_qm9
@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.xyz", "1\n\nCl 0 0 0\n", r"a\.xyz 1, atom 1: element 17 is not one of QM9's \(H C N"),
        ("a.xyz", "2\n\nC 0 0 0\nC 0 0 0.1\n", r"a\.xyz 1: atoms 1 and 2 are 0\.1 Angstrom apart"),
        ("a.xyz", "1\n\nC 0 0 nan\n", r"a\.xyz 1: has a position that is no number"),
        ("a.xyz", "five\n", r"a\.xyz 1: line 1 is 'five' where a number of atoms should be"),
        ("a.xyz", "1\n\nH 0 0 0\n", r"a\.xyz 1: an odd number of electrons"),
        ("a.smi", "CCO\nC1\n", r"a\.smi line 2: 'C1' is no SMILES"),
        ("a.smi", "\n", r"a\.smi: no molecules there"),
        ("a.smi", "O.O\n", r"a\.smi line 1: several molecules; give one at a time"),
        (None, "", r"missing: no such file"),
    ],
)
def test_what_is_no_molecule_gives_one_line_and_nothing_is_written(
    name, text, message, run, tmp_path, capsys
):
    path = tmp_path / (name or "missing")
    if name:
        path.write_text(text)
    assert main([str(run), str(path), "--out", str(tmp_path / "found.csv")]) == 1
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert re.search(message, shown)
    assert not (tmp_path / "found.csv").exists()


@needs_qm9
def test_a_drawing_is_refused_and_a_geometry_is_taken(run, tmp_path, capsys):
    from rdkit import Chem
    from rdkit.Chem import rdDepictor, rdDistGeom

    molecule = Chem.AddHs(Chem.MolFromSmiles("CCO"))
    rdDepictor.Compute2DCoords(molecule)
    (tmp_path / "flat.mol").write_text(Chem.MolToMolBlock(molecule))
    assert main([str(run), str(tmp_path / "flat.mol")]) == 1
    assert "flat.mol 1: a drawing; give coordinates in space" in capsys.readouterr().err
    rdDistGeom.EmbedMolecule(molecule, randomSeed=1)
    molecule.SetProp("_Name", "ethanol")
    (tmp_path / "space.mol").write_text(Chem.MolToMolBlock(molecule))
    # Options may stand between the run and its files.
    assert main([str(run), "--copies", "2", str(tmp_path / "space.mol")]) == 0
    found = read(capsys.readouterr().out)[0]
    assert (found["name"], found["atoms"]) == ("ethanol", "9")
    (tmp_path / "bare.mol").write_text(Chem.MolToMolBlock(Chem.RemoveHs(molecule)))
    assert main([str(run), str(tmp_path / "bare.mol")]) == 1
    assert "bare.mol 1: lacks 6 hydrogen atoms; add them" in capsys.readouterr().err


@needs_qm9
def test_what_is_no_single_molecule_or_no_place_to_write_is_refused(run, tmp_path, capsys):
    crystal = tmp_path / "crystal.xyz"
    crystal.write_text('1\nLattice="3 0 0 0 3 0 0 0 3"\nC 0 0 0\n')
    assert main([str(run), str(crystal)]) == 1
    assert "crystal.xyz 1: has a periodic cell" in capsys.readouterr().err
    assert main([str(run), "--smiles", "C", "--out", str(tmp_path)]) == 1
    assert "is a folder; name a file" in capsys.readouterr().err
    assert main([str(run), "--smiles", "C", str(crystal)]) == 1
    assert "is a file; name files before --smiles" in capsys.readouterr().err


@needs_qm9
def test_a_list_of_smiles_keeps_its_names(run, tmp_path, capsys):
    (tmp_path / "some.smi").write_text("CCO ethanol\nO\n")
    assert main([str(run), str(tmp_path / "some.smi")]) == 0
    assert [row["name"] for row in read(capsys.readouterr().out)] == ["ethanol", "O"]


@needs_qm9
def test_what_cannot_be_predicted_is_left_out_if_asked_and_named(run, tmp_path, capsys):
    (tmp_path / "some.smi").write_text("CCO ethanol\nCCl\nC1\nO water\n")
    assert main([str(run), "--skip", str(tmp_path / "some.smi")]) == 0
    shown = capsys.readouterr()
    assert [(row["name"], row["molecule"][-2:]) for row in read(shown.out)] == [
        ("ethanol", " 1"),
        ("water", " 4"),
    ]
    left_out = [line for line in shown.err.splitlines() if line.startswith("molaug: left out: ")]
    assert len(left_out) == 2
    assert "some.smi 2, atom 2: element 17" in left_out[0]
    assert "some.smi line 3: 'C1' is no SMILES" in left_out[1]
    assert "2 molecules" in shown.err
    assert main([str(run), "--skip", "--smiles", "C1", "CCl"]) == 1
    assert capsys.readouterr().err == (
        "molaug: all SMILES: none of 2 can be taken, the first because of C1: 'C1' is no SMILES\n"
    )


@needs_qm9
@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("bad.cif", b"five\n", "ASE cannot read it"),
        ("bad.xyz.gz", b"five\n", "cannot be read"),
        ("bad.smi", b"\xff\n", "not a text of SMILES"),
    ],
)
def test_a_file_that_cannot_be_read_is_left_out_if_asked_and_named(
    name, content, why, run, tmp_path, capsys
):
    good, bad, last = tmp_path / "good.smi", tmp_path / name, tmp_path / "last.smi"
    good.write_text("CCO ethanol\n")
    bad.write_bytes(content)
    last.write_text("O water\n")
    assert main([str(run), "--skip", *map(str, (good, bad, last))]) == 0
    shown = capsys.readouterr()
    assert [row["name"] for row in read(shown.out)] == ["ethanol", "water"]
    left_out = [line for line in shown.err.splitlines() if line.startswith("molaug: left out: ")]
    assert len(left_out) == 1
    assert f"{name}: {why}" in left_out[0]
    assert main([str(run), *map(str, (good, bad))]) == 1
    assert capsys.readouterr().err.startswith(f"molaug: {bad}: {why}")
    # A name that is no file's is a slip of the user, and stops the command nevertheless.
    assert main([str(run), "--skip", str(good), str(tmp_path / "missing.xyz")]) == 1
    assert "missing.xyz: no such file" in capsys.readouterr().err


def untrained(network: torch.nn.Module) -> AveragedModel:
    return AveragedModel(network, Augmentation(LearnedUniform(SE3()), MoleculeAction()))


def test_batches_are_of_one_size_of_memory_and_change_nothing(monkeypatch):
    class Counting(GraphNetwork):
        def forward(self, batch):
            pairs.append(batch.charges.shape[0] * batch.charges.shape[1] ** 2)
            return super().forward(batch)

    rng = np.random.default_rng(0)
    chain = np.full(80, 6), np.arange(80)[:, None] * np.array([1.5, 0, 0])
    sample = load_sample()
    parts = np.split(sample.positions, sample.offsets[1:-1])
    drawn = [parts[i] for i in rng.choice(len(sample), 100, replace=False)]
    pairs_of = [(np.full(len(places), 6), places) for places in drawn]
    molecules = MoleculeSet.from_atoms([*pairs_of[:30], chain, *pairs_of[30:]])
    labels = [Label(str(i)) for i in range(len(molecules))]
    network = Counting(channels=8, layers=1)
    torch.nn.init.normal_(network.readout[-1].weight)
    model, found = untrained(network), []
    for limit in (5 * 4 * 29**2, 10**9):
        pairs: list[int] = []
        monkeypatch.setattr(predict, "PAIRS", limit)
        found.append(predict.predict(model, labels, molecules, copies=4))
        alone = 4 * 80**2  # copies of the longest come together
        assert all(count <= max(limit, alone) for count in pairs)
        assert len(pairs) == 1 or 4 < len(pairs) < 16
    assert len(pairs) == 1
    for few, many in zip(*found, strict=True):
        torch.testing.assert_close(few, many)
    assert found[0][0].std() > 1e-3


@pytest.mark.parametrize("error", [MemoryError, RuntimeError("can't allocate memory: 1 bytes")])
def test_a_molecule_too_large_for_the_memory_is_named(error):
    class Exhausting(torch.nn.Module):
        def forward(self, batch):
            raise error

    molecules = load_sample().take(slice(0, 3))
    labels = [Label(f"a.xyz {i}") for i in (1, 2, 3)]
    largest = int(molecules.sizes.argmax())
    expected = f"a.xyz {largest + 1}: 2 copies of its {molecules.sizes[largest]} atoms need more"
    with pytest.raises(ValueError, match=expected):
        predict.predict(untrained(Exhausting()), labels, molecules, copies=2)


@needs_qm9
def test_a_damaged_record_of_the_run_is_named_and_nothing_is_predicted(run, tmp_path, capsys):
    copy = tmp_path / "copy"
    shutil.copytree(run / "none-distances-0", copy)
    (copy / "metrics.json").write_text("[1, 2]")
    out = tmp_path / "out.csv"
    assert main([str(copy), "--smiles", "CCO", "--out", str(out)]) == 1
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert f"{copy / 'metrics.json'}: damaged" in line
    assert not out.exists()
    assert not shown.out


def test_folders_without_one_run_are_refused(tmp_path, capsys):
    assert main([str(tmp_path), "--smiles", "C"]) == 1
    assert "no trained weights there" in capsys.readouterr().err
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").touch()
    assert main([str(tmp_path), "--smiles", "C"]) == 1
    assert "holds several runs: give one of" in capsys.readouterr().err
