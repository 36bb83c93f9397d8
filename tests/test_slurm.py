"""The batch script for SLURM: valid shell, exact quoting, and requeued only when it was stopped."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time

import pytest

from molaug.slurm import build_script, main

JOB = ["--nodes", "2", "--gpus", "4", "--hours", "4.5", "--", "qm9", "--target", "homo"]
# Commands of SLURM, each noting how it was called. srun is the step: it lives until SIGTERM.
FAKES = {
    "srun": 'trap "kill %1; exit 1" TERM; sleep "$SECONDS_OF_STEP" & echo $$ > step; wait; exit 0',
    "scancel": 'echo "$@" > cancelled; kill -TERM "$(cat step)"',
    "scontrol": 'if [ "$1" = show ]; then echo first; echo second; else echo "$@" > queued; fi',
}


@pytest.fixture
def slurm(tmp_path):
    """Starts the script in bash where the commands of SLURM are `FAKES`."""
    for name, body in FAKES.items():
        command = tmp_path / name
        command.write_text(f'#!/bin/bash\necho {name} "$@" >> calls\n{body}\n')
        command.chmod(0o755)

    def start(script: str, seconds: float) -> subprocess.Popen[bytes]:
        environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        environment |= {"SLURM_JOB_ID": "20007", "SLURM_JOB_NODELIST": "node[1-2]"}
        environment |= {"SECONDS_OF_STEP": str(seconds)}
        return subprocess.Popen(["bash", "-c", script], cwd=tmp_path, env=environment)

    return start


def wait_for(path):
    deadline = time.monotonic() + 20
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_script_is_valid_shell_and_asks_for_what_was_asked():
    script, path = build_script(JOB)
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    assert path is None
    for line in ("--nodes=2", "--gpus-per-node=4", "--cpus-per-task=16", "--time=04:30:00"):
        assert f"#SBATCH {line}\n" in script
    # What comes after the first command is not read by sbatch.
    assert script.index("interrupted=no") > script.rindex("#SBATCH")


def test_every_node_runs_torchrun_which_meets_at_the_first_host(slurm, tmp_path):
    assert slurm(build_script(JOB)[0], 0).wait(20) == 0
    call = next(c for c in (tmp_path / "calls").read_text().splitlines() if c.startswith("srun"))
    assert call == (
        "srun --nodes=2 --ntasks-per-node=1 --cpus-per-task=16 --kill-on-bad-exit=1 "
        "torchrun --nnodes=2 --nproc-per-node=4 --rdzv-backend=c10d "
        "--rdzv-endpoint=first:20007 --rdzv-id=20007 "
        "-m molaug.train qm9 --target homo"
    )
    assert not (tmp_path / "queued").exists()


def test_a_job_that_has_notice_ends_its_step_and_is_queued_again(slurm, tmp_path):
    job = slurm(build_script(JOB)[0], 60)
    wait_for(tmp_path / "step")
    job.send_signal(signal.SIGUSR1)
    assert job.wait(20) == 1
    assert (tmp_path / "cancelled").read_text() == "--signal=TERM 20007\n"
    assert (tmp_path / "queued").read_text() == "requeue 20007\n"


def test_a_job_that_fails_by_itself_is_not_queued_again(slurm, tmp_path):
    job = slurm(build_script(JOB)[0], 60)
    wait_for(tmp_path / "step")
    os.kill(int((tmp_path / "step").read_text()), signal.SIGTERM)
    assert job.wait(20) == 1
    assert not (tmp_path / "queued").exists()


def test_arguments_with_spaces_and_quotes_reach_the_command_as_they_are():
    words = ["qm9", "--run-dir", "a folder/it's $HOME; `x`"]
    script, _ = build_script(["--", *words])
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    line = next(line for line in script.splitlines() if "-m molaug.train " in line and "&" in line)
    assert shlex.split(line.partition("-m molaug.train ")[2].removesuffix(" &")) == words


def test_an_argument_with_a_line_break_does_not_leave_its_comment():
    script, _ = build_script(["--", "qm9", "--run-dir", "a\nexit 7"])
    comment = next(i for i, x in enumerate(script.splitlines()) if x.startswith("# Written by"))
    assert script.splitlines()[comment + 1] == ""


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("", "give the training command after --, such as: -- qm9 --target homo"),
        ("--nodes 0 -- qm9", "--nodes 0: must be at least 1"),
        ("--hours nan -- qm9", "--hours nan: must be from 0.1 to 2000"),
        ("--hours 0 -- qm9", "--hours 0.0: must be from 0.1 to 2000"),
        ("--node 2 -- qm9", "unrecognized arguments: --node 2"),
        ("-- qm9 --target hommo", "--target 'hommo' is unknown: did you mean 'homo'?"),
        ("-- qm8", "unknown task 'qm8': did you mean 'qm9'?"),
        ("--gpus 2 -- qm9 --devices 4", "--devices 4 contradicts 1 x 2 GPUs: leave it out"),
        ("--gpus 2 -- qm9 --devices=1", "--devices 1 contradicts 1 x 2 GPUs: leave it out"),
        ("-- stl10", "stl10: give --data-dir, where its files are"),
        ("-- qm9 --device cpu", "--device cpu contradicts --gpus: leave it out"),
    ],
)
def test_a_mistake_is_answered_in_one_line_and_nothing_is_written(capsys, tmp_path, line, answer):
    out = tmp_path / "job.sh"
    with pytest.raises(SystemExit) as stopped:
        main(["--out", str(out), *line.split()])
    printed, said = capsys.readouterr()
    assert (stopped.value.code, printed, said.count("\n")) == (2, "", 1)
    assert said.endswith(f": {answer}\n")
    assert not out.exists()


def test_devices_that_agree_are_accepted():
    assert "--devices 8" in build_script([*JOB, "--devices", "8"])[0]


def test_out_writes_the_script_and_says_how_to_submit_it(capsys, tmp_path):
    out = tmp_path / "my job.sh"
    assert main(["--out", str(out), *JOB]) == 0
    assert capsys.readouterr().out == f"sbatch '{out}'\n"
    assert "-m molaug.train qm9 --target homo &" in out.read_text()
    (tmp_path / "file").touch()
    assert main(["--out", str(tmp_path / "file" / "job.sh"), *JOB]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_what_several_processes_cannot_do_is_refused(capsys):
    with pytest.raises(SystemExit):
        build_script(["--gpus", "2", "--", "digits", "--ranges", "instance"])
    assert "--ranges instance: takes one device" in capsys.readouterr().err
