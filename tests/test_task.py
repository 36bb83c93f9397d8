"""Batches of an epoch, seeds, and errors per example."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from molaug.task import (
    CHUNK,
    absolute_error,
    absolute_loss,
    draw_batches,
    seed_of,
    sorted_batches,
)

SIZES = np.random.default_rng(0).integers(3, 30, 203)


@given(batch_size=st.integers(1, 300), epoch=st.integers(0, 10**6))
def test_an_epoch_visits_every_example_once(batch_size, epoch):
    batches = draw_batches(SIZES, batch_size, 0, epoch)
    assert sorted(torch.cat(batches).tolist()) == list(range(len(SIZES)))
    assert max(map(len, batches)) <= batch_size
    assert len(batches) == -(-len(SIZES) // batch_size)


def test_an_epoch_is_a_function_of_its_path_alone():
    np.random.seed(5)
    first = draw_batches(SIZES, 16, 3, 1)
    assert all(map(torch.equal, first, draw_batches(SIZES, 16, 3, 1)))
    assert not all(map(torch.equal, first, draw_batches(SIZES, 16, 3, 2)))
    assert not all(map(torch.equal, first, draw_batches(SIZES, 16, 4, 1)))


def test_batches_have_nearly_one_size():
    padded = sum(len(b) * SIZES[b.numpy()].max() for b in draw_batches(SIZES, 16, 0, 0))
    assert padded < 1.1 * SIZES.sum()


def test_every_epoch_groups_examples_anew():
    first, second = (
        {frozenset(batch.tolist()) for batch in draw_batches(SIZES, 16, 0, epoch)}
        for epoch in (0, 1)
    )
    assert len(first & second) < len(first) / 2


def test_batches_come_in_no_order_of_size():
    largest = [SIZES[batch.numpy()].max() for batch in draw_batches(SIZES, 16, 0, 0)]
    assert (np.diff(largest) < 0).any()
    assert (np.diff(largest) > 0).any()


WINDOWS = np.array([0, 40, 47, 110, 111, 190])


@given(batch_size=st.integers(1, 300), epoch=st.integers(0, 10**6), chunk=st.integers(1, 5))
def test_windows_are_visited_once_in_as_many_batches(batch_size, epoch, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("molaug.task.CHUNK", chunk)
        batches = list(draw_batches(SIZES, batch_size, 0, epoch, windows=WINDOWS))
    assert sorted(torch.cat(batches).tolist()) == list(range(len(SIZES)))
    assert max(map(len, batches)) <= batch_size
    assert len(batches) == -(-len(SIZES) // batch_size)


def test_windows_come_one_after_another_in_an_order_and_shuffle_of_their_own(monkeypatch):
    monkeypatch.setattr("molaug.task.CHUNK", 1)
    first, second, again, other_seed = (
        torch.cat(list(draw_batches(SIZES, 4, *path, windows=WINDOWS))).numpy()
        for path in ((0, 0), (0, 1), (0, 0), (1, 0))
    )
    assert (first == again).all()
    assert (first != second).any()
    assert (first != other_seed).any()
    starts = []
    for order in (first, second):
        part = np.searchsorted(WINDOWS, order, "right") - 1
        # Apart from batches of 4 at the borders, rows of a window come together.
        middles = {int(p): np.flatnonzero(part == p) for p in np.unique(part)}
        assert all(np.ptp(where) < len(where) + 8 for where in middles.values())
        starts.append(sorted(middles, key=lambda p: middles[p].min()))
        inside = order[np.isin(order, np.arange(111, 190))]
        assert (np.diff(inside) < 0).any()
    assert starts[0] != starts[1]


def test_windows_keep_batches_of_nearly_one_size():
    sizes = np.random.default_rng(0).integers(3, 30, 20_000).astype(np.uint8)
    windows = np.arange(0, len(sizes), 5000)
    batches = list(draw_batches(sizes, 16, 0, 0, windows=windows))
    assert sum(len(b) * int(sizes[b.numpy()].max()) for b in batches) < 1.1 * sizes.sum()


def test_windows_are_drawn_only_as_far_as_they_are_asked_for():
    class Counted(np.ndarray):
        looked_up = 0

        def __getitem__(self, key):
            Counted.looked_up += np.size(key)
            return super().__getitem__(key)

    sizes = np.full(10**6, 9, np.uint8).view(Counted)
    batches = draw_batches(sizes, 16, 0, 0, windows=np.arange(0, 10**6, 10_000))
    next(iter(batches))
    assert 0 < Counted.looked_up <= CHUNK * 16


def test_without_windows_an_epoch_is_what_it_always_was():
    order = torch.cat(draw_batches(SIZES, 16, 3, 1)).tolist()
    assert order[:8] == [141, 126, 156, 49, 153, 85, 16, 47]


def test_evaluation_goes_by_size_without_randomness():
    order = torch.cat(sorted_batches(SIZES, 16)).numpy()
    assert sorted(order.tolist()) == list(range(len(SIZES)))
    assert (np.diff(SIZES[order]) >= 0).all()


def test_seeds_of_different_paths_differ():
    seeds = {seed_of(a, b, c) for a in range(8) for b in range(8) for c in range(8)}
    assert len(seeds) == 512
    assert all(0 <= seed < 2**63 for seed in seeds)
    torch.manual_seed(max(seeds))


def test_errors_are_per_example_and_per_component():
    assert absolute_error(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 3.0])).tolist() == [1, 2]
    vector = absolute_error(torch.zeros(4, 3), torch.tensor([[3.0, 0, 0]]).expand(4, 3))
    assert vector.tolist() == [1, 1, 1, 1]
    tensor = absolute_error(torch.zeros(4, 3, 3), torch.eye(3).expand(4, 3, 3))
    assert torch.allclose(tensor, torch.full((4,), 1 / 3))
    assert absolute_loss(torch.zeros(4), torch.ones(4)).item() == 1
