"""The loop: exact resume from any step, schedules, parameter groups, and what stops a run."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from recipes import RECIPE

from molaug import loop, timetable
from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel, build_scaling
from molaug.distributions import Haar, LearnedUniform
from molaug.groups import SE3
from molaug.loop import (
    Interrupted,
    NotFinite,
    Trainer,
)
from molaug.molecules.action import MoleculeAction
from molaug.molecules.data import load_sample
from molaug.molecules.networks import GraphNetwork
from molaug.molecules.tasks import MoleculeExamples
from molaug.objectives import NormReward, Objective, ScaleFree
from molaug.processes import start_fabric
from molaug.task import Task, absolute_error, absolute_loss
from molaug.update import follow


def build_task(bad_row: int | None = None, device: torch.device | str = "cpu") -> Task:
    molecules = load_sample().take(np.arange(80))
    values = molecules.properties[:, 5].copy()
    scaling = build_scaling(values)
    train = MoleculeExamples(molecules.take(np.arange(64)), values[:64], device)
    if bad_row is not None:
        train.targets[bad_row] = math.nan
    test = MoleculeExamples(molecules.take(np.arange(64, 80)), values[64:], device)
    torch.manual_seed(0)
    augmentation = Augmentation(LearnedUniform(SE3()), MoleculeAction())
    model = AveragedModel(GraphNetwork(channels=16, layers=1), augmentation, scaling)
    return Task(
        name="sample",
        unit="Eh",
        train=train,
        validation=test,
        tests={"canonical": test},
        model=model,
        loss=absolute_loss,
        error=absolute_error,
    )


def trainer(folder, task=None, recipe=RECIPE, objective=None):
    objective = objective or ScaleFree()
    return Trainer(task or build_task(), objective, recipe, folder, start_fabric("cpu"))


def weights(folder):
    one = trainer(folder)
    model = one.fit()
    return one, {
        **model.state_dict(),
        **{f"raw {k}": v for k, v in one.task.model.state_dict().items()},
    }


def strip(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    torch.manual_seed(99)  # the state of the generator beforehand must not matter
    return weights(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("stop", [1, 4, 6, 11])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_stopped_by_a_signal_continues_bit_for_bit(tmp_path, uninterrupted, stop, number):
    def kill(progress, total):
        if progress.step == stop:
            os.kill(os.getpid(), number)

    with pytest.raises(Interrupted) as stopped:
        trainer(tmp_path).fit(kill)
    assert stopped.value.code == 128 + number
    whole, expected = uninterrupted
    continued, found = weights(tmp_path)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert strip(continued.progress.history) == strip(whole.progress.history)


@pytest.mark.parametrize("stop", [1, 5, 7, 10])
def test_steps_whose_elements_are_drawn_together_continue_bit_for_bit(tmp_path, monkeypatch, stop):
    monkeypatch.setattr(timetable, "stride", lambda steps: 4)

    def kill(progress, total):
        if progress.step == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    _, expected = weights(tmp_path / "whole")
    with pytest.raises(Interrupted):
        trainer(tmp_path / "stopped").fit(kill)
    _, found = weights(tmp_path / "stopped")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("stretches", [False, True])
def test_every_step_has_elements_of_its_own_also_where_they_are_drawn_together(
    tmp_path, monkeypatch, stretches
):
    monkeypatch.setattr(timetable, "stride", lambda steps: 4)
    one, seen, drawn = trainer(tmp_path), [], []
    one.stretches = stretches
    augmentation = one.task.model.augmentation
    act, draw = augmentation.action.act, augmentation.draw

    class Watching:
        def act(self, elements, batch):
            seen.append(elements.detach().clone())
            return act(elements, batch)

        def act_on_output(self, elements, prediction):
            return prediction

    augmentation.action = Watching()
    monkeypatch.setattr(augmentation, "draw", lambda c, n: drawn.append(n) or draw(c, n))
    one.fit()
    assert len(seen) == one.total == 12
    assert len(torch.unique(torch.cat(seen).flatten(1), dim=0)) == 3 * 64
    # Frozen for a fifth of the run: one draw for the first four steps, or for a stretch of 32, then
    # one for a step that moves widths and one for the three after it.
    assert drawn == [512 if stretches else 64, 16, 64, 16, 64]


@pytest.mark.parametrize("stop", [4, 5, 6, 11])
def test_a_run_whose_widths_have_settled_continues_bit_for_bit(tmp_path, monkeypatch, stop):
    monkeypatch.setattr(timetable, "stride", lambda steps: 1)
    monkeypatch.setattr(timetable, "STRETCH", 4)
    unsettled, counts = loop.unsettled, []

    def settle(law, opened):
        """From the fifth step on: its stretch has begun at the fourth."""
        return [] if trained[-1].progress.step >= 5 else unsettled(law, opened)

    monkeypatch.setattr(loop, "unsettled", settle)
    trained = []

    def finish(folder, until=None):
        trained.append(trainer(folder))
        trained[-1].stretches = True
        augmentation = trained[-1].task.model.augmentation
        draw = augmentation.draw
        monkeypatch.setattr(augmentation, "draw", lambda c, n: counts.append(n) or draw(c, n))

        def kill(progress, total):
            if progress.step == until:
                os.kill(os.getpid(), signal.SIGTERM)

        return trained[-1].fit(kill)

    expected = finish(tmp_path / "whole").state_dict()
    assert counts == [64, *[16, 16], *[64, 64]]  # frozen, moving, and settled from the fifth on
    with pytest.raises(Interrupted):
        finish(tmp_path / "stopped", stop)
    found = finish(tmp_path / "stopped").state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("stop", [2, 7])
def test_a_run_that_dies_without_warning_continues_bit_for_bit(tmp_path, uninterrupted, stop):
    """As kill -9 leaves it: nothing saved since the last epoch."""

    def die(progress, total):
        if progress.step == stop:
            raise MemoryError

    with pytest.raises(MemoryError):
        trainer(tmp_path).fit(die)
    _, expected = uninterrupted
    _, found = weights(tmp_path)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_finished_run_is_not_trained_again(tmp_path):
    _, first = weights(tmp_path)
    before = (tmp_path / "state.pt").stat().st_mtime_ns
    _, second = weights(tmp_path)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (tmp_path / "state.pt").stat().st_mtime_ns == before


def test_training_lowers_the_loss_and_frees_the_widths_after_the_freeze(uninterrupted):
    whole, _ = uninterrupted
    losses = [row["train_loss"] for row in whole.progress.history]
    assert losses[-1] < losses[0]
    start = LearnedUniform(SE3()).widths.tolist()[0]
    assert whole.progress.history[-1]["width_rx"] > start


def test_frozen_widths_do_not_move(tmp_path):
    recipe = replace(RECIPE, freeze=0.999)
    one = trainer(tmp_path, recipe=recipe)
    before = one.task.model.augmentation.distribution.parameter.clone()
    one.fit()
    assert torch.equal(one.task.model.augmentation.distribution.parameter, before)


def test_a_loss_that_is_not_a_number_stops_the_run_and_keeps_the_last_state(tmp_path):
    task = build_task(bad_row=5)
    with pytest.raises(NotFinite, match=r"nan at step \d+ of 12, on molecules .*\d+") as stopped:
        trainer(tmp_path, task).fit()
    assert str(task.train.index[5]) in str(stopped.value)
    fresh = trainer(tmp_path, build_task(bad_row=5))
    assert all(p.isfinite().all() for p in fresh.task.model.parameters())


def broken_at(run, step):
    """A loss that is finite in that step of a run, and whose gradient is not."""

    def loss(output, target):
        value = absolute_loss(output, target)
        nothing = (output - output.detach()).square().sum().sqrt()
        return value + nothing if run[0].progress.step == step else value

    return loss


@pytest.mark.parametrize("step", [3, 6, 11])
def test_weights_that_are_not_numbers_are_not_saved(tmp_path, monkeypatch, step):
    """Neither at the end of an epoch or of the run, nor where a signal stops it."""
    monkeypatch.setattr(loop, "SAVING", math.inf)
    run = []
    run.append(trainer(tmp_path, replace(build_task(), loss=broken_at(run, step))))

    def kill(progress, total):
        if progress.step == 7:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(NotFinite, match=rf"^weights are nan after step {step + 1} of 12; .*state"):
        run[0].fit(kill if step == 6 else None)
    fresh = trainer(tmp_path)
    assert fresh.progress.step == {3: 0, 6: 4, 11: 8}[step]
    assert all(p.isfinite().all() for p in fresh.task.model.parameters())


def test_a_validation_error_that_is_not_a_number_stops_the_run(tmp_path):
    task = build_task()
    task.validation.targets[2] = math.nan
    with pytest.raises(NotFinite, match=r"the validation error is nan after step 4 of 12"):
        trainer(tmp_path, task).fit()
    assert trainer(tmp_path).progress.step == 0


def test_a_model_that_comes_in_evaluation_mode_is_trained_as_any_other(tmp_path, uninterrupted):
    task = build_task()
    task.model.eval()
    found = trainer(tmp_path, task).fit()
    assert not found.training
    expected = uninterrupted[1]
    assert all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())


class Normalised(torch.nn.Module):
    """With running statistics, and a count for which every step has a new tensor, if it counts."""

    def __init__(self, counts=True):
        super().__init__()
        self.counts = counts
        self.norm, self.head = torch.nn.BatchNorm1d(1), torch.nn.Linear(1, 1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("constant", torch.ones(()), persistent=False)

    def forward(self, batch):
        if self.training and self.counts:
            self.seen = self.seen + 1
        sizes = batch.positions.square().sum((1, 2))
        return self.constant * self.head(self.norm(sizes[:, None]))[:, 0]


def normalised(folder):
    task = build_task()
    torch.manual_seed(0)
    model = AveragedModel(Normalised(), task.model.augmentation, task.model.scaling)
    return trainer(folder, replace(task, model=model))


def test_what_is_evaluated_has_the_running_statistics_of_what_is_trained(tmp_path):
    run = normalised(tmp_path / "whole")
    found = run.fit().network
    trained = run.task.model.network
    assert found.norm.running_mean != 0
    assert torch.equal(found.norm.running_mean, trained.norm.running_mean)
    assert torch.equal(found.norm.running_var, trained.norm.running_var)
    assert found.norm.num_batches_tracked == found.seen == run.total
    assert not torch.equal(found.head.weight, trained.head.weight)

    def kill(progress, total):
        if progress.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted):
        normalised(tmp_path / "stopped").fit(kill)
    again = normalised(tmp_path / "stopped").fit().network.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in found.state_dict().items())


def test_constants_are_not_copied(tmp_path):
    assert trainer(tmp_path).update.buffers == []
    names = [name for *_, name in normalised(tmp_path).update.buffers]
    assert sorted(names) == ["num_batches_tracked", "running_mean", "running_var", "seen"]


def test_history_has_one_row_per_epoch(tmp_path):
    trainer(tmp_path).fit()
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert rows[0].startswith("epoch,train_loss,validation_error,seconds,width_rx")
    assert len(rows) == 1 + RECIPE.epochs


def test_costs_are_measured_once_early_and_from_when_widths_are_free_and_kept_with_both_models(
    tmp_path,
):
    recipe = replace(RECIPE, epochs=12, freeze=0.4)
    run, seen = trainer(tmp_path, recipe=recipe), []
    run.fit(lambda now, total: seen.append((now.step - 1, run.law.costs.clone())))
    early, free = int(timetable.FIRST * run.total), math.ceil(recipe.freeze * run.total)
    assert 0 < early < free
    assert all((costs == 0).all() for step, costs in seen if step < early)
    first = seen[early][1]
    assert (first != 0).all()
    assert all(torch.equal(costs, first) for step, costs in seen if early <= step < free)
    assert not torch.equal(seen[free][1], first)
    last = seen[-1][1]
    averaged = run.averaged.augmentation.distribution
    assert torch.equal(averaged.costs, last)
    assert (averaged.whole_costs >= last).all()
    assert torch.equal(averaged.whole_costs, run.law.whole_costs)


def test_costs_are_measured_only_for_an_objective_that_asks_for_them(tmp_path):
    task = build_task()
    folder, fabric = tmp_path, start_fabric("cpu")
    Trainer(task, NormReward(0.01), RECIPE, folder, fabric).fit()
    assert (task.model.augmentation.distribution.costs == 0).all()


def test_probing_begins_when_costs_are_asked_falls_to_nothing_and_the_averaged_never_probes(
    tmp_path,
):
    run, seen = trainer(tmp_path, recipe=replace(RECIPE, epochs=12)), []
    run.fit(lambda now, total: seen.append(float(run.law.probing)))
    first = int(timetable.FIRST * run.total)
    assert first > 0
    assert seen[:first] == [0.0] * first
    assert seen[first] == pytest.approx(RECIPE.probing * (1 - timetable.FIRST), rel=0.05)
    assert seen[first:] == sorted(seen[first:], reverse=True)
    assert 0 < seen[-1] < 0.1 * seen[first]
    assert not run.averaged.augmentation.distribution.training


def test_only_steps_that_move_widths_go_back_to_them(tmp_path, monkeypatch):
    monkeypatch.setattr(timetable, "stride", lambda steps: 3)
    run, seen = trainer(tmp_path), []
    moved = run.law.parameter.detach().clone()

    def note(now, total):
        seen.append((now.step - 1, not torch.equal(run.law.parameter, moved)))
        moved.copy_(run.law.parameter.detach())

    run.fit(note)
    free = math.ceil(RECIPE.freeze * run.total)
    assert [has_moved for _, has_moved in seen] == [
        step >= free and step % 3 == 0 for step, _ in seen
    ]
    assert any(has_moved for _, has_moved in seen)


def test_widths_that_have_all_opened_and_cost_nothing_move_no_more(tmp_path, monkeypatch):
    def measure(model, batches, loss, places, *, ends):
        asked.append(places)
        model.augmentation.distribution.costs.fill_(0.3 if len(asked) < 3 else 0.01)

    monkeypatch.setattr(loop, "measure_costs", measure)
    monkeypatch.setattr(timetable, "stride", lambda steps: 1)
    monkeypatch.setattr(loop, "OPENED", 0.01)
    monkeypatch.setattr(loop, "REACHED", 0.02)  # widths start at 0.05
    asked: list[list[int]] = []
    run, widths = trainer(tmp_path), []
    every = list(range(6))
    run.fit(lambda now, total: widths.append(run.law.parameter.detach().clone()))
    assert asked == [every] * 3
    assert run.progress.settled
    free = math.ceil(RECIPE.freeze * run.total)
    since = free + 2 * max(1, run.total // timetable.MEASUREMENTS)
    moved = [not torch.equal(a, b) for a, b in pairwise(widths)]
    assert moved[free : since - 1] == [True] * (since - 1 - free)
    assert not any(moved[since - 1 :])
    assert trainer(tmp_path).progress.settled  # a run that is continued knows it, too


def test_costs_are_measured_on_other_examples_each_time_and_ends_looked_for_once_widths_are_free(
    tmp_path, monkeypatch
):
    asked = []

    def note(model, batches, loss, places, *, ends):
        values = [value for _, target in batches for value in target.tolist()]
        asked.append((tuple(values), ends))

    monkeypatch.setattr(loop, "measure_costs", note)
    monkeypatch.setattr(loop, "MEASURED", 5)
    trainer(tmp_path).fit()
    examples, ends = zip(*asked, strict=True)
    assert len(set(examples)) == len(examples)
    assert ends == (False,) + (True,) * (len(ends) - 1)
    assert len(ends) > 4


def test_average_of_constant_weights_is_the_constant():
    averaged, model = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    for step in range(200):
        pace = 1 - min(0.9, (step + 1) / (step + 10))
        follow([averaged.weight.detach()], [model.weight.detach()], pace)
    assert torch.allclose(averaged.weight, model.weight, atol=1e-6)


def test_while_widths_are_frozen_inputs_are_moved_little_wherever_widths_start(tmp_path):
    run, seen = trainer(tmp_path), []
    run.fit(lambda now, total: seen.append((now.step - 1, float(run.law.limit))))
    first_free = math.ceil(RECIPE.freeze * run.total)
    limits = [limit for _, limit in seen]
    assert limits[:first_free] == pytest.approx([0.05] * first_free)
    assert limits[first_free:] == sorted(limits[first_free:])
    assert limits[-1] == 1.0


def test_the_state_of_another_run_is_not_continued(tmp_path):
    trainer(tmp_path).fit()
    other = build_task()
    other.model.scaling.shift += 1
    with pytest.raises(ValueError, match=r"of another run \(other scaling, recipe\)"):
        trainer(tmp_path, other, replace(RECIPE, rate=0.02))
    for other in (NormReward(), ScaleFree(0.1)):
        with pytest.raises(ValueError, match=r"of another run \(other objective\)"):
            trainer(tmp_path, objective=other)
    torch.save({}, tmp_path / "state.pt")
    with pytest.raises(ValueError, match="of another run"):
        trainer(tmp_path)


@pytest.mark.parametrize(
    ("augmentation", "other"),
    [
        (
            Augmentation(LearnedUniform(SE3(), generators=["rx", "tx"]), MoleculeAction()),
            "parameters, learned",
        ),
        (Augmentation(Haar(SE3(), 5.0), MoleculeAction()), "parameters, law"),
        (Augmentation(LearnedUniform(SE3()), MoleculeAction("vector")), "moves"),
        (Augmentation(LearnedUniform(SE3()), MoleculeAction(), jitter=0.1), "moves"),
    ],
)
def test_the_state_of_another_law_is_not_continued(tmp_path, augmentation, other):
    trainer(tmp_path).save()
    task = build_task()
    model = AveragedModel(task.model.network, augmentation, task.model.scaling)
    with pytest.raises(ValueError, match=rf"of another run \(other {other}\)"):
        trainer(tmp_path, replace(task, model=model))


@pytest.mark.parametrize("law", [LearnedUniform(SE3()), Haar(SE3(), 5.0)])
def test_predictions_of_another_shape_stop_the_first_step(tmp_path, law):
    """(n, 1) minus (n,) would be every prediction against every target."""

    class Column(torch.nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network

        def forward(self, batch):
            return self.network(batch)[:, None]

    task = build_task()
    model = AveragedModel(Column(task.model.network), Augmentation(law, MoleculeAction()))
    with pytest.raises(ValueError, match=r"predictions \(16, 1\) for targets \(16,\): give both"):
        trainer(tmp_path, replace(task, model=model)).fit()


def test_an_objective_of_ones_own_is_known_again(tmp_path):
    class Nothing(Objective):
        def __call__(self, loss, distribution):
            return loss

    trainer(tmp_path, objective=Nothing()).save()
    assert trainer(tmp_path, objective=Nothing()).progress.step == 0


@pytest.mark.parametrize(("share", "saves"), [(0.0, 2), (math.inf, 4)])
def test_states_that_take_long_to_save_are_saved_less_often(tmp_path, monkeypatch, share, saves):
    """At the start and at the end at least, and at most after each of the three epochs."""
    monkeypatch.setattr(loop, "SAVING", share)
    one, seen = trainer(tmp_path), []
    save = one.save
    monkeypatch.setattr(one, "save", lambda: seen.append(one.progress.step) or save())
    one.fit()
    assert len(seen) == saves
    assert seen[0] == 0
    assert seen[-1] == one.total


def test_a_step_on_more_examples_than_the_last_has_elements_for_all(tmp_path):
    one = trainer(tmp_path)
    for count in (16, 40, 7):
        assert one.step(torch.arange(count)).isfinite()


def test_without_costs_there_are_no_probes(tmp_path):
    seen = []
    run = trainer(tmp_path, objective=NormReward(0.01))
    run.fit(lambda now, total: seen.append(float(run.law.probing)))
    assert set(seen) == {0.0}


def test_noise_is_not_made_of_the_numbers_of_elements_that_were_drawn_ahead(tmp_path, monkeypatch):
    monkeypatch.setattr(timetable, "stride", lambda steps: 4)
    task, states = build_task(), []
    draw, disturb = Augmentation.draw, MoleculeAction.disturb

    def noted(original):
        def call(self, *arguments):
            states.append(torch.get_rng_state())
            return original(self, *arguments)

        return call

    monkeypatch.setattr(Augmentation, "draw", noted(draw))
    monkeypatch.setattr(MoleculeAction, "disturb", noted(disturb))
    law = task.model.augmentation.distribution
    task.model.augmentation = Augmentation(law, MoleculeAction(), jitter=0.1)
    one = trainer(tmp_path, task)
    one.step(torch.arange(8))
    assert len(states) == 2
    assert not torch.equal(*states)


def test_a_folder_is_not_continued_with_other_data(tmp_path):
    with pytest.raises(Interrupted):
        trainer(tmp_path).fit(lambda now, total: os.kill(os.getpid(), signal.SIGTERM))
    task = build_task()
    task.train.targets = task.train.targets.flip(0)
    with pytest.raises(ValueError, match=r"of another run \(other data\)"):
        trainer(tmp_path, task)
    task = build_task()
    task.train.positions = task.train.positions + 0.1
    with pytest.raises(ValueError, match=r"of another run \(other data\)"):
        trainer(tmp_path, task)
