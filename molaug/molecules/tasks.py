"""From a configuration to a task on molecules: data, frames, splits, scaling, model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from molaug.augmentation import Augmentation
from molaug.averaging import AveragedModel, Scaling, build_scaling
from molaug.checkpoint import load_weights, read_run, restore_weights
from molaug.distributions import Distribution, Haar, Identity, LearnedUniform
from molaug.groups import GROUPS, Group
from molaug.split import Split
from molaug.task import Task, absolute_error, absolute_loss

from . import targets as qm9
from .action import MoleculeAction, Output
from .auxiliary import AuxiliaryNetwork
from .batch import MoleculeBatch
from .config import CONFIGS, MoleculeConfig, QM9Config
from .data import MoleculeSet, load_qm9, orient, random_rotations, rotate
from .networks import GraphNetwork, build_network
from .pictures import draw_law
from .splits import split

USUAL = 32  # atoms of a large molecule of QM9, and more


class MoleculeExamples:
    """Molecules and their targets, resident on one device and gathered there.

    values: a scalar (graphs,), vector (graphs, 3) or tensor (graphs, 3, 3) of each, in physical
    units. partial: with Mulliken charges. properties: (graphs, properties) standardised, to be
    learned too. Raises ValueError for values of another shape, or one that is no finite number.
    """

    def __init__(
        self,
        molecules: MoleculeSet,
        values: np.ndarray | Tensor | Sequence[Any],
        device: torch.device | str = "cpu",
        *,
        partial: bool = False,
        properties: np.ndarray | None = None,
    ) -> None:
        if not hasattr(molecules, "offsets"):
            kind = type(molecules).__name__
            raise ValueError(f"molecules are a {kind}: give a MoleculeSet, such as from_pyg makes")
        values = np.asarray(values, np.float64)
        if len(values) != len(molecules) or values.shape[1:] not in ((), (3,), (3, 3)):
            n = len(molecules)
            raise ValueError(
                f"targets of shape {values.shape} for {n} molecules: give scalars ({n},), vectors "
                f"({n}, 3) or tensors ({n}, 3, 3)"
            )
        bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))
        if len(bad):
            raise ValueError(f"the target of molecule {bad[0]} (from 0) is {values[bad[0]]}")
        nodes = max(29, int(molecules.sizes.max(initial=0)))
        positions, charges = molecules.padded(nodes)
        self.partial: Float[Tensor, "graphs nodes"] | None = None  # Mulliken charges [e]
        if partial:
            self.partial = torch.from_numpy(molecules.pad(molecules.mulliken, nodes)).to(device)
        self.properties: Float[Tensor, "graphs properties"] | None = None
        if properties is not None:
            self.properties = torch.from_numpy(properties).float().to(device)
        self.positions: Float[Tensor, "graphs nodes 3"] = torch.from_numpy(positions).to(device)
        self.charges: Int[Tensor, "graphs nodes"] = torch.from_numpy(charges).int().to(device)
        self.targets = torch.from_numpy(values).to(device)
        self.index, self.sizes = np.asarray(molecules.index), np.asarray(molecules.sizes)
        self.bulk = -(-(nodes**2) // USUAL**2)  # of pairs of atoms

    def __len__(self) -> int:
        return len(self.sizes)

    def gather(self, rows: Tensor) -> tuple[MoleculeBatch, Tensor]:
        """The batch, padded to its largest molecule, and the targets in physical units."""
        nodes = int(self.sizes[rows.numpy()].max())
        rows = rows.to(self.charges.device, non_blocking=True)
        partial = None if self.partial is None else self.partial[rows, :nodes]
        properties = None if self.properties is None else self.properties[rows]
        positions, charges = self.positions[rows, :nodes], self.charges[rows, :nodes]
        return MoleculeBatch(positions, charges, partial, properties), self.targets[rows]

    def describe(self, rows: Tensor) -> str:
        return "molecules " + ", ".join(str(i) for i in self.index[rows.numpy()])


def open_data(config: QM9Config) -> MoleculeSet:
    """All of QM9."""
    return load_qm9(qm9_dir=config.qm9_dir)


def arrays_of(molecules: MoleculeSet) -> list[np.ndarray]:
    """By which the data is known again."""
    return [molecules.charges, molecules.positions, molecules.properties]


def prepare(molecules: MoleculeSet, config: QM9Config) -> tuple[MoleculeSet, Split]:
    """The molecules in the frame asked for, and the rows of the three splits."""
    chosen = split(molecules, config.split, config.seed, config.train_size)
    cut = Split(
        chosen.train,
        chosen.validation[: config.validation_size],
        chosen.test[: config.test_size],
    )
    return orient(molecules, config.frame, seed=FRAME_SEED), cut


FRAME_SEED = 0  # a molecule keeps its frame in every run, whatever the seed of the training
ROTATED_SEED = 1


def fit_atoms(training: MoleculeSet, target: str) -> np.ndarray | None:
    """What each atom contributes to a total energy [meV], by nuclear charge, fitted on the training
    molecules; None for a target that is learned as it is."""
    if target not in ("U0", "U", "H", "G"):
        return None
    values = qm9.target_values(training, target)
    return qm9.fit_references(values, training, start=qm9.isolated_atoms(target))


def learned_values(
    molecules: MoleculeSet, target: str, references: np.ndarray | None
) -> np.ndarray:
    """Values as they are learned: total energies without what atoms contribute, in float64."""
    values = qm9.target_values(molecules, target)
    return values if references is None else values - qm9.sum_references(molecules, references)


def further_values(training: MoleculeSet, target: str) -> np.ndarray:
    """All other properties of the training molecules, standardised, (graphs, properties); total
    energies without what atoms contribute."""
    columns = []
    for name in qm9.other_properties(target):
        values = learned_values(training, name, fit_atoms(training, name))
        scaling = build_scaling(values)
        columns.append((values - float(scaling.shift)) / float(scaling.scale))
    return np.stack(columns, 1)


def build_distribution(symmetry: str, group: Group, config: MoleculeConfig) -> Distribution:
    """The law of a `--symmetry`: learned, fixed (Haar rotations, uniform translations) or none."""
    if symmetry == "learned":
        turning = config.directions == "learned"
        return LearnedUniform(group, config.initial_width, config.generators, directions=turning)
    if symmetry == "fixed":
        reach = [member.cap for member in group.members if member.kind == "translation"]
        return Haar(group, max(reach, default=0.0))
    if symmetry == "none":
        return Identity(group)
    from molaug.compat import build_compat

    return build_compat(group)


def build_model(
    config: MoleculeConfig, scaling: Scaling, *, symmetry: str, network: str | nn.Module, seed: int
) -> AveragedModel:
    """The network of a run under its law; it starts from `seed`, whatever was drawn before."""
    output = cast(Output, config.output)
    torch.manual_seed(seed)
    if isinstance(network, str):
        assert config.channels is not None, "resolve() fills the sizes"
        assert config.layers is not None
        network = build_network(
            network, output=output, channels=config.channels, layers=config.layers
        )
        if isinstance(config, QM9Config) and (config.partial_charges or config.properties):
            assert isinstance(network, GraphNetwork), "the configuration allows no other"
            weights = (config.partial_charges or 0.0, config.properties or 0.0)
            network = AuxiliaryNetwork(network, *weights, len(qm9.other_properties(config.target)))
    law = build_distribution(symmetry, GROUPS[config.group](), config)
    augmentation = Augmentation(law, MoleculeAction(output), config.jitter or 0.0)
    return AveragedModel(network, augmentation, scaling)


def build_task(
    molecules: MoleculeSet,
    config: QM9Config,
    *,
    symmetry: str,
    network: str | nn.Module,
    seed: int,
    device: torch.device | str = "cpu",
) -> tuple[Task, Split]:
    """Everything the loop needs for one run, and the split it was given."""
    oriented, rows = prepare(molecules, config)
    training = oriented.take(rows.train)
    references = fit_atoms(training, config.target)

    def values(some: MoleculeSet) -> np.ndarray:
        return learned_values(some, config.target, references)

    test = oriented.take(rows.test)
    rotated = rotate(test, random_rotations(test.index, ROTATED_SEED))
    parts = {"validation": oriented.take(rows.validation), "canonical": test, "rotated": rotated}
    examples = {name: MoleculeExamples(p, values(p), device) for name, p in parts.items()}
    train = MoleculeExamples(
        training,
        values(training),
        device,
        partial=bool(config.partial_charges),
        properties=further_values(training, config.target) if config.properties else None,
    )
    target, group = qm9.find_target(config.target), GROUPS[config.group]()
    about = {
        "unit": target.unit,
        "split": config.split,
        "source": "QM9",
        "elements": list(qm9.ELEMENTS),
        "true_widths": {
            member.name: member.cap if member.name in target.symmetries else 0.0
            for member in group.members
        },
        # Total energies are learned without these: add them back to a prediction.
        **({} if references is None else {"atom_references": references.tolist()}),
    }
    task = make_task(config, train, examples, about, symmetry=symmetry, network=network, seed=seed)
    return task, rows


def make_task(
    config: MoleculeConfig,
    train: MoleculeExamples,
    others: Mapping[str, MoleculeExamples],
    about: Mapping[str, Any],
    *,
    symmetry: str,
    network: str | nn.Module,
    seed: int,
) -> Task:
    """The task of a run, from its examples; others: of validation, canonical and rotated. about:
    what there is to say of the data, `unit` and `elements` among it."""
    scaling = build_scaling(train.targets.cpu().numpy())
    return Task(
        name=config.task,
        unit=about["unit"],
        train=train,
        validation=others["validation"],
        tests={name: others[name] for name in ("canonical", "rotated")},
        model=build_model(config, scaling, symmetry=symmetry, network=network, seed=seed),
        loss=absolute_loss,
        error=absolute_error,
        examples="molecules",
        about={
            "task": config.task,
            "target": config.target,
            "frame": config.frame,
            "train_count": len(train),
            "test_count": len(others["canonical"]),
            # Whether all that was trained on has an even number of electrons, unless charged.
            "neutral": not bool((train.charges.sum(1) % 2).any()),
            # Nearly all of what was trained on is of these sizes.
            "usual_atoms": np.percentile(train.sizes, [0.5, 99.5]).round().astype(int).tolist(),
            **about,
        },
    )


def describe(config: QM9Config, rows: list[dict[str, Any]]) -> str:
    """What the table was measured on, in one line."""
    row = rows[0]
    return (
        f"QM9 {row['target']} [{row['unit']}]: {row['train_count']:,} training and "
        f"{row['test_count']:,} test molecules of the {config.split} split, {config.frame} frames"
    )


def illustrate(model: AveragedModel, task: Task) -> dict[str, str]:
    """Pictures for the page."""
    return {"drawing": draw_law(model.augmentation, task.tests["canonical"])}


def load_task(run: Path | str, molecules: MoleculeSet, device: torch.device | str = "cpu") -> Task:
    """The task of a finished run on QM9, its model with the trained weights and set to evaluate;
    run: its folder, or that of a command with one run.

    Raises FileNotFoundError if the run has no weights yet, ValueError if it was not on QM9.
    """
    weights, cell, config, _ = read_molecule_run(run)
    if not isinstance(config, QM9Config):
        raise ValueError(f"{run}: a run of {config.task}; molaug.molecules.from_files opens it")
    task, _ = build_task(molecules, config, **cell, device=device)
    return restore_weights(task, weights)


def load_model(run: Path | str) -> tuple[AveragedModel, dict[str, Any]]:
    """The trained model of a run, and what the run is: `target`, `unit`, `train_count`, ...; for
    neither are the molecules needed that it was trained on.

    Raises as `read_molecule_run`, and ValueError for one of an earlier version.
    """
    weights, cell, config, settings = read_molecule_run(run)
    about: dict[str, Any] = settings["run"]
    if "neutral" not in about:
        raise ValueError(f"{run}: trained by an earlier version; delete it and train it again")
    model = build_model(config, Scaling(), **cell)
    load_weights(weights, model)
    return model.eval(), about


def read_molecule_run(
    run: Path | str,
) -> tuple[Path, dict[str, Any], MoleculeConfig, dict[str, Any]]:
    """Of a finished run on molecules: its weights, cell of the grid, configuration, and all that
    `read_run` gives.

    Raises as `read_run`, and ValueError for one on images.
    """
    weights, cell, settings = read_run(run)
    if settings["task"] not in CONFIGS:
        raise ValueError(f"{run}: a run of {settings['task']}; give one of {' or '.join(CONFIGS)}")
    return weights, cell, CONFIGS[settings["task"]].from_dict(settings["config"]), settings
