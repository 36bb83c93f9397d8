"""What is concluded from widths and held-out errors, on models whose symmetry is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel, Scaling
from molaug.distributions import Haar, LearnedUniform
from molaug.groups import SE3, SO2
from molaug.images.action import ImageAction
from molaug.images.drawing import draw_sprites
from molaug.images.losses import class_error, class_loss
from molaug.images.tasks import ImageExamples
from molaug.molecules.action import MoleculeAction
from molaug.molecules.data import load_sample, orient
from molaug.molecules.tasks import MoleculeExamples
from molaug.task import Task, absolute_error, absolute_loss
from molaug.verdict import (
    Orbit,
    agree,
    classify,
    conclude,
    judge,
    tell_apart,
    walk_orbit,
)

SILENT = Orbit(edge=None, lost=0.0, learned=True)


class Height(torch.nn.Module):
    """The height of the first atom: x, y and turns about z are symmetries of it."""

    def forward(self, batch):
        return batch.positions[:, 0, 2]


def height_task(law) -> Task:
    molecules = orient(load_sample().take(np.arange(200)), "random", seed=0)
    heights = molecules.positions[molecules.offsets[:-1], 2].astype(np.float64)
    examples = MoleculeExamples(molecules, heights)
    return Task(
        name="height",
        unit="A",
        train=examples,
        validation=examples,
        tests={"canonical": examples},
        model=AveragedModel(Height(), Augmentation(law, MoleculeAction())).eval(),
        loss=absolute_loss,
        error=absolute_error,
    )


def test_a_network_that_knows_its_symmetries_gets_them_as_its_verdict():
    law = LearnedUniform(SE3(), [0.02, 0.02, 0.95, 0.95, 0.95, 0.02])
    task = height_task(law)
    verdicts = judge(task.model, task, task.train)
    assert {name: v.verdict for name, v in verdicts.items()} == {
        "rx": "absent", "ry": "absent", "rz": "full", "tx": "full", "ty": "full", "tz": "absent",
    }  # fmt: skip
    assert verdicts["tx"].high == 5.0
    assert verdicts["rx"].low == 0.0
    assert verdicts["rx"].lost > 0.5 > abs(verdicts["rz"].lost)


def test_a_fixed_law_gets_no_verdict():
    task = height_task(Haar(SE3(), 5.0))
    assert judge(task.model, task, task.train) == {}


def test_the_edge_of_a_partial_symmetry_is_found():
    """Half of the first atoms are 2 A away from where the prediction changes."""
    task = height_task(LearnedUniform(SE3(), 0.5))

    class Far(torch.nn.Module):
        def forward(self, batch):
            return (batch.positions[:, 0, 2].abs() > 3).float()

    task.model.network = Far()
    is_near = torch.arange(200) % 4 < 2
    task.train.positions[:, 0, 2] = torch.where(is_near, 1.0, 9.0)
    task.train.targets = (~is_near).double()
    edge = walk_orbit(task.model, task, task.train, "tz").edge
    assert edge == pytest.approx(2 / 5, abs=0.01)


@pytest.mark.parametrize(
    ("share", "orbit", "word"),
    [
        (0.95, SILENT, "full"),
        (0.30, SILENT, "undecided"),
        (0.02, SILENT, "undecided"),
        (0.02, Orbit(0.1, 0.9, True), "absent"),
        (0.25, Orbit(0.27, 0.9, True), "partial"),
        (0.50, Orbit(0.27, 0.9, True), "undecided"),
        (0.95, Orbit(0.9, 0.2, True), "undecided"),
        (0.95, Orbit(None, 0.0, False), "undecided"),
        (0.02, Orbit(0.1, 0.9, False), "undecided"),
    ],
)
def test_width_and_errors_must_agree(share, orbit, word):
    verdict = conclude(share, math.pi, orbit)
    assert verdict.verdict == word
    assert 0 <= verdict.low <= verdict.high <= math.pi
    if word == "partial":
        assert verdict.low == pytest.approx(share * math.pi)
        assert verdict.high == pytest.approx(orbit.edge * math.pi)


def test_a_network_that_has_learned_nothing_is_undecided_about_everything():
    law = LearnedUniform(SE3(), 0.95)
    task = height_task(law)
    torch.manual_seed(0)
    task.train.targets = torch.randn(200).double()
    assert {v.verdict for v in judge(task.model, task, task.train).values()} == {"undecided"}


def test_verdicts_are_a_function_of_their_arguments():
    task = height_task(LearnedUniform(SE3(), 0.3))
    first = judge(task.model, task, task.train)
    torch.manual_seed(99)
    assert judge(task.model, task, task.train) == first


def one_seed(word: str, high: float = 0.8, reason: str = "level") -> dict:
    found = conclude(0.2, math.pi, SILENT).to_dict()
    return found | {"verdict": word, "high": high, "reason": reason}


def test_seeds_that_agree_give_the_interval_of_their_mean():
    seeds = {0: one_seed("partial", 0.75), 1: one_seed("partial", 0.9), 4: one_seed("partial")}
    found = agree(seeds, [0.70, 0.72, 0.74], cap=math.pi)
    spread = 4.30 * 0.02 / 3**0.5
    assert (found.verdict, found.reason) == ("partial", "level")
    assert found.width == pytest.approx(0.72)
    assert found.interval == pytest.approx((0.72 - spread, 0.72 + spread))
    assert found.edges == (0.75, 0.9)
    assert found.by_seed == {0: "partial", 1: "partial", 4: "partial"}


def test_an_interval_stays_within_the_natural_range():
    both = {0: one_seed("full"), 1: one_seed("full")}
    assert agree(both, [3.0, 3.1], cap=3.14).interval == pytest.approx((3.05 - 0.6353, 3.14), 1e-3)
    assert agree(both, [0.1, 0.3], cap=3.14).interval[0] == 0


def test_one_seed_has_no_interval():
    found = agree({7: one_seed("absent", 0.3)}, [0.1], cap=math.pi)
    assert (found.interval, found.edges, found.width) == (None, (0.3, 0.3), 0.1)


def test_seeds_that_differ_are_named():
    seeds = {0: one_seed("full"), 1: one_seed("absent"), 2: one_seed("full")}
    found = agree(seeds, [3.0, 0.1, 3.1], cap=math.pi)
    assert (found.verdict, found.edges) == ("undecided", None)
    assert found.reason == "seeds differ: absent (1), full (0, 2)"


def test_a_reason_with_numbers_of_one_seed_says_of_which():
    seeds = {3: one_seed("absent", reason="50 % is lost"), 4: one_seed("absent", reason="60 %")}
    assert agree(seeds, [0.1, 0.2], cap=math.pi).reason == "50 % is lost (seed 3)"


def test_an_interval_holds_what_laws_without_caps_learned():
    seeds = {i: one_seed("undecided") for i in (0, 1)}
    found = agree(seeds, [5.0, 7.0], cap=1.0)
    assert found.interval[0] < found.width < found.interval[1]
    assert agree(seeds, [0.9, 1.0], cap=1.0).interval[1] == 1.0


class Rising(torch.nn.Module):
    """What is lost by a move up is gained by one down, to within a margin."""

    def forward(self, batch):
        return batch.positions[:, 0, 0] + (batch.positions[:, 0, 2] - 1).relu()


def test_a_loss_on_one_side_is_not_hidden_by_a_gain_on_the_other():
    task = height_task(LearnedUniform(SE3(), 0.95))
    molecules = orient(load_sample().take(np.arange(200)), "random", seed=0)
    first = molecules.positions[molecules.offsets[:-1]].astype(np.float64)
    # Wrong by what lies above the plane, so that moves up make it worse and moves down better.
    some = MoleculeExamples(molecules, first[:, 0])
    task = replace(task, train=some, model=replace_network(task.model, Rising()))
    assert walk_orbit(task.model, task, some, "tz").edge is not None
    assert walk_orbit(task.model, task, some, "ty").edge is None


def replace_network(model, network):
    return AveragedModel(network, model.augmentation, model.scaling).eval()


class Always(torch.nn.Module):
    """The same class for every picture."""

    def __init__(self, chosen):
        super().__init__()
        self.chosen = chosen

    def forward(self, batch):
        return torch.nn.functional.one_hot(torch.full((len(batch),), self.chosen), 4).float()


@pytest.mark.parametrize("frequent", [0, 3])
def test_who_always_says_the_most_frequent_class_has_learned_nothing(frequent):
    some = draw_sprites(200, seed=0)
    classes = np.where(np.arange(200) % 10, frequent, 1)
    examples = ImageExamples(replace(some, targets=classes))
    law = LearnedUniform(SO2(), 0.99)
    model = AveragedModel(Always(frequent), Augmentation(law, ImageAction())).eval()
    task = Task(
        name="classes", unit="%", train=examples, validation=examples, tests={"all": examples},
        model=model, loss=class_loss, error=class_error,
    )  # fmt: skip
    assert judge(model, task, examples)["r"].verdict == "undecided"


def test_the_mean_is_that_of_the_targets_whatever_the_scaling():
    """Who says 100 of heights about 100 has learned nothing, though zero is far from them."""
    task = height_task(LearnedUniform(SE3(), 0.95))
    task.train.targets += 100

    class Hundred(torch.nn.Module):
        def forward(self, batch):
            return torch.full((len(batch),), 100.0)

    task = replace(task, model=replace_network(task.model, Hundred()))
    assert not walk_orbit(task.model, task, task.train, "tz").learned


def test_raw_molecules_are_told_from_turned_ones_and_random_ones_are_not():
    law = LearnedUniform(SE3())
    raw, random = (
        MoleculeExamples(orient(load_sample(), frame, seed=0), np.zeros(len(load_sample())))
        for frame in ("raw", "random")
    )
    assert tell_apart(raw, MoleculeAction(), law, "rx", most=1000) > 0.75
    # A coin that is thrown 500 times shows 0.39 to 0.61 in all but one of a million.
    assert 0.39 < tell_apart(random, MoleculeAction(), law, "rx", most=1000) < 0.61
    assert tell_apart(random, MoleculeAction(), law, "tx", most=1000) > 0.75


def test_upright_sprites_are_told_from_turned_ones():
    some = ImageExamples(draw_sprites(400, seed=0))
    assert tell_apart(some, ImageAction(), LearnedUniform(SO2()), "r") > 0.6


def test_the_classifier_separates_what_can_be_separated():
    labels = 2.0 * (torch.arange(400) % 2) - 1
    torch.manual_seed(0)
    noise = torch.randn(400, 3).double()
    assert 0.3 < classify(noise, labels) < 0.7
    assert classify(noise + 3 * labels[:, None], labels) > 0.95
    assert classify(noise * (2 + labels[:, None]) ** 2, labels) > 0.7  # by spread alone


class Says(torch.nn.Module):
    """One number of every molecule."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, batch):
        return torch.full((len(batch),), self.number)


