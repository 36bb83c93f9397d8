"""What is averaged and how it is rated: agreement where it is due, and what is left out."""

from __future__ import annotations

import math

import pytest
import torch

from molaug.averaging import Scaling
from molaug.images.data import VOID
from molaug.images.losses import (
    REDUCTIONS,
    SMOOTHING,
    class_error,
    class_loss,
    mean_iou,
    mean_of_known,
    probabilities,
)


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_the_floor_of_the_loss_is_the_entropy_of_smoothed_labels(classes):
    share = SMOOTHING / classes
    right = 1 - SMOOTHING + share
    floor = -right * math.log(right) - (classes - 1) * share * math.log(share)
    best = torch.full((1, classes), share)
    best[0, 1] = right
    loss = class_loss(best.log(), torch.tensor([1]))
    assert float(loss) == pytest.approx(floor, rel=1e-5)


def test_classes_survive_the_scaling_of_a_model():
    target = Scaling(3.0, 2.0).to_standard(torch.tensor([0, 2, 1]))
    scores = (9 * torch.eye(3)).log_softmax(1)
    assert class_error(scores, target).tolist() == [0, 100, 100]
    assert class_loss(scores, target) > class_loss(scores, torch.arange(3))


def outputs(copies: int, *plane: int) -> torch.Tensor:
    return torch.randn(copies, 5, 4, *plane)


@pytest.mark.parametrize("plane", [(), (3, 2)])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_of_a_single_copy_every_average_is_its_log_softmax(name, plane):
    one = outputs(1, *plane)
    assert torch.allclose(REDUCTIONS[name](one), one[0].log_softmax(1), atol=1e-6)


def test_averages_differ_by_where_the_mean_is_taken():
    some = outputs(6).double()
    logarithms = some.log_softmax(2)
    assert torch.allclose(REDUCTIONS["logits"](some), some.mean(0).log_softmax(1))
    assert torch.allclose(REDUCTIONS["log_probabilities"](some), logarithms.mean(0))
    assert torch.allclose(REDUCTIONS["probabilities"](some).exp(), logarithms.exp().mean(0))


def test_the_loss_of_mean_log_probabilities_is_the_mean_loss_of_the_copies():
    some, target = outputs(6), torch.arange(5) % 4
    whole = class_loss(REDUCTIONS["log_probabilities"](some), target)
    single = [class_loss(copy.log_softmax(1), target) for copy in some]
    assert float(whole) == pytest.approx(sum(map(float, single)) / 6, rel=1e-5)
    assert whole > class_loss(REDUCTIONS["probabilities"](some), target)


def test_a_class_that_no_copy_finds_likely_keeps_its_probability():
    sure = torch.tensor([[[120.0, 0.0]]] * 2, requires_grad=True)
    found = REDUCTIONS["probabilities"](sure)
    assert found.tolist() == [[0.0, -120.0]]
    class_loss(found, torch.tensor([1])).backward()
    assert sure.grad.isfinite().all()
    assert sure.grad[:, :, 1].max() < 0  # and it can be learned


@pytest.mark.parametrize("name", REDUCTIONS)
def test_pixels_from_outside_are_left_out_of_averages_and_gradients(name):
    some = outputs(2, 3, 2)
    some[0, :, :, 0] = torch.nan  # known in one copy
    some[:, :, :, 1] = torch.nan  # in none
    some.requires_grad_()
    found = REDUCTIONS[name](some)
    assert torch.allclose(found[:, :, 0], some[1, :, :, 0].log_softmax(1), atol=1e-6)
    assert found[:, :, 1].isnan().all()
    class_loss(found, torch.zeros(5, 3, 2, dtype=torch.long)).backward()
    assert some.grad.isfinite().all()


def test_the_mean_of_what_is_known():
    values = torch.tensor([[1.0, torch.nan, torch.nan], [3.0, 5.0, torch.nan]])
    assert mean_of_known(values).nan_to_num(-1).tolist() == [2.0, 5.0, -1.0]


def test_unknown_pixels_count_neither_as_right_nor_as_wrong():
    scores = torch.zeros(1, 3, 2, 2).log_softmax(1)
    scores[0, 1] += 1  # class 1 everywhere
    scores[0, :, 0, 0] = torch.nan
    target = torch.tensor([[[0, 1], [VOID, 0]]])
    assert class_error(scores, target).tolist() == [50.0]
    sure = (9 * torch.eye(3)[target.clamp_min(0)]).permute(0, 3, 1, 2).log_softmax(1)
    other = sure.clone()
    other[0, :, 1, 0] = torch.tensor([-9.0, -9.0, 0.0])  # void, whatever is said there
    assert class_loss(other, target) == class_loss(sure, target)


def test_the_loss_of_a_batch_is_the_mean_of_those_of_its_halves():
    """However many pixels are known of each image, of one of them none."""
    scores = torch.randn(6, 4, 3, 5).log_softmax(1)
    scores[1, :, 0, :2] = torch.nan
    target = torch.randint(4, (6, 3, 5))
    target[2, 1:] = VOID
    target[4] = VOID
    halves = [class_loss(scores[rows], target[rows]) for rows in (slice(3), slice(3, 6))]
    assert float(class_loss(scores, target)) == pytest.approx(float(sum(halves)) / 2, rel=1e-5)
    assert class_loss(scores[4:5], target[4:5]) == 0


def test_nothing_is_wrong_where_nothing_is_known():
    """As of copies whose labelled pixels were all moved outside."""
    scores = torch.zeros(2, 4, 3, 5).requires_grad_()
    target = torch.full((2, 3, 5), VOID)
    target[1] = 2
    outside = torch.tensor([0.0, torch.nan])[:, None, None, None]
    moved = scores + outside
    assert class_error(moved, target).tolist() == [0.0, 0.0]
    loss = class_loss(moved, target)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not scores.grad.any()


def test_intersection_over_union_by_hand():
    target = torch.tensor([[[0, 0, 1, 1, VOID]]])
    wanted = torch.tensor([[[0, 1, 1, 1, 2]]])
    scores = torch.eye(3)[wanted].permute(0, 3, 1, 2).log_softmax(1)
    assert mean_iou(scores, target) == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)


def test_probabilities_are_shares_of_a_hundred():
    shown = probabilities(outputs(1)[0])
    assert torch.allclose(shown.sum(1), torch.full((5,), 100.0), atol=1e-4)
