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

    Raises ValueError, in one line, if there is none, or if it fails or makes no module with weights
    of known sizes.
    """
    import torch
    from torch.nn.parameter import UninitializedParameter

    code, (path, _, name) = _read(network), network.rpartition(":")
    # Weights start from the seed, whatever the file itself draws.
    with torch.random.fork_rng(devices=[]), complaints_of(network):
        make: Any = getattr(_load(code, path), name)
    with complaints_of(network):
        made = make()
    if not isinstance(made, torch.nn.Module):
        raise ValueError(f"--network {network}: makes no torch module, but {made!r:.40}")
    if any(isinstance(weight, UninitializedParameter) for weight in made.parameters()):
        raise ValueError(f"--network {network}: has lazy layers; give them their sizes")
    return made


@contextmanager
def complaints_of(network: str) -> Iterator[None]:
    """Raises ValueError, in one line, for whatever an external network raises within."""
    try:
        yield
    except (Exception, SystemExit) as error:  # of any kind: it is not our code
        path = network.rpartition(":")[0]
        lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
        where = f" (line {lines[-1].lineno})" if lines else ""
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"--network {network}: {why:.200}{where}") from error


def code_of(network: str) -> dict[str, str]:
    """Where the file of an external network is, and by what it is known again; nothing, of one of
    molaug's."""
    if not is_external(network):
        return {}
    checksum = hashlib.sha256(_read(network)).hexdigest()[:16]
    return {"file": str(Path(network.rpartition(":")[0]).resolve()), "checksum": checksum}


def _read(network: str) -> bytes:
    path = Path(network.rpartition(":")[0])
    if not path.is_file():
        raise ValueError(f"--network {network}: there is no file {path.absolute()}")
    return path.read_bytes()


def _load(code: bytes, path: str) -> ModuleType:
    """Not as an import does, which may take the compiled form of what the file was a moment ago."""
    module = ModuleType(f"molaug_external_{Path(path).stem}")
    module.__file__ = str(Path(path).resolve())
    sys.modules[module.__name__] = module  # where dataclasses look
    if (folder := str(Path(module.__file__).parent)) not in sys.path:
        sys.path.insert(0, folder)  # for what lies beside it
    exec(compile(code, path, "exec", dont_inherit=True), vars(module))
    return module
