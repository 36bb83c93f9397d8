"""Images within SVG: their pixels survive, and what is drawn is well-formed."""

from __future__ import annotations

import struct
import zlib
from xml.etree import ElementTree

import numpy as np
import torch

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import Identity, Uniform
from molaug.groups import SO2
from molaug.images.action import ImageAction
from molaug.images.data import VOID, build_set
from molaug.images.drawing import draw_scenes, draw_sprites
from molaug.images.examples import ImageExamples
from molaug.images.losses import average_logits
from molaug.images.photographs import STREETS
from molaug.images.pictures import (
    DEGREES,
    draw_law,
    draw_maps,
    measure_plateau,
    to_address,
    to_colours,
    to_pixels,
    to_png,
)


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


def test_a_plateau_ends_where_the_network_ends_it():
    """A network that tells right from left sees its class go when the image has turned too far."""

    class Right(torch.nn.Module):
        def forward(self, batch):
            right = batch.images[..., 5:].mean((1, 2, 3)) > batch.images[..., :4].mean((1, 2, 3))
            return 9.0 * torch.stack([right, ~right], 1)

    images = np.zeros((1, 1, 9, 9), np.uint8)
    images[..., 5:] = 255
    examples = ImageExamples(build_set("half", images, np.zeros(1, np.int64), ("right", "left")))
    law = Augmentation(Identity(SO2()), ImageAction())
    model = AveragedModel(Right(), law, reduction=average_logits)
    found = measure_plateau(model, examples, copies=1, values=9)
    assert [round(p) for p in found["probability"][2:7:2]] == [0, 100, 0]
    assert found["probability"][3] == found["probability"][5] > 99


def test_maps_are_drawn_for_every_angle_with_truth_and_prediction():
    scenes = draw_scenes(1, height=12, width=12)

    class Truth(torch.nn.Module):
        def forward(self, batch):
            labels = torch.from_numpy(scenes.targets)
            return 9.0 * torch.eye(5)[labels].permute(0, 3, 1, 2).repeat(len(batch), 1, 1, 1)

    law = Augmentation(Identity(SO2()), ImageAction("map"))
    model = AveragedModel(Truth(), law, reduction=average_logits)
    drawing = draw_maps(model, ImageAction("map"), ImageExamples(scenes), copies=1)
    ElementTree.fromstring(drawing)
    assert drawing.count("<image ") == 3 * len(DEGREES)
    truth = to_address(to_colours(torch.from_numpy(scenes.targets[0])))
    assert drawing.count(truth) == 1 + len(DEGREES)  # at 0 degrees, and always predicted
    assert to_colours(torch.tensor([[VOID]])).tolist() == [[[255] * 3]]


def test_every_class_of_a_street_has_a_colour_of_its_own():
    colours = to_colours(torch.tensor([[VOID, *range(len(STREETS))]]))[0].astype(int)
    distances = np.abs(colours[:, None] - colours).max(2)
    assert distances[~np.eye(len(colours), dtype=bool)].min() >= 40
