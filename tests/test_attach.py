"""Widths in front of a network that is left as it is."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from molaug import learn_widths
from molaug.attach import HELD_OUT
from molaug.augmentation import Augmentation
from molaug.distributions import Haar, LearnedUniform
from molaug.groups import SE2, SE3, SO3
from molaug.images.action import ImageAction
from molaug.images.drawing import draw_sprites
from molaug.images.examples import ImageExamples
from molaug.images.instances import Instances
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


def test_large_examples_come_a_few_at_a_time():
    """Of the size of 64, four at a time: but in the steps, whose size is asked for."""
    seen = []

    class Noted(Height):
        def forward(self, batch):
            seen.append(len(batch))
            return super().forward(batch)

    data = examples(Noted())
    data.bulk = 64
    seen.clear()
    found = learn_widths(Noted(), data, steps=2, batch_size=4)
    assert max(seen) == 4
    assert set(found.widths) == set(SE3().names)


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


class SpotHeight(torch.nn.Module):
    """How high the bright spot of a picture is: of the plane only moves to the side keep it."""

    def forward(self, batch):
        rows = batch.images.sum((1, 3))
        return rows @ torch.linspace(1, -1, 16) / rows.sum(1).clamp_min(1e-6)


def spots() -> ImageExamples:
    """On black, at eleven heights, with how high they are."""
    images = np.zeros((60, 3, 16, 16), np.uint8)
    for i in range(60):
        images[i, :, 2 + i % 11 : 4 + i % 11, 7:9] = 255
    valid = np.ones((60, 16, 16), bool)
    data = ImageExamples(replace(draw_sprites(60, seed=0), images=images, valid=valid))
    data.targets = SpotHeight()(data.gather(torch.arange(60))[0]).double()
    return data


def test_images_have_the_plane():
    data = spots()
    data.targets += 0.02 * torch.randn(60).double()  # of no loss there is no share to pay
    found = learn_widths(SpotHeight(), data, steps=60, batch_size=16)
    words = {name: verdict.verdict for name, verdict in found.verdicts.items()}
    assert words == {"r": "absent", "tx": "full", "ty": "absent"}


def nats(output, target):
    return -output.log_softmax(1).gather(1, target[:, None])[:, 0]


def brier(output, target):
    return (output.softmax(1) - torch.nn.functional.one_hot(target, 2)).square().sum(1)


def test_a_classifier_is_asked_with_its_cross_entropy():
    class IsHigh(torch.nn.Module):
        def forward(self, batch):
            score = 3 * SpotHeight()(batch)
            return torch.stack([-score, score], 1)

    data = spots()
    data.targets = (data.targets > 0).long()
    unsaid, entropy, other = (
        learn_widths(IsHigh(), data, steps=5, batch_size=16, error=error).verdicts["ty"].lost
        for error in (None, nats, brier)
    )
    assert unsaid == pytest.approx(entropy, rel=1e-4)
    assert unsaid != pytest.approx(other, rel=0.2)


def test_who_knows_the_frequencies_of_classes_only_has_learned_nothing():
    """Cross-entropy asks for more than which class is the most frequent."""

    class Frequencies(torch.nn.Module):
        def forward(self, batch):
            return torch.tensor([0.01, 0.1, 0.01, 0.88]).log().expand(len(batch), 4)

    classes = np.where(np.arange(60) % 10, 3, 1)
    data = ImageExamples(replace(draw_sprites(60, seed=0), targets=classes))
    found = learn_widths(Frequencies(), data, steps=10, batch_size=16)
    assert {verdict.verdict for verdict in found.verdicts.values()} == {"undecided"}


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


def test_widths_do_not_depend_on_the_unit(height):
    """In joule a loss is far below what an optimiser takes for nothing."""

    class InJoule(Height):
        def forward(self, batch):
            return 1.6e-19 * super().forward(batch)

    network = InJoule()
    found = learn_widths(network, examples(network), steps=120, batch_size=32)
    assert found.widths == pytest.approx(height[1].widths, abs=1e-2)
    verdicts = {name: v.verdict for name, v in found.verdicts.items()}
    assert verdicts == {name: v.verdict for name, v in height[1].verdicts.items()}


class Along(torch.nn.Module):
    """A moment along a tilted axis: turns about it are symmetries."""

    def forward(self, batch):
        weight = (batch.charges - 6.5) * batch.mask
        axis = torch.tensor([1.0, 2.0, 3.0]) / 14**0.5
        return (weight[..., None] * batch.positions).sum(1) @ axis


def test_learned_directions_find_a_tilted_axis():
    data = examples(Along())
    noise = torch.randn(len(data), generator=torch.Generator().manual_seed(0))
    data.targets = data.targets + 0.1 * data.targets.std() * noise.double()
    law = LearnedUniform(SO3(), directions=True)
    augmentation = Augmentation(law, MoleculeAction())
    found = learn_widths(Along(), data, augmentation=augmentation, steps=200)
    words = {name: verdict.verdict for name, verdict in found.verdicts.items()}
    assert sorted(words.values()) == ["absent", "absent", "full"]
    (place,) = (i for i, word in enumerate(words.values()) if word == "full")
    cosine = law.directions[place].detach() @ torch.tensor([1.0, 2.0, 3.0]) / 14**0.5
    assert cosine.abs() > math.cos(math.radians(5))
    assert f"{[*words][place]}  full, width 1" in str(found)


def test_widths_of_examples_of_their_own_are_means_over_those_held_out():
    images = draw_sprites(100, seed=0)
    law = LearnedUniform(SE2(), instances=Instances(3, 3))
    data = ImageExamples(replace(images, targets=images.images.mean((1, 2, 3)) / 255.0))

    class Mean(torch.nn.Module):
        def forward(self, batch):
            return batch.images.mean((1, 2, 3))

    found = learn_widths(
        Mean(), data, augmentation=Augmentation(law, ImageAction()), steps=3, batch_size=8
    )
    assert len(law.seen) == len(data) // HELD_OUT
    copy.deepcopy(found.model)


def test_predictions_that_change_without_a_gradient_are_refused(height):
    class Detached(Height):
        def forward(self, batch):
            return super().forward(batch).detach()

    with pytest.raises(ValueError, match="does the network detach its inputs"):
        learn_widths(Detached(), examples(Height()), steps=2)
