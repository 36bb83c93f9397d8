from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from recipes import RECIPE

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel, build_scaling
from molaug.config import QM9Config
from molaug.distributions import LearnedUniform
from molaug.groups import SE3
from molaug.loop import Trainer
from molaug.molecules.action import MoleculeAction
from molaug.molecules.auxiliary import AuxiliaryNetwork
from molaug.molecules.batch import MoleculeBatch
from molaug.molecules.data import load_sample
from molaug.molecules.networks import GraphNetwork
from molaug.molecules.tasks import MoleculeExamples
from molaug.objectives import ScaleFree
from molaug.processes import start_fabric
from molaug.task import Task, absolute_error, absolute_loss


def build(weight: float) -> AuxiliaryNetwork:
    torch.manual_seed(0)
    network = AuxiliaryNetwork(GraphNetwork(channels=8, layers=1), weight)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


def gather() -> MoleculeBatch:
    molecules = load_sample().take(np.arange(30))
    examples = MoleculeExamples(molecules, molecules.properties[:, 5], partial=True)
    return examples.gather(torch.arange(30))[0]


def test_in_tests_it_is_the_network_itself():
    network, batch = build(1.0).eval(), gather()
    assert torch.equal(network(batch), network.network(batch))


def test_charges_are_those_of_the_atoms():
    molecules = load_sample().take(np.array([7, 3, 500]))
    batch, _ = MoleculeExamples(molecules, np.zeros(3), partial=True).gather(torch.tensor([2, 0]))
    assert batch.partial is not None
    ends = molecules.offsets
    for row, molecule in enumerate((2, 0)):
        known = molecules.mulliken[ends[molecule] : ends[molecule + 1]]
        assert batch.partial[row, : len(known)].tolist() == known.tolist()
        assert not batch.partial[row, len(known) :].any()


def test_the_loss_is_that_of_the_formula_and_asked_for_once():
    network, batch = build(0.5), gather()
    network(batch)
    found = network.head(network.network.encode(batch))[..., 0]
    missed = (batch.partial / 0.2 - found).abs()
    each = [one[known].mean() for one, known in zip(missed, batch.mask, strict=True)]
    assert len({int(n) for n in batch.mask.sum(1)}) > 1
    assert torch.allclose(network.pop_auxiliary_loss(), 0.5 * torch.stack(each).mean())
    with pytest.raises(AssertionError, match="no forward pass"):
        network.pop_auxiliary_loss()


def test_the_loss_of_a_batch_is_the_mean_of_those_of_its_halves():
    network = build(1.0)

    batch = gather()

    def loss(rows: torch.Tensor) -> torch.Tensor:
        network(MoleculeBatch(batch.positions[rows], batch.charges[rows], batch.partial[rows]))
        return network.pop_auxiliary_loss()

    by_size = batch.mask.sum(1).argsort()
    small, large = by_size.chunk(2)
    assert torch.allclose(loss(by_size), (loss(small) + loss(large)) / 2)


def test_training_learns_the_charges(tmp_path: Path):
    molecules = load_sample().take(np.arange(60))
    values = molecules.properties[:, 5]
    examples = MoleculeExamples(molecules, values, partial=True)
    network = build(1.0)
    model = AveragedModel(
        network, Augmentation(LearnedUniform(SE3()), MoleculeAction()), build_scaling(values)
    )
    task = Task(
        name="sample", unit="Eh", train=examples, validation=examples, tests={}, model=model,
        loss=absolute_loss, error=absolute_error,
    )  # fmt: skip
    recipe = replace(RECIPE, epochs=6, batch_size=20, width_rate=1.0, weight_decay=0.0, freeze=0.5)

    def missed() -> float:
        batch, _ = examples.gather(torch.arange(60))
        found = network.head(network.network.encode(batch))[..., 0] * 0.2
        return (found - batch.partial).abs()[batch.mask].mean().item()

    before = missed()
    Trainer(task, ScaleFree(), recipe, tmp_path, start_fabric("cpu")).fit()
    assert missed() < 0.7 * before


def test_networks_without_heads_are_refused_by_name():
    with pytest.raises(ValueError, match=r"--partial-charges: takes .* not schnet"):
        QM9Config(network=("coordinates", "schnet"), partial_charges=0.1)
