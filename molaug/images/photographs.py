"""Photographs from installed packages and from the standard files: faces, streets, landscapes."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .convert import UNREADABLE, damaged, read_pair
from .data import VOID, ImageSet, build_set

STREETS = (
    *("sky", "building", "pole", "road", "pavement", "tree"),
    *("sign", "fence", "car", "pedestrian", "bicyclist"),
)
PHOTOGRAPHS = ("china", "flower")


def read_faces(source: Path) -> ImageSet:
    """The Olivetti faces, 400 upright pictures of 64 x 64 pixels; targets are the 40 people.

    source: `olivettifaces.mat`; an npz file with the arrays faces (400, 64, 64) and ids; or a
    folder that holds one of these or scikit-learn's `olivetti_py3.pkz`.

    Raises FileNotFoundError if there is no such file, and ValueError for one that is damaged.
    """
    path = _find_faces(source)
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                faces, people = arrays["faces"], arrays["ids"]
        elif path.suffix == ".mat":
            loadmat = _need("scipy.io", "scipy").loadmat
            columns = loadmat(path)["faces"]  # (4096, 400), every picture column after column
            faces, people = columns.T.reshape(-1, 64, 64).swapaxes(1, 2), np.arange(400) // 10
        else:
            fetch = _need("sklearn.datasets", "scikit-learn").fetch_olivetti_faces
            bundle = fetch(data_home=str(path.parent), download_if_missing=False)
            faces, people = (255 * bundle.images).round(), bundle.target
        if 0 < np.max(faces) <= 1:
            raise ValueError("pixel values from 0 to 1, where 0 to 255 belong")
        images = np.ascontiguousarray(faces).astype(np.uint8).reshape(400, 1, 64, 64)
        targets = np.asarray(people).reshape(400).astype(np.int64)
        if not np.array_equal(np.unique(targets), np.arange(40)):
            raise ValueError("its people are not 0 to 39")
    except FileNotFoundError:
        raise
    except Exception as error:  # scipy and joblib have errors of their own
        raise damaged(path, error) from None
    return build_set("faces", images, targets, ())


def _find_faces(source: Path) -> Path:
    if source.is_file():
        return source
    for name in ("olivettifaces.mat", "olivetti.npz", "olivetti_py3.pkz"):
        if (source / name).is_file():
            return source / name
    raise FileNotFoundError(
        f"{source}: neither olivettifaces.mat nor olivetti.npz nor scikit-learn's olivetti_py3.pkz "
        "is there: give the folder that holds one of them"
    )


Part = Literal["train", "val", "test"]


def read_camvid(source: Path, part: Part) -> ImageSet:
    """CamVid: street scenes with the class of every pixel, `VOID` where the files say 11.

    source: the folder with train/, trainannot/, val/, valannot/, test/ and testannot/, pictures and
    their labels as PNG files of the same names; or an npz file with x_train, y_train, x_val, ...

    Raises FileNotFoundError if there is no such thing, and ValueError, naming the file, for one
    that is damaged, whose labels have another size or no class, or whose pixels are no bytes.
    """
    read = _read_camvid_npz if source.is_file() else _read_camvid_folder
    pictures, labels, names = read(source, part)
    known = np.where(labels < len(STREETS), labels.astype(np.int64), VOID)
    for name, label in zip(names, known, strict=True):
        if (label == VOID).all():  # would be rated as without any error
            raise ValueError(f"{name}: no pixel has a class, 0 to 10: leave the picture out")
    images = np.ascontiguousarray(np.moveaxis(pictures, -1, 1))
    return build_set(f"camvid_{part}", images, known, STREETS)


def _read_camvid_npz(path: Path, part: Part) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Pictures, their labels and what to call these."""
    pictures, labels = read_pair(path, part)
    is_picture = pictures.ndim == 4 and pictures.shape[3] == 3 and pictures.dtype == np.uint8
    if not is_picture or not pictures.size:
        raise ValueError(
            f"{path}: x_{part} is {pictures.dtype} {pictures.shape}: give bytes, 0 to 255, of "
            "shape (pictures, height, width, 3)"
        )
    wanted = f"give a class number, 0 to 11, for every pixel of x_{part}, {pictures.shape[:3]}"
    if labels.shape != pictures.shape[:3] or labels.dtype.kind not in "ui":
        raise ValueError(f"{path}: y_{part} is {labels.dtype} {labels.shape}: {wanted}")
    if labels.min() < VOID:
        raise ValueError(f"{path}: y_{part} has class {labels.min()}: {wanted}")
    return pictures, labels, [f"{path}: y_{part}[{i}]" for i in range(len(labels))]


def _read_camvid_folder(folder: Path, part: Part) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The same."""
    paths = sorted((folder / part).glob("*.png"))
    if not paths:
        raise FileNotFoundError(
            f"{folder / part}: no PNG files: give the folder that holds {part}/ and {part}annot/, "
            "or an npz file"
        )
    pictures = [read_picture(path).convert("RGB") for path in paths]
    places = [folder / f"{part}annot" / path.name for path in paths]
    labels = [read_picture(place) for place in places]
    for path, place, picture, label in zip(paths, places, pictures, labels, strict=True):
        if not picture.size == label.size == pictures[0].size:
            raise ValueError(f"{path}: its size, or that of its labels, differs from the others'")
        if len(label.getbands()) > 1:
            raise ValueError(f"{place}: has colours; give a class number, 0 to 11, for every pixel")
    names = [str(place) for place in places]
    return np.stack([*map(np.asarray, pictures)]), np.stack([*map(np.asarray, labels)]), names


def read_photographs() -> list[np.ndarray]:
    """The two photographs that scikit-learn ships, (427, 640, 3) uint8: a temple and a flower.

    Raises FileNotFoundError if scikit-learn or Pillow is not installed.
    """
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("scikit-learn is not installed: pip install scikit-learn")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "images"
    return [np.asarray(read_picture(folder / f"{name}.jpg")) for name in PHOTOGRAPHS]


def read_picture(path: Path) -> Any:
    """A picture, decoded by Pillow.

    Raises FileNotFoundError if it or Pillow is missing, and ValueError if it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    image = _need("PIL.Image", "pillow")
    try:
        picture = image.open(path)
        picture.load()
    except UNREADABLE as error:
        raise damaged(path, error) from None
    return picture


def _need(module: str, package: str) -> Any:
    """A module that only some pictures need."""
    try:
        return import_module(module)
    except ImportError:
        raise FileNotFoundError(f"{package} is not installed: pip install {package}") from None
