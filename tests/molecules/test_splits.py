from __future__ import annotations

import numpy as np
import pytest

from molaug.molecules.data import load_sample
from molaug.molecules.splits import NAMED_SPLITS, QM9_COUNT, SPLITS, split

SIZES = {
    "dimenet": (110_000, 10_000, 10_831),
    "equiformer": (110_000, 10_000, 10_831),
    "cormorant": (100_000, 17_748, 13_083),
    "random": (110_000, 10_000, 10_831),
}


@pytest.mark.parametrize("name", SPLITS)
def test_parts_are_disjoint_and_cover_all(name):
    rows = split(QM9_COUNT, name)
    parts = (rows.train, rows.validation, rows.test)
    assert tuple(map(len, parts)) == SIZES[name]
    assert all(part.dtype == np.int64 for part in parts)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(QM9_COUNT))


def test_named_splits_are_those_of_the_publications():
    # Drawn as the public code of DimeNet, TorchMD-NET and Cormorant does it.
    dimenet = np.random.RandomState(42).permutation(np.arange(QM9_COUNT))
    equiformer = np.random.default_rng(1).permutation(np.arange(QM9_COUNT))
    assert np.array_equal(split(QM9_COUNT, "dimenet").validation, dimenet[110_000:120_000])
    assert np.array_equal(split(QM9_COUNT, "equiformer").test, equiformer[120_000:])
    cormorant = split(QM9_COUNT, "cormorant")
    assert len(cormorant.test) == int(0.1 * QM9_COUNT)
    # Written down, so that a change of numpy's streams would not pass unseen.
    assert split(QM9_COUNT, "dimenet").train[:3].tolist() == [112526, 100113, 55940]
    assert split(QM9_COUNT, "equiformer").train[:3].tolist() == [34769, 76096, 108805]
    assert cormorant.train[:3].tolist() == [130195, 68784, 7957]


@pytest.mark.parametrize("name", SPLITS)
def test_drawing_leaves_the_global_state_alone(name):
    before = np.random.get_state()[1].copy()
    split(QM9_COUNT, name, seed=3)
    assert np.array_equal(np.random.get_state()[1], before)


def test_random_split_follows_its_seed_and_takes_molecules():
    sample = load_sample()
    first, again, other = (split(sample, "random", seed) for seed in (1, 1, 2))
    assert np.array_equal(first.train, again.train)
    assert not np.array_equal(first.train, other.train)
    assert (len(first.train), len(first.validation), len(first.test)) == (841, 76, 83)


@pytest.mark.parametrize("count", [3, 4, 10, 50])
def test_random_split_leaves_no_part_empty(count):
    rows = split(count, "random")
    assert min(len(rows.train), len(rows.validation), len(rows.test)) > 0


def test_train_size_takes_the_first_and_keeps_the_test_set():
    whole, part = split(QM9_COUNT, "dimenet"), split(QM9_COUNT, "dimenet", train_size=1000)
    assert np.array_equal(part.train, whole.train[:1000])
    assert np.array_equal(part.test, whole.test)


@pytest.mark.parametrize("size", [-1, 0, 110_001])
def test_impossible_train_size_is_refused(size):
    with pytest.raises(ValueError, match=f"train_size {size} is impossible.*110,000"):
        split(QM9_COUNT, "dimenet", train_size=size)


@pytest.mark.parametrize("name", NAMED_SPLITS)
def test_named_split_needs_all_of_qm9(name):
    with pytest.raises(ValueError, match=r"all 130,831 molecules of QM9, not on 133,885"):
        split(133_885, name)


def test_other_errors():
    with pytest.raises(ValueError, match=r"unknown split 'dimnet': did you mean 'dimenet'\?"):
        split(QM9_COUNT, "dimnet")
    with pytest.raises(ValueError, match="cannot split 2 molecules"):
        split(2, "random")
