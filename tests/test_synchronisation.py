"""A step never asks the device for a value, for which the host would wait, and leaves nothing to be
fetched from the host but the rows of its batch and its rates: on a device without numbers, and on a
GPU, where there is one, with torch's own alarm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ghost import CASES, STEPS

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel
from molaug.distributions import LearnedUniform
from molaug.engine import alarmed
from molaug.groups import GROUPS
from molaug.molecules.action import MoleculeAction
from molaug.molecules.batch import MoleculeBatch
from molaug.molecules.networks import GraphNetwork
from molaug.objectives import ScaleFree
from molaug.task import absolute_loss

HERE = Path(__file__).parent
ROWS, RATES = "cpu to ghost: torch.int64", "cpu into ghost: torch.float32"


@pytest.fixture(scope="module")
def ghost():
    """What every step of every case copied."""
    path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(HERE / "ghost.py")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_a_step_asks_the_device_for_nothing_and_gives_it_the_rows_of_its_batch_and_rates(
    ghost, case
):
    first, *later = ghost[case]
    assert {ROWS, RATES} <= {*first}  # and constants, which are made once
    assert later == [[RATES, ROWS]] * (STEPS - 1)


def test_asking_for_a_value_is_noticed(ghost):
    assert ghost["asking"] == "DataDependentOutputException"


def test_constants_are_given_to_the_device_once(ghost):
    copied = [one for steps in list(ghost.values())[:-1] for step in steps for one in step]
    assert 0 < len([one for one in copied if one not in (ROWS, RATES)]) < len(CASES) + 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    ("group", "output", "copies"),
    [("so3", "vector", 1), ("se3", "scalar", 1), ("se3", "tensor", 3), ("aff3", "vector", 2)],
)
def test_a_gpu_never_makes_the_host_wait(group, output, copies):
    network = GraphNetwork(output=output, channels=8, layers=1)
    law = LearnedUniform(GROUPS[group]())
    model = AveragedModel(network, Augmentation(law, MoleculeAction(output))).to("cuda")
    batch = MoleculeBatch(torch.randn(4, 5, 3), torch.full((4, 5), 6)).to("cuda")

    def take_step():
        prediction = model(batch, copies)
        loss = absolute_loss(prediction, torch.zeros_like(prediction))
        whole = ScaleFree()(loss, law)
        torch.autograd.grad(whole, list(model.parameters()), allow_unused=True)

    take_step()  # constants are made once
    with alarmed(torch.device("cuda")):
        take_step()
