"""Faces, streets and photographs from their files; a damaged or missing one is one line."""

from __future__ import annotations

import numpy as np
import pytest

from molaug.images.data import VOID
from molaug.images.photographs import STREETS, read_camvid, read_faces, read_photographs

FACES = np.random.default_rng(0).integers(0, 256, (400, 64, 64), np.uint8)


@pytest.mark.parametrize("form", ["npz", "mat"])
def test_faces_are_read_from_either_file(tmp_path, form):
    if form == "npz":
        np.savez(tmp_path / "olivetti.npz", faces=FACES, ids=np.arange(400) // 10)
    else:
        io = pytest.importorskip("scipy.io")
        columns = FACES.swapaxes(1, 2).reshape(400, 4096).T  # column after column
        io.savemat(tmp_path / "olivettifaces.mat", {"faces": columns})
    faces = read_faces(tmp_path)
    assert np.array_equal(faces.images[:, 0], FACES)
    assert np.array_equal(faces.targets, np.arange(400) // 10)


def test_faces_are_read_from_scikit_learns_own_file(tmp_path):
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("sklearn")
    flat = (FACES.swapaxes(1, 2).reshape(400, 4096) / 255).astype(np.float32)
    joblib.dump(flat, tmp_path / "olivetti_py3.pkz", compress=6)
    assert np.array_equal(read_faces(tmp_path).images[:, 0], FACES)


def test_faces_that_are_missing_or_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither olivettifaces\.mat nor"):
        read_faces(tmp_path)
    for name in ("olivetti.npz", "olivettifaces.mat"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=f"{name}: damaged") as caught:
            read_faces(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_faces_of_another_scale_or_other_people_are_refused(tmp_path):
    people = np.arange(400) // 10
    np.savez(tmp_path / "olivetti.npz", faces=FACES / 255, ids=people)
    with pytest.raises(ValueError, match="pixel values from 0 to 1, where 0 to 255 belong"):
        read_faces(tmp_path)
    np.savez(tmp_path / "olivetti.npz", faces=FACES, ids=0 * people)
    with pytest.raises(ValueError, match="its people are not 0 to 39"):
        read_faces(tmp_path)


def write_streets(folder, size=(6, 4)):
    image = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(1)
    pictures = generator.integers(0, 256, (2, size[1], size[0], 3), np.uint8)
    labels = generator.integers(0, 12, (2, size[1], size[0]), np.uint8)
    for kind, arrays in (("test", pictures), ("testannot", labels)):
        (folder / kind).mkdir()
        for i, array in enumerate(arrays):
            image.fromarray(array).save(folder / kind / f"{i}.png")
    return pictures, labels


def test_streets_are_read_from_folders_and_npz(tmp_path):
    pictures, labels = write_streets(tmp_path)
    np.savez(tmp_path / "streets.npz", x_test=pictures, y_test=labels)
    for source in (tmp_path, tmp_path / "streets.npz"):
        streets = read_camvid(source, "test")
        assert streets.classes == STREETS
        assert np.array_equal(np.moveaxis(streets.images, 1, -1), pictures)
        assert np.array_equal(
            streets.targets, np.where(labels == 11, VOID, labels.astype(np.int64))
        )


def test_streets_that_are_missing_or_damaged(tmp_path):
    with pytest.raises(FileNotFoundError, match="no PNG files: give the folder"):
        read_camvid(tmp_path, "test")
    write_streets(tmp_path)
    (tmp_path / "testannot" / "1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"1\.png: damaged"):
        read_camvid(tmp_path, "test")
    (tmp_path / "testannot" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1\.png: no such file"):
        read_camvid(tmp_path, "test")
    (tmp_path / "testannot" / "1.png").write_bytes((tmp_path / "test" / "1.png").read_bytes())
    with pytest.raises(ValueError, match=r"testannot/1\.png: has colours; give a class number"):
        read_camvid(tmp_path, "test")


PIXELS = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
KINDS = np.arange(2 * 4 * 6, dtype=np.uint8).reshape(2, 4, 6) % 12


@pytest.mark.parametrize(
    ("pictures", "labels", "why"),
    [
        (PIXELS / 255, KINDS, r"x_test is float64 \(2, 4, 6, 3\): give bytes, 0 to 255"),
        (PIXELS[..., 0], KINDS, r"x_test is uint8 \(2, 4, 6\): give bytes"),
        (np.moveaxis(PIXELS, 3, 1), KINDS, r"x_test is uint8 \(2, 3, 4, 6\): give bytes"),
        (PIXELS[:0], KINDS[:0], r"x_test is uint8 \(0, 4, 6, 3\): give bytes"),
        (PIXELS, KINDS[:, :3], r"y_test is uint8 \(2, 3, 6\): give a class number, 0 to 11"),
        (PIXELS, KINDS[:1], r"y_test is uint8 \(1, 4, 6\): give a class number"),
        (PIXELS, KINDS / 11, r"y_test is float64 \(2, 4, 6\): give a class number"),
        (PIXELS, KINDS - np.int64(2), r"y_test has class -2: give a class number"),
    ],
)
def test_streets_of_another_kind_are_refused(tmp_path, pictures, labels, why):
    path = tmp_path / "streets.npz"
    np.savez(path, x_test=pictures, y_test=labels)
    with pytest.raises(ValueError, match=rf"streets\.npz: {why}") as caught:
        read_camvid(path, "test")
    assert "\n" not in str(caught.value)


def test_streets_without_a_labelled_pixel_are_refused(tmp_path):
    pictures, labels = write_streets(tmp_path)
    labels[1] = 11
    image = pytest.importorskip("PIL.Image")
    image.fromarray(labels[1]).save(tmp_path / "testannot" / "1.png")
    with pytest.raises(ValueError, match=r"testannot/1\.png: no pixel has a class, 0 to 10: leave"):
        read_camvid(tmp_path, "test")
    np.savez(tmp_path / "streets.npz", x_test=pictures, y_test=labels)
    with pytest.raises(ValueError, match=r"streets\.npz: y_test\[1\]: no pixel has a class"):
        read_camvid(tmp_path / "streets.npz", "test")
    labels[1, 0, 0] = 10  # a single one is enough
    np.savez(tmp_path / "streets.npz", x_test=pictures, y_test=labels)
    assert (read_camvid(tmp_path / "streets.npz", "test").targets[1] != VOID).sum() == 1


@pytest.mark.parametrize("content", [b"no archive", b"PK\3\4 and so on", b"\x93NUMPY"])
def test_streets_in_a_damaged_archive_get_one_line(tmp_path, content):
    path = tmp_path / "streets.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"streets\.npz: damaged or another kind of file"):
        read_camvid(path, "test")
    np.savez(path, x_test=PIXELS)
    with pytest.raises(ValueError, match=r"streets\.npz: damaged .*y_test"):
        read_camvid(path, "test")


def test_the_photographs_of_scikit_learn():
    pytest.importorskip("sklearn")
    pytest.importorskip("PIL")
    temple, flower = read_photographs()
    assert temple.shape == flower.shape == (427, 640, 3)
    assert temple.std() > 20
    assert flower.std() > 20