def test_who_says_the_median_has_learned_nothing_however_far_the_mean():
    task = height_task(LearnedUniform(SE3(), 0.95))
    torch.manual_seed(0)
    task.train.targets = (2 * torch.randn(200)).exp().double()
    median = Says(float(task.train.targets.median()))
    task = replace(task, model=replace_network(task.model, median))
    assert {v.verdict for v in judge(task.model, task, task.train).values()} == {"undecided"}


def test_examples_may_be_in_any_order():
    """Of those with the lowest values the mean would be as good as the network, or better."""
    task = height_task(LearnedUniform(SE3(), [0.02, 0.02, 0.95, 0.95, 0.95, 0.02]))
    molecules = orient(load_sample(), "random", seed=0)
    heights = molecules.positions[molecules.offsets[:-1], 2].astype(np.float64)
    noisy = heights + np.random.default_rng(0).normal(0, 0.3, len(heights))
    order = noisy.argsort()
    some = MoleculeExamples(molecules.take(order), noisy[order])
    found = judge(task.model, task, some, most=100)
    assert (found["tx"].verdict, found["tz"].verdict) == ("full", "absent")


@pytest.mark.parametrize("unit", [1e-30, 1e6])
def test_verdicts_do_not_depend_on_the_unit(unit):
    task = height_task(LearnedUniform(SE3(), [0.02, 0.02, 0.95, 0.95, 0.95, 0.02]))
    expected = judge(task.model, task, task.train)
    task.train.targets *= unit
    model = AveragedModel(Height(), task.model.augmentation, Scaling(0.0, unit)).eval()
    found = judge(model, replace(task, model=model), task.train)
    assert {n: v.verdict for n, v in found.items()} == {n: v.verdict for n, v in expected.items()}
    assert found["rx"].lost == pytest.approx(expected["rx"].lost)


