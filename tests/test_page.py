"""The page: one file without any link, well-formed, small, and careful in what it claims."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from molaug.groups import Aff3
from molaug.page import write_page
from molaug.report import describe_widths

NAMES = Aff3().names
LEARNED = {"rotation": 0.9, "translation": 0.05}  # shares of the natural range


def run(symmetry: str = "learned", network: str = "coordinates", seed: int = 0, initial=0.1):
    """A row, curves and a history, with every generator that the molecules have."""
    widths = {}
    for member in Aff3().members:
        share = LEARNED.get(member.kind, 0.5) if symmetry == "learned" else 0.0
        start = initial * member.cap if symmetry == "learned" else 0.0
        entry = {"initial": start, "learned": share * member.cap, "cap": member.cap}
        widths[member.name] = {**entry, "kind": member.kind, "unit": member.unit}
    keys = ("canonical", "canonical_1_copy", "rotated", "rotated_1_copy")
    row = {
        **{"symmetry": symmetry, "network": network, "seed": seed, "unit": "meV", "copies": 8},
        **{f"test_mae_{key}": 101.25 + i for i, key in enumerate(keys)},
        **{"invariance_error": 2.5, "parameters": 84145, "seconds_per_epoch": 9.5},
        **{"widths": widths, "train_count": 1000, "metric": "MAE", "examples": "molecules"},
    }
    if symmetry == "learned":
        row["verdicts"] = {m.name: verdict(m, LEARNED.get(m.kind, 0.5)) for m in Aff3().members}
    errors = {"error": [102.0, 100.0 + seed, 103.0], "standard_error": [1.0, 1.0, 1.0]}
    curves = {
        "measured_on": "150 test examples (canonical)",
        "orbits": {n: {"value": [-w["cap"], 0.0, w["cap"]], **errors} for n, w in widths.items()},
        "copies": {"copies": [1, 2, 4], **errors},
        "predicted": [-6000.0, -6100.0],
        "true": [-6010.0, -6200.0],
        "averaged_over": 8,
        "drawing": '<svg xmlns="http://www.w3.org/2000/svg"><circle r="3"/></svg>',
    }
    history = [
        {
            **{"epoch": float(epoch), "train_loss": 1.0, "seconds": 3.0 * epoch},
            "validation_error": 200.0 / epoch,
            **{f"width_{n}": w["learned"] for n, w in widths.items()},
        }
        for epoch in (1, 2)
    ]
    return row, curves, history


def verdict(member, share: float):
    """As `Verdict.to_dict` has it."""
    word = "full" if share > 0.8 else "absent" if share < 0.1 else "partial"
    return {"verdict": word, "low": 0.0, "high": member.cap, "reason": "of a test", "lost": 0.0}


def write(path: Path, *runs, command=("python", "-m", "molaug.train"), about="QM9 homo [meV]"):
    rows, curves, histories = (list(part) for part in zip(*runs, strict=True))
    settings = {"command": command, "versions": {"torch": "2.12.0"}, "about": about}
    write_page(path / "report.html", rows, curves, histories, **settings)
    return (path / "report.html").read_text()


def words(page: str) -> str:
    body = ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n")).find("body")
    return " ".join(" ".join(body.itertext()).split())


def test_the_page_is_one_small_file_without_links(tmp_path):
    page = write(
        tmp_path, *(run(s, n, k) for s in ("learned", "none") for n in "ab" for k in (0, 1))
    )
    assert len(page) < 3e6
    without_names = page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?://|//\w|src=|href=|@import|url\(|<script|<link", without_names)
    assert 'name="viewport"' in page
    assert "prefers-color-scheme" in page


def test_everything_is_there(tmp_path):
    command = ["python", "-m", "molaug.train", "qm9", "--run-dir", "a folder"]
    found = words(write(tmp_path, run(), run("none"), command=command))
    assert "python -m molaug.train qm9 --run-dir 'a folder'" in found
    assert "torch 2.12.0" in found
    assert "QM9 homo [meV]" in found
    for title in (
        "Comparison", "Width of every generator", "Widths over training",
        "How far each rotation opened", "Error against number of copies",
        "Learning curves against epoch", "Learning curves against seconds",
        "Predicted against true: learned coordinates", "Predicted against true: none coordinates",
    ):  # fmt: skip
        assert title in found
    titles = [f"Error along {'' if name == 'scale' else kind(name)}{name}" for name in NAMES]
    assert all(title in found for title in titles)
    assert "150 test examples (canonical)" in found
    assert "learned on 1,000 training molecules" in found


def kind(name: str) -> str:
    return {member.name: member.kind for member in Aff3().members}[name] + " "


def test_the_verdicts_of_learned_runs_come_first(tmp_path):
    found = words(write(tmp_path, run(), run("none")))
    lead = found[: found.index("Verdict: ")]
    assert (
        "learned coordinates, seed 0: rx, ry, rz full; tx, ty, tz absent; shear_xy (0.50)" in lead
    )
    assert "none coordinates" not in lead


def test_seeds_share_a_line_in_the_figures(tmp_path):
    found = words(write(tmp_path, run(seed=0), run(seed=1)))
    assert "learned coordinates, 2 seeds:" in found
    assert "mean of 2 seeds" in found


def test_without_a_learned_law_nothing_is_claimed(tmp_path):
    found = words(write(tmp_path, run("none")))
    assert "No run had widths to learn" in found
    assert "Width of every generator" not in found


def test_runs_without_curves_still_have_a_page(tmp_path):
    row, _, history = run()
    assert "Not measured" in words(write(tmp_path, (row, {}, history)))


def test_every_name_is_escaped(tmp_path):
    awkward = '<script>alert("x")</script> & co'
    row, curves, history = run(network=awkward)
    row["unit"] = curves["measured_on"] = awkward
    settings = {"command": ["python", awkward], "about": awkward}
    page = write(tmp_path, (row, curves, history), **settings)
    assert "<script" not in page
    assert words(page).count("alert") > 10


def test_it_takes_what_the_report_describes(tmp_path):
    from molaug.distributions import LearnedUniform

    law = LearnedUniform(Aff3(), 0.2)
    row, curves, history = run()
    row["widths"] = describe_widths(law, [0.1 * member.cap for member in Aff3().members])
    found = words(write(tmp_path, (row, curves, history)))
    assert f"±{math.degrees(0.2 * math.pi):.0f} of 180°" in found


def test_true_widths_are_marked_where_they_are_known(tmp_path):
    row, curves, history = run()
    assert "natural range true" not in words(write(tmp_path, (row, curves, history)))
    known = {**row, "true_widths": {"rx": math.pi, "scale": 0.0}}
    found = words(write(tmp_path, (known, curves, history)))
    assert "natural range true" in found


def test_learned_directions_and_the_mean_rotation_are_told(tmp_path):
    row, curves, history = run()
    row["widths"]["rz"]["direction"] = [0.6, 0.0, 0.8]
    page = write(tmp_path, ({**row, "mean_rotation": 0.125}, curves, history))
    assert (
        "rz turned to 0.60 rx + 0.80 rz. Mean rotation ||E R|| 0.12 (0: uniform rotations"
        in words(page)
    )


def test_a_verdict_has_its_evidence(tmp_path):
    row, curves, history = run()
    reason = "error rises by 12 meV & more"
    verdict = {"verdict": "partial", "low": 1.0, "high": 1.5, "reason": reason}
    found = words(write(tmp_path, ({**row, "verdicts": {"rx": verdict}}, curves, history)))
    assert "learned coordinates, seed 0: rx (162 deg) partial." in found
    assert f"rotation rx partial ±162 deg 86 deg {reason}" in found


def test_seeds_share_a_verdict_with_its_interval(tmp_path):
    runs = []
    for seed in (0, 1, 2):
        row, curves, history = run(seed=seed)
        row["widths"]["rx"]["learned"] = math.radians(40 + seed)
        verdict = {"verdict": "partial", "low": 0.7, "high": 0.8 + seed / 10, "reason": "level"}
        runs.append(({**row, "verdicts": {"rx": verdict}}, curves, history))
    found = words(write(tmp_path, *runs))
    assert "3 seeds: rx (41 deg, 95 % interval 39 to 43 deg) partial." in found
    assert "rotation rx partial ±41 deg (39 to 43 deg) 46 to 57 deg level" in found
    assert "95 % interval of that mean (Student's t" in found


@pytest.mark.parametrize("width", [0.0, 5.0])
def test_widths_of_nothing_and_beyond_the_range_are_drawn(tmp_path, width):
    row, curves, history = run()
    row["widths"]["rx"]["learned"] = width
    assert "nan" not in write(tmp_path, (row, curves, history)).lower().replace("nand", "")
