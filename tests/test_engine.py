"""Captured steps are plain steps. A GPU's graphs are stood in for by a function that is called
again and writes over what it returned at first: what a replay does, without a GPU."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from recipes import RECIPE
from test_loop import Normalised, build_task, strip

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import LearnedUniform
from molaug.engine import WARM, Capturing, relative_difference
from molaug.groups import SE3
from molaug.loop import Interrupted, Trainer
from molaug.molecules.action import MoleculeAction
from molaug.molecules.batch import MoleculeBatch
from molaug.objectives import ScaleFree
from molaug.processes import start_fabric

LONG = replace(RECIPE, epochs=10, freeze=0.5)  # shapes come often enough, still and moving


def replayable(function):
    outputs = function()

    def replay():
        for output, new in zip(outputs, function(), strict=True):
            if output is not None:
                output.copy_(new)

    return outputs, replay


def trained(folder, capture=None):
    """Weights and history of a run, plain or by `capture`, and what captured them; in both, rates
    are tensors, which are rounded to float32."""
    trainer = Trainer(build_task(), ScaleFree(), LONG, folder, start_fabric("cpu"))
    if capture is None:
        trainer.update.use_tensors(torch.device("cpu"))
    else:
        trainer.capture_steps(capture)
    model = trainer.fit()
    return model.state_dict(), strip(trainer.progress.history), trainer.take_gradients


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("plain"))[:2]


def assert_same(found, expected):
    assert all(torch.equal(found[0][name], expected[0][name]) for name in expected[0])
    assert found[1] == expected[1]


def test_captured_steps_leave_the_weights_of_plain_ones_bit_for_bit(tmp_path, plain):
    *found, engine = trained(tmp_path, replayable)
    assert_same(found, plain)
    assert engine.works
    assert engine.updates
    assert len(engine.moves) == 2  # with widths and without
    assert engine.draws
    shapes = list(engine.captured)
    assert {moving for moving, *_ in shapes} == {True, False}
    assert len({shape for _, shape, *_ in shapes}) > 1  # molecules of several sizes


def impossible(function):
    raise RuntimeError("operation not permitted when stream is capturing\nmore about it")


def assert_draws_are_plain_ones(device, capture, captured):
    law = LearnedUniform(SE3()).to(device)
    law.probing.fill_(0.5)
    law.requires_grad_(False)
    model = Augmentation(law, MoleculeAction())
    engine = Capturing(lambda *_: torch.zeros(()), law, lambda: None, list, capture)
    for i in range(WARM + 3):
        law.limit.fill_(0.2 * i)  # settings change in between
        torch.manual_seed(i)
        expected = model.draw(2, 7)
        torch.manual_seed(i)
        assert torch.equal(engine.draw(model.draw, 2, 7), expected)
    assert len(engine.draws) == captured


@pytest.mark.parametrize(
    ("capture", "said"),
    [
        (lambda fill: (fill(), fill), []),
        (lambda fill: (fill(), lambda: None), ["draws are not captured: elements come out 100 %"]),
        (impossible, ["draws are not captured: operation not permitted"]),
    ],
)
def test_elements_are_those_of_plain_draws_and_captured_where_that_works(caplog, capture, said):
    assert_draws_are_plain_ones("cpu", capture, captured=not said)
    assert len(caplog.messages) == len(said)
    assert all(m.startswith(s) for m, s in zip(caplog.messages, said, strict=True))


def test_a_shape_is_captured_once_it_has_been_seen_often_enough(tmp_path):
    *_, engine = trained(tmp_path, replayable)
    assert all(engine.seen[shape] == WARM + 1 for shape in engine.captured)
    assert all(engine.seen[shape] <= WARM for shape in engine.seen.keys() - engine.captured.keys())


def forgetful(function):
    """A capture that missed an operation: it always gives what it gave at first, and more."""
    outputs = [None if one is None else 1.1 * one for one in function()]
    return outputs, lambda: None


@pytest.mark.parametrize(
    ("capture", "said"), [(forgetful, "come out 10 % different"), (impossible, "not permitted")]
)
def test_a_step_that_cannot_be_captured_is_taken_plainly_and_said(
    tmp_path, plain, caplog, capture, said
):
    *found, engine = trained(tmp_path, capture)
    assert_same(found, plain)
    assert not engine.works
    assert not engine.updates
    assert not engine.captured
    assert not engine.drawing
    about_steps = [message for message in caplog.messages if message.startswith("steps")]
    assert [said in message for message in about_steps] == [True]
    assert "more about it" not in caplog.text


def build(gradients):
    return Capturing(gradients, torch.nn.Module(), lambda: None, list, impossible)


def forgets_updates(function):
    """A capture that works for gradients, and of updates misses the last operation."""
    outputs, replay = replayable(function)
    if outputs:
        return outputs, replay
    return outputs, lambda: None


def refuses_updates(function):
    if function.__name__ == "_updated":
        raise RuntimeError("no update is captured here")
    return replayable(function)


@pytest.mark.parametrize(
    ("capture", "said"), [(forgets_updates, "weights move 100 %"), (refuses_updates, "no update")]
)
def test_an_update_that_cannot_be_captured_is_made_plainly_and_said(
    tmp_path, plain, caplog, capture, said
):
    *found, engine = trained(tmp_path, capture)
    assert_same(found, plain)
    assert engine.works
    assert engine.captured
    assert not engine.updates
    assert not engine.moves
    about_updates = [message for message in caplog.messages if message.startswith("updates")]
    assert [said in message for message in about_updates] == [True]


@pytest.mark.parametrize("counts", [False, True])
def test_trials_leave_running_statistics_as_they_are(tmp_path, caplog, counts):
    def train(folder, capture):
        task = build_task()
        torch.manual_seed(0)
        model = AveragedModel(Normalised(counts), task.model.augmentation, task.model.scaling)
        run = Trainer(replace(task, model=model), ScaleFree(), LONG, folder, start_fabric("cpu"))
        run.capture_steps(replayable) if capture else run.update.use_tensors(torch.device("cpu"))
        return run, run.fit().state_dict()

    run, found = train(tmp_path / "captured", True)
    _, expected = train(tmp_path / "plain", False)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert found["network.seen"] == run.total * counts
    assert bool(run.take_gradients.captured) != counts  # what is made anew is not captured
    assert [counts] * counts == ["in the place of its buffers" in said for said in caplog.messages]


def test_rates_that_are_tensors_come_to_those_that_are_numbers(tmp_path, plain):
    trainer = Trainer(build_task(), ScaleFree(), LONG, tmp_path, start_fabric("cpu"))
    expected = trainer.fit().state_dict()
    for name, value in plain[0].items():
        assert torch.allclose(value, expected[name], rtol=1e-3, atol=1e-4), name


def test_a_run_is_continued_on_a_device_that_captures_and_back(tmp_path, plain):
    for stop in (12, 27, None):
        trainer = Trainer(build_task(), ScaleFree(), LONG, tmp_path, start_fabric("cpu"))
        if stop == 27:
            trainer.capture_steps(replayable)
        elif stop is None:
            trainer.update.use_tensors(torch.device("cpu"))

        def report(progress, total, trainer=trainer, stop=stop):
            if progress.step == stop:
                trainer.signals.append(15)

        if stop is None:
            found = trainer.fit(report).state_dict()
        else:
            with pytest.raises(Interrupted):
                trainer.fit(report)
    for name, value in plain[0].items():
        assert torch.allclose(value, found[name], rtol=1e-3, atol=1e-4), name


def test_where_a_failed_capture_leaves_nothing_working_the_way_on_is_said():
    def gradients(batch, target, moving, elements):
        if engine.seen and not engine.works:
            raise RuntimeError("offset increment outside graph capture")
        return target.sum()

    engine = build(gradients)
    batch = MoleculeBatch(torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.int))
    for _ in range(WARM):
        engine(batch, torch.ones(1), False)
    with pytest.raises(RuntimeError, match=r"not permitted .* --engine plain continues"):
        engine(batch, torch.ones(1), False)


def test_batches_that_are_no_records_of_tensors_are_left_alone():
    def gradients(batch, target, moving, elements):
        return target.sum()

    engine = build(gradients)
    for _ in range(WARM + 2):
        assert engine([1, 2], torch.ones(2), False) == 2
    assert engine.works


@dataclass(frozen=True)
class Cut:
    """A batch with a number, which a graph could not read anew."""

    values: torch.Tensor
    cutoff: float


def test_batches_with_more_than_tensors_are_not_captured():
    def gradients(batch, target, moving, elements):
        return batch.cutoff * batch.values.sum()

    engine = build(gradients)
    found = [float(engine(Cut(torch.ones(1), float(i)), torch.ones(1), False)) for i in range(7)]
    assert found == [float(i) for i in range(7)]
    assert not engine.captured


def test_differences_are_shares_of_all_gradients():
    found, expected = [torch.tensor([3.0, 4.0]), None], [torch.tensor([3.0, 0.0]), None]
    assert relative_difference(found, expected) == pytest.approx(4 / 3)
    assert relative_difference(found, found) == 0
    assert math.isinf(relative_difference(found, [torch.ones(2), torch.ones(2)]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_draws_of_a_gpu_are_captured():
    assert_draws_are_plain_ones("cuda", None, captured=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_graphs_of_a_gpu_are_used_and_come_to_the_same(tmp_path):
    def train(folder, capture):
        fabric = start_fabric("gpu")
        task = build_task(device=fabric.device)
        trainer = Trainer(task, ScaleFree(), LONG, folder, fabric, capture)
        # Both with rates that are tensors: of numbers, which are rounded otherwise, Muon's products
        # in bfloat16 make weights that differ by more than this looks for.
        trainer.update.use_tensors(fabric.device)
        return trainer, trainer.fit()

    captured, found = train(tmp_path / "captured", True)
    assert isinstance(captured.take_gradients, Capturing)
    assert captured.take_gradients.works
    assert captured.take_gradients.captured
    assert captured.take_gradients.updates
    assert captured.take_gradients.moves
    _, expected = train(tmp_path / "plain", False)
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0.02, atol=1e-3)
