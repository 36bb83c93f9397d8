"""Several processes take the steps of one: two on a CPU, connected by gloo as torchrun does it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_loop import RECIPE, build_task

from molaug.augmentation import Augmentation, Share
from molaug.checkpoint import load_state
from molaug.distributions import LearnedUniform
from molaug.groups import SE3
from molaug.history import read_history
from molaug.loop import Interrupted, Trainer
from molaug.molecules.action import MoleculeAction
from molaug.molecules.data import load_sample
from molaug.molecules.tasks import MoleculeExamples
from molaug.objectives import ScaleFree
from molaug.processes import prepare_processor, start_fabric
from molaug.recipe import Recipe

HERE = Path(__file__).parent
ODD = Recipe(**{**vars(RECIPE), "batch_size": 21, "epochs": 2, "rate": 0.002})  # 64 = 3 * 21 + 1


def test_floats_that_are_hardly_any_are_zero_where_the_processor_can_do_that():
    can = torch.set_flush_denormal(False)
    small = torch.tensor([1e-30])
    assert small * 1e-10 > 0
    prepare_processor()
    assert (small * 1e-10 == 0) == can


def train(folder: Path, stop: int = 0) -> None:
    """A run of two epochs; stop: rank 1 alone has a signal after so many steps."""
    trainer = Trainer(build_task(), ScaleFree(), ODD, folder, start_fabric("cpu"))

    def interrupt(progress, total):
        if progress.step == stop and trainer.fabric.global_rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer.fit(interrupt)


def train_interrupted(folder: Path) -> None:
    """What each of two processes does: stop at step 3, and continue from the saved state."""
    with pytest.raises(Interrupted):
        train(folder, stop=3)
    assert load_state(folder / "state.pt")["progress"]["step"] == 3
    train(folder)


def run_two(folder: Path) -> list[int]:
    """`train_interrupted` in two processes, started as torchrun does it; their exit statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    shared |= {"LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    shared |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])}
    code = (
        "import pathlib, sys, test_processes as t; t.train_interrupted(pathlib.Path(sys.argv[1]))"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    return [child.wait(120) for child in children]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    train(folder)
    return folder


def test_two_processes_take_the_steps_of_one_and_resume_together(tmp_path, one):
    """Batches of 21 and a last one of 1, which two cannot share evenly; stopped on the way by a
    signal that only one of them has had."""
    assert run_two(tmp_path) == [0, 0]
    found, expected = (load_state(f / "state.pt")["model"] for f in (tmp_path, one))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-4, rtol=1e-3)
    histories = (read_history(folder / "history.csv") for folder in (tmp_path, one))
    for ours, theirs in zip(*histories, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
        assert ours["width_rx"] == pytest.approx(theirs["width_rx"], rel=1e-3)


def test_shares_of_a_batch_draw_what_the_whole_would():
    molecules = load_sample().take(slice(0, 5))
    batch, _ = MoleculeExamples(molecules, molecules.properties[:, 5]).gather(torch.arange(5))
    augmentation = Augmentation(LearnedUniform(SE3()), MoleculeAction())
    torch.manual_seed(0)
    elements = augmentation(batch, 3)[1].unflatten(0, (3, 5))
    for first in (0, 1):
        torch.manual_seed(0)
        part = type(batch)(batch.positions[first::2], batch.charges[first::2])
        found = augmentation(part, 3, Share(5, first, 2))[1].unflatten(0, (3, len(part)))
        assert torch.equal(found, elements[:, first::2])
