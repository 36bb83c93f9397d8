"""Small vector pictures, written as SVG by hand: no plotting library is needed to run.

Every picture can be read on light and on dark, within a page and alone: attributes hold the light
colours, for viewers without style sheets, and a style sheet inside the picture the dark ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee", "#bb9900", "#777777", "#000000")
ON_DARK = ("#7fb2e5", "#ff8a99", "#5fc274", "#e07ab8", "#66ccee", "#e0c04a", "#aaaaaa", "#ffffff")
DASHES = ("7 4", "2 3", "9 3 2 3")  # lengths of lines and gaps
# Narrow, so that the text is still readable when a phone shows a picture across its whole screen.
WIDTH, PLOT, LEFT, RIGHT, TOP, BOTTOM = 380, 300, 62, 16, 38, 46
LEGEND_ROW = 18
DIGIT = 7.5  # how wide one is

_SERIES = "".join(
    f".chart .s{i}{{stroke:{colour}}}.chart .f{i}{{fill:{colour}}}"
    for i, colour in enumerate(ON_DARK)
)
STYLE = (
    "<style>@media (prefers-color-scheme:dark){"
    ".chart text{fill:#dde1e6}.chart .paper{fill:#1b1e24}.chart .grid{stroke:#3a3f48}"
    f".chart .axis{{stroke:#c5cad3}}.chart .soft{{fill:#2d323b}}{_SERIES}}}</style>"
)


@dataclass(frozen=True)
class Axis:
    """A labelled axis from `start` to `end`, with texts at some of its values."""

    label: str
    start: float
    end: float
    ticks: Sequence[tuple[float, str]]

    def share(self, value: float) -> float:
        """Where a value lies, from 0 at the start to 1 at the end."""
        return (value - self.start) / (self.end - self.start)


def even_axis(label: str, low: float, high: float, start: float | None = None) -> Axis:
    """An axis with about five round ticks that holds low to high; `start` fixes its beginning."""
    low = low if start is None else start
    rough = (high - low) / 4 if high > low else max(abs(high), 1.0)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(s for s in (1, 2, 2.5, 5, 10) if s * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(max(high / step, low / step + 1) - 1e-9)
    ticks = [(k * step, f"{k * step:.5g}") for k in range(first, last + 1)]
    return Axis(label, ticks[0][0], ticks[-1][0], ticks)


@dataclass(frozen=True)
class Series:
    """Points joined by a line, each with the half-height of its whisker, if any."""

    points: Sequence[tuple[float, float]]
    errors: Sequence[float] = ()


def document(title: str, height: float, body: str) -> str:
    """A whole SVG document: paper, title and `body`."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {WIDTH} {height:g}" '
        f'font-family="sans-serif" font-size="13" role="img"><title>{escape(title)}</title>{STYLE}'
        '<rect class="paper" width="100%" height="100%" fill="#ffffff"/>'
        f"{text(12, 22, title, size=14)}{body}</svg>\n"
    )


