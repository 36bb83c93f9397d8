"""The folder of a command: who may use it, and where the runs of its grid lie in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from .files import read_json, remove_partial, write_json
from .processes import is_first
from .settings import RunConfig

METRICS, CURVES, HISTORY = "metrics.json", "curves.json", "history.csv"
# What may differ when a folder is continued, besides where things are: which runs of the grid.
FREE_TO_CHANGE = {
    *("symmetry", "network", "seeds", "preset"),
    *("device", "devices", "engine", "jobs", "threads"),
}


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
    return folder / f"{run.symmetry}-{run.network}-{run.seed}"


def is_finished(place: Path) -> bool:
    """Whether a run has all that is made of it, there."""
    from .checkpoint import WEIGHTS  # torch, which takes its time

    return all((place / name).exists() for name in (METRICS, CURVES, HISTORY, WEIGHTS))


@contextmanager
def claim_folder(folder: Path, config: RunConfig) -> Iterator[None]:
    """The folder for this command alone while open; the first of its processes holds it for all.

    Writes the configuration, or makes sure the folder's run has the same. Raises ValueError, naming
    the settings that differ, if another run lives there, and if another command is using it.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--run-dir {folder}: is a file; give a folder, which may be new")
    with lock_folder(folder) if is_first() else nullcontext():
        share_configuration(folder, config)
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


def share_configuration(folder: Path, config: RunConfig) -> None:
    """Write it, or raise ValueError for that of another run."""
    path, ours = folder / "config.json", config.to_dict()
    if path.exists():
        theirs = read_json(path)
        if not isinstance(theirs, dict):
            raise ValueError(f"{path}: damaged (no settings); delete it to have it made again")
        fixed = set(ours) - FREE_TO_CHANGE - config.places()
        differing = sorted(key for key in fixed if ours[key] != theirs.get(key))
        if differing:
            raise ValueError(
                f"{folder} holds a run with other settings ({', '.join(differing)}): "
                "choose another --run-dir, or delete that folder"
            )
    if is_first():
        for place in (folder, *(run_folder(folder, run) for run in runs(config))):
            remove_partial(place)
        write_json(path, ours)


def read_made(path: Path, key: str) -> dict[str, Any]:
    """What a run has written about itself, with `key` in it. Raises ValueError if it is damaged."""
    found = read_json(path)
    if not isinstance(found, dict) or key not in found:
        raise ValueError(f"{path}: damaged (no '{key}'); delete it to have it made again")
    return found
