"""The processes of a run, and their devices."""

from __future__ import annotations

import atexit
import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def is_first() -> bool:
    """Whether this is the first of several processes, which speaks and writes for all."""
    return os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"


def start_fabric(device: str = "auto", devices: int = 1) -> Any:
    """Lightning Fabric on `devices` of a kind (auto, cpu, gpu), one process each, launched.

    Under torchrun, which has started the processes already, their number is torchrun's.
    """
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
