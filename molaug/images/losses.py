"""What is averaged over copies, and how predictions of classes are rated.

A prediction of classes is the logarithm of a score per class along axis 1, of a whole image
(graphs, classes) or of every pixel (graphs, classes, height, width). Pixels are NaN where nothing
is predicted and `VOID` where nothing is known: both are left out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .data import VOID

SMOOTHING = 0.1

Scores = Float[Tensor, "graphs classes *plane"]
Classes = Int[Tensor, "graphs *plane"]


def mean_of_known(values: Float[Tensor, "copies ..."]) -> Float[Tensor, "..."]:
    """Over the copies in which there is a number; NaN where there is none. Gradients are finite:
    zero for what is NaN."""
    known = ~values.isnan()
    total = torch.where(known, values, 0.0).sum(0)
    count = known.sum(0)
    return torch.where(count > 0, total / count.clamp_min(1), torch.nan)


def average_logits(outputs: Float[Tensor, "copies graphs classes *plane"]) -> Scores:
    """log softmax(mean(outputs))."""
    return _log_softmax(mean_of_known(outputs), 1)


def average_log_probabilities(outputs: Float[Tensor, "copies graphs classes *plane"]) -> Scores:
    """mean(log softmax(outputs)), the paper's: below the logarithm of a probability by as much as
    the copies disagree, so that its loss is the mean of the losses of the copies."""
    return mean_of_known(_log_softmax(outputs, 2))


def average_probabilities(outputs: Float[Tensor, "copies graphs classes *plane"]) -> Scores:
    """log(mean(softmax(outputs))), from logarithms, because a probability of e^-120 is zero."""
    values = _log_softmax(outputs, 2)
    known = ~values.isnan()
    count = known.sum(0)
    # Not -inf, whose gradient would be no number where nothing is known.
    total = torch.where(known, values, torch.finfo(values.dtype).min).logsumexp(0)
    return torch.where(count > 0, total - count.clamp_min(1).to(total).log(), torch.nan)


def _log_softmax(values: Tensor, axis: int) -> Tensor:
    """NaN stays NaN, but sends no gradient back."""
    known = ~values.isnan()
    return torch.where(known, torch.where(known, values, 0.0).log_softmax(axis), torch.nan)


REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "logits": average_logits,
    "log_probabilities": average_log_probabilities,
    "probabilities": average_probabilities,
}


def class_loss(scores: Scores, target: Classes) -> Float[Tensor, ""]:
    """Cross-entropy [nat] with smoothed labels: the mean over the known pixels of each image, zero
    if it has none, and then over images, so that every share of a batch counts by its images.

    A reward in proportion to the loss compares widths by the percentage by which they raise it.
    Plain cross-entropy of training images falls to 1e-4 and means nothing by then, yet any width
    raises it by a large percentage; smoothed labels give it the floor of their own entropy.
    """
    known = is_known(scores, target)
    scores = torch.where(known[:, None], scores, 0.0)
    right = scores.gather(1, target.clamp_min(0)[:, None])[:, 0]
    smoothed = (1 - SMOOTHING) * right + SMOOTHING * scores.mean(1)
    total, count = (one[:, None].flatten(1).sum(1) for one in (smoothed, known))
    return -(total / count.clamp_min(1)).mean()


def is_known(scores: Scores, target: Classes) -> Tensor:
    """Where something is predicted and the truth is known (graphs, *plane)."""
    return (target != VOID) & ~scores.isnan().any(1)


def class_error(scores: Scores, target: Classes) -> Float[Tensor, "graphs"]:
    """The share of wrong classes of each image, in per cent: 0 or 100, or of its known pixels.

    Zero, like its loss, if it has none: files label some of every picture, but those may have been
    moved outside, and then nothing said is wrong.
    """
    known = is_known(scores, target).flatten(1) if target.ndim > 1 else is_known(scores, target)
    wrong = (scores.argmax(1) != target).reshape(known.shape) & known
    if target.ndim == 1:
        return 100.0 * wrong
    return 100.0 * wrong.sum(1) / known.sum(1).clamp_min(1)


def mean_iou(scores: Scores, target: Classes) -> float:
    """Intersection over union of every class over all known pixels, the mean over the classes that
    occur, in per cent."""
    classes, known = scores.shape[1], is_known(scores, target)
    pairs = target[known] * classes + scores.argmax(1)[known]
    counts = torch.bincount(pairs, minlength=classes**2).view(classes, classes).double()
    union = counts.sum(0) + counts.sum(1) - counts.diagonal()
    return float(100 * (counts.diagonal() / union)[union > 0].mean())


def probabilities(scores: Scores) -> Scores:
    """In per cent."""
    return 100 * scores.softmax(1)
