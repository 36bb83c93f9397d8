"""Errors and invariance on held-out molecules, as functions of the seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel, Scaling
from molaug.compat import build_compat
from molaug.distributions import Haar, Identity, LearnedUniform
from molaug.evaluate import (
    error_against_copies,
    error_along_orbit,
    errors,
    invariance_error,
    mean_error,
    mean_rotation,
    measure,
    measure_curves,
    predictions_and_targets,
    some_rows,
    turn_at_random,
    variance,
)
from molaug.groups import SE3
from molaug.molecules.action import MoleculeAction
from molaug.molecules.data import load_sample
from molaug.molecules.networks import GraphNetwork
from molaug.molecules.tasks import MoleculeExamples
from molaug.task import Task, absolute_error, absolute_loss


def build_task(level: str = "coordinates", law=None, output: str = "scalar") -> Task:
    molecules = load_sample().take(np.arange(40))
    values = molecules.properties[:, 5] if output == "scalar" else np.ones((40, 3))
    examples = MoleculeExamples(molecules, values)
    network = GraphNetwork(level=level, output=output, channels=8, layers=1)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    scaling = Scaling(-0.25 if output == "scalar" else 0.0, 0.02)
    augmentation = Augmentation(law or Identity(SE3()), MoleculeAction(output))
    return Task(
        name="sample",
        unit="Eh",
        train=examples,
        validation=examples,
        tests={"canonical": examples, "rotated": examples},
        model=AveragedModel(network, augmentation, scaling),
        loss=absolute_loss,
        error=absolute_error,
    )


def test_mean_error_is_that_of_a_loop_over_molecules():
    task = build_task()
    single = []
    for row in range(40):
        batch, target = task.train.gather(torch.tensor([row]))
        single.append(float((task.model.predict(batch, 1) - target).abs()))
    assert mean_error(task.model, task, task.train) == pytest.approx(np.mean(single), rel=1e-4)
    assert len(errors(task.model, task, task.train)) == 40


def test_an_evaluation_is_a_function_of_its_seed():
    task = build_task(law=Haar(SE3(), 3.0))
    first = mean_error(task.model, task, task.train, copies=2, seed=1)
    torch.rand(7)
    assert mean_error(task.model, task, task.train, copies=2, seed=1) == first
    assert mean_error(task.model, task, task.train, copies=2, seed=2) != first


@pytest.mark.parametrize("output", ["scalar", "vector"])
def test_invariance_error_is_rounding_only_for_a_symmetric_network(output):
    found = {}
    for level in ("distances", "coordinates"):
        task = build_task(level, output=output)
        found[level] = invariance_error(task.model, task.train, copies=1)
    assert found["distances"] < 1e-3 * found["coordinates"]


def test_a_network_turned_at_random_becomes_more_invariant_and_moves_nowhere():
    task = build_task()
    turned = turn_at_random(task.model)
    before, after = (invariance_error(m, task.train, copies=16) for m in (task.model, turned))
    assert after < 0.5 * before
    assert isinstance(task.model.augmentation.distribution, Identity)  # it keeps its own law
    widths = turned.augmentation.distribution.widths
    assert widths.tolist() == pytest.approx([torch.pi] * 3 + [0] * (len(widths) - 3))


def test_variance_leaves_out_what_is_not_known():
    nan = torch.nan
    values = torch.tensor([[1.0, 2.0, nan], [3.0, nan, nan], [5.0, nan, 7.0]])
    assert variance(values).nan_to_num(-1).tolist() == [4.0, -1.0, -1.0]
    whole = torch.randn(5, 4)
    assert torch.allclose(variance(whole), whole.var(0))


def test_what_is_shown_of_a_prediction_is_what_its_invariance_is_measured_in():
    task = build_task()
    tenfold = invariance_error(task.model, task.train, copies=1, shown=lambda p: 10 * p)
    assert tenfold == pytest.approx(10 * invariance_error(task.model, task.train, copies=1))


def test_invariance_is_measured_with_exact_rotations_even_for_compat():
    task = build_task("distances", build_compat(SE3()))
    task.model.augmentation.distribution.parameter.data.fill_(-50.0)  # no widths
    assert invariance_error(task.model, task.train, copies=1) < 1e-6


def test_more_copies_of_all_rotations_are_more_invariant():
    task = build_task(law=Haar(SE3()))
    few, many = (invariance_error(task.model, task.train, copies=c) for c in (1, 16))
    assert many < few / 2


def test_measure_reports_every_test_set_with_one_and_many_copies():
    task = build_task()
    found = measure(task.model, task, copies=2)
    assert set(found) == {
        "copies",
        "invariance_error",
        *(f"test_mae_{n}{c}" for n in ("canonical", "rotated") for c in ("", "_1_copy")),
    }
    assert found["test_mae_canonical"] == pytest.approx(found["test_mae_canonical_1_copy"])


@pytest.mark.parametrize(("output", "generator"), [("scalar", "rx"), ("vector", "rz")])
def test_error_along_an_orbit_is_level_only_for_a_symmetric_network(output, generator):
    spread = {}
    for level in ("distances", "coordinates"):
        task = build_task(level, output=output)
        found = error_along_orbit(task.model, task, task.train, generator, [-2.0, 0.0, 2.0])
        assert found["value"] == [-2.0, 0.0, 2.0]
        assert found["error"][1] == pytest.approx(mean_error(task.model, task, task.train))
        spread[level] = np.ptp(found["error"]) / np.mean(found["error"])
    assert spread["distances"] < 1e-4
    assert spread["coordinates"] > 10 * spread["distances"]


def test_an_orbit_is_exact_even_for_compat():
    task = build_task("distances", build_compat(SE3()))
    task.model.augmentation.distribution.parameter.data.fill_(-50.0)  # no widths
    found = error_along_orbit(task.model, task, task.train, "rx", [0.0, np.pi])
    assert found["error"][1] == pytest.approx(found["error"][0], rel=1e-4)


def test_curves_are_functions_of_their_seed_and_use_as_many_examples_as_asked():
    task = build_task(law=Haar(SE3(), 3.0))
    first = measure_curves(task.model, task, copies=2, most=12, seed=1)
    torch.rand(7)
    assert measure_curves(task.model, task, copies=2, most=12, seed=1) == first
    assert measure_curves(task.model, task, copies=2, most=12, seed=2) != first
    assert len(first["true"]) == len(first["predicted"]) == 12
    assert set(first["orbits"]) == set(SE3().names)
    assert first["orbits"]["tx"]["value"][-1] == SE3().members[3].cap


def test_errors_against_copies_are_those_of_the_evaluation():
    task = build_task(law=Haar(SE3(), 3.0))
    found = error_against_copies(task.model, task, task.train, copies=(1, 3), most=40, seed=5)
    assert found["copies"] == [1, 3]
    options = [{"copies": c, "most": 40, "seed": 5} for c in (1, 3)]
    expected = [float(errors(task.model, task, task.train, **one).mean()) for one in options]
    assert found["error"] == pytest.approx(expected)
    single = errors(task.model, task, task.train, most=40, seed=5)
    assert found["standard_error"][0] == pytest.approx(float(single.std(correction=0)) / 40**0.5)


def test_predictions_keep_company_with_their_targets():
    task = build_task()
    predictions, targets = predictions_and_targets(task.model, task.train, most=9)
    expected = task.error(predictions, targets)
    assert torch.equal(errors(task.model, task, task.train, most=9), expected)


def test_the_mean_rotation_tells_uniform_rotations_from_none():
    open_law = LearnedUniform(SE3(), [0.999999] * 3 + [0.1] * 3).eval()
    assert mean_rotation(open_law) < 0.05
    assert mean_rotation(Haar(SE3(), 5.0)) < 0.05
    assert mean_rotation(Identity(SE3())) == pytest.approx(1.0, abs=1e-6)
    half = mean_rotation(LearnedUniform(SE3(), 0.5).eval())
    assert half is not None
    assert 0.05 < half < 0.95


def test_some_rows_are_the_same_ones_each_time_and_not_the_first():
    task = build_task()
    rows = some_rows(task.train, 9)
    assert len(set(rows.tolist())) == 9
    assert torch.equal(rows, some_rows(task.train, 9))
    assert rows.max() > 9
    assert torch.equal(some_rows(task.train, None), torch.arange(40))


def test_large_examples_are_predicted_a_few_at_a_time():
    task, sizes = build_task(), []
    forward = task.model.network.forward

    def watched(batch):
        sizes.append(len(batch))
        return forward(batch)

    task.model.network.forward = watched
    usual = measure(task.model, task, copies=16)
    assert max(sizes) == 256
    sizes.clear()
    task.train.bulk = 8
    few = measure(task.model, task, copies=16)
    assert max(sizes) <= 256 // 8
    assert few["test_mae_canonical"] == pytest.approx(usual["test_mae_canonical"])


def test_rows_are_taken_by_chance_from_small_sets_too():
    task = build_task()
    count = len(task.validation)
    assert some_rows(task.validation, None).tolist() == [*range(count)]
    for most in (count, count + 1):
        rows = some_rows(task.validation, most).tolist()
        assert rows != sorted(rows)
        assert sorted(rows) == [*range(count)]
