"""What is shown has its unit, and nothing gets lost on the way to the screen."""

from __future__ import annotations

import io
import math
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import Identity, LearnedUniform
from molaug.groups import SE3, Aff3
from molaug.molecules.action import MoleculeAction
from molaug.report import (
    Monitor,
    compact_widths,
    comparison_table,
    describe_widths,
    save_widths_picture,
    show_width,
    show_widths,
    versions,
)


def row(symmetry: str, law) -> dict:
    keys = ("canonical", "canonical_1_copy", "rotated", "rotated_1_copy")
    return {
        "symmetry": symmetry,
        "network": "coordinates",
        "seed": 0,
        "unit": "meV",
        "copies": 8,
        **{f"test_mae_{key}": 101.25 + i for i, key in enumerate(keys)},
        "invariance_error": 2.5,
        "widths": describe_widths(law, [0.1] * len(law.caps)),
        "parameters": 84145,
        "seconds_per_epoch": 9.5,
    }


def show(*parts) -> str:
    console = Console(file=io.StringIO(), width=180)
    console.print(*parts, highlight=False)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("width", "kind", "text"),
    [(math.pi, "rotation", "180 deg"), (2.5, "translation", "2.50 A"), (0.1, "shear", "0.10")],
)
def test_widths_have_units(width, kind, text):
    assert show_width(width, kind) == text


def test_every_generator_is_described():
    law = LearnedUniform(Aff3(), 0.2)
    found = describe_widths(law, law.widths.tolist())
    assert tuple(found) == Aff3().names
    for name, member in zip(found, Aff3().members, strict=True):
        assert math.isclose(found[name]["learned"], 0.2 * member.cap, rel_tol=1e-5)
        assert found[name]["cap"] == pytest.approx(member.cap)


def test_table_shows_numbers_units_and_what_was_measured():
    text = show(comparison_table([row("learned", LearnedUniform(SE3()))], "homo [meV]: 10 test"))
    for word in ("homo [meV]: 10 test", "1 copy [meV]", "101.2", "103.2", "2.5", "84,145", "9.5"):
        assert word in text


def test_widths_are_listed_for_runs_that_move_their_inputs():
    text = show_widths([row("learned", LearnedUniform(SE3(), 0.5))])
    assert "rx ry rz  6 6 6 > 90 90 90 / 180 deg" in text
    assert "tx ty tz  0.10 0.10 0.10 > 2.50 2.50 2.50 / 5.00 A" in text
    still = row("none", Identity(SE3()))
    for width in still["widths"].values():
        width["initial"] = 0.0
    assert show_widths([still]) == ""


def test_progress_line_groups_widths_by_unit():
    line = compact_widths(["rx", "tx"], ["rotation", "translation"], [math.pi / 2, 1.0])
    assert line == "rx 90 deg  tx 1.00 A"


def test_monitor_prints_a_line_per_epoch_where_there_is_no_terminal():
    console = Console(file=io.StringIO(), width=200)
    names = [f"width_{name}" for name in SE3().names]
    now = SimpleNamespace(step=5, seconds=1.0, history=[])
    with Monitor(console, "learned", "meV", SE3()) as monitor:
        monitor(now, 20)
        now.history.append(
            {"epoch": 1, "train_loss": 0.5, "validation_error": 123.4, **dict.fromkeys(names, 0.0)}
        )
        monitor(now, 20)
        monitor(now, 20)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 1
    assert "validation 123.4 meV" in lines[0]
    assert "3 s left" in lines[0]


def test_widths_picture_starts_at_the_initial_widths(tmp_path):
    law = LearnedUniform(SE3(), 0.5)
    model = AveragedModel(torch.nn.Identity(), Augmentation(law, MoleculeAction()))
    history = [{f"width_{name}": 1.0 for name in SE3().names}]
    save_widths_picture(tmp_path / "w.svg", "t", history, model, law.widths.tolist())
    text = (tmp_path / "w.svg").read_text()
    assert text.count("<polyline") == 6
    assert "rx / 180 deg" in text


def test_versions_name_what_decides_a_result():
    assert {"python", "torch", "numpy"} <= set(versions())
