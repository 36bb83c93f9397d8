"""A set of images: its arrays, and how its pictures are turned once and for all. Without torch.

Coordinates, here and in `ImageAction`: the origin is the centre of the image, x points right and y
up, and the shorter side runs from -1 to 1. A positive angle turns the content counter-clockwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

VOID = -1  # the label of a pixel of which nothing is known
_CHUNK = 1024  # images turned at a time: bounds the memory, 50 MB for 28 x 28


@dataclass(frozen=True)
class ImageSet:
    """Images of one size, with what is to be learned of each. Treat the arrays as read-only."""

    name: str
    images: np.ndarray  # (examples, channels, height, width) uint8
    targets: np.ndarray  # (examples,) int64 classes or float64 values, or int64 label maps
    valid: np.ndarray  # (examples, height, width) bool, True inside the original picture
    index: np.ndarray  # (examples,) int64, the place of the image in its source, from 0
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def has_label_maps(self) -> bool:
        """Whether the targets are (examples, height, width), a class per pixel."""
        return self.targets.ndim == 3

    def take(self, rows: np.ndarray | slice | list[int]) -> ImageSet:
        """The images in those rows (integers, a mask or a slice), in that order."""
        chosen = {n: getattr(self, n)[rows] for n in ("images", "targets", "valid", "index")}
        return replace(self, **chosen)


def build_set(
    name: str, images: np.ndarray, targets: np.ndarray, classes: tuple[str, ...]
) -> ImageSet:
    """Images (examples, channels, height, width) of which every pixel is valid."""
    valid = np.broadcast_to(True, (len(images), *images.shape[2:]))  # one byte in memory
    return ImageSet(name, images, targets, valid, np.arange(len(images)), classes)


def crop(some: ImageSet, size: int) -> ImageSet:
    """The middle `size` x `size` pixels of pictures without label maps."""
    top, left = ((pixels - size) // 2 for pixels in some.images.shape[2:])
    rows, columns = slice(top, top + size), slice(left, left + size)
    return replace(
        some, images=some.images[:, :, rows, columns], valid=some.valid[:, rows, columns]
    )


def shrink(some: ImageSet, factor: int) -> ImageSet:
    """Pictures smaller by a whole factor: means of pixels, and the labels in their middles.

    Raises ValueError for a factor that leaves no pixel.
    """
    if factor == 1:
        return some
    whole = some.images.shape[2:]
    if factor > min(whole):
        raise ValueError(
            f"--shrink {factor}: leaves no pixel of pictures of {some.name}, which are "
            f"{whole[0]} x {whole[1]}; give at most {min(whole)}"
        )
    height, width = (pixels // factor for pixels in whole)
    cut = some.images[..., : height * factor, : width * factor]
    parts = cut.reshape(*cut.shape[:2], height, factor, width, factor)
    images = parts.mean((3, 5), dtype=np.float32).round().astype(np.uint8)
    middle = slice(factor // 2, None, factor)
    labels = some.targets[:, middle, middle][:, :height, :width]
    valid = np.broadcast_to(True, (len(some), height, width))
    return replace(some, images=images, targets=labels, valid=valid)


def pixel_points(height: int, width: int, samples: int = 1) -> np.ndarray:
    """The centres (samples^2, height, width, 2) of `samples` x `samples` parts of every pixel."""
    offsets = (np.arange(samples) + 0.5) / samples
    x = 2 * (np.arange(width) + offsets[:, None]) - width  # (samples, width)
    y = height - 2 * (np.arange(height) + offsets[:, None])
    points = np.stack(np.broadcast_arrays(x[None, :, None, :], y[:, None, :, None]), -1)
    return points.reshape(-1, height, width, 2) / min(height, width)


def rotation(angles: np.ndarray | float) -> np.ndarray:
    """The matrices (..., 2, 2) of turns by angles [rad], counter-clockwise."""
    cosine, sine = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)


def _read_positions(angles: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The row and the column (examples, height * width) at which a turned image is read."""
    points = pixel_points(height, width).reshape(-1, 2)
    x, y = np.moveaxis(points @ rotation(angles), -1, 0)  # p^T R = (R^-1 p)^T
    shorter = min(height, width)
    return (height - 1 - y * shorter) / 2, (x * shorter + width - 1) / 2


def _look_up(maps: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """maps (n, channels, height, width) at whole rows and columns (n, points); 0 outside."""
    height, width = maps.shape[2:]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    flat = np.where(inside, row * width + column, 0)
    return np.where(inside[:, None], np.take_along_axis(_flat(maps), flat[:, None], 2), 0)


def _flat(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(*maps.shape[:2], -1)


def _bilinear(maps: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """maps (n, channels, height, width) between the pixels: (n, channels, points) float64."""
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    down, right = (row - top)[:, None], (column - left)[:, None]
    upper, lower = (
        (1 - right) * _look_up(maps, r, left) + right * _look_up(maps, r, left + 1)
        for r in (top, top + 1)
    )
    return (1 - down) * upper + down * lower


def _turn_chunk(some: ImageSet, angles: np.ndarray) -> ImageSet:
    height, width = some.images.shape[2:]
    # Quarter turns must find the pixels, not 1e-16 beside them.
    row, column = (x.round(9) for x in _read_positions(angles, height, width))
    images = _bilinear(some.images, row, column).round().astype(np.uint8)
    weight = _bilinear(some.valid[:, None], row, column)
    targets = some.targets
    if some.has_label_maps:
        nearest = [np.rint(x).astype(int) for x in (row, column)]
        targets = (_look_up(targets[:, None] - VOID, *nearest) + VOID).reshape(targets.shape)
    return replace(
        some,
        images=images.reshape(some.images.shape),
        valid=(weight > 1 - 1e-3).reshape(some.valid.shape),
        targets=targets,
    )


def turn(some: ImageSet, angles: np.ndarray) -> ImageSet:
    """The pictures turned by angles (examples,) [rad], and their label maps with them.

    Images are interpolated bilinearly and labels taken from the nearest pixel. What comes from
    outside is black, not valid, and VOID in label maps.
    """
    parts = [_turn_chunk(some.take(chunk), angles[chunk]) for chunk in _slices(len(some), _CHUNK)]
    if not parts:
        return some
    return replace(
        some,
        images=np.concatenate([part.images for part in parts]),
        targets=np.concatenate([part.targets for part in parts]),
        valid=np.concatenate([part.valid for part in parts]),
    )


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, length, step))


def draw_angles(index: np.ndarray, degrees: float, seed: int) -> np.ndarray:
    """One angle per example, uniform in +-`degrees`, in radian: a function of the seed and the
    example's place in its source alone, so that an example keeps its angle in every subset."""
    shares = [np.random.default_rng((seed, i)).uniform(-1, 1) for i in index.tolist()]
    return np.radians(degrees) * np.array(shares, dtype=np.float64)


def turn_within(some: ImageSet, degrees: float, seed: int = 0) -> ImageSet:
    """Every picture turned once by an angle uniform in +-`degrees`; as it is for 0 degrees.

    Raises ValueError for a range outside 0 to 180 degrees.
    """
    if not 0 <= degrees <= 180:
        raise ValueError(f"range of {degrees:g} degrees: give a half-range from 0 to 180")
    return turn(some, draw_angles(some.index, degrees, seed)) if degrees else some
