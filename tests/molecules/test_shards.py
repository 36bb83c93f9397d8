"""Shards: the same batches as from memory, in any order; what is damaged; exact resume."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from recipes import RECIPE

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel, build_scaling
from molaug.distributions import LearnedUniform
from molaug.groups import SE3
from molaug.loop import Interrupted, Trainer
from molaug.molecules import shards
from molaug.molecules.action import MoleculeAction
from molaug.molecules.data import load_sample
from molaug.molecules.networks import GraphNetwork
from molaug.molecules.shards import INDEX, ShardedExamples, shard_name, write_shards
from molaug.molecules.tasks import MoleculeExamples
from molaug.objectives import ScaleFree
from molaug.processes import start_fabric
from molaug.task import Examples, Task, absolute_error, absolute_loss, draw_batches

CUTS = (0, 30, 31, 64, 100)
MOLECULES = load_sample().take(slice(0, CUTS[-1]))
HOMO = MOLECULES.properties[:, 5]


def parts(values=HOMO):
    for start, stop in pairwise(CUTS):
        yield MOLECULES.take(slice(start, stop)), values[start:stop]


@pytest.fixture
def folder(tmp_path):
    write_shards(tmp_path / "set", parts())
    return tmp_path / "set"


def test_batches_are_those_of_the_set_in_memory(folder):
    found, expected = ShardedExamples(folder), MoleculeExamples(MOLECULES, HOMO)
    assert isinstance(found, Examples)
    assert len(found) == len(expected) == 100
    assert found.sizes.dtype == np.uint8
    assert found.sizes.tolist() == expected.sizes.tolist()
    assert found.windows.tolist() == list(CUTS[:-1])
    for rows in ([99], [30], [3, 64, 30, 29, 3, 99, 31], list(range(100))):
        (ours, target), (theirs, wanted) = (x.gather(torch.tensor(rows)) for x in (found, expected))
        assert torch.equal(ours.positions, theirs.positions)
        assert torch.equal(ours.charges, theirs.charges)
        assert ours.charges.dtype == theirs.charges.dtype
        assert torch.equal(target, wanted)


@pytest.mark.parametrize("shape", [(3,), (3, 3)])
def test_targets_of_several_components_keep_their_shape(tmp_path, shape):
    values = np.random.default_rng(0).normal(size=(100, *shape))
    write_shards(tmp_path, parts(values))
    examples = ShardedExamples(tmp_path)
    target = examples.gather(torch.tensor([64, 2]))[1]
    assert target.numpy().tolist() == values[[64, 2]].tolist()
    scaling, expected = examples.build_scaling(), build_scaling(values)
    assert scaling.shift.item() == 0
    assert scaling.scale.item() == pytest.approx(expected.scale.item(), rel=1e-12)


def test_scaling_is_that_of_all_targets_even_far_from_zero(tmp_path):
    values = HOMO - 1e6  # summing squares about zero would lose all digits of the deviation
    write_shards(tmp_path, parts(values))
    found, expected = ShardedExamples(tmp_path).build_scaling(), build_scaling(values)
    assert found.shift.item() == pytest.approx(expected.shift.item(), rel=1e-12)
    assert found.scale.item() == pytest.approx(expected.scale.item(), rel=1e-6)


def test_targets_that_are_all_the_same_are_left_at_their_size(tmp_path):
    write_shards(tmp_path, parts(np.full(100, 7.1)))  # whose mean is off by rounding
    scaling = ShardedExamples(tmp_path).build_scaling()
    assert scaling.shift.item() == pytest.approx(7.1, rel=1e-12)
    assert scaling.scale.item() == 1


def test_molecules_of_more_than_255_atoms_keep_their_size(tmp_path):
    large = replace(
        MOLECULES.take([0]),
        positions=np.ones((300, 3), np.float32),
        charges=np.ones(300, np.uint8),
        mulliken=np.zeros(300, np.float32),
        offsets=np.array([0, 300]),
    )
    write_shards(tmp_path, [*parts(), (large, np.zeros(1))])
    examples = ShardedExamples(tmp_path)
    assert examples.sizes[-1] == 300
    assert examples.gather(torch.tensor([100, 0]))[0].mask.sum(1).tolist() == [
        300,
        MOLECULES.sizes[0],
    ]


def test_examples_are_named_by_file_and_row(folder):
    found = ShardedExamples(folder).describe(torch.tensor([30, 29, 64]))
    assert found == (
        "molecules shard-00001.arrays[0], shard-00000.arrays[29], shard-00003.arrays[0]"
    )


def test_few_shards_are_open_at_a_time(folder, monkeypatch):
    monkeypatch.setattr(shards, "OPEN_SHARDS", 2)
    examples = ShardedExamples(folder)
    expected = MoleculeExamples(MOLECULES, HOMO)
    for rows in draw_batches(examples.sizes, 16, 0, 0):  # all over the set
        assert torch.equal(examples.gather(rows)[1], expected.gather(rows)[1])
    assert examples._open.cache_info().currsize == 2


def test_a_checksum_is_compared_once_when_a_shard_is_first_used(folder, monkeypatch):
    monkeypatch.setattr(shards, "OPEN_SHARDS", 1)
    examples, verified = ShardedExamples(folder), []
    read = shards.read_cache

    def record(path, expected, *, verify=True):
        verified.append((path.name, verify))
        return read(path, expected, verify=verify)

    monkeypatch.setattr(shards, "read_cache", record)
    for row in (0, 64, 1):
        examples.gather(torch.tensor([row]))
    assert verified == [(shard_name(0), True), (shard_name(3), True), (shard_name(0), False)]


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_an_altered_shard_is_noticed_when_it_is_used_and_the_others_are_good(folder):
    flip(folder / shard_name(2), 5000)
    examples = ShardedExamples(folder)
    examples.gather(torch.tensor([0, 99]))
    with pytest.raises(ValueError, match=r"shard-00002\.arrays is truncated, altered"):
        examples.gather(torch.tensor([40]))


def test_what_is_missing_or_truncated_is_noticed_on_opening(folder):
    path = folder / shard_name(2)
    content = path.read_bytes()
    path.write_bytes(content[:-64])
    with pytest.raises(ValueError, match=r"shard-00002\.arrays has [\d,]+ bytes, not [\d,]+$"):
        ShardedExamples(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"shard-00002\.arrays is missing$"):
        ShardedExamples(folder)
    path.write_bytes(content)
    flip(folder / INDEX, 4200)
    with pytest.raises(ValueError, match=r"index\.arrays is truncated, altered"):
        ShardedExamples(folder)


def test_a_sound_shard_of_another_set_is_noticed_on_opening(folder, tmp_path):
    write_shards(tmp_path / "other", parts(HOMO + 1))
    other = (tmp_path / "other" / shard_name(1)).read_bytes()
    assert len(other) == (folder / shard_name(1)).stat().st_size
    (folder / shard_name(1)).write_bytes(other)
    with pytest.raises(ValueError, match=r"shard-00001\.arrays is not the shard that was written"):
        ShardedExamples(folder)


def test_a_folder_whose_writing_was_stopped_is_refused_and_can_be_written_again(tmp_path):
    def stopped():
        yield from list(parts())[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(tmp_path, stopped())
    assert (tmp_path / shard_name(1)).exists()
    with pytest.raises(FileNotFoundError, match=r"has no index\.arrays: .* did not finish"):
        ShardedExamples(tmp_path)
    write_shards(tmp_path, parts())
    assert len(ShardedExamples(tmp_path)) == 100
    with pytest.raises(ValueError, match="holds shards already"):
        write_shards(tmp_path, parts())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ((MOLECULES.take([0, 1]), np.zeros(3)), "part 1 has 2 molecules and 3 targets"),
        ((MOLECULES.take([0, 1]), np.zeros((2, 3))), r"part 1 has targets \(3,\), those before \("),
        ((MOLECULES.take([]), np.zeros(0)), "part 1 has no molecules"),
        ((MOLECULES.take([0, 1]), np.array([0, np.nan])), "part 1: the target of its molecule 1"),
    ],
    ids=["length", "shape", "empty", "nan"],
)
def test_a_part_that_does_not_fit_is_refused(tmp_path, bad, message):
    with pytest.raises(ValueError, match=message):
        write_shards(tmp_path, [next(parts()), bad])
    with pytest.raises(ValueError, match="there is no part"):
        write_shards(tmp_path, [])


def train(folder, run, stop=0):
    """The weights after a run on the shards, the rows of its steps, and how often rows were
    gathered; stop: a signal arrives after so many steps."""
    examples = ShardedExamples(folder)
    torch.manual_seed(0)
    augmentation = Augmentation(LearnedUniform(SE3()), MoleculeAction())
    network = GraphNetwork(channels=16, layers=1)
    task = Task(
        name="shards",
        unit="Eh",
        train=examples,
        validation=MoleculeExamples(MOLECULES.take(slice(0, 16)), HOMO[:16]),
        tests={},
        model=AveragedModel(network, augmentation, examples.build_scaling()),
        loss=absolute_loss,
        error=absolute_error,
    )

    seen, gathered = [], []

    def interrupt(progress, total):
        if progress.step == stop:
            os.kill(os.getpid(), signal.SIGTERM)

    gather = examples.gather
    examples.gather = lambda rows: gathered.append(rows) or gather(rows)
    trainer = Trainer(task, ScaleFree(), replace(RECIPE, epochs=2), run, start_fabric("cpu"))
    step = trainer.step
    trainer.step = lambda rows: seen.append(rows) or step(rows)
    trainer.fit(interrupt)
    return task.model.state_dict(), seen, len(gathered)


@pytest.mark.parametrize("stop", [3, 7])
def test_a_run_on_shards_that_is_stopped_continues_bit_for_bit(folder, tmp_path, stop, monkeypatch):
    monkeypatch.setattr("molaug.task.CHUNK", 2)
    expected, theirs, all_gathered = train(folder, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train(folder, tmp_path / "run", stop)
    found, ours, gathered = train(folder, tmp_path / "run")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    # What was trained on before the stop is not gathered again.
    assert gathered <= all_gathered - stop
    assert (len(ours), len(theirs)) == (14 - stop, 14)
    assert all(map(torch.equal, ours, theirs[stop:]))


def test_targets_of_a_shape_that_no_network_predicts_are_refused(tmp_path):
    molecules = load_sample().take(slice(0, 8))
    with pytest.raises(ValueError, match=r"part 0 has targets \(8, 1\): give scalars"):
        write_shards(tmp_path, [(molecules, np.zeros((8, 1)))])
