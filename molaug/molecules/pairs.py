"""Pairs of atoms in the graph network: what it sees of them, and a linear map of their channels.

There are eighteen pairs for every atom, so that most of a step is spent here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .geometry import gaussians

MOST_NODES = 256  # of a molecule whose messages are summed by kernels, which hold all senders


def multiply(
    pairs: Float[Tensor, "graphs i j inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, "outputs"] | None = None,
) -> Float[Tensor, "graphs i j outputs"]:
    """A linear map of the channels of every pair.

    On a CPU it is called as a convolution of size one: the same product, but by oneDNN, which was
    measured 2.4 times as fast as the library behind `nn.Linear`, forward and backward. Elsewhere
    inputs are filled up with zeros to a multiple of eight, as the bfloat16 units of a GPU want.
    """
    if pairs.device.type != "cpu":
        if missing := -pairs.shape[-1] % 8:
            pairs, weight = (nn.functional.pad(x, (0, missing)) for x in (pairs, weight))
        return nn.functional.linear(pairs, weight, bias)
    first, kernel = pairs.permute(0, 3, 1, 2), weight[:, :, None, None]
    return nn.functional.conv2d(first, kernel, bias).permute(0, 2, 3, 1)


@final
class PairGeometry(torch.autograd.Function):
    """Features e_k(r) = exp(-s (r - c_k)^2), if `directed` with d / (r + 1), of the vector d from
    atom i to j and its length r; and the envelope exp(-(r / reach)^2), of every pair.

    The gradient is written by hand: with g the gradient of e and h that of the envelope,

        dL/dr = -2 s (r sum_k g_k e_k - sum_k g_k e_k c_k) - 2 h r / reach^2 exp(-(r / reach)^2),

    two passes over the features, where the chain rule of each operation took nine.
    """

    @staticmethod
    def forward(
        ctx: Any,
        positions: Float[Tensor, "graphs nodes 3"],
        centres: Float[Tensor, "basis"],
        sharpness: float,
        reach: float,
        directed: bool,
    ) -> tuple[Float[Tensor, "graphs nodes nodes features"], Float[Tensor, "graphs nodes nodes"]]:
        difference = positions[:, None] - positions[:, :, None]
        distance = (difference.square().sum(-1) + 1e-6).sqrt()  # finite gradient at r = 0
        features = gaussians(distance, centres, sharpness)
        if directed:
            features = torch.cat([features, difference / (distance[..., None] + 1)], -1)
        envelope = gaussians(distance, centres.new_zeros(1), reach**-2).squeeze(-1)
        ctx.save_for_backward(difference, distance, features, envelope, centres)
        ctx.sharpness, ctx.reach = sharpness, reach
        return features, envelope

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_features: Tensor, grad_envelope: Tensor) -> tuple[Any, ...]:
        difference, distance, features, envelope, centres = ctx.saved_tensors
        count, total = len(centres), features.shape[-1]
        # Rows: sums over Gaussians, the same weighted with their centres, sums over directions.
        rows = centres.new_zeros(3, total)
        rows[0, :count], rows[1, :count], rows[2, count:] = 1, centres, 1
        zeroth, first, along = multiply(grad_features * features, rows).unbind(-1)
        slope = -2 * ctx.sharpness * (distance * zeroth - first)
        slope -= 2 / ctx.reach**2 * grad_envelope * distance * envelope
        inverse = 1 / (distance + 1)
        grad = difference * ((slope - along * inverse) / distance)[..., None]
        if total > count:
            grad += grad_features[..., count:] * inverse[..., None]
        return grad.sum(1) - grad.sum(2), None, None, None, None


def has_kernels(pairs: Tensor) -> bool:
    """Whether sums over messages are taken by kernels of their own (`kernels`)."""
    return pairs.is_cuda and pairs.shape[1] <= MOST_NODES and kernels_work()


@cache
def kernels_work() -> bool:
    """Whether there is a Triton, which may lack the compiler that it needs."""
    if find_spec("triton") is None:
        return False
    try:
        from .kernels import GatherMessages  # Triton is not everywhere

        GatherMessages.apply(*(torch.zeros(shape, device="cuda") for shape in _SMALL))
    except Exception as error:
        reason = str(error).partition("\n")[0]
        logging.getLogger(__name__).warning("messages are summed without kernels: %s", reason)
        return False
    return True


_SMALL = ((1, 2, 2, 4), (1, 2, 8), (1, 2, 2))  # terms, ends and envelope of a molecule


def pair_terms(
    pairs: Float[Tensor, "graphs i j inputs"], weights: Sequence[Float[Tensor, "outputs inputs"]]
) -> Iterable[Float[Tensor, "graphs i j outputs"]]:
    """A linear map of every pair for each of several layers: in training all at once where kernels
    wait for them, else one after another, when it is asked for."""
    if not (torch.is_grad_enabled() and has_kernels(pairs)):
        return (multiply(pairs, weight) for weight in weights)
    terms: tuple[Tensor, ...] = PairTerms.apply(pairs, torch.cat([*weights]), len(weights))
    return terms


def activate_pairs(
    terms: Float[Tensor, "graphs i j channels"], ends: Float[Tensor, "graphs nodes both"]
) -> Float[Tensor, "graphs i j channels"]:
    """silu(terms_ij + receiver_i + sender_j); ends: receiver and sender, side by side."""
    if has_kernels(terms):
        from .kernels import ActivatePairs

        activated: Tensor = ActivatePairs.apply(terms, ends)
        return activated
    receiver, sender = ends.chunk(2, -1)
    return nn.functional.silu((terms + receiver[:, :, None]).add_(sender[:, None]))


def gather_messages(
    terms: Float[Tensor, "graphs i j channels"],
    ends: Float[Tensor, "graphs nodes both"],
    envelope: Float[Tensor, "graphs i j"],
) -> Float[Tensor, "graphs i channels"]:
    """sum_j envelope_ij silu(terms_ij + receiver_i + sender_j) of every atom i; ends as for
    `activate_pairs`."""
    if has_kernels(terms):
        from .kernels import GatherMessages

        gathered: Tensor = GatherMessages.apply(terms, ends, envelope)
        return gathered
    return (envelope[:, :, None] @ activate_pairs(terms, ends)).squeeze(2)


@final
class PairTerms(torch.autograd.Function):
    """T_l = e W_l^t for all layers l by one product, which reads pairs once; backwards, too: the
    gradients of layers are expected where their terms were, as `GatherMessages` leaves them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        pairs: Float[Tensor, "graphs i j inputs"],
        weight: Float[Tensor, "all inputs"],
        layers: int,
    ) -> tuple[Float[Tensor, "graphs i j outputs"], ...]:
        weight = weight.to(pairs.dtype)
        ctx.whole = nn.functional.linear(pairs, weight)
        ctx.save_for_backward(pairs, weight)
        terms: tuple[Tensor, ...] = ctx.whole.chunk(layers, -1)
        return terms

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        pairs, weight = ctx.saved_tensors
        whole, ctx.whole = ctx.whole, None
        places = [(t.data_ptr(), t.stride()) for t in whole.chunk(len(grads), -1)]
        if [(grad.data_ptr(), grad.stride()) for grad in grads] != places:
            whole = torch.cat(grads, -1)
        rows = whole.flatten(0, 2)
        return (rows @ weight).view_as(pairs), rows.mT @ pairs.flatten(0, 2), None


class PairLinear(nn.Linear):
    """A linear map of the channels of every pair, by `multiply`."""

    def forward(
        self, pairs: Float[Tensor, "graphs i j pair_channels"]
    ) -> Float[Tensor, "graphs i j channels"]:
        return multiply(pairs, self.weight, self.bias)
