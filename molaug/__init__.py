"""Learned symmetries: a distribution over group elements, trained together with the network.

Public names are imported from their modules when they are first used, so that `import molaug`
stays light.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_MODULES = {
    "groups": ("Group", "SO2", "SE2", "Aff2", "SO3", "SE3", "Aff3"),
    "distributions": ("Distribution", "Identity", "Uniform", "Haar", "LearnedUniform"),
    "augmentation": ("Augmentation",),
    "averaging": ("AveragedModel", "Scaling"),
    "costs": ("measure_costs",),
    "attach": ("learn_widths",),
    "objectives": ("Objective", "ScaleFree", "NormReward", "SquaredReward"),
    "config": ("CONFIGS", "QM9Config"),
    "molecules.action": ("MoleculeAction",),
    "molecules.batch": ("MoleculeBatch",),
    "molecules.data": ("MoleculeSet", "load_qm9", "load_sample"),
    "molecules.networks": ("GraphNetwork",),
    "molecules.pyg": ("PygNetwork",),
    "molecules.targets": ("TARGETS",),
}
_HOME = {name: f"molaug.{module}" for module, names in _MODULES.items() for name in names}

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'molaug' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
