"""From a configuration to a task on molecules and targets from files of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from molaug.split import Split
from molaug.task import Task

from .config import FilesConfig
from .data import MoleculeSet, orient, random_rotations, rotate
from .read import read_labelled
from .targets import fit_references, sum_references
from .tasks import (
    ROTATED_SEED,
    MoleculeExamples,
    assemble,
    choose_rows,
    illustrate,
    read_own_run,
    restore,
)

__all__ = ["arrays_of", "build_task", "describe", "illustrate", "load_task", "open_data"]

FEWEST = 100  # molecules, of which 8 are of the test


@dataclass(frozen=True)
class Labelled:
    """Molecules, and the target of each, as `read_labelled` gives both."""

    molecules: MoleculeSet
    values: np.ndarray

    def count(self, config: FilesConfig) -> int:
        """How many are trained on."""
        return len(choose_rows(self.molecules, "random", config).train)


def open_data(config: FilesConfig) -> Labelled:
    """What the files hold.

    Raises as `read_labelled`, and ValueError for fewer molecules than can be divided.
    """
    config.check_ready()
    molecules, values = read_labelled(config.files, config.target, config.kind)
    if len(molecules) < FEWEST:
        raise ValueError(f"{config.files[0]}: {len(molecules)} molecules; give {FEWEST} at least")
    return Labelled(orient(molecules, config.frame), values)


def arrays_of(data: Labelled) -> list[np.ndarray]:
    """By which the data is known again."""
    return [data.molecules.charges, data.molecules.positions, data.values]


def turn_values(values: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Targets (graphs, ...) of molecules that are turned: R v, R T R^t; scalars do not change."""
    if values.ndim == 1:
        return values
    if values.ndim == 2:
        return np.einsum("nij,nj->ni", rotations, values)
    return rotations @ values @ rotations.swapaxes(1, 2)


def build_task(
    data: Labelled,
    config: FilesConfig,
    *,
    symmetry: str,
    network: str | nn.Module,
    seed: int,
    device: torch.device | str = "cpu",
) -> tuple[Task, Split]:
    """Everything the loop needs for one run, and the split it was given: a random one, which
    depends on the seed of the configuration."""
    rows = choose_rows(data.molecules, "random", config)
    values, about = data.values, {}
    training = data.molecules.take(rows.train)
    if config.atom_references:
        references = fit_references(values[rows.train], training)
        values = values - sum_references(data.molecules, references)
        about["atom_references"] = references.tolist()

    def examples(part: np.ndarray) -> MoleculeExamples:
        return MoleculeExamples(data.molecules.take(part), values[part], device)

    test = data.molecules.take(rows.test)
    rotations = random_rotations(test.index, ROTATED_SEED)
    turned = turn_values(values[rows.test], rotations)
    others = {
        "validation": examples(rows.validation),
        "canonical": examples(rows.test),
        "rotated": MoleculeExamples(rotate(test, rotations), turned, device),
    }
    about |= {
        "unit": config.unit,
        "source": " ".join(path.name for path in config.files),
        "elements": np.unique(training.charges).tolist(),
    }
    train = examples(rows.train)
    task = assemble(config, train, others, about, symmetry=symmetry, network=network, seed=seed)
    return task, rows


def describe(config: FilesConfig, rows: list[dict[str, Any]]) -> str:
    """What the table was measured on, in one line."""
    row = rows[0]
    turned = "does not change" if config.kind == "scalar" else f"turns as a {config.kind}"
    return (
        f"{row['target']} [{row['unit']}] of {row['source']}: {row['train_count']:,} training and "
        f"{row['test_count']:,} test molecules, drawn at random, {config.frame} frames; rotated: "
        f"taken for granted that {row['target']} {turned}"
    )


def load_task(run: Path | str, device: torch.device | str = "cpu") -> Task:
    """The task of a finished run, as that of `molecules.tasks`; its files are read again."""
    weights, cell, config, _ = read_own_run(run)
    if not isinstance(config, FilesConfig):
        raise ValueError(f"{run}: a run of {config.task}; molaug.molecules.tasks opens it")
    task, _ = build_task(open_data(config), config, **cell, device=device)
    return restore(task, weights)
