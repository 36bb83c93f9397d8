"""Small vector pictures, written as SVG by hand: no plotting library is needed to run."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa3377", "#66ccee", "#bb9900", "#777777", "#000000")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 320, 56, 120, 34, 44


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    lines: Mapping[str, Sequence[float]],
    *,
    y_max: float,
    x_start: float = 0.0,
) -> str:
    """An SVG document with one line per name over steps x_start, x_start + 1, ..."""
    count = max(map(len, lines.values()))
    x_end = x_start + max(count - 1, 1)

    def place(i: int, y: float) -> str:
        x = LEFT + i / max(count - 1, 1) * (WIDTH - LEFT - RIGHT)
        return f"{x:.1f},{_height(y, y_max):.1f}"

    parts = [_frame(title, x_label, y_label, y_max, x_start, x_end)]
    for number, (name, values) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(place(i, y) for i, y in enumerate(values))
        dash = ' stroke-dasharray="6 3"' if number >= len(COLOURS) else ""
        parts.append(
            f'<polyline fill="none" stroke="{colour}" stroke-width="2"{dash} points="{points}"/>'
            f'<text x="{WIDTH - RIGHT + 26}" y="{TOP + 12 + 16 * number}">'
            f"{html.escape(name)}</text>"
            f'<line x1="{WIDTH - RIGHT + 6}" x2="{WIDTH - RIGHT + 22}" y1="{TOP + 8 + 16 * number}"'
            f' y2="{TOP + 8 + 16 * number}" stroke="{colour}" stroke-width="3"{dash}/>'
        )
    return "".join(parts) + "</svg>\n"


def _height(y: float, y_max: float) -> float:
    return HEIGHT - BOTTOM - y / y_max * (HEIGHT - TOP - BOTTOM)


def _frame(
    title: str, x_label: str, y_label: str, y_max: float, x_start: float, x_end: float
) -> str:
    """The opening of the document: background, title, axes with their labels and ticks."""
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    ticks = "".join(
        f'<line x1="{LEFT}" x2="{right}" y1="{_height(y, y_max):.1f}" y2="{_height(y, y_max):.1f}"'
        f' stroke="#ddd"/><text x="{LEFT - 6}" y="{_height(y, y_max) + 4:.1f}"'
        f' text-anchor="end">{y:.3g}</text>'
        for y in (y_max * k / 4 for k in range(5))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" role="img">'
        f'<title>{html.escape(title)}</title><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{LEFT}" y="20" font-size="14">{html.escape(title)}</text>{ticks}'
        f'<line x1="{LEFT}" x2="{right}" y1="{floor}" y2="{floor}" stroke="#333"/>'
        f'<text x="{LEFT}" y="{floor + 16}">{x_start:g}</text>'
        f'<text x="{right}" y="{floor + 16}" text-anchor="end">{x_end:g}</text>'
        f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 10}" text-anchor="middle">'
        f"{html.escape(x_label)}</text>"
        f'<text transform="translate(14 {(TOP + floor) / 2}) rotate(-90)" text-anchor="middle">'
        f"{html.escape(y_label)}</text>"
    )
