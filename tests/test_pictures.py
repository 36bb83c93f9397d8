"""Pictures are well-formed and show what they were given."""

from __future__ import annotations

import math
import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from molaug.gauges import Bar, bar_chart, dial_chart
from molaug.pictures import (
    COLOURS,
    WIDTH,
    Series,
    curve_chart,
    even_axis,
    line_chart,
    point_chart,
    scatter_chart,
)

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
    _, _, width, height = map(float, root.get("viewBox").split())
    assert 0 < left < right < width
    assert 0 < top < floor < height
    assert points(root) == [[[left, floor], [(left + right) / 2, (floor + top) / 2], [right, top]]]


@pytest.mark.parametrize("count", [1, 3, 3 * len(COLOURS)])
def test_one_line_per_name_and_no_two_look_alike(count):
    names = [f"name {i}" for i in range(count)]
    chart = line_chart("t", "x", "y", {name: [1.0] for name in names}, y_max=1)
    root = ElementTree.fromstring(chart)
    assert [len(line) for line in points(root)] == [1] * count
    assert [e.text for e in root.iter(f"{SVG}text") if e.text in names] == names
    lines = root.iter(f"{SVG}polyline")
    assert len({(line.get("stroke"), line.get("stroke-dasharray")) for line in lines}) == count


def test_only_the_first_line_is_solid_and_so_hides_none_that_lies_below():
    chart = line_chart("t", "x", "y", {f"name {i}": [1.0] for i in range(12)}, y_max=1)
    lines = list(ElementTree.fromstring(chart).iter(f"{SVG}polyline"))
    assert [line.get("stroke-dasharray") is None for line in lines] == [True] + [False] * 11


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


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (-7123.0, -4001.0), (0.0, 1e-4), (3.0, 3.0)])
def test_an_axis_has_round_ticks_and_holds_its_values(low, high):
    axis = even_axis("x", low, high)
    assert axis.start <= low <= high <= axis.end
    assert 2 <= len(axis.ticks) <= 7
    assert axis.share(axis.start) == 0
    assert axis.share(axis.end) == 1


def test_the_last_number_of_an_axis_lies_within_the_picture():
    x = even_axis("x", -10_000.0, -2_500.0)
    assert x.ticks[-1][1] == "-2000"
    root = ElementTree.fromstring(scatter_chart("t", x, even_axis("y", 0.0, 1.0), [(-5000, 0.5)]))
    texts = {text.text: float(text.get("x")) for text in root.iter(f"{SVG}text")}
    assert texts["-2000"] + 5 * 7.2 / 2 < WIDTH  # with digits 7.2 wide and centred
    assert texts["-10000"] == pytest.approx(62)


def test_whiskers_stay_within_the_axes():
    axis = even_axis("y", 0.0, 1.0)
    series = {"a": Series([(0.0, 1.0), (1.0, 0.0)], [5.0, 5.0])}
    root = ElementTree.fromstring(curve_chart("t", axis, axis, series))
    ends = re.findall(r"M([\d.]+) ([\d.]+)V([\d.]+)", root.find(f"{SVG}path").get("d"))
    (x1, y1), (x2, y2) = points(root)[0]
    assert [tuple(map(float, e)) for e in ends] == [(x1, y2, y1), (x2, y2, y1)]


def test_scatter_has_a_dot_per_point_and_the_diagonal():
    axis = even_axis("y", 0.0, 1.0)
    root = ElementTree.fromstring(scatter_chart("t", axis, axis, [(0.1, 0.2), (0.5, 0.5)]))
    assert root.find(f"{SVG}path").get("d").count("M") == 2


def test_bars_are_as_long_as_their_share():
    root = ElementTree.fromstring(
        bar_chart("t", {"rx": Bar(0.1, 0.25, None, "45"), "ry": Bar(0.1, 1.0, None, "")})
    )
    soft = [float(e.get("width")) for e in root.iter(f"{SVG}rect") if e.get("class") == "soft"]
    bars = [float(e.get("width")) for e in root.iter(f"{SVG}rect") if e.get("class") == "f0"]
    assert bars[:2] == pytest.approx([0.25 * soft[0], soft[0]], abs=0.1)


