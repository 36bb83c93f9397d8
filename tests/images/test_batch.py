"""Batches of images: the contract that averaging relies on."""

from __future__ import annotations

import torch

from molaug.augmentation import Batch
from molaug.images.batch import ImageBatch


def batch(graphs: int = 3) -> ImageBatch:
    return ImageBatch(torch.rand(graphs, 2, 4, 5), torch.rand(graphs, 4, 5) > 0.5)


def test_it_is_a_batch():
    assert isinstance(batch(), Batch)
    assert len(batch()) == 3


def test_copies_are_outermost():
    one = batch()
    three = one.repeat(3)
    assert len(three) == 9
    assert torch.equal(three.images.unflatten(0, (3, 3))[2], one.images)
    assert torch.equal(three.valid.unflatten(0, (3, 3))[1], one.valid)


def test_one_copy_is_the_batch_itself():
    one = batch()
    assert one.repeat(1) is one


def test_a_whole_picture_is_valid_everywhere():
    assert ImageBatch.whole(torch.rand(2, 3, 4, 5)).valid.all()


def test_it_moves_between_devices():
    moved = batch().to("meta")
    assert moved.images.device.type == moved.valid.device.type == "meta"
