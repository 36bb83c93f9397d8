"""Widths in front of a network that is left as it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from molaug import learn_widths
from molaug.augmentation import Augmentation
from molaug.distributions import Haar
from molaug.groups import SE3
from molaug.images.drawing import draw_sprites
from molaug.images.examples import ImageExamples
from molaug.molecules.action import MoleculeAction
from molaug.molecules.batch import MoleculeBatch
from molaug.molecules.data import MoleculeSet, load_sample, orient
from molaug.molecules.tasks import MoleculeExamples


class Height(torch.nn.Module):
    """The height of the first atom: x, y and turns about z are symmetries of it."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(()))

    def forward(self, batch):
        assert not self.training
        return self.factor * batch.positions[:, 0, 2] + 7


class Arrow(torch.nn.Module):
    """From the first atom to the second."""

    def forward(self, batch):
        return batch.positions[:, 1] - batch.positions[:, 0]


class Nothing(torch.nn.Module):
    """No number at all."""

    def forward(self, batch):
        return torch.full((len(batch),), torch.nan)


def examples(network) -> MoleculeExamples:
    molecules = orient(load_sample().take(np.arange(300)), "random", seed=0)
    found = MoleculeExamples(molecules, np.zeros(300))
    found.targets = network.eval()(found.gather(torch.arange(300))[0]).detach().double()
    return found


@pytest.fixture(scope="module")
def height():
    network = Height()
    data = examples(network)
    network.train()
    return network, learn_widths(network, data, steps=120, batch_size=32)


def test_the_symmetries_of_a_trained_network_are_found(height):
    _, found = height
    assert {name: v.verdict for name, v in found.verdicts.items()} == {
        "rx": "absent", "ry": "absent", "rz": "full", "tx": "full", "ty": "full", "tz": "absent",
    }  # fmt: skip
    assert found.widths["rz"] > 3.0 > 0.2 > found.widths["rx"]


def test_the_network_comes_back_as_it_was(height):
    network, _ = height
    assert network.training
    assert network.factor.requires_grad
    assert network.factor.grad is None
    assert network.factor.item() == 1.0


def test_the_model_predicts_in_the_unit_of_the_network(height):
    network, found = height
    batch, target = examples(network).gather(torch.arange(4))
    assert (found.model.predict(batch, copies=64) - target).abs().mean() < 0.2


def test_a_vector_is_turned_back_and_so_everything_opens():
    found = learn_widths(Arrow(), examples(Arrow()), steps=60, batch_size=32)
    assert {v.verdict for v in found.verdicts.values()} == {"full"}


def test_it_is_a_function_of_its_arguments(height):
    network, found = height
    torch.manual_seed(12)
    again = learn_widths(network.eval(), examples(network), steps=120, batch_size=32)
    assert again.widths == found.widths


def test_images_have_the_plane():
    class Brightness(torch.nn.Module):
        def forward(self, batch):
            return batch.images.mean((1, 2, 3))

    data = ImageExamples(draw_sprites(60, seed=0))
    data.targets = Brightness()(data.gather(torch.arange(60))[0]).double()
    found = learn_widths(Brightness(), data, steps=40, batch_size=16)
    assert set(found.widths) == {"r", "tx", "ty"}


def test_a_classifier_is_asked_with_its_cross_entropy():
    data = ImageExamples(draw_sprites(60, seed=0))
    classes = int(data.targets.max()) + 1

    class Classifier(torch.nn.Module):
        def forward(self, batch):
            return batch.images.mean((1, 2, 3))[:, None] * torch.arange(classes)

    found = learn_widths(Classifier(), data, steps=10, batch_size=16)
    assert set(found.widths) == {"r", "tx", "ty"}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"network": Arrow()}, r"predicts \(240, 3\) where targets are \(240,\)"),
        ({"steps": 0}, "0 steps of 64 examples"),
        ({"augmentation": Augmentation(Haar(SE3()), MoleculeAction())}, "no widths to learn"),
        ({"network": Nothing()}, "what is no finite number"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_in_one_line(arguments, why):
    rest = {"network": Height(), "data": examples(Height())} | arguments
    with pytest.raises(ValueError, match=why):
        learn_widths(rest.pop("network"), rest.pop("data"), **rest)


def test_modes_of_all_modules_and_the_random_state_come_back():
    network = Height()
    network.inner = torch.nn.BatchNorm1d(1).eval()
    data = examples(network)
    network.train()
    network.inner.eval()
    before = torch.get_rng_state()
    learn_widths(network, data, steps=1)
    assert network.training
    assert not network.inner.training
    assert torch.equal(torch.get_rng_state(), before)


def test_a_few_examples_are_refused():
    few = MoleculeExamples(load_sample().take(np.arange(5)), np.zeros(5))
    with pytest.raises(ValueError, match="5 examples: 40 or more"):
        learn_widths(Height(), few)


def test_molecules_come_from_torch_geometric():
    batch, _ = examples(Height()).gather(torch.arange(6))
    molecules = MoleculeSet.from_pyg(_split(batch))
    again, _ = MoleculeExamples(molecules, np.zeros(6)).gather(torch.arange(6))
    assert torch.equal(again.positions, batch.positions)
    assert torch.equal(again.charges, batch.charges)


def _split(batch: MoleculeBatch) -> list:
    from torch_geometric.data import Data

    return [
        Data(pos=p[z > 0], z=z[z > 0]) for p, z in zip(batch.positions, batch.charges, strict=True)
    ]
