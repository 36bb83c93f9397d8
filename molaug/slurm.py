"""`python -m molaug.slurm --nodes 2 --gpus 4 --hours 4 -- qm9 --target homo`: a script for sbatch.

The job saves its state before its time is over, requeues itself and goes on from there, until the
command is done. The run's folder must be one that all nodes see.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .commandline import Parser, parse
from .config import CONFIGS
from .files import write_bytes

PROG = "python -m molaug.slurm"
NOTICE = 120  # seconds before the time limit at which a run is told to save its state and end

# The notice goes to the batch shell (B:) as USR1, which nothing else sends: a job that a person
# cancels has SIGTERM and is not queued again. torchrun hands SIGTERM on, but exits with a status
# of its own, so that the shell remembers whether there was a notice. Of the notice torchrun uses
# 30 seconds at most: it kills what has not ended by then.
SCRIPT = """\
#!/bin/bash
#SBATCH --job-name=molaug-{task}
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={gpus}
#SBATCH --cpus-per-task={cpus}
#SBATCH --time={time}
#SBATCH --signal=B:USR1@{notice}
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

# Written by: {written_by}

interrupted=no
stop() {{
    interrupted=yes
    scancel --signal=TERM "$SLURM_JOB_ID"  # the processes of srun, not this shell
}}
trap stop USR1

host=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 20000))

srun --nodes={nodes} --ntasks-per-node=1 --cpus-per-task={cpus} --kill-on-bad-exit=1 \\
    torchrun --nnodes={nodes} --nproc-per-node={gpus} \\
    --rdzv-backend=c10d --rdzv-endpoint="$host:$port" --rdzv-id="$SLURM_JOB_ID" \\
    -m molaug.train {command} &
launched=$!

wait "$launched"
status=$?
if [ "$interrupted" = yes ]; then
    wait "$launched"  # the notice ended the first wait
    status=$?
    if [ "$status" -ne 0 ]; then
        scontrol requeue "$SLURM_JOB_ID"
    fi
fi
exit "$status"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    script, path = build_script(arguments)
    if path is None:
        print(script, end="")
        return 0
    try:
        write_bytes(path, script.encode())
    except OSError as error:
        print(f"{PROG}: cannot write {path}: {error.strerror}", file=sys.stderr)
        return 1
    print(f"sbatch {shlex.quote(str(path))}")
    return 0


def build_script(arguments: Sequence[str]) -> tuple[str, Path | None]:
    """The text of the batch script, and where `--out` wants it.

    Raises SystemExit with 2, and one line on standard error, if anything is wrong with the job or
    with the training command after `--`.
    """
    parser = Parser(
        prog=PROG,
        usage=f"{PROG} [options] -- TASK [options of molaug.train]",
        description="Print a batch script that trains on a SLURM cluster. Options of sbatch that "
        "depend on the cluster (partition, account) go to sbatch itself.",
        allow_abbrev=False,
    )
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="machines [1]")
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="GPUs of each node [1]")
    parser.add_argument("--cpus", type=int, default=4, metavar="N", help="cores per GPU [4]")
    parser.add_argument("--hours", type=float, default=4.0, metavar="X", help="time limit [4]")
    parser.add_argument("--out", type=Path, metavar="PATH", help="file to write [print it]")
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    own, command = arguments[:cut], list(arguments[cut + 1 :])
    asked = parser.parse_args(own)
    for name in ("nodes", "gpus", "cpus"):
        if getattr(asked, name) < 1:
            parser.error(f"--{name} {getattr(asked, name)}: must be at least 1")
    if not 2 * NOTICE < asked.hours * 3600 < 1e7:
        parser.error(f"--hours {asked.hours}: must be from 0.1 to 2000")
    if not command:
        parser.error("give the training command after --, such as: -- qm9 --target homo")
    config = parse(command, CONFIGS)
    processes = asked.nodes * asked.gpus
    given = any(word.partition("=")[0] == "--devices" for word in command)
    if given and config.devices != processes:
        parser.error(
            f"--devices {config.devices} contradicts "
            f"{asked.nodes} x {asked.gpus} GPUs: leave it out"
        )
    if config.device == "cpu":
        parser.error("--device cpu contradicts --gpus: leave it out")
    try:
        replace(config, devices=processes)  # what it has to say against several
        config.check_ready()
    except ValueError as error:
        parser.error(str(error))
    minutes = round(asked.hours * 60)
    script = SCRIPT.format(
        task=config.task,
        nodes=asked.nodes,
        gpus=asked.gpus,
        cpus=asked.cpus * asked.gpus,
        time=f"{minutes // 60:02}:{minutes % 60:02}:00",
        notice=NOTICE,
        written_by=_one_line(f"{PROG} {shlex.join(arguments)}"),
        command=shlex.join(command),
    )
    return script, asked.out


def _one_line(text: str) -> str:
    """For a comment, which ends where its line ends."""
    return " ".join(text.splitlines())


if __name__ == "__main__":
    raise SystemExit(main())
