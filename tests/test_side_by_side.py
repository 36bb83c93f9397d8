"""Several runs of a grid at a time: the same weights, and nothing lost when they are stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from molaug import train
from molaug.processes import run_commands
from molaug.settings import RunConfig
from molaug.train import main

ROOT = Path(__file__).parents[1]
TINY = [
    *("sprites", "--train-size", "128", "--validation-size", "16", "--test-size", "16"),
    *("--channels", "8", "--layers", "1", "--device", "cpu", "--threads", "1"),
    *("--symmetry", "learned", "none"),
]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_commands_run_so_many_at_a_time(tmp_path):
    code = (
        "import pathlib, time; p = pathlib.Path({!r}); p.joinpath('{}').write_text('');"
        "time.sleep(0.4); n = len(list(p.glob('[0-9]'))); p.joinpath('{}').unlink();"
        "p.joinpath('saw {} of {}').write_text('')"
    )
    commands = [python(code.format(str(tmp_path), i, i, "{}", i)) for i in range(5)]
    commands = [[*c[:2], c[2].replace("'saw {}", "f'saw {n}")] for c in commands]
    assert run_commands(commands, 2) == 0
    seen = [path.name for path in tmp_path.iterdir()]
    assert len(seen) == 5
    assert max(int(name.split()[1]) for name in seen) == 2


def test_a_command_that_fails_stops_the_others(tmp_path):
    done = tmp_path / "done"
    start = time.monotonic()
    long = python("import time; time.sleep(60)")
    never = python(f"open({str(done)!r}, 'w')")
    assert run_commands([long, python("raise SystemExit(3)"), never], 2) == 3
    assert time.monotonic() - start < 30
    assert not done.exists()
    assert run_commands([python("import os; os.kill(os.getpid(), 15)")], 1) == 143


def test_runs_side_by_side_end_with_the_weights_of_runs_in_turn(tmp_path, monkeypatch, capfd):
    short = [*TINY, "--epochs", "2"]
    assert main([*short, "--run-dir", str(tmp_path / "turn")]) == 0
    in_turn = capfd.readouterr().out
    asked = []
    ran = train.run_commands
    monkeypatch.setattr(train, "run_commands", lambda c, n: asked.append(n) or ran(c, n))
    assert main([*short, "--run-dir", str(tmp_path / "beside"), "--jobs", "2"]) == 0
    assert asked == [2]
    beside = capfd.readouterr().out
    for cell in ("learned-residual-0", "none-residual-0"):
        one, other = (
            load_file(tmp_path / where / cell / "weights.safetensors")
            for where in ("turn", "beside")
        )
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert beside.count(f"{cell.partition('-')[0]} residual seed 0  error in %") == 1
    kept = [line for line in in_turn.splitlines() if line.startswith("Verdict")]
    assert kept == [line for line in beside.splitlines() if line.startswith("Verdict")]
    # Nothing is left to do; the table comes again.
    assert main([*short, "--run-dir", str(tmp_path / "beside"), "--jobs", "2"]) == 0
    assert asked == [2]


def test_what_stops_the_command_stops_its_runs_with_their_states_saved(tmp_path):
    command = [sys.executable, "-m", "molaug.train", *TINY, "--epochs", "500", "--jobs", "2"]
    states = [tmp_path / f"{s}-residual-0" / "history.csv" for s in ("learned", "none")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(
        [*command, "--run-dir", str(tmp_path)], env=environment, cwd=ROOT,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    for _ in range(600):
        if all(path.exists() and path.read_text().count("\n") > 2 for path in states):
            break
        time.sleep(0.1)
    running.send_signal(signal.SIGTERM)
    said, _ = running.communicate(timeout=60)  # its pipe is open as long as any of them lives
    assert running.returncode == 143
    assert said.count("its state saved; the same command continues") == 2
    assert not (tmp_path / "comparison.json").exists()
    assert json.loads((tmp_path / "config.json").read_text())["config"]["jobs"] == 2


def test_a_run_that_cannot_be_made_says_so_once(tmp_path, capfd):
    short = [*TINY, "--epochs", "1", "--run-dir", str(tmp_path), "--jobs", "2"]
    (tmp_path / "none-residual-0").mkdir(parents=True)
    (tmp_path / "none-residual-0" / "state.pt").write_bytes(b"broken")
    with pytest.raises(SystemExit) as stopped:
        main(short)
    assert stopped.value.code == 1
    lines = capfd.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("molaug: ")]) == 1


def test_jobs_are_for_single_processes():
    assert RunConfig(jobs=3).jobs == 3
    with pytest.raises(ValueError, match=r"^--jobs 3: each takes one process"):
        RunConfig(jobs=3, devices=2)
