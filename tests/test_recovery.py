"""The recovery suite: whose truth is known, when a verdict is right, and one small run."""

from __future__ import annotations

import importlib
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from molaug.config import resolve
from molaug.images import tasks as images
from molaug.images.config import SpritesConfig
from molaug.molecules.data import load_sample
from molaug.molecules.targets import target_values

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
SMALL = SpritesConfig(
    preset="quick", train_size=16, validation_size=4, test_size=8, epochs=1, batch_size=8,
    channels=8, layers=1,
)  # fmt: skip


@pytest.fixture
def recovery(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    module = importlib.import_module("recovery")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "recovery.json")
    return module


def test_truth_is_what_the_tasks_of_images_say(recovery):
    found = {
        (name, generator): (one.truth(generator).verdict, one.truth(generator).widths)
        for name in ("sprites", "digits", "angles")
        for one in [recovery.TASKS[name]]
        for generator in one.build_group().names
    }
    assert found == {
        ("sprites", "r"): ("partial", (math.radians(45), math.radians(45))),
        ("digits", "r"): ("full", None),
        ("angles", "r"): ("absent", None),
        ("angles", "tx"): (None, None),
        ("angles", "ty"): (None, None),
    }
    pictures = images.open_data(SMALL)
    assert pictures.true_widths == pytest.approx(recovery.TASKS["sprites"].widths)


def test_a_range_may_be_right_from_here_to_there(recovery):
    low, high = recovery.TASKS["standing"].truth("rx").widths
    assert math.degrees(low) == pytest.approx(42.4264)
    assert math.degrees(high) == pytest.approx(60)
    found = {}
    for degrees in (37, 38, 50, 64.9, 65.1):
        generator = {"truth": "partial", "verdict": "partial", "width": math.radians(degrees)}
        found[degrees] = recovery.is_right(generator | {"true_widths": [low, high]})
    assert found == {37: False, 38: True, 50: True, 64.9: True, 65.1: False}
    others = {name: recovery.TASKS["standing"].truth(name) for name in ("rz", "tx", "ty", "tz")}
    assert {one.verdict for one in others.values()} == {"full"}


def test_molecules_stand_on_a_surface(recovery):
    known = importlib.import_module("known")
    sample = load_sample()
    molecules = sample.take(known.has_sides(sample))
    for least, most in ((0.0, known.TILT), (known.TILT, 2 * known.TILT)):
        standing = known.stand(molecules, (least, most))
        oxygen = known.to_oxygen(standing)
        tilts = np.arccos(np.abs(oxygen[:, 2]) / np.linalg.norm(oxygen, axis=1))
        assert tilts.min() >= least - 1e-5
        assert tilts.max() <= most + 1e-5
        is_up = oxygen[:, 2] > 0
        assert 0.4 < is_up.mean() < 0.6
        homo, lumo = (target_values(molecules, name) for name in ("homo", "lumo"))
        assert (known.by_side(standing) == np.where(is_up, homo, lumo)).all()
        # Nothing but a rotation, and mirrored nowhere.
        before, after = (
            np.stack([m.positions[i : i + 4] for i in m.offsets[:-1]]).astype(np.float64)
            for m in (molecules, standing)
        )
        before, after = (four[:, 1:] - four[:, :1] for four in (before, after))
        assert np.allclose(before @ before.mT, after @ after.mT, atol=1e-4)
        assert np.allclose(np.linalg.det(before), np.linalg.det(after), atol=1e-4)
    # Turned about the normal by any angle: the first atoms point everywhere.
    first = after[:, 0, :2] / np.linalg.norm(after[:, 0, :2], axis=1, keepdims=True)
    assert np.linalg.norm(first.mean(0)) < 0.15


def test_a_small_run_of_standing_molecules(recovery, monkeypatch, tmp_path):
    known, standing = importlib.import_module("known"), importlib.import_module("standing")
    monkeypatch.setattr(known, "load_qm9", load_sample)
    for name, count in (("TRAIN", 48), ("VALIDATION", 8), ("TEST", 16)):
        monkeypatch.setattr(known, name, count)
    monkeypatch.setattr(standing, "EPOCHS", 1)
    row = standing.train_one("fixed_true", 1, tmp_path)
    assert (row["train_count"], row["test_count"], row["seed"]) == (48, 16, 1)
    errors = [row[key] for key in standing.ERRORS]
    assert len(set(errors)) == len(errors)  # of other molecules, or moved otherwise
    widths = [row["widths"][name]["learned"] for name in ("rx", "ry", "rz", "tx")]
    assert widths == pytest.approx([*[known.STANDING[0]] * 2, math.pi, 5])
    monkeypatch.setattr(standing, "Trainer", None)
    assert standing.train_one("fixed_true", 1, tmp_path) == row  # not trained again


