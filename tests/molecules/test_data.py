from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from molaug.molecules import data
from molaug.molecules.data import MoleculeSet, load_qm9, load_sample, orient, random_rotations
from molaug.molecules.targets import ELEMENTS, target_values

ROOT = Path(data.__file__).parents[2]
SAMPLE = ROOT / "data" / "qm9" / "sample.npz"
needs_qm9 = pytest.mark.skipif(find_spec("qm9pack") is None, reason="needs the package qm9pack")


@pytest.fixture(scope="module")
def sample() -> MoleculeSet:
    return load_sample()


@pytest.fixture(scope="session")
def qm9_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of all of QM9, converted once."""
    root = tmp_path_factory.mktemp("qm9")
    load_qm9(root)
    return root


def _load(root: Path) -> MoleculeSet:
    return load_qm9(root, SAMPLE, expected=None)


def _assert_equal(first: MoleculeSet, second: MoleculeSet) -> None:
    for name in vars(first):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


# The sample and the set


def test_sample_has_the_molecules_it_promises(sample):
    assert len(sample) == 1000
    assert sample.smiles[:3].tolist() == [b"C", b"N", b"O"]
    assert sample.index[:3].tolist() == [1, 2, 3]
    assert (sample.sizes.min(), sample.sizes.max()) == (3, 29)
    assert set(np.unique(sample.charges)) == set(ELEMENTS)
    assert SAMPLE.stat().st_size < 500_000


def test_take_gives_those_molecules_in_that_order(sample):
    rows = np.array([5, 999, 0, 5])
    taken = sample.take(rows)
    assert np.array_equal(taken.index, sample.index[rows])
    for place, row in enumerate(rows):
        atoms = slice(sample.offsets[row], sample.offsets[row + 1])
        own = slice(taken.offsets[place], taken.offsets[place + 1])
        np.testing.assert_array_equal(taken.positions[own], sample.positions[atoms])
        np.testing.assert_array_equal(taken.mulliken[own], sample.mulliken[atoms])


def test_take_accepts_masks_slices_and_nothing(sample):
    _assert_equal(sample.take(sample.sizes > 20), sample.take(np.flatnonzero(sample.sizes > 20)))
    _assert_equal(sample.take(slice(-2, None)), sample.take([998, 999]))
    assert len(sample.take([])) == 0
    assert sample.take([]).padded(4)[0].shape == (0, 4, 3)


def test_take_copies(sample):
    taken = sample.take([0])
    taken.positions[:] = 0
    assert sample.positions[:5].any()


def test_padded_is_zero_beyond_the_atoms(sample):
    positions, charges = sample.padded()
    assert (positions.shape, positions.dtype) == ((1000, 29, 3), np.float32)
    assert (charges.shape, charges.dtype) == ((1000, 29), np.uint8)
    assert np.array_equal((charges > 0).sum(1), sample.sizes)
    assert not positions[charges == 0].any()
    for row in (0, 1, 500, 999):
        atoms = slice(sample.offsets[row], sample.offsets[row + 1])
        np.testing.assert_array_equal(positions[row, : sample.sizes[row]], sample.positions[atoms])


def test_padding_to_too_few_nodes_names_the_molecule(sample):
    with pytest.raises(ValueError, match=r"molecule \d+ has 29 atoms .* padded to 28"):
        sample.padded(28)


# The cache


def test_cache_gives_the_molecules_mapped_from_the_file(tmp_path, sample, capsys):
    _assert_equal(_load(tmp_path / "new" / "folder"), sample)
    assert "converting QM9 from" in capsys.readouterr().err
    mapped = _load(tmp_path / "new" / "folder")
    _assert_equal(mapped, sample)
    assert "qm9.arrays, from before: delete that file to have" in capsys.readouterr().err
    _assert_equal(load_qm9(tmp_path / "new" / "folder", expected=None), sample)
    assert capsys.readouterr().err == ""
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        load_qm9(tmp_path / "new" / "folder", tmp_path / "nowhere", expected=None)
    assert not mapped.positions.flags.writeable
    assert mapped.properties.flags.aligned
    _assert_equal(mapped.take(slice(None)), sample)


@settings(max_examples=40, deadline=None)
@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(tmp_path_factory, sample, place, bit):
    path = tmp_path_factory.mktemp("cache") / "cache"
    data.write_cache(path, vars(sample.take(slice(0, 5))))
    altered = bytearray(path.read_bytes())
    altered[place % len(altered)] ^= 1 << bit
    path.write_bytes(altered)
    with pytest.raises(ValueError, match="truncated, altered"):
        data.read_cache(path, None)


@pytest.mark.parametrize("size", [0, 10, 64, 5000, -1])
def test_truncated_cache_is_noticed_and_rebuilt(tmp_path, sample, capsys, size):
    _load(tmp_path)
    cache = tmp_path / data.CACHE_NAME
    cache.write_bytes(cache.read_bytes()[:size])
    _assert_equal(_load(tmp_path), sample)
    said = capsys.readouterr().err.splitlines()
    assert sum("converting QM9 again" in line for line in said) == 1
    _assert_equal(MoleculeSet(**data.read_cache(cache, 1000)), sample)


def test_cache_with_another_number_of_molecules_is_rebuilt(tmp_path, sample, capsys):
    data.write_cache(tmp_path / data.CACHE_NAME, vars(sample.take([0, 1])))
    assert len(load_qm9(tmp_path, SAMPLE, expected=1000)) == 1000
    assert "has 2 molecules, not 1,000: converting QM9 again" in capsys.readouterr().err


def test_incomplete_qm9_is_refused_and_not_kept(tmp_path):
    with pytest.raises(ValueError, match="has 1,000 molecules, and must have 130,831"):
        load_qm9(tmp_path, SAMPLE)
    assert not (tmp_path / data.CACHE_NAME).exists()


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PermissionError, match="set MOLAUG_DATA"):
        _load(tmp_path / "file" / "qm9")


def _start(code: str, *arguments: object) -> subprocess.Popen[str]:
    begin = "import os, signal, sys; from pathlib import Path; from molaug.molecules import data\n"
    end = "\ndata.load_qm9(Path(sys.argv[1]), Path(sys.argv[2]), expected=None)"
    command = [sys.executable, "-c", begin + code + end, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def test_two_processes_at_once_convert_once(tmp_path, sample):
    with FileLock(tmp_path / "qm9.lock"):  # both find no cache, and wait for the lock
        processes = [_start("print('ready', flush=True)", tmp_path, SAMPLE) for _ in range(2)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum("converting QM9 from" in text for text in said) == 1
    _assert_equal(_load(tmp_path), sample)


def test_killed_while_writing_leaves_nothing_half_written(tmp_path, sample):
    process = _start("os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)", tmp_path, SAMPLE)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / data.CACHE_NAME).exists()
    _assert_equal(_load(tmp_path), sample)
    assert sorted(os.listdir(tmp_path)) == [data.CACHE_NAME, "qm9.lock"]


def test_default_root_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MOLAUG_DATA", str(tmp_path))
    assert data.default_root() == tmp_path / "qm9"
    monkeypatch.delenv("MOLAUG_DATA")
    assert data.default_root() == ROOT / "data" / "qm9"
    monkeypatch.setattr(data, "_CHECKOUT", tmp_path / "absent")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data.default_root() == tmp_path / "cache" / "molaug" / "qm9"
    with pytest.raises(FileNotFoundError, match=r"sample\.npz: use a checkout"):
        load_sample()


# Frames


def _distances(molecules: MoleculeSet) -> np.ndarray:
    positions, charges = molecules.padded()
    mask = (charges > 0)[:, :, None] & (charges > 0)[:, None]
    return np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1) * mask


def _signed_volumes(molecules: MoleculeSet) -> np.ndarray:
    """Volume of the first four atoms; its sign is the handedness."""
    large = molecules.take(molecules.sizes > 3)
    corners = large.padded()[0][:, :4].astype(np.float64)
    return np.linalg.det(corners[:, 1:] - corners[:, :1])


def test_raw_frame_is_as_it_is_in_the_file(sample):
    assert np.array_equal(orient(sample, "raw", 0).positions, sample.positions)
    first_bonds = sample.positions[sample.offsets[:-1]] - sample.positions[sample.offsets[:-1] + 1]
    along_y = np.abs(first_bonds[:, 1]) / np.linalg.norm(first_bonds, axis=1)
    assert (along_y > np.cos(np.pi / 10)).mean() > 0.6  # 5 % if the orientation were random


@pytest.mark.parametrize("frame", ["centred", "random"])
def test_frames_are_rigid_motions_to_the_centroid(sample, frame):
    before = sample.positions.copy()
    turned = orient(sample, frame, seed=1)
    assert turned.positions.dtype == np.float32
    np.testing.assert_allclose(_distances(turned), _distances(sample), atol=5e-6)
    np.testing.assert_allclose(_signed_volumes(turned), _signed_volumes(sample), atol=5e-5)
    centroids = np.add.reduceat(turned.positions, sample.offsets[:-1]) / sample.sizes[:, None]
    np.testing.assert_allclose(centroids, 0, atol=1e-5)
    assert np.array_equal(sample.positions, before)


def test_a_molecule_keeps_its_frame_in_any_subset(sample):
    rows = np.array([700, 3, 12])
    np.testing.assert_array_equal(
        orient(sample.take(rows), "random", 4).positions,
        orient(sample, "random", 4).take(rows).positions,
    )


def test_frames_follow_the_seed_and_the_molecule(sample):
    first, again, other = (orient(sample, "random", seed).positions for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.abs(first - other).mean() > 0.5
    rotations = random_rotations(sample.index, 1).reshape(1000, 9)
    assert len(np.unique(rotations.round(6), axis=0)) == 1000


def test_random_rotations_are_uniform():
    count = 20_000
    rotations = random_rotations(np.arange(1, count + 1), seed=0)
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.broadcast_to(np.eye(3), rotations.shape),
        atol=1e-12,
    )  # fmt: skip
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-12)
    # Every entry has mean 0 and variance 1/3: five standard errors.
    assert np.abs(rotations.mean(0)).max() < 5 * np.sqrt(1 / 3 / count)
    # The angle has the distribution function (angle - sin angle) / pi: Kolmogorov-Smirnov, 0.1 %.
    angles = np.sort(np.arccos(np.clip((np.trace(rotations.T) - 1) / 2, -1, 1)))
    expected = (angles - np.sin(angles)) / np.pi
    assert np.abs(expected - np.arange(count) / count).max() < 1.95 / np.sqrt(count)


def test_dipole_turns_with_the_frame(sample):
    turned = target_values(orient(sample, "random", 3), "dipole")
    rotations = random_rotations(sample.index, 3)
    expected = np.einsum("gij,gj->gi", rotations, target_values(sample, "dipole"))
    np.testing.assert_allclose(turned, expected, atol=1e-4)


def test_unknown_frame_is_refused(sample):
    with pytest.raises(ValueError, match="unknown frame 'centered': choose from raw, centred"):
        orient(sample, "centered", 0)


# All of QM9


@needs_qm9
def test_counts_of_qm9(qm9_root):
    molecules = load_qm9(qm9_root)
    assert len(molecules) == 130_831
    assert (molecules.sizes.min(), molecules.sizes.max()) == (3, 29)
    counts = {name: int((molecules.charges == z).sum()) for z, name in ELEMENTS.items()}
    assert counts == {"H": 1_208_486, "C": 831_925, "N": 132_498, "O": 183_265, "F": 3_036}
    assert (molecules.index[0], molecules.index[-1]) == (1, 133_885)


@needs_qm9
def test_sample_is_a_part_of_qm9(qm9_root, sample):
    molecules = load_qm9(qm9_root)
    _assert_equal(molecules.take(np.searchsorted(molecules.index, sample.index)), sample)


@needs_qm9
def test_means_of_qm9_and_the_frame_of_its_charges(qm9_root):
    molecules = load_qm9(qm9_root)
    means = {"mu": 2.673, "alpha": 75.28, "homo": -6536, "U0_atom": -76_116, "Cv": 31.62}
    for name, mean in means.items():
        assert target_values(molecules, name).mean() == pytest.approx(mean, rel=2e-4)
    lengths = np.linalg.norm(target_values(molecules, "dipole"), axis=1)
    assert np.corrcoef(lengths, target_values(molecules, "mu"))[0, 1] == pytest.approx(
        0.94, abs=0.005
    )


@needs_qm9
def test_qm9_opens_at_once_when_converted(qm9_root, monkeypatch):
    monkeypatch.setattr(data, "find_source", lambda _: pytest.fail("converted again"))
    durations = []
    for _ in range(5):
        start = time.perf_counter()
        load_qm9(qm9_root)
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.5  # 11 ms when nothing else runs


@pytest.mark.parametrize(
    ("charges", "positions", "why"),
    [
        ([6, 1], np.zeros((3, 3)), r"molecule 1 \(from 0\): nuclear charges \(2,\) and positions"),
        ([300], np.zeros((1, 3)), "molecule 1 .* whole number from 1 to 118"),
        ([6.5], np.zeros((1, 3)), "whole number from 1 to 118"),
        ([0], np.zeros((1, 3)), "whole number from 1 to 118"),
        ([6], np.full((1, 3), np.nan), "position that is no finite number"),
        ([], np.zeros((0, 3)), "has no atoms"),
    ],
)
def test_what_are_no_atoms_with_a_place_each_is_refused(charges, positions, why):
    good = (np.array([6]), np.zeros((1, 3)))
    with pytest.raises(ValueError, match=why):
        MoleculeSet.from_atoms([good, (np.array(charges), positions)])


def test_graphs_without_atoms_are_refused_and_gradients_left_behind():
    from torch_geometric.data import Data

    graph = Data(z=torch.tensor([6]), pos=torch.zeros(1, 3, requires_grad=True))
    assert len(MoleculeSet.from_pyg([graph])) == 1
    with pytest.raises(ValueError, match=r"graph 1 \(from 0\) is no PyTorch Geometric data"):
        MoleculeSet.from_pyg([graph, Data(pos=torch.zeros(1, 3))])
