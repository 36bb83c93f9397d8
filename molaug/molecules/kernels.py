"""The sum over messages of the graph network as two kernels for a GPU, in Triton.

What every pair of atoms has to say is a tensor of its own in the plain form, written and read again
by each operation, and a GPU spends its time on nothing else. Here it is read once forwards, and
once read and once written backwards.

Imported only where it is used: Triton comes with PyTorch for GPUs, and with no other.
"""

from __future__ import annotations

from typing import Any, final

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

TILE = 4096  # numbers of a block: as many as fit into registers


@triton.jit
def _forward(
    terms, ends, envelope, gathered, nodes, channels, stride,
    NODES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program for each receiving atom and block of channels."""
    atom = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    j = tl.arange(0, NODES)
    senders = (atom // nodes) * nodes + j
    in_c, in_j = c < channels, j < nodes
    there = in_j[:, None] & in_c[None, :]
    receiver = tl.load(ends + atom * 2 * channels + c, mask=in_c, other=0.0).to(tl.float32)
    sender = tl.load(
        ends + (senders * 2 + 1)[:, None] * channels + c[None, :], mask=there, other=0.0
    ).to(tl.float32)
    term = tl.load(
        terms + (atom * nodes + j)[:, None] * stride + c[None, :], mask=there, other=0.0
    ).to(tl.float32)
    weight = tl.load(envelope + atom * nodes + j, mask=in_j, other=0.0).to(tl.float32)
    z = term + sender + receiver[None, :]
    total = tl.sum(weight[:, None] * z * tl.sigmoid(z), 0)
    tl.store(gathered + atom * channels + c, total.to(gathered.dtype.element_ty), mask=in_c)


@triton.jit
def _backward(
    terms, ends, envelope, grad, grad_ends, grad_envelope, nodes, channels, stride,
    NODES: tl.constexpr, BLOCK: tl.constexpr, ENVELOPE: tl.constexpr,
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
        receiver = tl.load(ends + at_receiver, mask=in_c, other=0.0).to(tl.float32)
        above = tl.load(grad + atom * channels + c, mask=in_c, other=0.0).to(tl.float32)
        weight = tl.load(envelope + atom * nodes + j, mask=in_j, other=0.0).to(tl.float32)
        at_term = (atom * nodes + j)[:, None] * stride + c[None, :]
        z = tl.load(terms + at_term, mask=there, other=0.0).to(tl.float32)
        z += sender + receiver[None, :]
        gate = tl.sigmoid(z)
        slope = weight[:, None] * above[None, :] * gate * (1 + z * (1 - gate))
        slope = tl.where(there, slope, 0.0)
        tl.store(terms + at_term, slope.to(terms.dtype.element_ty), mask=there)
        tl.store(
            grad_ends + at_receiver, tl.sum(slope, 0).to(grad_ends.dtype.element_ty), mask=in_c
        )
        of_sender += slope
        if ENVELOPE:
            said = tl.sum(tl.where(there, z * gate * above[None, :], 0.0), 1)
            at = ((tl.program_id(1) * tl.num_programs(0) + graph) * nodes + i) * nodes + j
            tl.store(grad_envelope + at, said, mask=in_j)
    tl.store(grad_ends + at_sender, of_sender.to(grad_ends.dtype.element_ty), mask=there)


def _blocks(nodes: int, channels: int) -> tuple[int, int]:
    """Nodes and channels of a block, powers of two."""
    width = max(4, triton.next_power_of_2(nodes))
    return width, min(TILE // width, 64, triton.next_power_of_2(channels))


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
        ends: Float[Tensor, "graphs nodes ends"],
        envelope: Float[Tensor, "graphs nodes nodes"],
    ) -> Float[Tensor, "graphs nodes channels"]:
        graphs, nodes, channels = len(terms), terms.shape[1], terms.shape[3]
        ends, envelope = ends.contiguous(), envelope.contiguous()
        gathered = ends.new_empty(graphs, nodes, channels)
        width, block = _blocks(nodes, channels)
        grid = (graphs * nodes, triton.cdiv(channels, block))
        _forward[grid](
            terms, ends, envelope, gathered, nodes, channels, _row_stride(terms), width, block
        )
        ctx.save_for_backward(terms, ends, envelope)
        return gathered

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        terms, ends, envelope = ctx.saved_tensors
        graphs, nodes, channels = len(terms), terms.shape[1], terms.shape[3]
        width, block = _blocks(nodes, channels)
        grid = (graphs, triton.cdiv(channels, block))
        grad_ends = torch.empty_like(ends)
        wanted = ctx.needs_input_grad[2]
        parts = envelope.new_empty((grid[1], *envelope.shape) if wanted else 1)
        _backward[grid](
            terms, ends, envelope, grad.contiguous(), grad_ends, parts,
            nodes, channels, _row_stride(terms), width, block, wanted,
        )  # fmt: skip
        return terms, grad_ends, parts.sum(0) if wanted else None


def _row_stride(terms: Tensor) -> int:
    """Between the channels of one pair and those of the next; terms of several layers may lie side
    by side."""
    nodes, stride = terms.shape[1], terms.stride(2)
    expected = (nodes * nodes * stride, nodes * stride, stride, 1)
    assert terms.stride() == expected, f"terms with strides {terms.stride()}"
    return stride
