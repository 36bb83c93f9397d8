"""The state of a run, and weights that carry their configuration."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from .external import code_of
from .files import checksum, write_bytes
from .task import Task

WEIGHTS = "weights.safetensors"


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Tensors and plain Python values, for `load_state`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(path, buffer.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """What `save_state` wrote; nothing that could run code is ever unpickled.

    Raises ValueError for a damaged file, with what to do.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); "
            "delete the run folder to start afresh"
        ) from error
    return state


def save_weights(path: Path, model: nn.Module, configuration: Mapping[str, Any]) -> None:
    """Weights and buffers as safetensors, the configuration as JSON in the header."""
    # Cloned, because a module that is registered under two names would share its memory.
    tensors = {name: value.clone().contiguous() for name, value in model.state_dict().items()}
    write_bytes(path, save(tensors, {"configuration": json.dumps(configuration)}))


def load_weights(path: Path, model: nn.Module) -> None:
    """Into `model`, strictly. Raises ValueError for a damaged file, or weights of another model."""
    try:
        with safe_open(path, "pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model.load_state_dict(found)
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path}: not the weights of this model ({_one_line(error)})") from error


def restore_weights(task: Task, path: Path) -> Task:
    """The task, its model with these weights and set to evaluate."""
    load_weights(path, task.model)
    task.model.eval()
    return task


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def read_configuration(path: Path) -> dict[str, Any]:
    """The configuration in the header of a weights file. Raises ValueError if it has none."""
    try:
        with safe_open(path, "pt") as file:
            configuration: dict[str, Any] = json.loads((file.metadata() or {})["configuration"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f"{path}: damaged, or not written by molaug ({_one_line(error)}); delete it to have it "
            "made again by the command that trained it"
        ) from error
    return configuration


def find_run(folder: Path) -> Path:
    """The folder itself if it has weights, or the only one in it that does.

    Raises FileNotFoundError if there is none, ValueError if there are several.
    """
    if (folder / WEIGHTS).exists():
        return folder
    found = sorted(path.parent for path in folder.glob(f"*/{WEIGHTS}"))
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give that of a run")
    if not found:
        raise FileNotFoundError(f"{folder}: no trained weights there; has this run finished?")
    if len(found) > 1:
        raise ValueError(f"{folder} holds several runs: give one of {' '.join(map(str, found))}")
    return found[0]


def check_code(network: str, settings: Mapping[str, Any]) -> None:
    """Raises ValueError if a run with these settings had another code of its network."""
    if code_of(network).get("checksum") != settings.get("code", {}).get("checksum"):
        raise ValueError(
            f"--network {network}: the file is not what it was when this run was trained; take the "
            "one of then, or another --run-dir"
        )


def check_data(run: Path | str, settings: Mapping[str, Any], arrays: Sequence[Any]) -> None:
    """Raises ValueError if a run was trained on other data: what was of its training may then be in
    a test."""
    if checksum(arrays) != settings["data"]:
        raise ValueError(f"{run}: its data has changed since it was trained")


def read_run(folder: Path | str) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Of a finished run, by its folder or that of a command with one run: its weights file, which
    cell of the grid it is (symmetry, network, seed), and all that `read_configuration` gives.

    Raises as `find_run`, and ValueError if its network is one of a file that has changed.
    """
    weights = find_run(Path(folder)) / WEIGHTS
    settings = read_configuration(weights)
    cell = {name: settings["run"][name] for name in ("symmetry", "network", "seed")}
    if code := settings.get("code"):  # the command may stand in another folder now
        cell["network"] = f"{code['file']}:{cell['network'].rpartition(':')[2]}"
        check_code(cell["network"], settings)
    return weights, cell, settings
