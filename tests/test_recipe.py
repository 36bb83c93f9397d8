"""Which parameters move, at which rates."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from recipes import RECIPE

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import Identity, LearnedUniform
from molaug.groups import SE3
from molaug.molecules.action import MoleculeAction
from molaug.molecules.networks import GraphNetwork
from molaug.recipe import build_optimizers, pace, schedule, split_parameters
from molaug.timetable import stride


def build_model() -> AveragedModel:
    torch.manual_seed(0)
    augmentation = Augmentation(LearnedUniform(SE3()), MoleculeAction())
    return AveragedModel(GraphNetwork(channels=16, layers=1), augmentation)


def test_every_parameter_is_in_one_group_and_widths_have_no_decay():
    model = build_model()
    groups = [g for o in build_optimizers(model, RECIPE, 12) for g in o.param_groups]
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())
    widths = [g for g in groups if g["role"] == "widths"]
    assert [g["weight_decay"] for g in widths] == [0.0]
    assert widths[0]["params"] == list(model.augmentation.distribution.parameters())


def test_adamw_can_take_the_matrices_too():
    model = build_model()
    recipe = replace(RECIPE, optimizer="adamw")
    (only,) = build_optimizers(model, recipe, 12)
    assert sum(len(g["params"]) for g in only.param_groups) == len(list(model.parameters()))
    assert split_parameters(model)["matrices"]


def test_schedule_warms_up_and_ends_at_zero():
    rates = [schedule(done / 100, RECIPE)["network"] for done in range(101)]
    assert 0 < rates[0] < 0.01
    assert max(rates) > 0.9
    assert rates[-1] < 1e-12
    assert schedule(0.19, RECIPE)["widths"] == 0 < schedule(0.21, RECIPE)["widths"]


def test_widths_move_in_some_steps_of_a_long_run_as_far_as_in_all_of_a_short_one():
    assert [stride(steps) for steps in (1, 483, 484, 2500, 4000, 10**6)] == [1, 1, 2, 4, 5, 8]
    model = build_model()
    for steps in (100, 2400):
        (widths,) = (
            group
            for optimizer in build_optimizers(model, RECIPE, steps)
            for group in optimizer.param_groups
            if group["role"] == "widths"
        )
        moves = steps / stride(steps)
        assert widths["peak"] * moves == pytest.approx(RECIPE.width_rate)


def test_the_average_of_weights_remembers_a_twentieth_of_a_short_run():
    assert pace(1000, 1250, 0.995) == pytest.approx(1 / 62.5)
    assert pace(3000, 4000, 0.995) == pace(3000, 10**6, 0.995) == pytest.approx(0.005)
    assert pace(3000, 4000, 0.98) == pytest.approx(0.02)  # as asked for, where that is shorter
    assert pace(0, 4000, 0.995) == pytest.approx(0.9)  # and forgets the start
    assert pace(90, 100, 0.995) == pytest.approx(0.1)
    assert pace(3000, 4000, 0.0) == 1.0  # no average


def test_a_matrix_that_layers_share_is_moved_once():
    model = build_model()
    layers = [torch.nn.Linear(16, 16) for _ in range(2)]
    layers[1].weight = layers[0].weight
    model.network = torch.nn.Sequential(*layers)
    assert len(split_parameters(model)["matrices"]) == 1
    groups = [g for o in build_optimizers(model, RECIPE, 12) for g in o.param_groups]
    ids = [id(p) for group in groups for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())


def test_a_network_may_be_all_matrices():
    augmentation = Augmentation(Identity(SE3()), MoleculeAction())
    model = AveragedModel(torch.nn.Linear(16, 16, bias=False), augmentation)
    (only,) = build_optimizers(model, RECIPE, 12)
    assert [len(group["params"]) for group in only.param_groups] == [1]
