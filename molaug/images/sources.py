"""From a configuration to pictures: which are trained on, and how they are turned once for all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from molaug.split import Split

from .convert import read_cifar10, read_mnist, read_mnist_sample, read_stl10
from .data import ImageSet, build_set, crop, draw_angles, shrink
from .drawing import draw_scenes, draw_sprites, to_bytes
from .photographs import PHOTOGRAPHS, read_camvid, read_faces, read_photographs
from .turning import turn, turn_within

if TYPE_CHECKING:
    from .config import (
        CamVidConfig,
        DigitsConfig,
        FacesConfig,
        ImageConfig,
        ScenesConfig,
        SpritesConfig,
    )

PICTURES_SEED, TURNED_SEED = 0, 1  # a picture is the same in every run, whatever its seed


@dataclass(frozen=True)
class Pictures:
    """The sets of a task. split: rows of the source; those of test may be of a source of its own.

    true_widths: how far the truth allows each generator that it knows to go, in its unit.
    """

    train: ImageSet
    validation: ImageSet
    tests: dict[str, ImageSet]
    split: Split
    true_widths: dict[str, float]
    origin: str  # for a title: what pictures these are


def open_digits(config: DigitsConfig) -> Pictures:
    """MNIST, every digit turned once within `--degrees`; `rotated`: to any angle instead."""
    if config.data_dir:
        pool, test = (read_mnist(config.data_dir, part) for part in ("train", "test"))
    else:
        pool, test = read_mnist_sample(), None
    train, validation, test, rows = divide(pool, test, config)
    return Pictures(
        train=turn_within(train, config.degrees, PICTURES_SEED),
        validation=turn_within(validation, config.degrees, PICTURES_SEED),
        tests={
            "canonical": turn_within(test, config.degrees, PICTURES_SEED),
            "rotated": turn_within(test, 180, TURNED_SEED),
        },
        split=rows,
        true_widths={"r": math.radians(config.degrees)},
        origin=f"digits of MNIST turned within {config.degrees:g} degrees",
    )


def open_sprites(config: SpritesConfig) -> Pictures:
    """Drawn sprites; no test set of other angles, at which up and down are not told apart."""
    usual, edge = (20.0, 45.0) if config.standing else (45.0, 90.0)
    degrees = usual if config.degrees is None else config.degrees
    pool = draw_sprites(
        total(config), degrees=degrees, seed=PICTURES_SEED, standing=config.standing
    )
    train, validation, test, rows = divide(pool, None, config)
    return Pictures(
        train=train,
        validation=validation,
        tests={"canonical": test},
        split=rows,
        true_widths={"r": math.radians(edge - degrees)},
        origin=f"{'standing ' * config.standing}sprites drawn within {degrees:g} degrees",
    )


def divide(
    pool: ImageSet, test: ImageSet | None, config: ImageConfig
) -> tuple[ImageSet, ImageSet, ImageSet, Split]:
    """Disjoint rows of a pool in a random order, and a test set, also of it if there is no other.

    Raises ValueError if the sizes asked for are more than there is, or leave none to train on.
    """
    order = np.random.default_rng(PICTURES_SEED).permutation(len(pool))
    held = order
    if test is None:
        count = config.test_size or len(pool) // 5
        test, rows = pool, order[:count]
        held = order[count:]
    else:
        check_sizes(pool, test)
        rows = np.random.default_rng(PICTURES_SEED).permutation(len(test))[: config.test_size]
    validation = config.validation_size or max(1, len(held) // 10)
    train = config.train_size or max(len(held) - validation, 0)
    if train + validation > len(held) or len(rows) < (config.test_size or 0):
        there = f"{len(pool):,} in all" if test is pool else f"{len(held):,} and {len(test):,}"
        raise ValueError(
            f"{pool.name}: {train:,} + {validation:,} examples to train and validate, and "
            f"{config.test_size or len(rows):,} to test, are more than its {there}: lower "
            "--train-size, --validation-size or --test-size"
        )
    if not train:
        raise ValueError(
            f"{pool.name}: a validation set of {validation:,} leaves none of {len(held):,} "
            "examples to train on: lower --validation-size or give more pictures"
        )
    split = Split(held[validation : validation + train], held[:validation], rows)
    return pool.take(split.train), pool.take(split.validation), test.take(split.test), split


def check_sizes(first: ImageSet, second: ImageSet) -> None:
    """Raises ValueError, naming both sets, if their pictures are not of one size."""
    (_, *ours), (_, *theirs) = first.images.shape, second.images.shape
    if ours != theirs:
        raise ValueError(
            f"pictures of {first.name} are {'x'.join(map(str, ours))} and those of {second.name} "
            f"{'x'.join(map(str, theirs))}: take both from one data set"
        )


def total(config: ImageConfig) -> int:
    """How many pictures to draw."""
    return sum(size or 0 for size in (config.train_size, config.validation_size, config.test_size))


def open_scenes(config: ScenesConfig) -> Pictures:
    """Drawn scenes, each turned once by N(0, 1 rad); `rotated`: to any angle instead."""
    return turn_scenes(*divide(draw_scenes(total(config), seed=PICTURES_SEED), None, config))


def open_camvid(config: CamVidConfig) -> Pictures:
    """Street scenes, each turned once by N(0, 1 rad); those of the files' own validation part are
    trained on too."""
    factor = config.shrink or 1
    train, val, test = (
        shrink(read_camvid(needed(config), part), factor) for part in ("train", "val", "test")
    )
    return turn_scenes(*divide(join(train, val), test, config))


def turn_scenes(train: ImageSet, validation: ImageSet, test: ImageSet, rows: Split) -> Pictures:
    """Each by an angle of its own. Labels turn with the pictures, by whatever angle."""

    def tumble(some: ImageSet) -> ImageSet:
        return turn(some, draw_normal_angles(some.index, PICTURES_SEED))

    return Pictures(
        train=tumble(train),
        validation=tumble(validation),
        tests={"canonical": tumble(test), "rotated": turn_within(test, 180, TURNED_SEED)},
        split=rows,
        true_widths={"r": math.pi},
        origin=f"{train.name.removesuffix('_train')}, each turned once by N(0, 1 rad)",
    )


def draw_normal_angles(index: np.ndarray, seed: int) -> np.ndarray:
    """One angle per example from N(0, 1 rad): a function of the seed and the example's place."""
    return np.array([np.random.default_rng((seed, i)).standard_normal() for i in index.tolist()])


