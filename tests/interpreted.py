"""The kernels of the graph network beside its plain form. A script, because Triton has to be told
of its interpreter before it is loaded:

    TRITON_INTERPRET=1 python tests/interpreted.py    relative differences, as JSON; on a CPU
    python tests/interpreted.py cuda                  the same on a GPU
"""

from __future__ import annotations

import json
import sys
from itertools import product
from unittest.mock import patch

import torch
from torch import Tensor, nn

from molaug.molecules import pairs
from molaug.molecules.batch import MoleculeBatch
from molaug.molecules.networks import GraphNetwork

SIZES = [(3, 5, 16), (2, 9, 40), (1, 18, 72)]  # graphs, nodes, channels


def relative(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach().double(), expected.detach().double()
    return float((found - expected).norm() / expected.norm().clamp_min(1e-9))


def leaves(given: list[Tensor]) -> list[Tensor]:
    """Copies that get gradients, each with the strides that it had: backwards, kernels write over
    the first."""
    made = []
    for one in given:
        base = one.new_empty((*one.shape[:-1], 2 * one.shape[-1])) if one.ndim == 4 else None
        copied = one.clone() if base is None else base[..., one.shape[-1] :].copy_(one)
        made.append(copied.detach().requires_grad_())
    return made


def compare_sums(size: tuple[int, int, int], dtype: torch.dtype, device: str) -> float:
    """The largest difference among the sum of messages, activated pairs and all gradients; terms of
    the second of two layers, which lie beside those of the first."""
    graphs, nodes, channels = size
    terms = torch.randn(graphs, nodes, nodes, 2 * channels, device=device, dtype=dtype)
    given = [
        terms[..., channels:],
        torch.randn(graphs, nodes, 2 * channels, device=device, dtype=dtype),
        torch.rand(graphs, nodes, nodes, device=device),
    ]
    found: dict[bool, list[Tensor]] = {}
    for kernels in (False, True):
        with patch.object(pairs, "has_kernels", lambda _, kernels=kernels: kernels):
            kept = [one if kernels else one.double() for one in given]
            t, ends, envelope = leaves(kept)
            summed = pairs.gather_messages(t, ends, envelope)
            summed.backward(torch.ones_like(summed) / 3)
            found[kernels] = [summed, t.grad, ends.grad, envelope.grad]
            t, ends, _ = leaves(kept)
            activated = pairs.activate_pairs(t, ends)
            activated.backward(torch.ones_like(activated) / 3)
            found[kernels] += [activated, t.grad, ends.grad]
    return max(relative(*both) for both in zip(found[True], found[False], strict=True))


def compare_networks(bf16: bool, device: str) -> float:
    """Of all gradients of a network, as a share of their norm."""
    found: dict[bool, Tensor] = {}
    for kernels in (False, True):
        torch.manual_seed(0)
        network = GraphNetwork(channels=32, layers=3)
        for module in network.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.2)
        charges = torch.tensor([[6, 6, 1, 8, 0], [6, 1, 1, 1, 1]], dtype=torch.int32)
        places = torch.randn(2, 5, 3) * 2 * (charges > 0)[..., None]
        batch = MoleculeBatch(places.requires_grad_(), charges).to(device)
        network.to(device)
        with (
            patch.object(pairs, "has_kernels", lambda _, kernels=kernels: kernels),
            torch.autocast(device, torch.bfloat16, enabled=bf16),
        ):
            output = network(batch)
        output.square().sum().backward()
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        found[kernels] = torch.cat([g.flatten().cpu() for g in [*gradients, places.grad]])
    return relative(found[True], found[False])


def main(device: str) -> dict[str, float]:
    torch.manual_seed(0)
    differences = {
        f"{size} {dtype}": compare_sums(size, dtype, device)
        for size, dtype in product(SIZES, (torch.float32, torch.bfloat16))
    }
    differences |= {f"network {bf16}": compare_networks(bf16, device) for bf16 in (False, True)}
    return differences


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:] or ["cpu"])))
