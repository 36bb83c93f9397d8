"""A step never asks the device for a value: the host would wait for it.

On a CPU the step is run on fake tensors, which have a shape and no values, so that whatever needs
one fails; on a GPU, where there is one, torch's own alarm is set.
"""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import Distribution, Haar, LearnedUniform
from molaug.groups import GROUPS
from molaug.molecules.action import MoleculeAction
from molaug.molecules.batch import MoleculeBatch
from molaug.molecules.networks import GraphNetwork
from molaug.objectives import ScaleFree
from molaug.task import absolute_loss

CASES = [("so3", "vector", 1), ("se3", "scalar", 1), ("se3", "tensor", 3), ("aff3", "vector", 2)]


def learned(group: str) -> Distribution:
    return LearnedUniform(GROUPS[group]())


def build(law: Distribution, output: str, device: str = "cpu") -> AveragedModel:
    network = GraphNetwork(output=output, channels=8, layers=1)
    model = AveragedModel(network, Augmentation(law, MoleculeAction(output))).to(device)
    take_step(model, 2, device)  # constants are made once
    return model


def take_step(model: AveragedModel, copies: int, device: str = "cpu") -> None:
    """Draw, exponential, action, network, outputs brought back, loss, objective and gradients."""
    positions = torch.randn(4, 5, 3, device=device)
    batch = MoleculeBatch(positions, torch.full((4, 5), 6, device=device))
    prediction = model(batch, copies)
    loss = absolute_loss(prediction, torch.zeros_like(prediction))
    whole = ScaleFree()(loss, model.augmentation.distribution)
    torch.autograd.grad(whole, list(model.parameters()), allow_unused=True)


@pytest.mark.parametrize(("group", "output", "copies"), CASES)
def test_a_step_needs_no_value_on_the_host(group, output, copies):
    model = build(learned(group), output)
    with FakeTensorMode(allow_non_fake_inputs=True):
        take_step(model, copies)


def test_fixed_augmentation_needs_none_either():
    model = build(Haar(GROUPS["se3"](), 5.0), "scalar")
    with FakeTensorMode(allow_non_fake_inputs=True):
        take_step(model, 2)


def test_asking_for_a_value_is_noticed():
    with FakeTensorMode(), pytest.raises(DataDependentOutputException):
        torch.ones(3).sum().item()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("group", "output", "copies"), CASES)
def test_a_gpu_never_makes_the_host_wait(group, output, copies):
    model = build(learned(group), output, "cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        take_step(model, copies, "cuda")
    finally:
        torch.cuda.set_sync_debug_mode("default")
