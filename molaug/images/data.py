"""A set of images: its arrays, cut out and made smaller. Without torch.

Coordinates, here and in `ImageAction`: the origin is the centre of the image, x points right and y
up, and the shorter side runs from -1 to 1. A positive angle turns the content counter-clockwise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

VOID = -1  # the label of a pixel of which nothing is known


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


def draw_angles(index: np.ndarray, degrees: float, seed: int) -> np.ndarray:
    """One angle per example, uniform in +-`degrees`, in radian: a function of the seed and the
    example's place in its source alone, so that an example keeps its angle in every subset."""
    shares = [np.random.default_rng((seed, i)).uniform(-1, 1) for i in index.tolist()]
    return np.radians(degrees) * np.array(shares, dtype=np.float64)
