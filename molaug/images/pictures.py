"""Images within SVG: what a law over a group does to one of them."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.evaluate import orbit_elements
from molaug.groups import SO2
from molaug.pictures import COLOURS, WIDTH, document, text
from molaug.task import Examples

from .action import ImageAction
from .data import VOID
from .losses import probabilities

COLUMNS, CELL, TOP = 3, 120.0, 36.0
# Of classes, of which CamVid has eleven: the lighter three differ from all others, and from white,
# as much as the others among themselves.
CLASS_COLOURS = (*COLOURS, "#eedd88", "#99ee99", "#eeaadd")


def draw_law(
    augmentation: Augmentation, examples: Examples, *, copies: int = 5, seed: int = 0
) -> str:
    """An SVG document: the first image as it is, and `copies` drawn from the law."""
    batch, _ = examples.gather(torch.tensor([0]))
    torch.manual_seed(seed)
    with torch.no_grad():
        moved = augmentation(batch, copies)[0].images
    frames = {"as it is": batch.images[0]}
    frames |= {f"copy {i + 1}": one for i, one in enumerate(moved)}
    shown = {name: to_pixels(one) for name, one in frames.items()}
    return draw_frames("A test image as the law moves it", shown)


DEGREES = (0, 60, 120, 180)  # by which a scene is turned


@torch.no_grad()
def draw_maps(model: AveragedModel, action: ImageAction, examples: Examples, copies: int) -> str:
    """An SVG document: the first image turned by several angles, the true classes of its pixels
    and, below, the predicted ones."""
    batch, labels = examples.gather(torch.tensor([0]))
    shown: dict[str, np.ndarray] = {}
    rows: tuple[dict[str, np.ndarray], ...] = ({}, {}, {})
    for degrees in DEGREES:
        angle = batch.images.new_tensor([[math.radians(degrees)]])
        element = SO2().exp(angle)
        turned = action.act(element, batch)
        torch.manual_seed(0)
        predicted = model.predict(turned, copies)
        found = torch.where(predicted.isnan().any(1), VOID, predicted.argmax(1))
        rows[0][f"{degrees} degrees"] = to_pixels(turned.images[0])
        rows[1][f"{degrees}, truth"] = to_colours(action.act_on_labels(element, labels)[0])
        rows[2][f"{degrees}, predicted"] = to_colours(found[0])
    for row in rows:
        shown |= row
    return draw_frames("A scene turned, its classes and the predicted ones", shown, len(DEGREES))


def to_colours(labels: Int[Tensor, "height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """A colour per class, white where it is unknown."""
    palette = [bytes.fromhex(colour[1:]) for colour in CLASS_COLOURS] + [b"\xff" * 3]
    table = np.array([[*colour] for colour in palette], np.uint8)
    known = labels.cpu().numpy()
    return table[np.where(known == VOID, len(CLASS_COLOURS), known % len(CLASS_COLOURS))]


@torch.no_grad()
def measure_plateau(
    model: AveragedModel, examples: Examples, *, copies: int = 32, values: int = 37
) -> dict[str, list[float]]:
    """The probability [%] of its class when the first image is turned, by angle [rad]: level as
    far as the model is invariant. Averaged over `copies`, the same draws for every angle."""
    law, action = model.augmentation.distribution, model.augmentation.action
    batch, target = examples.gather(torch.tensor([0]))
    angles = torch.linspace(-math.pi, math.pi, values)
    found = []
    for element in orbit_elements(law, "r", angles):
        torch.manual_seed(0)
        scores = model.predict(action.act(element[None].to(batch.images), batch), copies)
        found.append(float(probabilities(scores)[0, target[0]]))
    return {"value": angles.tolist(), "probability": found}


def to_pixels(image: Float[Tensor, "channels height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Values from 0 to 1 as bytes, clipped; grey as three equal channels."""
    pixels = (image.detach().cpu().clamp(0, 1) * 255).round().byte()
    return pixels.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()


def draw_frames(title: str, frames: Mapping[str, np.ndarray], columns: int = COLUMNS) -> str:
    """An SVG document with pictures (height, width, 3) of one size, each above its name."""
    cell = COLUMNS * CELL / columns
    parts, down = [], cell
    for number, (name, pixels) in enumerate(frames.items()):
        down = cell * pixels.shape[0] / pixels.shape[1]
        x = (WIDTH - columns * cell) / 2 + cell * (number % columns)
        y = TOP + (down + 18) * (number // columns)
        parts.append(
            f'<image x="{x + 3:.1f}" y="{y:.1f}" width="{cell - 6:.1f}" height="{down - 6:.1f}" '
            f'style="image-rendering:pixelated" href="{to_address(pixels)}"/>'
            f"{text(x + cell / 2, y + down + 8, name, anchor='middle', size=11)}"
        )
    rows = -(-len(frames) // columns)
    return document(title, TOP + (down + 18) * rows + 6, "".join(parts))


def to_address(pixels: UInt8[np.ndarray, "height width 3"]) -> str:
    """The picture itself as an address: a PNG in base64."""
    return "data:image/png;base64," + base64.b64encode(to_png(pixels)).decode()


def to_png(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """A PNG file, 8 bits per channel (RFC 2083)."""
    height, width, _ = pixels.shape
    lines = np.insert(pixels.reshape(height, -1), 0, 0, 1)  # every line says that it has no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
