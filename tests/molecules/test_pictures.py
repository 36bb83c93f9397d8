"""Molecules drawn: bonds by distance, a frame per copy."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np

from molaug.augmentation import Augmentation
from molaug.distributions import Uniform
from molaug.groups import SE3
from molaug.molecules.action import MoleculeAction
from molaug.molecules.data import load_sample
from molaug.molecules.pictures import draw_frames, draw_law, find_bonds
from molaug.molecules.tasks import MoleculeExamples

WATER = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]])
CIRCLE = "{http://www.w3.org/2000/svg}circle"


def test_bonds_are_found_by_distance():
    assert find_bonds(WATER, np.array([8, 1, 1])) == [(0, 1), (0, 2)]
    assert find_bonds(4 * WATER, np.array([8, 1, 1])) == []


def test_every_atom_of_every_frame_is_drawn_and_every_element_named():
    root = ElementTree.fromstring(draw_frames("t", np.stack([WATER] * 4), np.array([8, 1, 1])))
    assert len(list(root.iter(CIRCLE))) == 4 * 3 + 2
    assert {"H", "O", "2 Å", "as it is", "copy 3"} <= set(root.itertext())


def test_the_drawing_is_of_the_law_and_of_nothing_random_else():
    molecules = load_sample().take(np.arange(9))
    examples = MoleculeExamples(molecules, molecules.properties[:, 5])
    drawn = [
        draw_law(Augmentation(Uniform(SE3(), [w] * 6), MoleculeAction()), examples, copies=2)
        for w in (0.0, 1.0, 1.0)
    ]
    assert drawn[0] != drawn[1]
    assert drawn[1] == drawn[2]