def join(first: ImageSet, second: ImageSet) -> ImageSet:
    """One set, the examples of the second counted on.

    Raises ValueError if their pictures are not of one size.
    """
    check_sizes(first, second)
    return replace(
        first,
        images=np.concatenate([first.images, second.images]),
        targets=np.concatenate([first.targets, second.targets]),
        valid=np.concatenate([first.valid, second.valid]),
        index=np.arange(len(first) + len(second)),
    )


# Pixels left of a turned face: an even number of the 64, so that the middle stays the centre of the
# turn, and so few that no corner shows, which would give the angle away. Degrees.
FACE, REACH = 44, 90.0


def open_faces(config: FacesConfig) -> Pictures:
    """Upright pictures turned by U(-90, 90) degrees, the angle [degree] being the target; of the
    faces, 28 people train, 2 validate and 10 test, and the outer pixels are cut off."""
    if config.pictures == "digits":
        pool = read_mnist_sample()
        kept = min(config.validation_size or 500, 1000)  # digits, each turned as often as asked for
        whole = replace(config, train_size=3000, validation_size=kept, test_size=None)
        train, validation, test, rows = divide(pool, None, whole)
    else:
        pool = read_faces(needed(config))
        people = [np.flatnonzero(np.isin(pool.targets, who)) for who in _PEOPLE]
        rows = Split(*people)
        train, validation, test = (pool.take(some) for some in people)
    wanted = (config.train_size, config.validation_size, config.test_size)
    turned = [
        turn_to_target(some, count or len(some), seed, config.pictures == "faces")
        for seed, (some, count) in enumerate(zip((train, validation, test), wanted, strict=True))
    ]
    return Pictures(
        train=turned[0],
        validation=turned[1],
        tests={"canonical": turned[2]},
        split=rows,
        true_widths={"r": 0.0},
        origin=f"angles of {config.pictures} within {REACH:g} degrees",
    )


_PEOPLE = (range(28), range(28, 30), range(30, 40))


