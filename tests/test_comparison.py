"""One line per symmetry and network, with nothing lost on the way to the screen."""

from __future__ import annotations

import io
import json
from statistics import stdev

import pytest
from rich.console import Console

from molaug.comparison import (
    HAAR,
    compare,
    comparison_table,
    conclude,
    notes,
    show_verdicts,
    verdicts_over_seeds,
)
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


def test_only_small_numbers_have_an_exponent():
    (line,) = compare([row(more=1e5), row(seed=1, more=2e5)])
    assert line.show("test_mae_canonical") == "150101 ± 70711"
    (line,) = compare([{**row(), "invariance_error": 1.25e-6}])
    assert line.show("invariance_error") == "1.25e-06"


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


def judged(seed: int = 0, learned: float = 1.0, **verdicts: dict) -> dict:
    """A row whose tx learned that width [A]."""
    found = {**row(seed=seed), "verdicts": verdicts}
    found["widths"]["tx"]["learned"] = learned
    return found


def test_verdicts_are_told_with_their_evidence():
    found = {name: verdict("full", 3.0, 3.1) for name in ("rx", "ry", "rz")}
    found |= {"tx": verdict("partial", 1.0, 2.0), "ty": verdict("absent"), "tz": verdict("absent")}
    rows = [judged(**found), row("none")]
    sentence = "rx, ry, rz full; tx (1.00 A) partial; ty, tz absent."
    assert conclude(compare(rows)[0]) == sentence
    lines = show_verdicts(rows).splitlines()
    assert lines[0] == f"Verdict, learned coordinates, seed 0: {sentence}"
    assert lines[1] == "  rx  full, width 9 deg: because"
    assert lines[4] == "  tx  partial, width 1.00 A, errors rise from 2.00 A: because"
    assert lines[7].startswith("Width: how far inputs are moved either way, as learned. Errors")
    assert len(lines) == 8


def test_seeds_that_agree_give_a_range_and_its_interval():
    edges = (1.2, 1.3, 1.25)
    rows = [
        judged(seed, 1.0 + seed / 10, tx=verdict("partial", 1.0, edge))
        for seed, edge in enumerate(edges)
    ]
    spread = 4.30 * 0.1 / 3**0.5
    interval = f"{1.1 - spread:.2f} to {1.1 + spread:.2f} A"
    first, second, third = show_verdicts(rows).splitlines()
    assert first.endswith(f", 3 seeds: tx (1.10 A, 95 % interval {interval}) partial.")
    expected = f"  tx  partial, width 1.10 A ({interval}), errors rise from 1.20 to 1.30 A: because"
    assert second == expected
    assert "95 % interval of that mean (Student's t" in third


def test_seeds_that_disagree_say_so():
    rows = [
        judged(0, tx=verdict("full", 3.0, 3.1, "flat")),
        judged(1, tx=verdict("undecided", 1.0, 2.0, "too few")),
        judged(2, tx=verdict("full", 2.9, 3.0, "flat")),
    ]
    first, second, _ = show_verdicts(rows).splitlines()
    assert first == "Verdict, learned coordinates, 3 seeds: tx (seeds differ) undecided."
    assert second.endswith("A): seeds differ: full (0, 2), undecided (1)")


def test_verdicts_over_seeds_are_plain_data():
    rows = [judged(seed, tx=verdict("partial", 1.0, 1.5)) for seed in (3, 4)]
    (line,) = verdicts_over_seeds([*rows, row("none")])
    assert (line["symmetry"], line["network"], line["seeds"]) == ("learned", "coordinates", [3, 4])
    (found,) = line["generators"].values()
    assert (found["verdict"], found["unit"], found["width"]) == ("partial", "A", 1.0)
    assert json.loads(json.dumps(found))["by_seed"] == {"3": "partial", "4": "partial"}


def test_learned_directions_are_matched_by_their_widths():
    """What seed 0 calls rx seed 1 calls rz: its widest rotation."""
    rows = []
    for seed, widest in enumerate(("rx", "rz")):
        found = {name: verdict("absent") for name in ("rx", "ry", "rz")}
        rows.append(judged(seed, **{**found, widest: verdict("full", 3.0, 3.1)}))
        for name, width in rows[-1]["widths"].items():
            width["direction"] = [0.6, 0.8, 0.0, 0.0, 0.0, 0.0]
            width["learned"] = 3.0 if name == widest else 0.1
    (line,) = compare(rows)
    assert conclude(line) == "rotation 1 full; rotation 2, rotation 3 absent."
    assert conclude(compare(rows[:1])[0]) == "rx full; ry, rz absent."


@pytest.mark.parametrize("missing", [{}, {"verdicts": None}])
def test_without_verdicts_nothing_is_said(missing):
    assert show_verdicts([{**row(), **missing}]) == ""
