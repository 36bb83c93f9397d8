"""Images within SVG: their pixels survive, and what is drawn is well-formed."""

from __future__ import annotations

import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import torch

from molaug.augmentation import Augmentation
from molaug.distributions import Uniform
from molaug.groups import SO2
from molaug.images.action import ImageAction
from molaug.images.drawing import draw_sprites
from molaug.images.examples import ImageExamples
from molaug.images.pictures import draw_law, to_address, to_pixels, to_png


def read_png(content: bytes) -> np.ndarray:
    """The pixels of a PNG without filters, its checksums checked."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, place = {}, 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        kind, body = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        (check,) = struct.unpack(">I", content[place + 8 + length : place + 12 + length])
        assert zlib.crc32(kind + body) == check
        chunks[kind], place = body, place + 12 + length
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, 3)


def test_a_png_holds_the_pixels():
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    assert np.array_equal(read_png(to_png(pixels)), pixels)


def test_values_are_clipped_and_grey_has_three_channels():
    image = torch.tensor([[[-1.0, 0.0], [0.5, 2.0]]])
    assert to_pixels(image).tolist() == [[[0] * 3, [0] * 3], [[128] * 3, [255] * 3]]


def test_the_law_is_drawn_with_the_image_as_it_is_first():
    examples = ImageExamples(draw_sprites(2))
    still = draw_law(Augmentation(Uniform(SO2(), [0.0]), ImageAction()), examples, copies=5)
    moving = draw_law(Augmentation(Uniform(SO2(), [3.0]), ImageAction()), examples, copies=5)
    same = to_address(draw_sprites(1).images[0].transpose(1, 2, 0))
    for drawing, count in ((still, 6), (moving, 1)):
        ElementTree.fromstring(drawing)
        assert drawing.count("<image ") == 6
        assert drawing.count(same) == count