def turn_to_target(some: ImageSet, count: int, seed: int, is_cropped: bool) -> ImageSet:
    """`count` pictures out of these in turn, each turned by an angle of its own, its target."""
    chosen = some.take(np.arange(count) % len(some))
    chosen = replace(chosen, index=np.arange(count), classes=())
    angles = draw_angles(chosen.index, REACH, seed)
    turned = turn(chosen, angles)
    turned = crop(turned, FACE) if is_cropped else turned
    return replace(turned, targets=np.degrees(angles))


def open_cifar10(config: ImageConfig) -> Pictures:
    """As it comes."""
    train, test = (read_cifar10(needed(config), part) for part in ("train", "test"))
    return as_they_come(*divide(train, test, config))


def open_stl10(config: ImageConfig) -> Pictures:
    """As it comes."""
    train, test = (read_stl10(needed(config), part) for part in ("train", "test"))
    return as_they_come(*divide(train, test, config))


def as_they_come(train: ImageSet, validation: ImageSet, test: ImageSet, rows: Split) -> Pictures:
    """Of which nobody knows the true widths."""
    origin = train.name.removesuffix("_train")
    return Pictures(train, validation, {"canonical": test}, rows, {}, origin)


PIECE, EXPOSURE, LEEWAY = 32, 0.2, 0.08  # pixels; shift of brightness, and how far it varies
_SPREAD, _CONTRAST = 0.1, 0.2  # of pixel values; of the logarithm of a factor


def open_photographs(config: ImageConfig) -> Pictures:
    """Pieces of two photographs, each brought to mean grey and then made darker or brighter by 0.2
    +- 0.08: alone, brightness may vary by 0.12 until dark meets bright. Test pieces are from the
    right third, which training never sees."""
    count = total(config)
    wanted = config.test_size or count // 5
    pool = cut_pieces(count - wanted, 0, 2 / 3, seed=0)
    right = cut_pieces(wanted, 2 / 3, 1, seed=1)
    train, validation, test, rows = divide(pool, right, config)
    # Contrast brings dark and bright nearer to each other: what is true of both is not a box.
    alone = config.generators == ("brightness",)
    widths = {"brightness": EXPOSURE - LEEWAY} if alone else {}
    return Pictures(train, validation, {"canonical": test}, rows, widths, "pieces of photographs")


def cut_pieces(count: int, start: float, end: float, seed: int) -> ImageSet:
    """From between these shares of the width, of both photographs and both exposures in turn."""
    photographs = read_photographs()
    images = [_cut_piece(photographs[i % 4 // 2], i, start, end, seed) for i in range(count)]
    classes = tuple(f"{name} {light}" for name in PHOTOGRAPHS for light in ("dark", "bright"))
    stacked = np.array(images, np.uint8).reshape(count, 3, PIECE, PIECE)
    return build_set("photographs", stacked, np.arange(count) % 4, classes)


def _cut_piece(photograph: np.ndarray, i: int, start: float, end: float, seed: int) -> np.ndarray:
    generator = np.random.default_rng((seed, i))
    height, width = photograph.shape[:2]
    row = generator.integers(0, height - PIECE)
    column = generator.integers(int(start * width), int(end * width) - PIECE)
    piece = photograph[row : row + PIECE, column : column + PIECE] / 255
    contrast = _SPREAD * np.exp(generator.uniform(-_CONTRAST, _CONTRAST))
    grey = (piece - piece.mean()) / max(piece.std(), 1e-3) * contrast
    shift = (2 * (i % 2) - 1) * EXPOSURE + generator.uniform(-LEEWAY, LEEWAY)
    return to_bytes(np.moveaxis(0.5 + shift + grey, -1, 0))


def needed(config: ImageConfig) -> Path:
    """Where the files are, for a task that has none of its own."""
    config.check_ready()
    assert config.data_dir is not None, "check_ready() has seen to it"
    return config.data_dir


OPENERS: dict[str, Callable[..., Pictures]] = {
    **{"digits": open_digits, "sprites": open_sprites, "faces": open_faces},
    **{"scenes": open_scenes, "camvid": open_camvid},
    **{"cifar10": open_cifar10, "stl10": open_stl10, "photographs": open_photographs},
}
