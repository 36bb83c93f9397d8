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
from molaug.molecules.targets import other_properties
from molaug.molecules.tasks import MoleculeExamples, further_values
from molaug.objectives import ScaleFree
from molaug.processes import start_fabric
from molaug.task import Task, absolute_error, absolute_loss


def build(weight: float, properties: float = 0.0) -> AuxiliaryNetwork:
    torch.manual_seed(0)
    graph = GraphNetwork(channels=8, layers=1)
    network = AuxiliaryNetwork(graph, weight, properties, PROPERTIES)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return network


PROPERTIES = 11


def gather() -> MoleculeBatch:
    molecules = load_sample().take(np.arange(30))
    examples = MoleculeExamples(
        molecules,
        molecules.properties[:, 5],
        partial=True,
        properties=further_values(molecules, "homo"),
    )
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
    found = network.charge_head(network.network.encode(batch))[..., 0]
    missed = (batch.partial / 0.2 - found).abs()
    each = [one[known].mean() for one, known in zip(missed, batch.mask, strict=True)]
    assert len({int(n) for n in batch.mask.sum(1)}) > 1
    assert torch.allclose(network.pop_auxiliary_loss(), 0.5 * torch.stack(each).mean())
    with pytest.raises(AssertionError, match="no forward pass"):
        network.pop_auxiliary_loss()


def test_other_properties_are_standardised_and_without_what_atoms_contribute():
    molecules = load_sample()
    found = further_values(molecules, "homo")
    assert found.shape == (1000, PROPERTIES)
    assert np.allclose(found.mean(0), 0)
    assert np.allclose(found.std(0), 1)
    names = other_properties("homo")
    assert "homo" not in names
    assert "homo" in other_properties("lumo")
    lumo = molecules.properties[:, 6]
    assert np.corrcoef(found[:, names.index("lumo")], lumo)[0, 1] == pytest.approx(1)
    # Of a total energy nearly everything is that of the atoms.
    heavy = np.add.reduceat(molecules.charges > 1, molecules.offsets[:-1])
    energy = found[:, names.index("U0")]
    assert abs(np.corrcoef(energy, heavy)[0, 1]) < 0.1


def test_the_loss_of_other_properties_is_that_of_the_formula():
    network, batch = build(0.0, 0.3), gather()
    network(batch)
    per_atom = network.property_head(network.network.encode(batch))
    found = (per_atom * batch.mask[..., None]).sum(1) / 18
    missed = (batch.properties - found).abs().mean()
    assert torch.allclose(network.pop_auxiliary_loss(), 0.3 * missed)
    assert not hasattr(network, "charge_head")


def test_copies_of_a_batch_take_what_is_learned_beside_with_them():
    batch = gather()
    again = batch.repeat(3)
    assert torch.equal(again.properties[30:60], batch.properties)
    assert torch.equal(again.partial[60:], batch.partial)


def test_the_loss_of_a_batch_is_the_mean_of_those_of_its_halves():
    network = build(1.0, 1.0)

    batch = gather()

    def loss(rows: torch.Tensor) -> torch.Tensor:
        network(MoleculeBatch(*(values[rows] for values in vars(batch).values())))
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
        found = network.charge_head(network.network.encode(batch))[..., 0] * 0.2
        return (found - batch.partial).abs()[batch.mask].mean().item()

    before = missed()
    Trainer(task, ScaleFree(), recipe, tmp_path, start_fabric("cpu")).fit()
    assert missed() < 0.7 * before


def test_networks_without_heads_are_refused_by_name():
    with pytest.raises(ValueError, match=r"--partial-charges: takes .* not schnet"):
        QM9Config(network=("coordinates", "schnet"), partial_charges=0.1)
    with pytest.raises(ValueError, match=r"--properties: takes .* not e3nn"):
        QM9Config(network=("e3nn",), properties=0.1)
