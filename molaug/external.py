"""Networks of one's own on the command line, as `--network FILE.py:NAME`."""

from __future__ import annotations

import hashlib
import sys
from importlib.util import module_from_spec, spec_from_file_location
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
    from torch import nn

    place, _, name = network.rpartition(":")
    try:
        make: Any = getattr(_load(Path(place)), name)
        made = make()
    except Exception as error:  # of any kind: it is not our code
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"--network {network}: {why}") from error
    if not isinstance(made, nn.Module):
        raise ValueError(f"--network {network}: makes no torch module, but {made!r:.40}")
    return made


def code_of(network: str) -> str:
    """By which the file of an external network is known again; nothing, of one of molaug's."""
    if not is_external(network):
        return ""
    return hashlib.sha256(Path(network.rpartition(":")[0]).read_bytes()).hexdigest()[:16]


def _load(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"no such file as {path}")
    spec = spec_from_file_location(f"molaug_external_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = module_from_spec(spec)
    # For what lies beside it, and for dataclasses, which look their module up.
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
