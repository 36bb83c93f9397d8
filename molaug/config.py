"""The tasks of the command line, by name: frozen dataclasses, a field a flag."""

from __future__ import annotations

from .images.config import CONFIGS as _ON_IMAGES
from .molecules.config import QM9Config
from .settings import RunConfig, resolve

__all__ = ["CONFIGS", "QM9Config", "RunConfig", "resolve"]

CONFIGS: dict[str, type[RunConfig]] = {"qm9": QM9Config, **_ON_IMAGES}
