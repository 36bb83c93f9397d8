"""Pictures of widths: a bar or a dial per generator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .pictures import COLOURS, TOP, WIDTH, document, stroke, text


@dataclass(frozen=True)
class Bar:
    """A width as a share of its natural range: initial, learned and, where known, true."""

    initial: float
    learned: float
    true: float | None
    label: str


def bar_chart(title: str, bars: Mapping[str, Bar]) -> str:
    """An SVG document with a bar per name."""
    longest = max((len(bar.label) for bar in bars.values()), default=0)
    left, right, row = 80.0, WIDTH - max(112.0, 14 + 6.5 * longest), 26
    parts = []
    for number, (name, bar) in enumerate(bars.items()):
        y = TOP + row * number
        parts.append(
            f"{text(left - 8, y + 13, name, anchor='end')}"
            f'<rect class="soft" fill="#e4e7ec" x="{left}" y="{y}" width="{right - left}" '
            f'height="18"/><rect class="f0" fill="{COLOURS[0]}" x="{left}" y="{y}" '
            f'width="{max(bar.learned * (right - left), 0.0):.1f}" height="18"/>'
            f"{_mark(INITIAL, left + bar.initial * (right - left), y)}"
            f"{text(right + 8, y + 13, bar.label)}"
        )
        if bar.true is not None:
            parts.append(_mark(TRUE, left + bar.true * (right - left), y))
    floor = TOP + row * len(bars)
    parts += [
        text(left + share * (right - left), floor + 12, f"{share:.0%}", anchor="middle")
        for share in (0, 0.5, 1)
    ]
    parts.append(text((left + right) / 2, floor + 30, "share of natural range", anchor="middle"))
    is_known = any(bar.true is not None for bar in bars.values())
    parts.append(_bar_legend(12, floor + 42, is_known=is_known))
    return document(title, floor + 66, "".join(parts))


INITIAL, TRUE = 1, 2  # their colours


def _mark(colour: int, x: float, y: float) -> str:
    """An upright line across a bar whose top is at y."""
    return f'<line {stroke(colour, 3)} x1="{x:.1f}" x2="{x:.1f}" y1="{y - 2}" y2="{y + 20}"/>'


def _bar_legend(x: float, y: float, *, is_known: bool) -> str:
    true = f"{_mark(TRUE, x + 300, y - 3)}{text(x + 308, y + 10, 'true')}" if is_known else ""
    return (
        f'<rect class="f0" fill="{COLOURS[0]}" x="{x}" y="{y}" width="14" height="12"/>'
        f"{text(x + 20, y + 10, 'learned')}"
        f"{_mark(INITIAL, x + 100, y - 3)}{text(x + 108, y + 10, 'initial')}"
        f'<rect class="soft" fill="#e4e7ec" x="{x + 180}" y="{y}" width="14" height="12"/>'
        f"{text(x + 200, y + 10, 'natural range')}{true}"
    )


def dial_chart(title: str, angles: Mapping[str, float]) -> str:
    """An SVG document with a dial per name: the sector from -angle to +angle [rad] about the top.

    At most three in a row.
    """
    cell, radius = (WIDTH - 20) / 3, 50.0
    parts = []
    for number, (name, angle) in enumerate(angles.items()):
        x = 10 + cell * (number % 3 + 0.5)
        y = TOP + 70 + 156 * (number // 3)
        parts.append(
            f'<circle class="soft" fill="#e4e7ec" cx="{x:.1f}" cy="{y}" r="{radius}"/>'
            f"{_sector(x, y, radius, angle)}"
            f'<line class="axis" stroke="#333" x1="{x:.1f}" x2="{x:.1f}" y1="{y - radius - 6}" '
            f'y2="{y - radius + 6}"/>{text(x, y - radius - 9, "0°", anchor="middle", size=11)}'
            f"{text(x, y + radius + 20, f'{name}: ±{math.degrees(angle):.0f}°', anchor='middle')}"
        )
    height = TOP + 156 * math.ceil(len(angles) / 3)
    legend = (
        f'<rect class="f0" fill="{COLOURS[0]}" x="12" y="{height}" width="14" height="12"/>'
        f"{text(32, height + 10, 'drawn by the law')}"
        f'<rect class="soft" fill="#e4e7ec" x="200" y="{height}" width="14" height="12"/>'
        f"{text(220, height + 10, 'never drawn')}"
    )
    return document(title, height + 26, "".join(parts) + legend)


def _sector(x: float, y: float, radius: float, angle: float) -> str:
    if angle <= 0:
        return ""
    angle = min(angle, math.pi - 1e-3)  # a whole turn would begin where it ends and be nothing
    across, up = radius * math.sin(angle), radius * math.cos(angle)
    large = int(angle > math.pi / 2)
    return (
        f'<path class="f0" fill="{COLOURS[0]}" d="M{x:.2f} {y:.2f}L{x - across:.2f} {y - up:.2f}'
        f'A{radius} {radius} 0 {large} 1 {x + across:.2f} {y - up:.2f}Z"/>'
    )