def test_marks_stand_at_the_initial_and_the_true_width():
    root = ElementTree.fromstring(bar_chart("t", {"rx": Bar(0.25, 0.5, 1.0, "45")}))
    ground = next(e for e in root.iter(f"{SVG}rect") if e.get("class") == "soft")
    left, width = float(ground.get("x")), float(ground.get("width"))
    initial, true = [float(e.get("x1")) for e in root.iter(f"{SVG}line")][:2]
    assert [initial, true] == pytest.approx([left + 0.25 * width, left + width], abs=0.1)


@pytest.mark.parametrize("angle", [0.0, 1.0, 2.0, math.pi, 9.0])
def test_a_dial_spans_its_angle(angle):
    root = ElementTree.fromstring(dial_chart("t", {"rz": angle}))
    sectors = list(root.iter(f"{SVG}path"))
    assert len(sectors) == (angle > 0)
    for sector in sectors:
        large, sweep = re.search(r"A\S+ \S+ 0 (\d) (\d)", sector.get("d")).groups()
        assert (large == "1", sweep) == (angle > math.pi / 2, "1")


def test_pictures_alone_and_in_a_page_have_colours_for_the_dark():
    chart = line_chart("t", "x", "y", {"a": [1.0]}, y_max=1)
    assert "prefers-color-scheme:dark" in chart
    assert 'class="paper"' in chart


def test_a_dot_per_point_with_its_name_beside_it_and_within_the_picture():
    x, y = even_axis("x", 0, 10, start=0), even_axis("y", 0, 4, start=0)
    groups = {"ours": {"a": (0.0, 0.0), "b<": (10.0, 4.0)}, "others": {"c": (5.0, 2.0)}}
    root = ElementTree.fromstring(point_chart("t", x, y, groups))
    dots = [path for path in root.iter(f"{SVG}path") if path.get("stroke-linecap") == "round"]
    assert [dot.get("stroke") for dot in dots] == [COLOURS[0], COLOURS[0], COLOURS[1]]
    places = [[float(v) for v in re.findall(r"[\d.]+", dot.get("d"))[:2]] for dot in dots]
    assert places[2] == pytest.approx([(places[0][i] + places[1][i]) / 2 for i in (0, 1)], abs=0.1)
    texts = {text.text: text for text in root.iter(f"{SVG}text")}
    assert {"a", "b<", "c", "ours", "others"} <= set(texts)
    assert texts["b<"].get("text-anchor") == "end"
    assert texts["a"].get("text-anchor") == "start"


def test_names_of_dots_that_are_near_each_other_lie_on_no_other_name_or_dot():
    x, y = even_axis("x", 0, 10, start=0), even_axis("y", 0, 4, start=0)
    points = {
        "a name of some length": (1.7, 3.1),
        "another one as long": (2.2, 2.7),
        "a third": (3.6, 2.9),
        "fourth": (2.1, 2.65),
        "at the edge": (9.9, 2.0),
    }
    root = ElementTree.fromstring(point_chart("t", x, y, {"g": points}))
    boxes = []
    for text in root.iter(f"{SVG}text"):
        if text.text in points:
            width, at, line = 5.0 * len(text.text), float(text.get("x")), float(text.get("y"))
            left = at - width if text.get("text-anchor") == "end" else at
            assert left >= 0
            assert left + width <= WIDTH
            boxes.append((left, line - 9, left + width, line + 3))
    for path in root.iter(f"{SVG}path"):
        if path.get("stroke-linecap") == "round":
            left, top = (float(v) for v in re.findall(r"[\d.]+", path.get("d"))[:2])
            boxes.append((left, top, left, top))
    assert len(boxes) == 2 * len(points)
    for (a, b, c, d), (e, f, g, h) in combinations(boxes, 2):
        assert c <= e or g <= a or d <= f or h <= b
