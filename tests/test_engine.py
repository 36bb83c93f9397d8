"""Captured steps are plain steps. A GPU's graphs are stood in for by a function that is called
again and writes over what it returned at first: what a replay does, without a GPU."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from recipes import RECIPE
from test_loop import build_task, strip

from molaug.engine import WARM, Capturing, relative_difference
from molaug.loop import Trainer
from molaug.molecules.batch import MoleculeBatch
from molaug.objectives import ScaleFree
from molaug.processes import start_fabric

LONG = replace(RECIPE, epochs=16, freeze=0.5)  # shapes come often enough, still and moving


def replayable(function):
    outputs = function()

    def replay():
        for output, new in zip(outputs, function(), strict=True):
            if output is not None:
                output.copy_(new)

    return outputs, replay


def trained(folder, capture=None):
    """Weights and history of a run, plain or by `capture`, and what captured them."""
    trainer = Trainer(build_task(), ScaleFree(), LONG, folder, start_fabric("cpu"))
    engine = None
    if capture is not None:
        parameters = [*trainer.task.model.parameters()]
        engine = Capturing(trainer._take_gradients, parameters, capture)
        trainer.take_gradients = engine
    model = trainer.fit()
    return model.state_dict(), strip(trainer.progress.history), engine


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
    shapes = list(engine.captured)
    assert {moving for moving, *_ in shapes} == {True, False}
    assert len({shape for _, shape, *_ in shapes}) > 1  # molecules of several sizes


def test_a_shape_is_captured_once_it_has_been_seen_often_enough(tmp_path):
    *_, engine = trained(tmp_path, replayable)
    assert all(engine.seen[shape] == WARM + 1 for shape in engine.captured)
    assert all(engine.seen[shape] <= WARM for shape in engine.seen.keys() - engine.captured.keys())


def forgetful(function):
    """A capture that missed an operation: it always gives what it gave at first, and more."""
    outputs = [None if one is None else 1.1 * one for one in function()]
    return outputs, lambda: None


def impossible(function):
    raise RuntimeError("operation not permitted when stream is capturing\nmore about it")


@pytest.mark.parametrize(
    ("capture", "said"), [(forgetful, "come out 10 % different"), (impossible, "not permitted")]
)
def test_a_step_that_cannot_be_captured_is_taken_plainly_and_said(
    tmp_path, plain, caplog, capture, said
):
    *found, engine = trained(tmp_path, capture)
    assert_same(found, plain)
    assert not engine.works
    assert not engine.captured
    assert [said in message for message in caplog.messages] == [True]
    assert "more about it" not in caplog.text


def test_where_a_failed_capture_leaves_nothing_working_the_way_on_is_said():
    def gradients(batch, target, moving, elements):
        if engine.seen and not engine.works:
            raise RuntimeError("offset increment outside graph capture")
        return target.sum()

    engine = Capturing(gradients, [], impossible)
    batch = MoleculeBatch(torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.int))
    for _ in range(WARM):
        engine(batch, torch.ones(1), False)
    with pytest.raises(RuntimeError, match=r"not permitted .* --engine plain continues"):
        engine(batch, torch.ones(1), False)


def test_batches_that_are_no_records_of_tensors_are_left_alone():
    def gradients(batch, target, moving, elements):
        return target.sum()

    engine = Capturing(gradients, [], impossible)
    for _ in range(WARM + 2):
        assert engine([1, 2], torch.ones(2), False) == 2
    assert engine.works


def test_differences_are_shares_of_all_gradients():
    found, expected = [torch.tensor([3.0, 4.0]), None], [torch.tensor([3.0, 0.0]), None]
    assert relative_difference(found, expected) == pytest.approx(4 / 3)
    assert relative_difference(found, found) == 0
    assert math.isinf(relative_difference(found, [torch.ones(2), torch.ones(2)]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_graphs_of_a_gpu_are_used_and_come_to_the_same(tmp_path):
    def train(folder, capture):
        fabric = start_fabric("gpu")
        task = build_task(device=fabric.device)
        trainer = Trainer(task, ScaleFree(), LONG, folder, fabric, capture)
        return trainer, trainer.fit()

    captured, found = train(tmp_path / "captured", True)
    assert isinstance(captured.take_gradients, Capturing)
    assert captured.take_gradients.works
    assert captured.take_gradients.captured
    _, expected = train(tmp_path / "plain", False)
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(one, other, rtol=0.02, atol=1e-3)
