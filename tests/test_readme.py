"""The README's code runs, and its commands are the ones that exist."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch

import molaug
from molaug.molecules.data import load_sample
from molaug.molecules.networks import GraphNetwork
from molaug.molecules.tasks import MoleculeExamples

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_five_lines_in_a_loop_give_a_learned_augmentation():
    code = next(block for block in python_blocks() if "enumerate(batches)" in block)
    molecules = load_sample()
    batch, target = MoleculeExamples(molecules, molecules.properties[:, 5]).gather(torch.arange(8))
    network = GraphNetwork(channels=8, layers=1)
    torch.nn.init.normal_(network.readout[-1].weight)
    seen = []

    def batches():
        for _ in range(6):
            yield batch, target.float()
            seen.append(scope["law"].parameter.detach().clone())

    scope = {"network": network, "batches": batches(), "steps": 6}
    exec(code, scope)
    assert all(torch.equal(one, seen[0]) for one in seen[:2])
    assert (seen[2] != seen[0]).all()
    assert (scope["law"].costs != 0).all()
    ours = [line for line in code.splitlines() if re.search(r"  # \d$", line)]
    assert len(ours) == 5
    rest = [line for line in code.splitlines() if line not in ours and "import" not in line]
    assert not re.search("Augment|Averaged|Scale|measure|SE3", "".join(rest))


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_every_public_name_can_be_had():
    assert all(getattr(molaug, name) is not None for name in molaug.__all__)


def test_options_of_the_table_exist():
    """Whole ones: that there is --seeds does not make --seed one of them."""
    from molaug import predict
    from molaug.commandline import build_parser
    from molaug.config import CONFIGS

    parsers = [build_parser(name, config, "molaug") for name, config in CONFIGS.items()]
    parsers.append(predict.build_parser())
    known = {flag for parser in parsers for flag in parser._option_string_actions}
    flags = set(re.findall(r"`(--[\w-]+)", README))
    assert len(flags) > 10
    assert flags <= known


def test_a_trained_network_gets_a_verdict():
    from torch_geometric.data import Data

    code = next(block for block in python_blocks() if "learn_widths" in block)
    molecules = load_sample().take(slice(0, 40))
    batch, _ = MoleculeExamples(molecules, molecules.properties[:, 5]).gather(torch.arange(40))
    graphs = [
        Data(pos=p[z > 0], z=z[z > 0]) for p, z in zip(batch.positions, batch.charges, strict=True)
    ]

    class Trained(torch.nn.Module):
        def forward(self, z, pos, batch):
            return torch.zeros(int(batch.max()) + 1).index_add(0, batch, z.float())

    scope = {"graphs": graphs, "trained": Trained(), "targets": np.arange(40.0)}
    exec(code, scope, scope)
    assert set(scope["found"].widths) == {"rx", "ry", "rz", "tx", "ty", "tz"}


def test_molecules_of_ones_own_are_trained_on_and_judged(tmp_path, monkeypatch):
    from torch_geometric.data import Data

    monkeypatch.chdir(tmp_path)
    code = next(block for block in python_blocks() if "judge" in block)
    code = code.replace("GraphNetwork()", "GraphNetwork(channels=8, layers=1)")
    code = code.replace("epochs=16", "epochs=2")
    molecules = load_sample()
    homo = molecules.properties[:, 5]

    def part(rows):
        chosen = molecules.take(rows)
        batch, _ = MoleculeExamples(chosen, homo[rows]).gather(torch.arange(len(chosen)))
        pairs = zip(batch.positions, batch.charges, strict=True)
        return [Data(pos=p[z > 0], z=z[z > 0]) for p, z in pairs], homo[rows]

    scope = {"parts": [part(slice(0, 96)), part(slice(96, 112)), part(slice(112, 140))]}
    exec(code, scope, scope)
    assert set(scope["verdicts"]) == {"rx", "ry", "rz", "tx", "ty", "tz"}
    assert (tmp_path / "runs/mine/state.pt").exists()


def test_the_command_takes_the_network_of_a_file(tmp_path, monkeypatch):
    from molaug.molecules.networks import build_network
    from molaug.molecules.pyg import PygNetwork

    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(next(block for block in python_blocks() if "# mine.py" in block))
    line = next(line for line in README.splitlines() if "--network mine.py" in line)
    network = build_network(line.split("--network ")[1].split()[0])
    assert isinstance(network, PygNetwork)
    molecules = load_sample().take(slice(0, 4))
    batch, _ = MoleculeExamples(molecules, np.zeros(4)).gather(torch.arange(4))
    assert network(batch).shape == (4,)


def test_shards_are_written_and_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = next(block for block in python_blocks() if "write_shards" in block)
    molecules = load_sample()
    scope = {"parts": [(molecules, molecules.properties[:, 5])]}
    exec(code, scope, scope)
    assert len(scope["train"]) == len(molecules)
    assert np.isclose(float(scope["scaling"].shift), molecules.properties[:, 5].mean())


def test_the_slurm_command_is_accepted():
    from molaug.slurm import build_script

    line = next(line for line in README.splitlines() if "molaug.slurm" in line)
    script, path = build_script(line.split("molaug.slurm ")[1].split())
    assert path == Path("job.sh")
    assert "-m molaug.train qm9" in script
