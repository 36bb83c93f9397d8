"""What is shown has its unit, and nothing gets lost on the way to the screen."""

from __future__ import annotations

import io
import math
import re
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from molaug import report
from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import Haar, Identity, LearnedUniform
from molaug.groups import SE3, Aff3
from molaug.molecules.action import MoleculeAction
from molaug.report import (
    Monitor,
    compact_widths,
    describe_run,
    describe_widths,
    direction_lines,
    print_plain,
    save_widths_picture,
    show_width,
    show_widths,
    versions,
)


def row(symmetry: str, law) -> dict:
    return {
        "symmetry": symmetry,
        "network": "coordinates",
        "seed": 0,
        "widths": describe_widths(law, [0.1] * len(law.caps)),
    }


@pytest.mark.parametrize(
    ("width", "unit", "text"),
    [(math.pi, "rad", "180 deg"), (2.5, "A", "2.50 A"), (0.1, "", "0.10")],
)
def test_widths_have_units(width, unit, text):
    assert show_width(width, unit) == text


def test_every_generator_is_described():
    law = LearnedUniform(Aff3(), 0.2)
    found = describe_widths(law, [0.01 * i for i in range(12)])
    assert tuple(found) == Aff3().names
    assert [w["initial"] for w in found.values()] == [0.01 * i for i in range(12)]
    for name, member in zip(found, Aff3().members, strict=True):
        assert (found[name]["kind"], found[name]["unit"]) == (member.kind, member.unit)
        assert math.isclose(found[name]["learned"], 0.2 * member.cap, rel_tol=1e-5)
        assert found[name]["cap"] == pytest.approx(member.cap)


def test_widths_are_listed_where_they_were_learned():
    text = show_widths([row("learned", LearnedUniform(SE3(), 0.5))])
    assert "rx ry rz  6 6 6 > 90 90 90 / 180 deg" in text
    assert "tx ty tz  0.10 0.10 0.10 > 2.50 2.50 2.50 / 5.00 A" in text
    for law in (Identity(SE3()), Haar(SE3(), 5.0)):
        still = row("none", law)
        for width in still["widths"].values():
            width["initial"] = width["learned"]
        assert show_widths([still]) == ""


def test_progress_line_groups_widths_by_unit():
    line = compact_widths({"rx": "rad", "tx": "A"}, [math.pi / 2, 1.0])
    assert line == "rx 90 deg  tx 1.00 A"


def watch(console: Console, monkeypatch: pytest.MonkeyPatch, seconds: float) -> str:
    """What a run of three epochs shows, of five steps each that take so many seconds."""
    widths = {f"width_{name}": 0.0 for name in SE3().names}
    now = SimpleNamespace(step=0, seconds=0.0, history=[])
    monkeypatch.setattr(report.time, "monotonic", lambda: 1000 + now.seconds)
    with Monitor(console, "1/2  learned", "meV", SE3()) as monitor:
        for epoch in (1, 2, 3):
            for _ in range(5):
                now.step, now.seconds = now.step + 1, now.seconds + seconds
                if now.step == 5 * epoch:
                    result = {"train_loss": 0.5, "validation_error": 122.4 + epoch}
                    now.history.append({"epoch": epoch, **result, **widths})
                monitor(now, 20)
    return console.file.getvalue()


def test_monitor_prints_epochs_where_there_is_no_terminal(monkeypatch):
    lines = watch(Console(file=io.StringIO(), width=80), monkeypatch, seconds=10.0).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("1/2  learned  epoch 1  loss 0.500  validation 123.4 meV  rx 0")
    assert lines[1].startswith("1/2  learned  epoch 2  loss 0.500  validation 124.4 meV  rx 0")
    assert [line.split("  ")[-1] for line in lines] == ["150 s left", "100 s left", "50 s left"]


def test_short_epochs_do_not_fill_a_log(monkeypatch):
    lines = watch(Console(file=io.StringIO(), width=80), monkeypatch, seconds=4.0).splitlines()
    assert ["epoch 1" in lines[0], "epoch 3" in lines[1]] == [True, True]
    assert len(lines) == 2


def test_a_finished_run_is_told_in_one_line():
    found = {"metric": "MAE", "unit": "meV", "copies": 8, "seconds_training": 61.2}
    found |= {"test_mae_canonical": 101.25, "test_mae_rotated": 102.25}
    line = describe_run(found, "2/9  none coordinates seed 0")
    expected = (
        "2/9  none coordinates seed 0  MAE in meV: 101.2 canonical, 102.2 rotated, 8 copies; "
    )
    assert line == expected + "61 s of training"


def test_brackets_in_a_path_are_no_markup():
    console = Console(file=io.StringIO(), width=20)
    print_plain(console, "/a folder/[bold]/runs/report.html")
    assert console.file.getvalue() == "/a folder/[bold]/runs/report.html\n"


def test_monitor_leaves_nothing_behind_on_a_terminal(monkeypatch):
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    text = watch(console, monkeypatch, seconds=0.0)
    assert "first epoch" in text
    assert text.rstrip("\n").endswith("\x1b[2K")  # its last act is to clear its line


def test_widths_picture_starts_at_the_initial_widths(tmp_path):
    law = LearnedUniform(SE3(), 0.5)
    model = AveragedModel(torch.nn.Identity(), Augmentation(law, MoleculeAction()))
    history = [dict(zip(map("width_{}".format, SE3().names), law.caps.tolist(), strict=True))]
    save_widths_picture(tmp_path / "w.svg", "t", history, model, law.widths.tolist())
    text = (tmp_path / "w.svg").read_text()
    lines = [points.split() for points in re.findall('points="([^"]*)"', text)]
    assert len(lines) == 6
    assert len(set(map(tuple, lines))) == 1  # all of them from half to the whole of their range
    assert len(lines[0]) == 2
    assert all(name in text for name in ("rx / 180 deg", "tz / 5.00 A"))


def test_versions_name_what_decides_a_result():
    assert {"python", "torch", "numpy"} <= set(versions())


def test_learned_directions_are_named_as_sums_of_generators():
    law = LearnedUniform(SE3(), 0.3, directions=True)
    start = law.widths.tolist()
    assert direction_lines(describe_widths(law, start)) == []
    with torch.no_grad():
        law.turns[0, 2] = math.pi / 3
    lines = direction_lines(describe_widths(law, start))
    assert lines == [
        "rx turned to 0.50 rx + 0.87 ry", "ry turned to -0.87 rx + 0.50 ry",
    ]  # fmt: skip
