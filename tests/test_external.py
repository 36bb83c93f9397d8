"""A network of one's own takes the place of ours, by the file it is in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from molaug.external import build_external
from molaug.images.tasks import load_task
from molaug.molecules.networks import GraphNetwork, build_network
from molaug.molecules.pyg import PygNetwork
from molaug.train import main

NETWORKS = """
import helper
import torch


class Scores(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scores = torch.nn.Linear(3, helper.CLASSES)

    def forward(self, batch):
        return self.scores(batch.images.mean((2, 3)))


class Sums(torch.nn.Module):
    def forward(self, z, pos, batch):
        return torch.zeros(int(batch.max()) + 1).index_add(0, batch, z.float())


def ours():
    from molaug import GraphNetwork

    return GraphNetwork(channels=8, layers=1)


def wrapped():
    from molaug import PygNetwork

    return PygNetwork(Sums(), scale=2.0)


class Detached(Scores):
    def forward(self, batch):
        return self.scores(batch.images.detach().mean((2, 3)))


class Stops(Scores):
    def forward(self, batch):
        raise SystemExit(3)


def Lazy():
    return torch.nn.LazyLinear(3)


class Fails(Scores):
    def forward(self, batch):
        return 1 / 0


number = 3
three = lambda: 3
"""
SPRITES = ["sprites", "--device", "cpu", "--train-size", "64", "--validation-size", "16"]
SPRITES += ["--test-size", "16", "--epochs", "1", "--test-copies", "2", "--symmetry", "learned"]


@pytest.fixture
def file(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as `python -m` does
    (tmp_path / "helper.py").write_text("CLASSES = 4\n")
    (tmp_path / "mine.py").write_text(NETWORKS)
    return tmp_path / "mine.py"


def test_what_a_forward_takes_decides_how_it_is_called(file):
    assert type(build_network("mine.py:Sums")) is PygNetwork
    assert build_network("mine.py:wrapped").scale == 2.0  # and is not wrapped again
    assert type(build_network(f"{file}:ours")) is GraphNetwork


def test_a_vector_is_asked_of_a_network_for_vectors(file):
    assert build_network("mine.py:Sums", output="vector").output == "vector"


@pytest.mark.parametrize(
    ("network", "why"),
    [
        ("none.py:Scores", "there is no file "),
        ("mine.py:Nothing", "has no attribute 'Nothing'"),
        ("mine.py:number", "TypeError: 'int' object is not callable"),
        ("mine.py:three", "makes no torch module, but 3"),
        ("mine.py:Sums", "has nothing to train"),
        ("mine.py:Fails", "ZeroDivisionError: division by zero (line 48)"),
        ("mine.py:Stops", "SystemExit: 3 (line "),
        ("mine.py:Lazy", "has lazy layers; give them their sizes"),
        ("mine.py:Detached", "no gradient reaches its inputs, and so no width can be learned"),
        ("broken.py:x", "SyntaxError: "),
        ("text.txt:x", "NameError: "),
    ],
)
def test_what_is_no_network_is_said_before_anything_is_trained(network, why, file, capsys):
    Path("broken.py").write_text("def\n")
    Path("text.txt").write_text("nothing\n")
    assert main([*SPRITES, "--network", "residual", network, "--run-dir", "run"]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"molaug: --network {network}: ")
    assert why in said
    assert len(said.splitlines()) == 1
    assert not Path("run").exists()


def test_a_name_without_a_file_is_told_what_there_is(capsys):
    with pytest.raises(SystemExit):
        main([*SPRITES, "--network", "mine"])
    assert "conv13, c8, FILE.py:NAME" in capsys.readouterr().err


def test_a_run_comes_back_until_its_file_is_changed(file, capsys):
    asked = [*SPRITES, "--network", "mine.py:Scores", "--run-dir", "run"]
    assert main(asked) == 0
    place = Path("run/learned-mine.py_Scores-0")
    weights = (place / "weights.safetensors").read_bytes()
    assert json.loads((place / "metrics.json").read_text())["network"] == "mine.py:Scores"
    task = load_task(place)
    assert task.model.network.scores.weight.shape == (4, 3)
    assert not torch.equal(
        task.model.network.scores.weight, build_external("mine.py:Scores").scores.weight
    )
    assert main(asked) == 0
    assert (place / "weights.safetensors").read_bytes() == weights
    file.write_text(NETWORKS + "# changed\n")
    capsys.readouterr()
    assert main(asked) == 1
    assert "the file is not what it was when this run was trained" in capsys.readouterr().err
    with pytest.raises(ValueError, match="the file is not what it was"):
        load_task(place)


def test_files_of_one_name_do_not_share_a_folder(file, capsys):
    Path("other").mkdir()
    (Path("other") / "mine.py").write_text(NETWORKS)
    networks = ["--network", "mine.py:Scores", "other/mine.py:Scores"]
    assert main([*SPRITES, *networks, "--run-dir", "run"]) == 1
    assert "two of one name; rename a file" in capsys.readouterr().err
    assert not Path("run").exists()


def test_weights_start_from_the_seed_whatever_the_file_draws(file):
    torch.manual_seed(3)
    first = build_external("mine.py:Scores").scores.weight
    file.write_text(NETWORKS + "torch.randn(5)\n")
    torch.manual_seed(3)
    assert torch.equal(build_external("mine.py:Scores").scores.weight, first)


def test_a_file_knows_where_it_is_and_what_lies_beside_it(tmp_path):
    """And takes no __future__ of ours."""
    (tmp_path / "beside_it.py").write_text("SIZE = 3\n")
    (tmp_path / "a.py").write_text(
        "import beside_it, torch\nfrom pathlib import Path\n"
        "def f(x: int): pass\n"
        "def net():\n"
        "    assert f.__annotations__ == {'x': int}\n"
        "    return torch.nn.Linear(len(list(Path(__file__).parent.glob('*.py'))), beside_it.SIZE)"
    )
    assert build_external(f"{tmp_path}/a.py:net").weight.shape == (3, 2)


def test_a_run_is_opened_from_anywhere(file, monkeypatch):
    place = Path("run/none-mine.py_Scores-0").resolve()
    asked = [*SPRITES[:-1], "none", "--network", "mine.py:Scores", "--run-dir", "run"]
    assert main(asked) == 0
    (file.parent / "elsewhere").mkdir()
    monkeypatch.chdir(file.parent / "elsewhere")
    assert load_task(place).model.network.scores.weight.shape == (4, 3)


def test_runs_side_by_side_take_it_too(file, monkeypatch):
    from molaug import train

    monkeypatch.setattr(train, "AT_ONCE", 2)
    asked = [*SPRITES, "--network", "mine.py:Scores", "--seeds", "2", "--jobs", "2"]
    assert main([*asked, "--run-dir", "run"]) == 0
    assert len(json.loads(Path("run/comparison.json").read_text())["rows"]) == 2