def test_large_examples_are_moved_a_few_at_a_time():
    task = height_task(LearnedUniform(SE3(), [0.02, 0.02, 0.95, 0.95, 0.95, 0.02]))
    expected = judge(task.model, task, task.train)
    seen = []

    class Watched(Height):
        def forward(self, batch):
            seen.append(len(batch))
            return super().forward(batch)

    task.train.bulk = 20
    found = judge(replace_network(task.model, Watched()), task, task.train)
    assert max(seen) == 256 // 20
    assert {n: v.verdict for n, v in found.items()} == {n: v.verdict for n, v in expected.items()}
    assert found["rx"].lost == pytest.approx(expected["rx"].lost)


def test_what_comes_back_at_the_end_of_a_range_is_lost_before():
    """The extent of a molecule along z is that of the molecule turned over."""

    class Extent(torch.nn.Module):
        def forward(self, batch):
            height = batch.positions[..., 2].where(batch.mask, torch.nan)
            return height.nan_to_num(-9).amax(1) - height.nan_to_num(9).amin(1)

    task = height_task(LearnedUniform(SE3(), 0.02))
    task.train.targets = Extent()(task.train.gather(torch.arange(200))[0]).double()
    task = replace(task, model=replace_network(task.model, Extent()))
    orbit = walk_orbit(task.model, task, task.train, "rx")
    assert orbit.edge is not None
    assert orbit.lost > 0.5
    assert abs(walk_orbit(task.model, task, task.train, "tz").lost) < 1e-3


def test_a_model_in_training_mode_is_judged_in_evaluation_mode_and_comes_back_in_it():
    task = height_task(LearnedUniform(SE3(), 0.95))
    network = torch.nn.Sequential(Height(), torch.nn.Dropout(0.5))
    expected = judge(task.model, task, task.train)
    model = replace_network(task.model, network).train()
    network[1].eval()
    assert judge(model, replace(task, model=model), task.train) == expected
    assert [part.training for part in network.modules()] == [True, True, False]
