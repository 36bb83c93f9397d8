"""From a configuration to a task on molecules and targets from files of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from molaug.checkpoint import check_data, restore_weights
from molaug.options import flag_of
from molaug.settings import name_files
from molaug.split import Split
from molaug.task import Task

from .config import FilesConfig
from .data import MoleculeSet, orient, random_rotations, rotate
from .read import read_labelled
from .splits import split
from .targets import fit_references, sum_references
from .tasks import (
    ROTATED_SEED,
    MoleculeExamples,
    illustrate,
    make_task,
    read_molecule_run,
)

__all__ = ["arrays_of", "build_task", "describe", "illustrate", "load_task", "open_data"]

FEWEST = 100  # molecules, of which 8 are of the test


@dataclass(frozen=True)
class Labelled:
    """Molecules, the target of each, as `read_labelled` gives both, and a random split of them."""

    molecules: MoleculeSet
    values: np.ndarray
    rows: Split
    left_out: tuple[str, ...] = ()  # what of the files, and why


def open_data(config: FilesConfig) -> Labelled:
    """What the files hold.

    Raises as `read_labelled`, and ValueError for fewer molecules than can be divided or are asked
    for, and for elements without a reference.
    """
    config.check_ready()
    left_out: list[str] | None = [] if config.skip else None
    molecules, values = read_labelled(config.files, config.target, config.kind, left_out)
    if len(molecules) < FEWEST:
        raise ValueError(f"{config.files[0]}: {len(molecules)} molecules; give {FEWEST} at least")
    if not np.ptp(values, axis=0).any():
        raise ValueError(f"{config.files[0]}: {config.target} is the same for all molecules")
    rows = choose_rows(len(molecules), config)
    known = molecules.take(rows.train).elements
    if config.atom_references and len(missing := np.setdiff1d(molecules.elements, known)):
        raise ValueError(
            f"--atom-references: no training molecule has the element {missing[0]}; give more with "
            "it, or leave out those that have it"
        )
    return Labelled(orient(molecules, config.frame), values, rows, tuple(left_out or ()))


def choose_rows(count: int, config: FilesConfig) -> Split:
    """As many as are asked for of a random split. Raises ValueError if there are fewer."""
    chosen = {}
    for name, rows in vars(split(count, "random", config.seed)).items():
        size = getattr(config, f"{name}_size")
        if (size or 0) > len(rows):
            raise ValueError(
                f"{flag_of(f'{name}_size')} {size}: choose from 1 to {len(rows):,}, of {count:,} "
                "molecules"
            )
        chosen[name] = rows[:size]
    return Split(**chosen)


def arrays_of(data: Labelled) -> list[np.ndarray]:
    """By which the data is known again."""
    return [data.molecules.offsets, data.molecules.charges, data.molecules.positions, data.values]


def seen_before(test: MoleculeSet, training: MoleculeSet) -> int:
    """How many of the test molecules are in training, too: moved, mirrored or with their atoms in
    another order, but with the same elements at the same distances from the centre [0.01 A]."""
    known = set(_fingerprints(training))
    return sum(one in known for one in _fingerprints(test))


def _fingerprints(molecules: MoleculeSet) -> list[bytes]:
    graph = np.repeat(np.arange(len(molecules)), molecules.sizes)
    distances = np.linalg.norm(orient(molecules, "centred").positions, axis=1).round(2)
    order = np.lexsort((distances, molecules.charges, graph))
    atoms = np.stack([molecules.charges, distances], 1)[order]
    return [atoms[a:b].tobytes() for a, b in pairwise(molecules.offsets)]


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
    """Everything the loop needs for one run, and the split of the data, which depends on the seed
    of the configuration, not on that of the run."""
    rows, values, about = data.rows, data.values, {}
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
    if data.left_out:
        about["left_out"] = [len(data.left_out), data.left_out[0]]
    if repeated := seen_before(test, training):
        about["seen_before"] = repeated
    if len(new := np.setdiff1d(test.elements, training.elements)):
        about["new_elements"] = new.tolist()
    about |= {
        "unit": config.unit,
        "source": name_files(config.files),
        "elements": training.elements.tolist(),
    }
    train = examples(rows.train)
    task = make_task(config, train, others, about, symmetry=symmetry, network=network, seed=seed)
    return task, rows


def describe(config: FilesConfig, rows: list[dict[str, Any]]) -> str:
    """What the table was measured on, in one line."""
    row = rows[0]
    turned = "does not change" if config.kind == "scalar" else f"turns as a {config.kind}"
    count, first = row.get("left_out", (0, ""))
    remarks = f"; left out {count:,} molecules, the first because of {first}" if count else ""
    if repeated := row.get("seen_before"):
        remarks += f"; {repeated:,} of the test molecules are in training, too"
    if new := row.get("new_elements"):
        remarks += f"; only in the test are elements {', '.join(map(str, new))}"
    return (
        f"{row['target']} [{row['unit']}] of {row['source']}: {row['train_count']:,} training and "
        f"{row['test_count']:,} test molecules, drawn at random, {config.frame} frames; rotated: "
        f"taken for granted that {row['target']} {turned}{remarks}"
    )


def load_task(run: Path | str, device: torch.device | str = "cpu") -> Task:
    """The task of a finished run, as that of `molecules.tasks`; its files are read again."""
    weights, cell, config, settings = read_molecule_run(run)
    if not isinstance(config, FilesConfig):
        raise ValueError(f"{run}: a run of {config.task}; molaug.molecules.tasks opens it")
    data = open_data(config)
    check_data(run, settings, arrays_of(data))
    task, _ = build_task(data, config, **cell, device=device)
    return restore_weights(task, weights)
