"""The folder of a command: who may use it, and where the runs of its grid lie in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from .files import read_json, remove_partial, write_json
from .processes import is_first
from .settings import FREE, RunConfig

CONFIG, RUN = "config.json", "run.json"  # what the folder, and a run in it, are runs of
METRICS, CURVES, HISTORY = "metrics.json", "curves.json", "history.csv"


class Run(NamedTuple):
    """One run of a grid."""

    symmetry: str
    network: str
    seed: int

    def __str__(self) -> str:
        return f"{self.symmetry} {self.network} seed {self.seed}"


def runs(config: RunConfig) -> list[Run]:
    """The grid, seed by seed."""
    seeds = range(config.seed, config.seed + config.seeds)
    return [Run(s, n, k) for k in seeds for n in config.network for s in config.symmetry]


def run_folder(folder: Path, run: Run) -> Path:
    """Where that one lies."""
    network = Path(run.network).name.replace(":", "_")  # which may be FILE.py:NAME
    return folder / f"{run.symmetry}-{network}-{run.seed}"


def is_finished(place: Path) -> bool:
    """Whether a run has all that is made of it, there."""
    from .checkpoint import WEIGHTS  # torch, which takes its time

    return all((place / name).exists() for name in (METRICS, CURVES, HISTORY, WEIGHTS))


def identify(config: RunConfig, data: str) -> dict[str, Any]:
    """What a run is a run of; data: the checksum of its data."""
    return {"task": config.task, "data": data, "config": config.to_dict()}


def check_same(place: Path, theirs: Any, config: RunConfig, data: str) -> None:
    """Raises ValueError, naming the settings that differ, if what `identify` said of the run in
    that folder is not what it says of this one."""
    ours = identify(config, data)
    if not isinstance(theirs, dict) or not isinstance(theirs.get("config"), dict):
        raise ValueError(f"{place}: damaged (no settings); delete it to have it made again")
    wanted = {"task": ours["task"], **ours["config"]}
    found = {"task": theirs.get("task"), **theirs["config"]}
    is_same_task = found["task"] == wanted["task"]  # of another hardly a setting is alike
    keys = sorted(set(wanted) - FREE - config.places()) if is_same_task else ["task"]
    differing = ["data"] if is_same_task and ours["data"] != theirs.get("data") else []
    differing += [f"{k} {found.get(k)}, not {wanted[k]}" for k in keys if wanted[k] != found.get(k)]
    if differing:
        raise ValueError(
            f"{place.parent} holds a run with other settings ({'; '.join(differing)}): "
            "choose another --run-dir, or delete that folder"
        )


@contextmanager
def claim_folder(folder: Path, config: RunConfig, data: str) -> Iterator[None]:
    """The folder for this command alone while open; the first of its processes holds it for all.

    Writes what it is a run of, or makes sure that the folder's run is the same. Raises ValueError,
    naming the settings that differ, if another run lives there, if another command is using it, and
    if two networks would share a folder.
    """
    places = [run_folder(folder, run) for run in runs(config)]
    if len({*places}) < len(places):
        raise ValueError(f"--network {' '.join(config.network)}: two of one name; rename a file")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--run-dir {folder}: is a file; give a folder, which may be new")
    with lock_folder(folder) if is_first() else nullcontext():
        path = folder / CONFIG
        if path.exists():
            check_same(path, read_json(path), config, data)
        if is_first():
            for place in (folder, *places):
                remove_partial(place)
            write_json(path, identify(config, data))
        yield


def lock_folder(folder: Path) -> AbstractContextManager[Any]:
    """Held until its block ends, or the process. Raises ValueError if another command holds it."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(folder / "lock").acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"{folder} is in use by another command: wait for it, or choose another --run-dir"
        ) from None


def read_made(path: Path, key: str) -> dict[str, Any]:
    """What a run has written about itself, with `key` in it. Raises ValueError if it is damaged."""
    found = read_json(path)
    if not isinstance(found, dict) or key not in found:
        raise ValueError(f"{path}: damaged (no '{key}'); delete it to have it made again")
    return found