def text(x: float, y: float, content: str, *, anchor: str = "start", size: float = 13) -> str:
    """One line of text, escaped."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size:g}" '
        f'fill="#222222">{escape(content)}</text>'
    )


MOST_POINTS = 500  # of a line, more than it has pixels


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    lines: Mapping[str, Sequence[float]],
    *,
    y_max: float,
) -> str:
    """An SVG document with one line per name over steps 0, 1, ..."""
    steps = max(max(map(len, lines.values())) - 1, 1)
    x = Axis(x_label, 0.0, steps, [(0.0, "0"), (steps, f"{steps:g}")])
    heights = [y_max * k / 4 for k in range(5)]
    y = Axis(y_label, 0.0, y_max, [(height, f"{height:.3g}") for height in heights])
    every = math.ceil(steps / MOST_POINTS)
    series = {
        name: Series([(float(i), v) for i, v in enumerate(values) if i % every == 0 or i == steps])
        for name, values in lines.items()
    }
    return curve_chart(title, x, y, series)


def curve_chart(title: str, x: Axis, y: Axis, series: Mapping[str, Series]) -> str:
    """An SVG document with one line per name, and a legend below."""
    parts = [_axes(x, y)]
    for number, one in enumerate(series.values()):
        points = " ".join("{:.1f},{:.1f}".format(*_place(x, y, *point)) for point in one.points)
        parts.append(f'<polyline fill="none" {stroke(number)}{dashes(number)} points="{points}"/>')
        parts.append(_whiskers(x, y, one, number))
    rows = math.ceil(len(series) / _columns(list(series)))
    return document(title, PLOT + 8 + LEGEND_ROW * rows, "".join(parts) + _legend(list(series)))


def scatter_chart(title: str, x: Axis, y: Axis, points: Sequence[tuple[float, float]]) -> str:
    """An SVG document with a dot per point and the line on which both are equal."""
    places = (_place(x, y, *point) for point in points)
    dots = "".join(f"M{left:.1f} {height:.1f}h0" for left, height in places)
    start, end = max(x.start, y.start), min(x.end, y.end)
    (x1, y1), (x2, y2) = (_place(x, y, end_point, end_point) for end_point in (start, end))
    body = (
        f'{_axes(x, y)}<path {stroke(0, 4)} stroke-linecap="round" stroke-opacity="0.55" '
        f'd="{dots}"/><line {stroke(1, 1.5)}{dashes(1)} x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" '
        f'y2="{y2:.1f}"/>{_legend(["one example", "prediction = truth"])}'
    )
    return document(title, PLOT + 8 + LEGEND_ROW, body)


def point_chart(
    title: str, x: Axis, y: Axis, groups: Mapping[str, Mapping[str, tuple[float, float]]]
) -> str:
    """An SVG document with a labelled dot per point, a colour per group, and a legend below. A
    label goes beside its dot, above or below, where it lies on no other dot or label."""
    parts = [_axes(x, y)]
    dots = [_place(x, y, *point) for points in groups.values() for point in points.values()]
    taken: list[Box] = [(left - 4, top - 4, left + 4, top + 4) for left, top in dots]
    for number, points in enumerate(groups.values()):
        for name, point in points.items():
            left, top = _place(x, y, *point)
            parts.append(
                f'<path {stroke(number, 7)} stroke-linecap="round" d="M{left:.1f} {top:.1f}h0"/>'
            )
            places = _beside(left, top, 5.0 * len(name))
            free = (one for one in places if _is_free(one.box, taken))
            chosen = next(free, places[0])
            anchor = "start" if chosen.place > left else "end"
            parts.append(text(chosen.place, chosen.line, name, anchor=anchor, size=11))
            taken.append(chosen.box)
    rows = math.ceil(len(groups) / _columns(list(groups)))
    legend = _legend(list(groups), solid=True)
    return document(title, PLOT + 8 + LEGEND_ROW * rows, "".join(parts) + legend)


Box = tuple[float, float, float, float]  # left, top, right, bottom


class _Label(NamedTuple):
    """Where a text starts or ends, its base line, and its box."""

    place: float
    line: float
    box: Box


def _beside(left: float, top: float, width: float) -> list[_Label]:
    """Where a label so wide may go: right or left of a dot, above, below or level with it."""
    found = []
    for place, start in ((left + 8, left + 8), (left - 8, left - 8 - width)):
        for line in (top - 5, top + 14, top + 4):
            found.append(_Label(place, line, (start, line - 9, start + width, line + 3)))
    return found


def _is_free(box: Box, taken: Sequence[Box]) -> bool:
    """Whether a box lies within the picture and on none of the others."""
    left, top, right, bottom = box
    others = (left < r and a < right and top < d and b < bottom for a, b, r, d in taken)
    return left >= 0 and right <= WIDTH and not any(others)


def _place(x: Axis, y: Axis, value: float, height: float) -> tuple[float, float]:
    """The point of the picture for a value and a height."""
    left = LEFT + x.share(value) * (WIDTH - LEFT - RIGHT)
    return left, PLOT - BOTTOM - y.share(height) * (PLOT - TOP - BOTTOM)


def stroke(number: int, width: float = 2) -> str:
    """The colour of a series: all in turn."""
    index = number % len(COLOURS)
    return f'class="s{index}" stroke="{COLOURS[index]}" stroke-width="{width:g}"'


def dashes(number: int) -> str:
    """Of every series but the first, so that lines are seen through those that are drawn over them,
    and told apart without colours; no two of 24 have both colour and dashes alike."""
    return f' stroke-dasharray="{DASHES[(number - 1) % len(DASHES)]}"' if number else ""


def _whiskers(x: Axis, y: Axis, one: Series, number: int) -> str:
    path = []
    for (value, height), error in zip(one.points, one.errors, strict=False):
        left, low = _place(x, y, value, max(height - error, y.start))
        high = _place(x, y, value, min(height + error, y.end))[1]
        path.append(f"M{left:.1f} {low:.1f}V{high:.1f}")
    return f'<path fill="none" {stroke(number, 1)} d="{"".join(path)}"/>' if path else ""


def _columns(names: Sequence[str]) -> int:
    """Of the legend: two, or one if a name is long."""
    return 2 if max(map(len, names)) <= 20 else 1


def _legend(names: Sequence[str], *, solid: bool = False) -> str:
    """Below the axes; solid: where it is colours alone that tell series apart."""
    parts, columns = [], _columns(names)
    for number, name in enumerate(names):
        x = 12 + (WIDTH - 20) / 2 * (number % columns)
        y = PLOT + LEGEND_ROW * (number // columns) + 4
        style = stroke(number, 3) + ("" if solid else dashes(number))
        line = f'<line {style} x1="{x}" x2="{x + 22}" y1="{y}" y2="{y}"/>'
        parts.append(line + text(x + 28, y + 4, name))
    return "".join(parts)


def _axes(x: Axis, y: Axis) -> str:
    """Horizontal lines at the ticks, both axes' texts and labels."""
    right, floor = WIDTH - RIGHT, PLOT - BOTTOM
    parts = []
    for value, label in y.ticks:
        height = _place(x, y, x.start, value)[1]
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{height:.1f}" y2="{height:.1f}" '
            f'stroke="#ddd"/>{text(LEFT - 6, height + 4, label, anchor="end")}'
        )
    parts.append(
        f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{floor}" y2="{floor}" stroke="#333"/>'
    )
    for value, label in x.ticks:
        # The last one is pushed to the left where half of it would lie outside.
        left = min(_place(x, y, value, y.start)[0], WIDTH - 2 - DIGIT / 2 * len(label))
        parts.append(text(left, floor + 16, label, anchor="middle"))
    parts.append(text((LEFT + right) / 2, PLOT - 12, x.label, anchor="middle"))
    middle = text(0, 0, y.label, anchor="middle")
    parts.append(f'<g transform="translate(14 {(TOP + floor) / 2}) rotate(-90)">{middle}</g>')
    return "".join(parts)
