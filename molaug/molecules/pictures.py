"""Molecules drawn as SVG: what a law over a group does to one of them."""

from __future__ import annotations

import numpy as np
import torch

from molaug.augmentation import Augmentation
from molaug.pictures import WIDTH, document, text
from molaug.task import Examples

from .targets import ELEMENTS

RADII = {1: 0.31, 6: 0.76, 7: 0.71, 8: 0.66, 9: 0.57}  # covalent [Angstrom], Cordero et al. 2008
COLOURS = {1: "#f2f2f2", 6: "#5a5f66", 7: "#4466dd", 8: "#dd4433", 9: "#44aa55"}
COLUMNS, CELL, TOP = 3, 120.0, 36.0


def draw_law(
    augmentation: Augmentation, examples: Examples, *, copies: int = 5, seed: int = 0
) -> str:
    """An SVG document: the molecule of median size as it is, and `copies` drawn from the law."""
    row = int(np.argsort(examples.sizes, kind="stable")[len(examples) // 2])
    batch, _ = examples.gather(torch.tensor([row]))
    torch.manual_seed(seed)
    with torch.no_grad():
        moved = augmentation(batch, copies)[0].positions
    frames = torch.cat([batch.positions, moved]).cpu().double().numpy()
    charges = batch.charges[0].cpu().numpy()
    title = "A test molecule as the law moves it"
    return draw_frames(title, frames, charges)


def draw_frames(title: str, frames: np.ndarray, charges: np.ndarray) -> str:
    """Frames (copies, nodes, 3) [Angstrom] of one molecule, the first as it is, all at one scale,
    seen along z."""
    scale = (CELL / 2 - 12) / max(float(np.abs(frames[..., :2]).max()), 1.0)
    bonds = find_bonds(frames[0], charges)
    parts = []
    for number, positions in enumerate(frames):
        x = (WIDTH - COLUMNS * CELL) / 2 + CELL * (number % COLUMNS + 0.5)
        y = TOP + (CELL + 16) * (number // COLUMNS) + CELL / 2
        parts.append(_cell(x, y, "as it is" if number == 0 else f"copy {number}"))
        parts.append(_molecule(positions, charges, bonds, scale, x, y))
    floor = TOP + (CELL + 16) * -(-len(frames) // COLUMNS)
    return document(title, floor + 52, "".join(parts) + _legend(floor + 6, charges, scale))


def find_bonds(positions: np.ndarray, charges: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of atoms nearer than 1.25 times the sum of their covalent radii."""
    radii = np.array([_radius(int(charge)) for charge in charges])
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    near = np.triu(distances < 1.25 * (radii[:, None] + radii[None]), 1)
    return [(int(i), int(j)) for i, j in np.argwhere(near)]


def _cell(x: float, y: float, label: str) -> str:
    """A faint square with a cross at the origin of the coordinates."""
    half = CELL / 2 - 3
    return (
        f'<rect class="grid" fill="none" stroke="#ddd" x="{x - half:.1f}" y="{y - half:.1f}" '
        f'width="{2 * half}" height="{2 * half}"/><path class="axis" stroke="#333" '
        f'd="M{x - 5:.1f} {y:.1f}h10M{x:.1f} {y - 5:.1f}v10"/>'
        f"{text(x, y + CELL / 2 + 11, label, anchor='middle', size=11)}"
    )


def _molecule(
    positions: np.ndarray,
    charges: np.ndarray,
    bonds: list[tuple[int, int]],
    scale: float,
    x: float,
    y: float,
) -> str:
    """Bonds, then atoms from the farthest to the nearest."""
    places = [(x + scale * p[0], y - scale * p[1]) for p in positions]
    lines = "".join(
        f"M{places[i][0]:.1f} {places[i][1]:.1f}L{places[j][0]:.1f} {places[j][1]:.1f}"
        for i, j in bonds
    )
    atoms = "".join(
        _atom(places[i], int(charges[i]), max(0.45 * scale * _radius(int(charges[i])), 2.5))
        for i in np.argsort(positions[:, 2])
    )
    return f'<path stroke="#8a9099" stroke-width="2" fill="none" d="{lines}"/>{atoms}'


def _radius(charge: int) -> float:
    """Of an atom [Angstrom]; 1 of an element that QM9 lacks."""
    return RADII.get(charge, 1.0)


def _atom(place: tuple[float, float], charge: int, radius: float) -> str:
    colour = COLOURS.get(charge, "#bb77cc")
    return (
        f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="{radius:.1f}" fill="{colour}" '
        'stroke="#777" stroke-width="0.8"/>'
    )


def _legend(y: float, charges: np.ndarray, scale: float) -> str:
    """The elements, a bar of 2 Angstrom, and what the cross and the axes are."""
    parts = []
    for number, charge in enumerate(sorted({int(c) for c in charges if c > 0})):
        x = 24.0 + 44 * number
        parts.append(
            _atom((x, y + 8), charge, 6) + text(x + 10, y + 12, ELEMENTS.get(charge, str(charge)))
        )
    bar = (
        '<path class="axis" stroke="#333" stroke-width="2" '
        f'd="M{WIDTH - 110} {y + 8}h{2 * scale:.1f}"/>'
    )
    note = text(16, y + 34, "x to the right, y upwards; the cross is the origin", size=12)
    return "".join(parts) + bar + text(WIDTH - 104 + 2 * scale, y + 12, "2 Å") + note
