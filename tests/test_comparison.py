"""One line per symmetry and network, with nothing lost on the way to the screen."""

from __future__ import annotations

import io
from statistics import stdev

import pytest
from rich.console import Console

from molaug.comparison import HAAR, compare, comparison_table, conclude, notes, show_verdicts
from molaug.distributions import LearnedUniform
from molaug.groups import SE3
from molaug.report import describe_widths

ERRORS = {
    "test_mae_canonical": 101.25,
    "test_mae_canonical_1_copy": 102.25,
    "test_mae_rotated": 103.25,
    "test_mae_rotated_1_copy": 104.25,
    "invariance_error": 2.5,
}
NUMBERS = ("101.2", "102.2", "103.2", "104.2", "2.5", "84,145", "9.5")  # that `row` shows


def row(symmetry: str = "learned", seed: int = 0, more: float = 0.0) -> dict:
    law = LearnedUniform(SE3())
    return {
        **{"symmetry": symmetry, "network": "coordinates", "seed": seed, "copies": 8},
        **{"unit": "meV", "metric": "MAE", "examples": "molecules"},
        **{key: value + more for key, value in ERRORS.items()},
        **{"parameters": 84145, "seconds_per_epoch": 9.5},
        "widths": describe_widths(law, [0.1] * len(law.caps)),
    }


def verdict(word: str, low: float = 0.0, high: float = 0.5, reason: str = "because") -> dict:
    return {"verdict": word, "low": low, "high": high, "reason": reason}


def show(*rows: dict, width: int = 180) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(comparison_table(rows, "homo [meV]: 10 test"), highlight=False)
    return console.file.getvalue()


def test_table_shows_numbers_units_and_what_was_measured():
    text = show(row())
    words = ("homo [meV]: 10 test", "[meV]", "learned, coordinates (1)")
    assert [word for word in (*words, *NUMBERS) if word not in text] == []
    assert "Test MAE in meV on the test molecules as they are" in notes([row()])[0]


def test_a_narrow_terminal_loses_no_number():
    text = show(row(), width=80)
    assert [number for number in NUMBERS if number not in text] == []
    assert "…" not in text


def test_seeds_share_a_line_of_mean_and_spread():
    (line,) = compare([row(seed=3), row(seed=4, more=1.0), row(seed=5, more=5.0)])
    assert line.label == "learned coordinates, 3 seeds"
    assert line.show("test_mae_canonical") == f"103.2 ± {stdev([0, 1, 5]):.2g}"
    assert line.show("parameters") == "84,145"
    assert "Mean ± standard deviation over seeds." in notes(line.rows)
    assert "Mean ± standard deviation over seeds." not in notes([row()])


def test_turning_none_at_test_time_has_a_line_of_its_own():
    turned = {"copies": 8, **{key: 2 * value for key, value in ERRORS.items()}}
    rows = [{**row("none", seed), "haar_at_test": turned} for seed in (0, 1)]
    plain, haar = compare(rows)
    assert (plain.symmetry, haar.symmetry) == ("none", HAAR)
    assert haar.cells[0] == f"{HAAR}, coordinates (2)"
    assert [plain.show("test_mae_rotated"), haar.show("test_mae_rotated")] == ["103.2", "206.5"]
    assert haar.show("parameters") == plain.show("parameters")


def test_copies_of_fixed_augmentation_are_pointed_at():
    sentence = "fixed with 8 copies says whether"
    assert sentence in " ".join(notes([row(), row("fixed")]))
    assert sentence not in " ".join(notes([row()]))


def test_verdicts_are_told_with_their_evidence():
    found = {name: verdict("full", 3.0, 3.1) for name in ("rx", "ry", "rz")}
    found |= {"tx": verdict("partial", 1.0, 2.0), "ty": verdict("absent"), "tz": verdict("absent")}
    rows = [{**row(), "verdicts": found}, row("none")]
    sentence = "rx, ry, rz full; tx (1.00 to 2.00 A) partial; ty, tz absent."
    assert conclude(compare(rows)[0]) == sentence
    lines = show_verdicts(rows).splitlines()
    assert lines[0] == f"Verdict, learned coordinates, seed 0: {sentence}"
    assert lines[1] == "  rx  full, 172 to 178 deg: because"
    assert len(lines) == 7


def test_seeds_that_disagree_say_so():
    rows = [
        {**row(seed=0), "verdicts": {"rx": verdict("full", 3.0, 3.1, "flat")}},
        {**row(seed=1), "verdicts": {"rx": verdict("undecided", 1.0, 2.0, "too few")}},
        {**row(seed=2), "verdicts": {"rx": verdict("full", 2.9, 3.0, "flat")}},
    ]
    first, second = show_verdicts(rows).splitlines()
    assert first == "Verdict, learned coordinates, 3 seeds: rx undecided."
    assert second.endswith("deg: seeds differ: 2 full, 1 undecided")


@pytest.mark.parametrize("missing", [{}, {"verdicts": None}])
def test_without_verdicts_nothing_is_said(missing):
    assert show_verdicts([{**row(), **missing}]) == ""
