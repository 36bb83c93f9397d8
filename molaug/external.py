"""Networks of one's own on the command line, as `--network FILE.py:NAME`."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def is_external(network: str) -> bool:
    """Whether it is FILE.py:NAME, and not the name of one of molaug's."""
    return ":" in network


def build_external(network: str) -> nn.Module:
    """What the class or function NAME of FILE.py, called without arguments, makes.

    Raises ValueError, in one line, if there is none, or if it fails or makes no module.
    """
    import torch

    code, (path, _, name) = _read(network), network.rpartition(":")
    # Weights start from the seed, whatever the file itself draws.
    with torch.random.fork_rng(devices=[]), complaints_of(network):
        make: Any = getattr(_load(code, path), name)
    with complaints_of(network):
        made = make()
    if not isinstance(made, torch.nn.Module):
        raise ValueError(f"--network {network}: makes no torch module, but {made!r:.40}")
    return made


@contextmanager
def complaints_of(network: str) -> Iterator[None]:
    """Raises ValueError, in one line, for whatever an external network raises within."""
    try:
        yield
    except Exception as error:  # of any kind: it is not our code
        where = traceback.extract_tb(error.__traceback__)[-1]
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(
            f"--network {network}: {why} ({Path(where.filename).name}, line {where.lineno})"
        ) from error


def code_of(network: str) -> str:
    """By which the file of an external network is known again; nothing, of one of molaug's."""
    return hashlib.sha256(_read(network)).hexdigest()[:16] if is_external(network) else ""


def _read(network: str) -> bytes:
    path = Path(network.rpartition(":")[0])
    if not path.is_file():
        raise ValueError(f"--network {network}: there is no file {path.absolute()}")
    return path.read_bytes()


def _load(code: bytes, path: str) -> ModuleType:
    """Not as an import does, which may take the compiled form of what the file was a moment ago."""
    module = ModuleType(f"molaug_external_{Path(path).stem}")
    sys.modules[module.__name__] = module  # where dataclasses look
    exec(compile(code, path, "exec"), vars(module))
    return module
