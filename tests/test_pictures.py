"""Pictures are well-formed and show what they were given."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from molaug.pictures import COLOURS, line_chart

SVG = "{http://www.w3.org/2000/svg}"


def points(root: ElementTree.Element) -> list[list[list[float]]]:
    """(x, y) of every point of every line."""
    texts = [line.get("points").split() for line in root.iter(f"{SVG}polyline")]
    return [[[float(v) for v in point.split(",")] for point in text] for text in texts]


@pytest.mark.parametrize("y_max", [1.0, 250.0])
def test_zero_lies_on_the_floor_and_y_max_at_the_top_of_the_axes(y_max):
    chart = line_chart("t", "x", "y", {"a": [0.0, y_max / 2, y_max]}, y_max=y_max)
    root = ElementTree.fromstring(chart)
    axes = [line for line in root.iter(f"{SVG}line") if line.get("stroke") in ("#ddd", "#333")]
    heights = [float(axis.get("y1")) for axis in axes]
    left, right = float(axes[0].get("x1")), float(axes[0].get("x2"))
    floor, top = max(heights), min(heights)
    assert points(root) == [[[left, floor], [(left + right) / 2, (floor + top) / 2], [right, top]]]


@pytest.mark.parametrize("count", [1, 3, len(COLOURS) + 2])
def test_one_line_per_name_and_no_two_look_alike(count):
    names = [f"name {i}" for i in range(count)]
    chart = line_chart("t", "x", "y", {name: [1.0] for name in names}, y_max=1)
    root = ElementTree.fromstring(chart)
    assert [len(line) for line in points(root)] == [1] * count
    assert [e.text for e in root.iter(f"{SVG}text") if e.text in names] == names
    lines = root.iter(f"{SVG}polyline")
    assert len({(line.get("stroke"), line.get("stroke-dasharray")) for line in lines}) == count


def test_names_are_escaped():
    awkward = 'b & <c> "d"'
    root = ElementTree.fromstring(line_chart(*[awkward] * 3, {awkward: [0.0]}, y_max=1.0))
    assert "".join(root.itertext()).count(awkward) == 5  # the title is there twice


def test_names_title_and_labels_are_shown():
    text = "".join(
        ElementTree.fromstring(
            line_chart("widths", "epoch", "share", {"rx": [0.5]}, y_max=2)
        ).itertext()
    )
    assert all(word in text for word in ("widths", "epoch", "share", "rx", "1.5"))
