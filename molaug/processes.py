"""The processes of a run, and their devices; commands side by side."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import FrameType
from typing import Any

LOOK = 0.1  # seconds between two looks at processes


def is_first() -> bool:
    """Whether this is the first of several processes, which speaks and writes for all."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def prepare_processor(threads: int | None = None) -> None:
    """Before a command uses it: the number of CPU threads, if said; and floats below 1e-38 become
    zero, in all that the process does.

    The tails of Gaussians are such floats, which processors are slow with: on one, a step of our
    network takes a tenth longer for them, and one of PyTorch Geometric's SchNet four times as long.
    Threads that have been started already go on as before.
    """
    import torch  # not of a light import

    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def start_fabric(device: str = "auto", devices: int = 1) -> Any:
    """Lightning Fabric on `devices` of a kind (auto, cpu, gpu), one process each, launched.

    Under torchrun, which has started the processes already, their number is torchrun's. Raises
    ValueError for another kind.
    """
    if device not in ("auto", "cpu", "gpu"):
        raise ValueError(f"device {device!r}: choose auto, cpu or gpu")
    import torch  # not of a light import

    from .heap import keep_freed_memory

    if device == "auto":  # GPUs of other makers have no float64, in which predictions are kept
        device = "gpu" if torch.cuda.is_available() else "cpu"
    keep_freed_memory()
    # Where the whole of Lightning is installed, Fabric has another name.
    module = "lightning_fabric" if find_spec("lightning_fabric") else "lightning.fabric"
    world = int(os.environ.get("WORLD_SIZE", devices))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", devices))
    fabric = import_module(module).Fabric(
        accelerator="cuda" if device == "gpu" else "cpu",
        devices=here,
        num_nodes=world // here,
        # Widths have no gradient while they are frozen.
        strategy="ddp_find_unused_parameters_true" if world > 1 else "auto",
    )
    fabric.launch()
    if world > 1:
        atexit.register(leave_group)
    return fabric


def leave_group() -> None:
    """End the connection between processes, so that none is aborted on its way out."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """While open, SIGTERM and Ctrl-C only append their number to the list."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted  # signals can only be handled there
        return

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)

    previous = {s: signal.signal(s, note) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield noted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def count_cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_commands(commands: Sequence[Sequence[str]], at_once: int) -> int:
    """Run every command, `at_once` at a time; returns the exit status of the first that fails, or
    0.

    If one fails, or this process is stopped by SIGTERM or Ctrl-C, no other is started, and those
    that run get SIGTERM and are waited for.
    """
    waiting, running = list(commands), list[subprocess.Popen[bytes]]()

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    is_main = threading.current_thread() is threading.main_thread()  # only there can one be told
    previous = signal.signal(signal.SIGTERM, stop) if is_main else None
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(subprocess.Popen(waiting.pop(0)))
            time.sleep(LOOK)
            for process in [one for one in running if one.poll() is not None]:
                running.remove(process)
                if process.returncode:  # negative: the number of the signal that ended it
                    status = process.returncode
                    return status if status > 0 else 128 - status
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()
        if is_main:
            signal.signal(signal.SIGTERM, previous)
    return 0