@pytest.mark.parametrize(
    ("truth", "verdict", "degrees", "right"),
    [
        ("full", "full", 170, True),
        ("full", "partial", 170, False),
        ("partial", "partial", 49.9, True),
        ("partial", "partial", 50.1, False),
        ("partial", "partial", 39.9, False),
        ("partial", "absent", 45, False),
        ("absent", "absent", 1, True),
    ],
)
def test_a_partial_symmetry_needs_its_range(recovery, truth, verdict, degrees, right):
    generator = {"truth": truth, "verdict": verdict, "width": math.radians(degrees)}
    generator |= {"true_widths": [math.pi / 4] * 2} if truth == "partial" else {}
    assert recovery.is_right(generator) == right
    assert recovery.score([generator, {"truth": None, "verdict": "full"}]) == f"{right:d} of 1"


def test_the_first_code_is_asked_about_molecules_only(recovery):
    asked = recovery.asked_for(["default", "augerino_compat"], ["homo_raw", "sprites"], None)
    assert [key for key in asked if key[0] == "augerino_compat"] == [
        ("augerino_compat", "homo_raw", 0)
    ]
    assert [key[2] for key in asked if key[:2] == ("default", "sprites")] == [0, 1, 2]


def test_a_wrong_start_favours_the_wrong_width(recovery):
    setting = recovery.SETTINGS["wrong_start"]
    starts = {}
    for name in ("sprites", "digits", "angles", "origin_distance"):
        law = recovery.build_law(recovery.TASKS[name], setting)
        starts[name] = [round(share, 3) for share in (law.widths / law.caps).tolist()]
    assert starts == {
        "sprites": [0.5],  # twice as far as the truth
        "digits": [0.01],
        "angles": [0.5, 0.5, 0.5],
        "origin_distance": [0.01, 0.01, 0.01, 0.5, 0.5, 0.5],
    }


def test_images_are_trained_as_their_command_trains_them(recovery):
    known = replace(recovery.TASKS["sprites"], config=SMALL)
    law = recovery.build_law(known, recovery.SETTINGS["default"])
    task, recipe = known.build(law, seed=3)
    config = resolve(SMALL, gpu=False)
    own, _ = images.build_task(
        images.open_data(config), config, symmetry="learned", network="residual", seed=3
    )
    ours, theirs = task.model.state_dict(), own.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (recipe.seed, recipe.epochs, recipe.rate) == (3, 1, config.rate)
    default = recovery.SETTINGS["default"]
    assert (recipe.probing, recipe.freeze) == (default.probing, default.freeze)


def test_one_constant_is_the_best_that_nothing_learned_can_do(recovery):
    assert recovery.error_of_constant(torch.tensor([0, 1, 1, 3])) == 50  # per cent
    assert recovery.error_of_constant(torch.tensor([0.0, 1.0, 8.0])) == pytest.approx(8 / 3)


def test_a_run_is_kept_and_not_repeated(recovery, monkeypatch):
    small = replace(recovery.TASKS["sprites"], config=SMALL)
    monkeypatch.setitem(recovery.TASKS, "sprites", small)
    keys = recovery.asked_for(["no_costs"], ["sprites"], [2])
    recovery.work(keys)
    (run,) = json.loads(recovery.RESULTS.read_text())["runs"]
    assert (run["setting"], run["task"], run["seed"], run["unit"]) == (
        "no_costs", "sprites", 2, "%",
    )  # fmt: skip
    (generator,) = run["generators"]
    assert generator["true_widths"] == pytest.approx([math.pi / 4] * 2)
    assert run["history"].keys() == {"r"}
    monkeypatch.setattr(recovery, "run", lambda *key: pytest.fail("it was repeated"))
    recovery.work(keys)
    assert "| sprites | " in recovery.table()
    assert "homo_raw" not in recovery.table()
