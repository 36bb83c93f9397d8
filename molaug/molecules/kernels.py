"""What the graph network does for every pair of atoms, as kernels for a GPU, in Triton.

In the plain form each operation reads and writes all pairs, and a GPU spends its time on nothing
else. Here they are read once forwards, and once read and once written backwards.

Imported only where it is used: Triton comes with PyTorch for GPUs, and with no other.
"""

from __future__ import annotations

from typing import Any, final, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

# Numbers of a block, which has all senders of a receiver, and the warps that share it: the fastest
# of those that were tried on an H200.
FORWARD, BACKWARD = (2048, 1), (4096, 4)


@triton.jit
@no_type_check
def _forward(
    terms, ends, envelope, out, nodes, channels, stride,
    NODES: tl.constexpr, BLOCK: tl.constexpr, SUM: tl.constexpr,
):  # fmt: skip
    """One program for each receiving atom and block of channels."""
    atom = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    j = tl.arange(0, NODES)
    in_c, in_j = c < channels, j < nodes
    there = in_j[:, None] & in_c[None, :]
    at_sender = ((atom // nodes * nodes + j) * 2 + 1)[:, None] * channels + c[None, :]
    receiver = tl.load(ends + atom * 2 * channels + c, mask=in_c, other=0.0).to(tl.float32)
    z = tl.load(ends + at_sender, mask=there, other=0.0).to(tl.float32)
    at_pair = (atom * nodes + j)[:, None]
    z += tl.load(terms + at_pair * stride + c[None, :], mask=there, other=0.0).to(tl.float32)
    z += receiver[None, :]
    said = z * tl.sigmoid(z)
    if SUM:
        weight = tl.load(envelope + atom * nodes + j, mask=in_j, other=0.0).to(tl.float32)
        total = tl.sum(weight[:, None] * said, 0)
        tl.store(out + atom * channels + c, total.to(out.dtype.element_ty), mask=in_c)
    else:
        at = at_pair * channels + c[None, :]
        tl.store(out + at, said.to(out.dtype.element_ty), mask=there)


@triton.jit
@no_type_check
def _backward(
    terms, ends, envelope, grad, grad_ends, grad_envelope, nodes, channels, stride,
    NODES: tl.constexpr, BLOCK: tl.constexpr, SUM: tl.constexpr, ENVELOPE: tl.constexpr,
):  # fmt: skip
    """One program for each molecule and block of channels, so that sums over receiving atoms need
    no other. Gradients of terms are written over them."""
    graph = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    j = tl.arange(0, NODES)
    in_c, in_j = c < channels, j < nodes
    there = in_j[:, None] & in_c[None, :]
    at_sender = ((graph * nodes + j) * 2 + 1)[:, None] * channels + c[None, :]
    sender = tl.load(ends + at_sender, mask=there, other=0.0).to(tl.float32)
    of_sender = tl.zeros([NODES, BLOCK], tl.float32)
    for i in range(nodes):
        atom = graph * nodes + i
        at_receiver = atom * 2 * channels + c
        at_pair = (atom * nodes + j)[:, None]
        at_term = at_pair * stride + c[None, :]
        receiver = tl.load(ends + at_receiver, mask=in_c, other=0.0).to(tl.float32)
        z = tl.load(terms + at_term, mask=there, other=0.0).to(tl.float32)
        z += sender + receiver[None, :]
        if SUM:
            of_sum = tl.load(grad + atom * channels + c, mask=in_c, other=0.0).to(tl.float32)
            weight = tl.load(envelope + atom * nodes + j, mask=in_j, other=0.0).to(tl.float32)
            above = weight[:, None] * of_sum[None, :]
        else:
            at = at_pair * channels + c[None, :]
            above = tl.load(grad + at, mask=there, other=0.0).to(tl.float32)
        gate = tl.sigmoid(z)
        slope = above * gate * (1 + z * (1 - gate))
        tl.store(terms + at_term, slope.to(terms.dtype.element_ty), mask=there)
        of_receiver = tl.sum(slope, 0).to(grad_ends.dtype.element_ty)
        tl.store(grad_ends + at_receiver, of_receiver, mask=in_c)
        of_sender += slope
        if ENVELOPE:
            said = tl.sum(z * gate * of_sum[None, :], 1)
            at_part = ((tl.program_id(1) * tl.num_programs(0) + graph) * nodes + i) * nodes + j
            tl.store(grad_envelope + at_part, said, mask=in_j)
    tl.store(grad_ends + at_sender, of_sender.to(grad_ends.dtype.element_ty), mask=there)


def _run_forward(terms: Tensor, ends: Tensor, envelope: Tensor, out: Tensor, total: bool) -> None:
    graphs, nodes, _, channels = terms.shape
    width, block = _blocks(nodes, channels, FORWARD[0])
    _forward[graphs * nodes, triton.cdiv(channels, block)](
        terms, ends, envelope, out, nodes, channels, _row_stride(terms),
        NODES=width, BLOCK=block, SUM=total, num_warps=FORWARD[1],
    )  # fmt: skip


def _run_backward(
    terms: Tensor, ends: Tensor, envelope: Tensor, grad: Tensor, total: bool, wanted: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients of all three; that of terms in their memory, that of the envelope if wanted."""
    graphs, nodes, _, channels = terms.shape
    width, block = _blocks(nodes, channels, BACKWARD[0])
    blocks = triton.cdiv(channels, block)
    grad_ends = torch.empty_like(ends)
    parts = envelope.new_empty((blocks, *envelope.shape) if wanted else 1)
    _backward[graphs, blocks](
        terms, ends, envelope, grad.contiguous(), grad_ends, parts, nodes, channels,
        _row_stride(terms), NODES=width, BLOCK=block, SUM=total, ENVELOPE=wanted,
        num_warps=BACKWARD[1],
    )  # fmt: skip
    return terms, grad_ends, parts.sum(0) if wanted else None


def _blocks(nodes: int, channels: int, tile: int) -> tuple[int, int]:
    """Nodes and channels of a block of about `tile` numbers, powers of two."""
    width = max(4, triton.next_power_of_2(nodes))
    return width, min(max(8, tile // width), 64, triton.next_power_of_2(channels))


def _row_stride(terms: Tensor) -> int:
    """Between the channels of one pair and those of the next; terms of several layers may lie side
    by side."""
    nodes, stride = terms.shape[1], terms.stride(2)
    expected = (nodes * nodes * stride, nodes * stride, stride, 1)
    assert terms.stride() == expected, f"terms with strides {terms.stride()}"
    return stride


def _take_saved(ctx: Any) -> tuple[Tensor, ...]:
    """Once: afterwards gradients lie where the terms were."""
    if getattr(ctx, "is_spent", False):
        raise RuntimeError("a second way back: the first has written gradients over the terms")
    ctx.is_spent = True
    saved: tuple[Tensor, ...] = ctx.saved_tensors
    return saved


@final
class GatherMessages(torch.autograd.Function):
    """sum_j c_ij silu(t_ij + r_i + s_j) for all atoms i; with z the argument of silu, g_i the
    gradient of the sum and s the logistic function,

        dL/dt_ij = c_ij g_i s(z) (1 + z (1 - s(z))),

    of which dL/dr_i and dL/ds_j are sums. Computed in float32 whatever the precision of the terms.
    Terms are lost backwards: their gradient takes their place.
    """

    @staticmethod
    def forward(
        ctx: Any,
        terms: Float[Tensor, "graphs nodes nodes channels"],
        ends: Float[Tensor, "graphs nodes both"],
        envelope: Float[Tensor, "graphs nodes nodes"],
    ) -> Float[Tensor, "graphs nodes channels"]:
        ends, envelope = ends.contiguous(), envelope.contiguous()
        gathered = ends.new_empty(*terms.shape[:2], terms.shape[3])
        _run_forward(terms, ends, envelope, gathered, True)
        ctx.save_for_backward(terms, ends, envelope)
        return gathered

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        terms, ends, envelope = _take_saved(ctx)
        return _run_backward(terms, ends, envelope, grad, True, ctx.needs_input_grad[2])


@final
class ActivatePairs(torch.autograd.Function):
    """silu(t_ij + r_i + s_j) of every pair, as `GatherMessages` without the sum."""

    @staticmethod
    def forward(
        ctx: Any,
        terms: Float[Tensor, "graphs nodes nodes channels"],
        ends: Float[Tensor, "graphs nodes both"],
    ) -> Float[Tensor, "graphs nodes nodes channels"]:
        ends = ends.contiguous()
        activated = torch.empty_like(terms)
        _run_forward(terms, ends, ends, activated, False)
        ctx.save_for_backward(terms, ends)
        return activated

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        terms, ends = _take_saved(ctx)
        return _run_backward(terms, ends, ends, grad, False, False)[:2]
