"""From a configuration to a task, on the committed sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from molaug.config import QM9Config, resolve
from molaug.distributions import Haar, Identity, LearnedUniform
from molaug.groups import SE3, SO3
from molaug.molecules.data import load_sample, random_rotations
from molaug.molecules.tasks import (
    ROTATED_SEED,
    MoleculeExamples,
    build_distribution,
    build_task,
)

CONFIG = replace(
    resolve(QM9Config(preset="quick", split="random"), False),
    train_size=600,
    validation_size=20,
    test_size=30,
    channels=8,
    layers=1,
)


def make(symmetry="learned", network="coordinates", **changes):
    config = replace(CONFIG, **changes)
    return build_task(load_sample(), config, symmetry=symmetry, network=network, seed=0)


def test_gather_pads_to_the_largest_and_keeps_order():
    molecules = load_sample()
    examples = MoleculeExamples(molecules, molecules.properties[:, 5])
    rows = torch.tensor([7, 2, 31])
    batch, target = examples.gather(rows)
    assert torch.equal(batch.mask.sum(1), torch.from_numpy(molecules.sizes[rows.numpy()]))
    assert batch.mask.shape[1] == int(molecules.sizes[rows.numpy()].max())
    assert target.tolist() == molecules.properties[rows.numpy(), 5].tolist()


def test_describe_names_molecules_by_their_number():
    molecules = load_sample()
    examples = MoleculeExamples(molecules, molecules.properties[:, 5])
    assert examples.describe(torch.tensor([3])) == f"molecules {molecules.index[3]}"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros(9), r"targets of shape \(9,\) for 10 molecules: give scalars \(10,\)"),
        (np.zeros((10, 1)), r"targets of shape \(10, 1\) for 10 molecules"),
        ([0.0] * 3 + [float("nan")] + [0.0] * 6, "the target of molecule 3 .from 0. is nan"),
    ],
)
def test_targets_that_cannot_be_learned_are_refused(values, why):
    with pytest.raises(ValueError, match=why):
        MoleculeExamples(load_sample().take(slice(0, 10)), values)


def test_targets_may_be_a_list_or_a_tensor():
    molecules = load_sample().take(slice(0, 3))
    for values in ([1.0, 2.0, 3.0], torch.tensor([1.0, 2.0, 3.0])):
        assert MoleculeExamples(molecules, values).targets.tolist() == [1.0, 2.0, 3.0]


def test_sizes_of_the_splits():
    task, split = make()
    assert (len(task.train), len(task.validation)) == (600, 20)
    assert {name: len(test) for name, test in task.tests.items()} == {
        "canonical": 30,
        "rotated": 30,
    }
    assert len(np.intersect1d(split.train, split.test)) == 0


def test_statistics_come_from_the_training_split_alone():
    task, split = make()
    molecules = load_sample()
    energies = molecules.properties[split.train, 5] * 27211.386246
    assert np.isclose(float(task.model.scaling.shift), energies.mean())
    assert np.isclose(float(task.model.scaling.scale), energies.std())


def test_rotating_keeps_invariant_targets():
    homo, _ = make(target="homo")
    rows = torch.arange(30)
    canonical, same = (homo.tests[name].gather(rows)[1] for name in ("canonical", "rotated"))
    assert torch.equal(canonical, same)


@pytest.mark.parametrize("target", ["dipole", "quadrupole"])
def test_an_output_of_a_declared_type_turns_with_the_molecules(target):
    task, split = make(target=target)
    before, after = (task.tests[name].gather(torch.arange(30))[1] for name in task.tests)
    elements = torch.eye(4, dtype=torch.float64).repeat(30, 1, 1)
    numbers = load_sample().index[split.test]
    elements[:, :3, :3] = torch.from_numpy(random_rotations(numbers, ROTATED_SEED))
    brought_back = task.model.augmentation.action.act_on_output(elements, after)
    assert torch.allclose(brought_back, before, atol=1e-3)  # positions are float32
    assert (before - after).abs().mean() > 0.1


def test_rotating_keeps_distances():
    task, _ = make()
    batches = [task.tests[name].gather(torch.arange(30))[0] for name in ("canonical", "rotated")]
    # Matrix products would round coincident atoms to 1e-3 Angstrom apart.
    mode = "donot_use_mm_for_euclid_dist"
    before, after = (torch.cdist(b.positions, b.positions, compute_mode=mode) for b in batches)
    both = batches[0].mask[:, :, None] & batches[0].mask[:, None]
    assert torch.allclose(before[both], after[both], atol=1e-4)
    assert not torch.allclose(batches[0].positions, batches[1].positions, atol=0.1)


def test_total_energies_are_learned_without_what_atoms_contribute():
    task, _ = make(target="U0")
    assert float(task.model.scaling.scale) < 5000  # meV; raw total energies spread over 1e6
    assert task.about["atom_references"][6] < -1e6  # carbon; a reloaded model can add them again
    predicted = task.model.predict(task.train.gather(torch.arange(4))[0])
    assert predicted.dtype == torch.float64


def test_the_seed_decides_where_a_network_starts():
    first, again = (make()[0].model.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = build_task(load_sample(), CONFIG, symmetry="learned", network="coordinates", seed=1)
    assert not torch.equal(
        other[0].model.network.element.weight, make()[0].model.network.element.weight
    )


@pytest.mark.parametrize(
    ("symmetry", "law"), [("learned", LearnedUniform), ("fixed", Haar), ("none", Identity)]
)
def test_symmetry_names_a_law(symmetry, law):
    assert isinstance(build_distribution(symmetry, SE3(), CONFIG), law)


def test_fixed_within_rotations_has_no_translations():
    assert build_distribution("fixed", SO3(), CONFIG).widths.shape == (3,)


@pytest.mark.parametrize("target", ["homo", "dipole", "quadrupole"])
@pytest.mark.parametrize("network", ["coordinates", "vectors", "distances"])
def test_every_level_learns_every_kind_of_target(target, network):
    task, _ = make(target=target, network=network)
    batch, values = task.train.gather(torch.arange(8))
    loss = task.loss(task.model(batch), task.model.scaling.to_standard(values))
    loss.backward()
    assert task.model.network.readout[-1].weight.grad.abs().sum() > 0
