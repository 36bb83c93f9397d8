"""The command, on real QM9 at small size: what it writes, how it resumes, what it refuses."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from filelock import FileLock, Timeout
from safetensors.torch import load_file

from molaug import train
from molaug.config import CONFIGS
from molaug.evaluate import mean_error
from molaug.folder import claim_folder
from molaug.history import read_history
from molaug.images import tasks as images
from molaug.molecules.data import load_qm9, load_sample
from molaug.molecules.tasks import load_task
from molaug.train import main, prepare_run

pytestmark = pytest.mark.skipif(find_spec("qm9pack") is None, reason="needs the qm9pack wheel")

SMALL = ["qm9", "--device", "cpu", "--train-size", "96", "--validation-size", "16"]
SMALL += ["--test-size", "16", "--channels", "8", "--layers", "1", "--test-copies", "2"]
SMALL += ["--batch-size", "16", "--seed", "4"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    arguments = [*SMALL, "--epochs", "2", "--symmetry", "learned", "fixed", "none"]
    assert main([*arguments, "--run-dir", str(folder)]) == 0
    return folder, arguments


def test_comparison_has_a_row_per_run_with_everything(finished):
    folder, _ = finished
    rows = json.loads((folder / "comparison.json").read_text())["rows"]
    assert [row["symmetry"] for row in rows] == ["learned", "fixed", "none"]
    for row in rows:
        assert row["unit"] == "meV"
        assert row["target"] == "homo"
        assert 50 < row["test_mae_canonical"] < 2000
        assert 50 < row["test_mae_rotated"] < 2000
        assert row["invariance_error"] >= 0
        assert set(row["widths"]) == {"rx", "ry", "rz", "tx", "ty", "tz"}
        assert row["parameters"] > 1000
        assert row["seconds_per_epoch"] > 0
        assert {"network", "seed", "frame", "split", "test_count"} <= set(row)
    for width in rows[0]["widths"].values():  # moved, in so short a run either way
        assert 0 < width["learned"] <= width["cap"]
        assert 0 < width["initial"] != width["learned"]
    assert all(w["learned"] == 0 for w in rows[2]["widths"].values())
    assert set(rows[0]["verdicts"]) == set(rows[0]["widths"])
    assert all("verdicts" not in row for row in rows[1:])
    assert rows[2]["haar_at_test"]["test_mae_rotated"] > 50
    assert [row["true_widths"]["rx"] for row in rows] == [pytest.approx(math.pi)] * 3


def test_run_folder_holds_everything(finished):
    folder, _ = finished
    run = folder / "learned-coordinates-4"
    names = {"run.json", "split.npz", "history.csv", "state.pt", "weights.safetensors"}
    assert names | {"widths.svg", "curves.json", "metrics.json"} == {
        path.name for path in run.iterdir()
    }
    record = json.loads((run / "run.json").read_text())
    assert record["config"]["train_size"] == 96
    assert "torch" in record["versions"]


def test_the_report_is_written_beside_the_comparison(finished):
    folder, _ = finished
    page = (folder / "report.html").read_text()
    assert "learned coordinates, seed 4: " in page
    assert "A test molecule as the law moves it" in page
    assert "--train-size 96" in re.sub("<[^>]*>", "", page)


def test_a_finished_run_can_be_loaded_and_predicts_in_physical_units(finished):
    folder, _ = finished
    task = load_task(folder / "none-coordinates-4", load_qm9())
    batch, target = task.tests["canonical"].gather(torch.arange(16))
    found = float((task.model.predict(batch) - target).abs().mean())
    rows = json.loads((folder / "comparison.json").read_text())["rows"]
    assert math.isclose(found, rows[2]["test_mae_canonical"], rel_tol=1e-5)


def test_the_same_command_again_shows_the_table_without_training(finished, capsys):
    folder, arguments = finished
    before = (folder / "fixed-coordinates-4" / "state.pt").stat().st_mtime_ns
    assert main([*arguments, "--run-dir", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert not re.search(r"epoch \d", shown)
    assert str(folder / "report.html") in shown
    assert (folder / "fixed-coordinates-4" / "state.pt").stat().st_mtime_ns == before


def test_a_folder_of_another_run_is_not_touched(finished, capsys):
    folder, arguments = finished
    changed = [*arguments, "--run-dir", str(folder), "--target", "lumo"]
    assert main(changed) == 1
    message = capsys.readouterr().err
    assert "other settings (target homo, not lumo)" in message
    assert message.count("\n") == 1


def start(folder: Path) -> subprocess.Popen[bytes]:
    arguments = [*SMALL, "--epochs", "6", "--symmetry", "learned", "--threads", "1"]
    command = [sys.executable, "-m", "molaug.train", *arguments, "--run-dir", str(folder)]
    with folder.with_suffix(".log").open("a") as log:
        return subprocess.Popen(command, stdout=log, env={**os.environ})


def wait_for_epoch(folder: Path, process: subprocess.Popen[bytes]) -> None:
    history = folder / "learned-coordinates-4" / "history.csv"
    while process.poll() is None and not (
        history.exists() and len(history.read_text().splitlines()) > 1
    ):
        time.sleep(0.005)


def outcome(folder: Path) -> tuple[dict[str, bytes], dict[str, object]]:
    run = folder / "learned-coordinates-4"
    weights = {k: v.numpy().tobytes() for k, v in load_file(run / "weights.safetensors").items()}
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["curves"] = json.loads((run / "curves.json").read_text())
    return weights, {k: v for k, v in metrics.items() if not k.startswith("seconds")}


def test_killed_and_terminated_runs_end_as_the_uninterrupted_one(tmp_path):
    whole = start(tmp_path / "whole")
    assert whole.wait() == 0
    for number, status in ((signal.SIGTERM, 143), (signal.SIGKILL, -9)):
        folder = tmp_path / number.name
        stopped = start(folder)
        wait_for_epoch(folder, stopped)
        stopped.send_signal(number)
        assert stopped.wait() == status
        assert not (folder / "learned-coordinates-4" / "metrics.json").exists()
        assert start(folder).wait() == 0
        assert outcome(folder) == outcome(tmp_path / "whole")
        said = folder.with_suffix(".log").read_text()
        if number == signal.SIGTERM:
            assert re.search(r"stopped after step \d+ of 36, its state saved", said)
        assert re.search(r"continued after step \d+ of 36", said)


SPRITES = ["sprites", "--device", "cpu", "--train-size", "64", "--validation-size", "16"]
SPRITES += ["--test-size", "16", "--channels", "8", "--layers", "2", "--epochs", "2"]
SPRITES += ["--test-copies", "2"]


@pytest.mark.parametrize("arguments", [SMALL, SPRITES], ids=["molecules", "images"])
def test_bfloat16_trains(arguments, tmp_path):
    """Nearly to the same weights: the first losses differ by rounding alone."""
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        folder = tmp_path / precision
        chosen = [*arguments, "--epochs", "1", "--symmetry", "learned", "--precision", precision]
        assert main([*chosen, "--run-dir", str(folder)]) == 0
        (history,) = folder.glob("*/history.csv")
        losses.append(read_history(history)[0]["train_loss"])
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_vectors_and_learned_directions_train_in_bfloat16(tmp_path):
    """Elements and the way back stay in float32, in which their matrices are multiplied."""
    chosen = ["--target", "dipole", "--directions", "learned", "--precision", "bf16-mixed"]
    short = [*SMALL, *chosen, "--epochs", "1", "--symmetry", "learned"]
    assert main([*short, "--run-dir", str(tmp_path)]) == 0


def test_training_needs_neither_ase_nor_rdkit_nor_qm9pack(tmp_path):
    """A machine with a GPU may lack them: the molecules come from the converted file."""
    load_qm9()  # converts it, if no test has
    code = "import sys\n"
    code += "sys.modules.update(dict.fromkeys(('ase', 'rdkit', 'qm9pack')))\n"
    code += "from molaug.train import main\n"
    code += "sys.exit(main(sys.argv[1:]))"
    short = [*SMALL, "--epochs", "1", "--symmetry", "learned", "--run-dir", str(tmp_path)]
    assert subprocess.run([sys.executable, "-c", code, *short], check=False).returncode == 0


def test_two_processes_start_in_a_new_folder_and_speak_once(tmp_path):
    """As one does, to rounding: both find nothing there, and one of them writes."""
    arguments = [*SPRITES, "--symmetry", "learned", "fixed_true"]
    command = [sys.executable, "-m", "molaug.train", *arguments, "--devices", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(2):  # the second time there is nothing left to do
        done = subprocess.run(
            [*command, "--run-dir", str(tmp_path / "two")],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.count("The report, with pictures") == 1
    assert main([*arguments, "--run-dir", str(tmp_path / "one")]) == 0
    one, two = (
        read_history(next((tmp_path / f).glob("learned*/history.csv"))) for f in ("one", "two")
    )
    assert [row["width_r"] for row in two] == pytest.approx(
        [row["width_r"] for row in one], rel=1e-3
    )
    assert not list(tmp_path.rglob("*.partial"))


def test_devices_and_folders_that_are_not_there_are_refused_before_anything_is_made(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    folder = tmp_path / "run"
    assert main([*SMALL, "--device", "gpu", "--run-dir", str(folder)]) == 1
    message = capsys.readouterr().err
    assert message.startswith("molaug: --device")
    assert message.count("\n") == 1
    assert not folder.exists()
    folder.write_text("a file")
    assert main([*SMALL, "--run-dir", str(folder)]) == 1
    assert "is a file; give a folder" in capsys.readouterr().err
    assert folder.read_text() == "a file"


def test_torchrun_has_started_processes_on_other_machines_too(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    config = CONFIGS["sprites"](devices=8)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(ValueError, match="--devices 8: there are 4 GPUs here"):
        prepare_run(config)
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert prepare_run(config).devices == 8


def test_a_folder_is_of_one_command_at_a_time(tmp_path, capsys, monkeypatch):
    arguments = [*SPRITES, "--run-dir", str(tmp_path)]
    with FileLock(tmp_path / "lock"):
        assert main(arguments) == 1
    assert capsys.readouterr().err == (
        f"molaug: {tmp_path} is in use by another command: wait for it, or choose another "
        "--run-dir\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]

    def fail(*_):
        with pytest.raises(Timeout):
            FileLock(tmp_path / "lock").acquire(timeout=0)
        raise ValueError("enough")

    monkeypatch.setattr(train, "train_all", fail)
    for _ in range(2):  # which a command that failed does not hold any more
        assert main(arguments) == 1
        assert capsys.readouterr().err == "molaug: enough\n"


def test_the_processes_of_a_command_share_its_folder(tmp_path, monkeypatch):
    config = CONFIGS["sprites"](device="cpu")
    with claim_folder(tmp_path, config, ""):
        with pytest.raises(ValueError, match="in use"), claim_folder(tmp_path, config, ""):
            pass
        monkeypatch.setenv("RANK", "1")
        with claim_folder(tmp_path, config, ""):
            pass


def test_what_a_killed_command_left_half_written_is_removed(tmp_path):
    cell = tmp_path / "learned-residual-0"
    cell.mkdir()
    left = [tmp_path / "config.json.0123abcd.partial", cell / "state.pt.0123abcd.partial"]
    for path in left:
        path.touch()
    with claim_folder(tmp_path, CONFIGS["sprites"](), ""):
        assert not any(path.exists() for path in left)


def test_where_a_run_goes_on_may_change(tmp_path):
    for device in ("auto", "cpu", "gpu"):
        with claim_folder(tmp_path, CONFIGS["sprites"](device=device), ""):
            pass


def test_a_configuration_that_is_none_is_damaged(tmp_path):
    for content in ("[]", "{", "{}"):
        (tmp_path / "config.json").write_text(content)
        with (
            pytest.raises(ValueError, match=r"config\.json: damaged .*; delete it"),
            claim_folder(tmp_path, CONFIGS["sprites"](), ""),
        ):
            pass


def test_other_data_and_another_task_are_another_run(tmp_path, capsys, monkeypatch):
    """Of classes neither their number nor their mean would show it."""
    arguments = [*SPRITES, "--symmetry", "none", "--run-dir", str(tmp_path)]
    assert main(arguments) == 0
    refused = f"molaug: {tmp_path} holds a run with other settings"
    assert main([*arguments, "--seed", "1"]) == 1
    assert f"{refused} (seed 0, not 1)" in capsys.readouterr().err
    one = images.open_data

    def darker(config):
        pictures = one(config)
        some = pictures.train
        return replace(pictures, train=replace(some, images=some.images // 2))

    monkeypatch.setattr(images, "open_data", darker)
    assert main(arguments) == 1
    assert f"{refused} (data)" in capsys.readouterr().err
    (tmp_path / "config.json").unlink()  # what the run itself says is compared too
    assert main(arguments) == 1
    assert f"{refused} (data)" in capsys.readouterr().err.replace("/none-residual-0", "")
    monkeypatch.undo()
    (tmp_path / "config.json").unlink()
    assert main(arguments) == 0
    capsys.readouterr()
    assert main(["scenes", *arguments[1:]]) == 1
    assert f"{refused} (task sprites, not scenes)" in capsys.readouterr().err


def test_damaged_files_of_a_run_are_named_and_deleted_ones_made_again(tmp_path, capsys):
    arguments = [*SPRITES, "--symmetry", "learned", "--test-copies", "1"]
    assert main([*arguments, "--run-dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "averaged over 1 copy of the input" in shown
    assert "1 copies" not in shown
    run = tmp_path / "learned-residual-0"
    (run / "weights.safetensors").unlink()
    assert main([*arguments, "--run-dir", str(tmp_path)]) == 0
    assert (run / "weights.safetensors").exists()
    for name in ("metrics.json", "curves.json", "history.csv", "weights.safetensors"):
        whole = (run / name).read_bytes()
        for damaged in (whole[: -len(whole) // 3], b'{"a": 1}'):
            (run / name).write_bytes(damaged)
            assert main([*arguments, "--run-dir", str(tmp_path)]) == 1
            said = capsys.readouterr().err
            assert f"{name}: damaged" in said
            assert "delete it to have it made again" in said
        (run / name).unlink()
        assert main([*arguments, "--run-dir", str(tmp_path)]) == 0
        assert (run / name).exists()
        if name != "metrics.json":  # which holds the seconds of measurements
            assert (run / name).read_bytes() == whole


def test_ctrl_c_before_training_gives_one_line(tmp_path, capsys, monkeypatch):
    def interrupt(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "open_data", interrupt)
    assert main([*SPRITES, "--run-dir", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "molaug: stopped; the same command continues\n"


def test_images_are_trained_by_the_same_command(tmp_path):
    arguments = [*SPRITES, "--symmetry", "learned", "fixed_true", "none"]
    assert main([*arguments, "--run-dir", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "comparison.json").read_text())["rows"]
    for row in rows:
        assert 0 <= row["test_error_canonical"] <= 100
        assert row["true_widths"]["r"] == pytest.approx(math.pi / 4)
    learned, fixed, none = (row["widths"]["r"]["learned"] for row in rows)
    assert none == 0 < learned
    assert fixed == pytest.approx(math.pi / 4)
    assert "A test image as the law moves it" in (tmp_path / "report.html").read_text()
    task = images.load_task(str(tmp_path / "none-residual-0"))
    assert not task.model.training
    with pytest.raises(ValueError, match="holds several runs"):
        images.load_task(tmp_path)
    with pytest.raises(ValueError, match="a run of sprites; give one of qm9"):
        load_task(tmp_path / "none-residual-0", load_sample())
    assert mean_error(task.model, task, task.tests["canonical"]) == rows[2]["test_error_canonical"]
    assert main([*arguments, "--run-dir", str(tmp_path), "--degrees", "30"]) == 1
