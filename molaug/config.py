"""The tasks of the command line, by name: frozen dataclasses, a field a flag."""

from __future__ import annotations

from .images.config import CONFIGS as _ON_IMAGES
from .molecules.config import CONFIGS as _ON_MOLECULES
from .molecules.config import FilesConfig, QM9Config
from .settings import RunConfig, resolve

__all__ = ["CONFIGS", "FilesConfig", "QM9Config", "RunConfig", "resolve"]

CONFIGS: dict[str, type[RunConfig]] = {**_ON_MOLECULES, **_ON_IMAGES}
