"""Pictures that are turned once and for all, before anything is learned from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from molaug.groups import SO2

from .action import ImageAction
from .batch import ImageBatch
from .data import ImageSet, draw_angles

AT_ONCE = 2**20  # numbers of images: bounds the memory, some 50 MB


def turn(some: ImageSet, angles: np.ndarray) -> ImageSet:
    """The pictures turned by angles (examples,) [rad], and their label maps with them.

    Images are interpolated bilinearly and labels taken from the nearest pixel. What comes from
    outside is black, not valid, and VOID in label maps.
    """
    action, elements = ImageAction(), SO2().exp(torch.from_numpy(angles)[:, None])
    images, targets, valid = some.images.copy(), some.targets.copy(), some.valid.copy()
    count = max(1, AT_ONCE // max(1, images[:1].size))
    for start in range(0, len(some), count):
        rows = slice(start, start + count)
        # In float64, so that a picture is the same on every machine but for ties of rounding.
        batch = ImageBatch(torch.from_numpy(images[rows]).double(), torch.from_numpy(valid[rows]))
        moved = action.act(elements[rows], batch)
        images[rows], valid[rows] = moved.images.round().byte(), moved.valid
        if some.has_label_maps:
            targets[rows] = action.act_on_labels(elements[rows], torch.from_numpy(targets[rows]))
    return replace(some, images=images, targets=targets, valid=valid)


def turn_within(some: ImageSet, degrees: float, seed: int = 0) -> ImageSet:
    """Every picture turned once by an angle uniform in +-`degrees`; as it is for 0 degrees.

    Raises ValueError for a range outside 0 to 180 degrees.
    """
    if not 0 <= degrees <= 180:
        raise ValueError(f"range of {degrees:g} degrees: give a half-range from 0 to 180")
    return turn(some, draw_angles(some.index, degrees, seed)) if degrees else some
