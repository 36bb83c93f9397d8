"""Molecules and targets from files of one's own: read, divided, learned, predicted."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from molaug.config import FilesConfig, resolve
from molaug.molecules.data import load_sample, random_rotations
from molaug.molecules.from_files import build_task, load_task, open_data
from molaug.molecules.read import read_labelled
from molaug.molecules.targets import target_values
from molaug.molecules.tasks import ROTATED_SEED
from molaug.molecules.tasks import load_task as load_qm9_task
from molaug.predict import main as predict
from molaug.train import main as train

COUNT = 120
SMALL = ["--device", "cpu", "--epochs", "2", "--channels", "8", "--layers", "1"]


def images(count: int = COUNT) -> list[Atoms]:
    """Molecules of the sample, far from the origin, and what is known of them."""
    molecules = load_sample().take(slice(0, count))
    known = {
        name: target_values(molecules, name) for name in ("homo", "U0", "dipole", "quadrupole")
    }
    found = []
    for i, (a, b) in enumerate(zip(molecules.offsets[:-1], molecules.offsets[1:], strict=True)):
        atoms = Atoms(molecules.charges[a:b], molecules.positions[a:b].astype(float) + 20)
        atoms.info.update({name: values[i] for name, values in known.items()}, tag=f"m{i}")
        found.append(atoms)
    return found


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("own") / "some.xyz"
    ase.io.write(path, images(), format="extxyz")
    return path


def make(file: Path, **asked):
    config = resolve(FilesConfig(files=(file,), channels=8, layers=1, **asked), gpu=False)
    data = open_data(config)
    config = config.settle(data)
    task, rows = build_task(data, config, symmetry="learned", network="coordinates", seed=0)
    return data, task, rows


@pytest.mark.parametrize("name", ["homo", "dipole", "quadrupole"])
def test_targets_of_every_kind_are_those_of_the_file(file, name):
    molecules = load_sample().take(slice(0, COUNT))
    expected = target_values(molecules, name)
    kind = {1: "scalar", 2: "vector", 3: "tensor"}[expected.ndim]
    found, values = read_labelled([file], name, kind)
    np.testing.assert_allclose(values, expected, atol=1e-6)
    assert found.index.tolist() == list(range(1, COUNT + 1))
    assert np.array_equal(found.charges, molecules.charges)


def test_a_target_may_be_a_result_of_a_calculator_and_lie_in_several_files(tmp_path):
    for name, image in zip("ab", images(2), strict=True):
        image.calc = SinglePointCalculator(image, energy=float(ord(name)))
        ase.io.write(tmp_path / f"{name}.traj", image)
    files = [tmp_path / "a.traj", tmp_path / "b.traj"]
    molecules, values = read_labelled(files, "energy")
    assert values.tolist() == [97.0, 98.0]
    assert molecules.index.tolist() == [1, 2]


def test_a_data_base_of_ase_is_read_with_its_columns_and_left_as_it_is(tmp_path):
    path = tmp_path / "a.db"
    with ase.db.connect(path) as rows:
        for value, image in zip((1.5, -2.0), images(2), strict=True):
            rows.write(image, gap=value, data={"shift": [value, 0, 0]})
    before = path.read_bytes()
    assert read_labelled([path], "gap")[1].tolist() == [1.5, -2.0]
    assert read_labelled([path], "shift", "vector")[1].tolist() == [[1.5, 0, 0], [-2.0, 0, 0]]
    assert path.read_bytes() == before


def test_molecules_without_the_target_may_be_left_out(file, tmp_path, capsys):
    found = images()
    for image in found[3:7]:
        del image.info["homo"]
    ase.io.write(tmp_path / "some.xyz", found, format="extxyz")
    asked = ["--files", str(tmp_path / "some.xyz"), "--target", "homo", "--symmetry", "none"]
    asked += ["--run-dir", str(tmp_path / "run"), *SMALL]
    assert train(["molecules", *asked]) == 1
    assert "some.xyz 4: --target 'homo' is not in it" in capsys.readouterr().err
    assert train(["molecules", *asked, "--skip"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "left out 4 molecules, the first because of" in said
    row = json.loads((tmp_path / "run/comparison.json").read_text())["rows"][0]
    assert row["train_count"] + row["test_count"] < COUNT - 4
    kept, _ = read_labelled([tmp_path / "some.xyz"], "homo", refused=[])
    assert kept.index.tolist() == [1, 2, 3, *range(8, COUNT + 1)]


def test_what_a_test_has_of_training_and_what_training_lacks_is_said(file, tmp_path, capsys):
    assert "seen_before" not in make(file, target="homo")[1].about
    _, _, rows = make(file, target="homo")
    found = images()
    turned = found[rows.train[0]].copy()
    turned.rotate(50, (1, 2, 3))
    turned = turned[::-1]
    turned.info["homo"] = 0.0
    found[rows.test[0]] = turned
    found[rows.test[1]].symbols[0] = "Br"
    ase.io.write(tmp_path / "some.xyz", found, format="extxyz")
    asked = ["--files", str(tmp_path / "some.xyz"), "--target", "homo", "--symmetry", "none"]
    assert train(["molecules", *asked, "--run-dir", str(tmp_path / "run"), *SMALL]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of the test molecules are in training, too; only in the test are elements 35" in said


def test_a_target_may_stand_in_the_comment_of_a_plain_xyz(tmp_path):
    (tmp_path / "a.xyz").write_text(
        "1\nenergy=-3.5 name=x\nHe 0 0 0\n2\nenergy=2\nH 0 0 0\nF 1 0 0\n"
    )
    molecules, values = read_labelled([tmp_path / "a.xyz"], "energy")
    assert values.tolist() == [-3.5, 2.0]
    assert molecules.sizes.tolist() == [1, 2]


def test_a_target_may_be_an_item_of_an_sdf_and_ions_are_taken(tmp_path):
    writer = Chem.SDWriter(str(tmp_path / "a.sdf"))
    for smiles, value in (("[NH4+]", "1.5"), ("CO", "-2e1")):
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        rdDistGeom.EmbedMolecule(molecule, randomSeed=1)
        molecule.SetProp("binding energy", value)
        molecule.SetProp("moment", "1 2\n3")
        writer.write(molecule)
    writer.close()
    _, values = read_labelled([tmp_path / "a.sdf"], "binding energy")
    assert values.tolist() == [1.5, -20.0]
    _, moments = read_labelled([tmp_path / "a.sdf"], "moment", "vector")
    assert moments.tolist() == [[1, 2, 3]] * 2


@pytest.mark.parametrize(
    ("text", "target", "kind", "why"),
    [
        (
            "1\na=1 energy=2\nHe 0 0 0\n",
            "enrgy",
            "scalar",
            "'enrgy' is not in it: did you mean 'energy'",
        ),
        ("1\na=1 energy=2\nHe 0 0 0\n", "", "scalar", "xyz 1: give --target, one of a, energy"),
        ("1\nC=C\nHe 0 0 0\n", "energy", "scalar", "has no numbers beside its atoms"),
        ("1\na=1\nHe 0 0 0\n1\na=nan\nHe 0 0 0\n", "a", "scalar", "xyz 2: a is nan; --kind scalar"),
        (
            "1\na=1\nHe 0 0 0\n1\na=x\nHe 0 0 0\n",
            "a",
            "scalar",
            "xyz 2: a is x; --kind scalar takes 1",
        ),
        ("1\na=1\nHe 0 0 0\n", "a", "vector", "a is 1; --kind vector takes 3 finite numbers"),
        ('1\na="1 2 3"\nHe 0 0 0\n', "a", "scalar", "--kind scalar takes 1 finite number"),
        ('1\na="1 0 0 0 1 0 0 0 1"\nHe 0 0 0\n', "a", "tensor", "a is not symmetric and traceless"),
        (
            "1\na=1\nHe 0 0 0\n2\na=1\nH 0 0 0\nH 0 0 0.1\n",
            "a",
            "scalar",
            "xyz 2: atoms 1 and 2 are",
        ),
        ("1\na=T\nHe 0 0 0\n", "a", "scalar", "a is True; --kind scalar takes 1"),
        ("1\na=1\nX 0 0 0\n", "a", "scalar", "xyz 1, atom 1: there is no element 0"),
        ("1\na=1\nHe 0 0 2e4\n", "a", "scalar", "lies 2e+04 Angstrom from the origin"),
        ("1\na=1\nHe 0 0 0\n" * 100, "a", "scalar", "a is the same for all molecules"),
        ("\n", "a", "scalar", "a.xyz: no molecules there"),
        ("1\na=1\nHe 0 0 0\n", "a", "scalar", "a.xyz: 1 molecules; give 100 at least"),
    ],
)
def test_what_cannot_be_learned_gives_one_line(text, target, kind, why, tmp_path, capsys):
    (tmp_path / "a.xyz").write_text(text)
    asked = ["--files", str(tmp_path / "a.xyz"), "--target", target, "--kind", kind]
    assert train(["molecules", *asked, "--run-dir", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert why in said
    assert not (tmp_path / "run").exists()


def test_files_are_needed_and_must_exist(tmp_path, capsys):
    assert train(["molecules", "--target", "a"]) == 1
    assert "molecules: give --files" in capsys.readouterr().err
    assert train(["molecules", "--target", "a", "--files", str(tmp_path / "b.xyz")]) == 1
    assert "b.xyz: no such file" in capsys.readouterr().err


def test_small_sets_have_epochs_enough_for_widths(file):
    config = resolve(FilesConfig(files=(file,), target="homo"), gpu=False)
    settled = config.settle(open_data(config))
    assert settled.epochs * -(-101 // 48) >= 4_000  # of 120, 9 validate and 10 test
    assert (settled.epochs - 1) * -(-101 // 48) < 4_000
    few = resolve(FilesConfig(files=(file,), target="homo", epochs=3), gpu=False)
    assert few.settle(open_data(few)).epochs == 3


KINDS = {"homo": "scalar", "dipole": "vector", "quadrupole": "tensor"}


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_rotated_targets_turn_as_their_kind_says(file, name, kind):
    data, task, rows = make(file, target=name, kind=kind)
    every = np.concatenate([rows.train, rows.validation, rows.test])
    assert sorted(every) == list(range(COUNT))
    first = torch.arange(len(rows.test))
    (before, value), (after, turned) = (test.gather(first) for test in task.tests.values())
    rotations = random_rotations(data.molecules.index[rows.test], ROTATED_SEED)
    expected = np.einsum("nij,naj->nai", rotations, before.positions.numpy())
    np.testing.assert_allclose(after.positions.numpy(), expected, atol=1e-5)
    centres = before.positions.sum(1) / before.mask.sum(1, keepdim=True)
    assert centres.abs().max() < 1e-5  # centred, though the file has them elsewhere
    elements = torch.eye(4, dtype=torch.float64).repeat(len(first), 1, 1)
    elements[:, :3, :3] = torch.from_numpy(rotations)
    assert torch.allclose(task.model.augmentation.action.act_on_output(elements, turned), value)
    if kind != "scalar":
        assert not torch.allclose(turned, value, atol=0.1)


def test_frames_may_be_those_of_the_file(file):
    data, _, _ = make(file, target="homo", frame="raw")
    assert data.molecules.positions.mean() > 15


@pytest.fixture(scope="module")
def run(file, tmp_path_factory) -> Path:
    """One run on total energies, without their atoms."""
    folder = tmp_path_factory.mktemp("run")
    asked = ["--files", str(file), "--target", "U0", "--unit", "meV", "--atom-references"]
    asked += ["--symmetry", "learned", "--run-dir", str(folder)]
    assert train(["molecules", *asked, *SMALL]) == 0
    return folder


def test_a_run_comes_back_and_predicts_with_what_atoms_contribute(run, file, capsys):
    row = json.loads((run / "comparison.json").read_text())["rows"][0]
    assert (row["unit"], row["target"], row["source"]) == ("meV", "U0", "some.xyz")
    assert "U0 [meV] of some.xyz" in (run / "report.html").read_text()
    task = load_task(run)
    rest = task.tests["canonical"].gather(torch.arange(2))[1]
    assert rest.abs().max() < 1e5  # of 1e7
    capsys.readouterr()
    assert predict([str(run), str(file)]) == 0
    shown = capsys.readouterr()
    assert "trained on 101 molecules of some.xyz; 120 molecules" in shown.err
    lines = list(csv.DictReader(io.StringIO(shown.out)))
    known = target_values(load_sample().take(slice(0, COUNT)), "U0")
    for line, energy in zip(lines, known, strict=True):
        assert float(line["U0 [meV]"]) == pytest.approx(energy, rel=0.01)


def test_a_run_is_told_from_others_and_its_elements_from_those_it_never_saw(run, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"of molecules; molaug\.molecules\.from_files opens it"):
        load_qm9_task(run, load_sample())
    (tmp_path / "salt.xyz").write_text("2\n\nNa 0 0 0\nCl 0 0 2.4\n")
    assert predict([str(run), str(tmp_path / "salt.xyz")]) == 1
    assert "element 11 is not one of some.xyz's (H C" in capsys.readouterr().err
    # All that was trained on has an even number of electrons.
    assert predict([str(run), "--smiles", "[NH4+]"]) == 1
    assert "an ion, of charge +1; some.xyz is neutral and closed-shell" in capsys.readouterr().err


def test_other_molecules_under_one_name_are_other_data(run, file, tmp_path, capsys):
    other = tmp_path / "some.xyz"
    ase.io.write(other, images()[:-1], format="extxyz")
    asked = ["--files", str(other), "--target", "U0", "--unit", "meV", "--atom-references"]
    assert train(["molecules", *asked, *SMALL, "--symmetry", "learned", "--run-dir", str(run)]) == 1
    assert "holds a run with other settings (data)" in capsys.readouterr().err


def test_the_folder_of_a_run_is_named_by_files_and_target():
    config = FilesConfig(files=(Path("a/my set.xyz"), Path("b.sdf")), target="E/eV", unit="eV")
    assert config.run_name == "molecules-my_set.xyz+1-E_eV-unit=eV"


@pytest.mark.parametrize("size", ["train", "validation", "test"])
def test_more_than_there_is_cannot_be_asked_for(size, file, tmp_path, capsys):
    asked = ["--files", str(file), "--target", "homo", f"--{size}-size", "119"]
    assert train(["molecules", *asked, "--run-dir", str(tmp_path / "run")]) == 1
    assert f"--{size}-size 119: choose from 1 to " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_references_are_of_scalars_and_of_elements_that_were_trained_on(file, tmp_path, capsys):
    asked = ["--files", str(file), "--atom-references", "--target"]
    with pytest.raises(SystemExit):
        train(["molecules", *asked, "dipole", "--kind", "vector"])
    assert "--atom-references: takes --kind scalar, not vector" in capsys.readouterr().err
    found = images()
    rows = make(file, target="U0")[2]
    found[int(rows.test[0])].symbols[0] = "Br"
    ase.io.write(tmp_path / "some.xyz", found, format="extxyz")
    asked[1] = str(tmp_path / "some.xyz")
    assert train(["molecules", *asked, "U0", "--run-dir", str(tmp_path / "run")]) == 1
    assert "no training molecule has the element 35" in capsys.readouterr().err


def test_a_task_does_not_come_back_with_other_molecules(run, file, tmp_path, monkeypatch):
    grown = ase.io.read(file, ":")
    keep = file.read_bytes()
    ase.io.write(file, [*grown, grown[0]], format="extxyz")
    with pytest.raises(ValueError, match="its data has changed since it was trained"):
        load_task(run)
    file.write_bytes(keep)
    assert len(load_task(run).train) == 101


def test_small_numbers_are_predicted_with_their_digits_and_raw_frames_are_kept(tmp_path, capsys):
    """Of a target that depends on where the molecule lies, and is small."""
    found = images()
    for i, image in enumerate(found):
        image.positions -= 20 - i % 3
        image.info = {"shift": 1e-6 * image.positions[:, 0].mean()}
    ase.io.write(tmp_path / "some.xyz", found, format="extxyz")
    asked = ["--files", str(tmp_path / "some.xyz"), "--target", "shift", "--symmetry", "none"]
    asked += ["--frame", "raw", "--run-dir", str(tmp_path / "run"), *SMALL]
    assert train(["molecules", *asked, "--epochs", "40"]) == 0
    capsys.readouterr()
    assert predict([str(tmp_path / "run"), str(tmp_path / "some.xyz")]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    said = np.array([float(line["shift [units]"]) for line in lines])
    assert np.corrcoef(said, [image.info["shift"] for image in found])[0, 1] > 0.9
