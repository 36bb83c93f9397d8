"""Muon: against its definition in float64, and against torch's, which computes in bfloat16."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from molaug.muon import ITERATIONS, QUINTIC, Muon, orthogonalise

SHAPES = [(8, 12), (12, 8), (8, 12), (6, 6), (3, 7)]
SETTINGS = {"lr": 0.01, "weight_decay": 0.1}


def matrices(dtype: torch.dtype) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    draw = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES)
    return [nn.Parameter(matrix.to(dtype)) for matrix in draw]


def gradients(step: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1 + step)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]


def train(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        for parameter, gradient in zip(parameters, gradients(step), strict=True):
            parameter.grad = gradient.to(parameter.dtype)
        optimizer.step()


def slow_muon(steps: int) -> list[Tensor]:
    """As the formulas read, one matrix at a time, in float64."""
    weights = [p.detach().clone() for p in matrices(torch.float64)]
    momenta = [torch.zeros_like(w) for w in weights]
    a, b, c = QUINTIC
    for step in range(steps):
        for weight, momentum, gradient in zip(weights, momenta, gradients(step), strict=True):
            momentum.copy_(0.95 * momentum + 0.05 * gradient)
            x = 0.05 * gradient + 0.95 * momentum
            x = x / x.norm()
            for _ in range(ITERATIONS):
                x = a * x + b * x @ x.T @ x + c * x @ x.T @ x @ x.T @ x
            size = 0.2 * max(weight.shape) ** 0.5 * SETTINGS["lr"]
            weight.copy_((1 - SETTINGS["lr"] * SETTINGS["weight_decay"]) * weight - size * x)
    return weights


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_six_steps_are_as_the_formulas_read(dtype, tolerance):
    parameters = matrices(dtype)
    train(parameters, Muon(parameters, **SETTINGS), range(6))
    for parameter, expected in zip(parameters, slow_muon(6), strict=True):
        assert (parameter - expected).abs().max() < tolerance


def test_it_is_torchs_muon_but_for_the_precision_of_bfloat16():
    ours, theirs = matrices(torch.float32), matrices(torch.float32)
    before = [p.detach().clone() for p in ours]
    train(ours, Muon(ours, **SETTINGS), range(6))
    reference = torch.optim.Muon(theirs, adjust_lr_fn="match_rms_adamw", **SETTINGS)
    train(theirs, reference, range(6))
    for start, one, other in zip(before, ours, theirs, strict=True):
        assert (one - other).norm() < 0.02 * (one - start).norm()


def test_what_comes_out_is_nearly_orthogonal():
    singular = torch.linalg.svdvals(orthogonalise(torch.randn(4, 10, 16)))
    assert singular.min() > 0.6
    assert singular.max() < 1.3


def test_a_saved_state_continues_bit_for_bit():
    whole, part = matrices(torch.float32), matrices(torch.float32)
    train(whole, Muon(whole, **SETTINGS), range(4))
    first = Muon(part, **SETTINGS)
    train(part, first, range(2))
    second = Muon(part, **SETTINGS)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(part, second, range(2, 4))
    assert all(torch.equal(p, q) for p, q in zip(whole, part, strict=True))


def test_a_matrix_without_a_gradient_stays():
    used, unused = (nn.Parameter(torch.ones(4, 4)) for _ in range(2))
    optimizer = Muon([used, unused], **SETTINGS)
    used.grad = torch.eye(4)
    optimizer.step()
    assert torch.equal(unused, torch.ones(4, 4))
    assert not torch.equal(used, torch.ones(4, 4))
