"""What `python -m molaug.train` can be asked for on molecules: a class per task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, final

from molaug.options import flag_of, option
from molaug.settings import GENERATORS, PRESETS, RunConfig

GROUPS = ("so3", "se3", "aff3")
SYMMETRIES = ("learned", "fixed", "none", "augerino_compat")
LEVELS = ("coordinates", "vectors", "distances")
SCALAR_ONLY = ("schnet", "dimenetpp", "visnet")  # those of PyTorch Geometric
OPPONENTS = ("e3nn", "vector_channels", *SCALAR_ONLY)
NETWORKS = LEVELS + OPPONENTS
FRAMES = ("raw", "centred", "random")
DIRECTIONS = ("generators", "learned")
SHAPES: dict[str, tuple[int, ...]] = {"scalar": (), "vector": (3,), "tensor": (3, 3)}
SMALL = {"batch_size": 48, "channels": 48, "layers": 3, "rate": 0.01}
LARGE = {"batch_size": 96, "channels": 256, "layers": 8, "rate": 0.002}
HEADS = 8  # of ViSNet
STEPS = 4_000  # that widths need to open


def target_names() -> tuple[str, ...]:
    """The targets of QM9."""
    from .targets import TARGETS  # needs numpy, which a light import should not

    return tuple(TARGETS)


def target_kind(name: str) -> str:
    """scalar, vector or tensor."""
    from .targets import find_target

    return find_target(name).kind


def split_names() -> tuple[str, ...]:
    """The splits of QM9."""
    from .splits import SPLITS

    return tuple(SPLITS)


def split_sizes(name: str) -> dict[str, int]:
    """How many molecules a split of QM9 has to train, validate and test."""
    from .splits import NAMED_SPLITS, QM9_COUNT

    # The random split has the proportions of dimenet's.
    named = NAMED_SPLITS.get(name, NAMED_SPLITS["dimenet"])
    test = QM9_COUNT - named.train - named.validation
    return {"train_size": named.train, "validation_size": named.validation, "test_size": test}


@dataclass(frozen=True)
class MoleculeConfig(RunConfig, ABC):
    """Base of the tasks on molecules."""

    tasks_module = "molecules.tasks"
    usual: ClassVar = {
        **RunConfig.usual,
        "schedule": "linear",
        "jitter": 0.0,
        "symmetry": ("learned", "fixed"),
    }
    subject: ClassVar[tuple[str, ...]] = ("target",)

    target: str = option("", "what to predict", "task")
    symmetry: tuple[str, ...] = option(
        (),
        "augmentation, one run each; fixed is all rotations and translations",
        "task",
        choices=SYMMETRIES,
        unset="learned fixed",
    )
    network: tuple[str, ...] = option(
        ("coordinates",),
        "network, one run each; hard-coded symmetry is none with coordinates, translations with "
        "vectors, all with distances and with the others, which are from the literature",
        "task",
        choices=NETWORKS,
        external=True,
    )
    group: str = option("se3", "what to learn a symmetry within", "symmetry", choices=GROUPS)
    generators: tuple[str, ...] = option(
        (),
        f"generators whose widths are learned, of {' '.join(GENERATORS['aff3'])}",
        "symmetry",
        unset="all of the group",
    )
    directions: str = option(
        "generators",
        "what widths belong to; learned directions find tilted axes",
        "symmetry",
        choices=DIRECTIONS,
    )
    frame: str = option(
        "raw",
        "orientation of the molecules; random is one rotation per molecule",
        "data",
        choices=FRAMES,
    )
    jitter: float | None = option(
        None,
        "standard deviation of noise on the places of atoms in training [Angstrom]",
        "run",
        unset="0, speedrun of qm9 0.02",
        at_least=0,
    )

    @property
    @abstractmethod
    def output(self) -> str:
        """How the target turns with a molecule: scalar, vector or tensor."""

    def _check_data(self) -> None:
        for name in {*self.network} & {*SCALAR_ONLY}:
            if self.output != "scalar":
                raise ValueError(
                    f"--network {name}: predicts scalars only, and {self.target} is a {self.output}"
                )
        if "visnet" in self.network and (self.channels or 0) % HEADS:
            raise ValueError(
                f"--channels {self.channels}: visnet takes multiples of its {HEADS} heads"
            )
        if self.directions == "learned" and "learned" not in (self.symmetry or ("learned",)):
            raise ValueError("--directions learned: takes --symmetry learned")
        rigid = [n for n in GENERATORS[self.group] if n in GENERATORS["se3"]]
        if self.directions == "learned" and self.generators and {*rigid} - {*self.generators}:
            raise ValueError(
                f"--generators {' '.join(self.generators)}: learned directions turn within all of "
                f"{' '.join(rigid)}, which must be among them"
            )


@final
@dataclass(frozen=True)
class QM9Config(MoleculeConfig):
    """Train on QM9, 130,831 small organic molecules, and compare symmetries."""

    task = "qm9"
    decisive = ("split",)
    usual: ClassVar = {**MoleculeConfig.usual, "partial_charges": 0.0, "properties": 0.0}
    presets: ClassVar = {
        "quick": {
            "train_size": 12_000,
            "validation_size": 1_000,
            "test_size": 2_000,
            "epochs": 16,
            **SMALL,
        },
        "full": {
            "validation_size": 2_000,
            "epochs": 60,
            **LARGE,
        },
        # Three minutes on an H100, where an epoch takes 2 s.
        "speedrun": {
            "validation_size": 2_000,
            "epochs": 68,
            "batch_size": 384,
            "channels": 256,
            "layers": 8,
            "rate": 0.003,
            "weight_decay": 0.05,
            "partial_charges": 0.5,
            "properties": 1.0,
            "jitter": 0.02,
            "precision": "bf16-mixed",
            "symmetry": ("learned",),
        },
    }

    target: str = option("homo", "what to predict", "task", choices=target_names)
    preset: str = option(
        "auto",
        "size of the run; auto is quick on a CPU and full on a GPU; speedrun takes three "
        "minutes on a fast GPU",
        "task",
        choices=(*PRESETS, "speedrun"),
    )
    partial_charges: float | None = option(
        None,
        "weight of learning the Mulliken charges of atoms too",
        "run",
        unset="0, speedrun 0.5",
        at_least=0,
    )
    properties: float | None = option(
        None,
        "weight of learning the other scalar properties of QM9 too",
        "run",
        unset="0, speedrun 1",
        at_least=0,
    )
    split: str = option(
        "dimenet", "which molecules train, validate and test", "data", choices=split_names
    )
    qm9_dir: Path | None = option(
        None, "qm9pack's csv files or their compressed form", "data", unset="the package qm9pack"
    )

    @property
    def output(self) -> str:
        return target_kind(self.target)

    def _check_data(self) -> None:
        super()._check_data()
        others = [name for name in self.network if name not in LEVELS]
        for name in ("partial_charges", "properties"):
            if others and getattr(self, name):
                raise ValueError(
                    f"{flag_of(name)}: takes the networks {' '.join(LEVELS)}, not {others[0]}"
                )
        for name, most in split_sizes(self.split).items():
            if (getattr(self, name) or 0) > most:
                raise ValueError(
                    f"{flag_of(name)} {getattr(self, name)}: choose from 1 to {most:,}, which is "
                    f"all that split {self.split} has"
                )

    @property
    def default_sizes(self) -> dict[str, int]:
        """All of the split."""
        return split_sizes(self.split)


@final
@dataclass(frozen=True)
class FilesConfig(MoleculeConfig):
    """Train on molecules and targets from files of your own, and compare symmetries."""

    task = "molecules"
    tasks_module = "molecules.from_files"
    subject = ("files", "target")
    presets: ClassVar = {"quick": SMALL, "full": LARGE}

    files: tuple[Path, ...] = option(
        (),
        "xyz or sdf files, also compressed, and what ASE reads, with the target of each molecule",
        "task",
        unset="none",
    )
    target: str = option("", "name of what to predict, as the files have it", "task", unset="none")
    skip: bool = option(
        False,
        "leave out molecules that cannot be read or lack the target, and say how many",
        "task",
    )
    unit: str = option("units", "unit of the target, to be shown", "task")
    kind: str = option(
        "scalar",
        "how the target turns with a molecule; a scalar does not",
        "task",
        choices=tuple(SHAPES),
    )
    atom_references: bool = option(
        False,
        "learn the target without what its atoms contribute, fitted on the training molecules: for "
        "total energies",
        "task",
    )
    frame: str = option(
        "centred",
        "where the molecules lie: as in the files, or the mean of the atoms at the origin",
        "data",
        choices=FRAMES[:2],
    )
    epochs: int | None = option(
        None,
        "passes over the data",
        "run",
        unset="for 4,000 steps, 16 at least, full 60",
        at_least=1,
    )

    @property
    def output(self) -> str:
        return self.kind

    def _check_data(self) -> None:
        super()._check_data()
        if self.atom_references and self.kind != "scalar":
            raise ValueError(f"--atom-references: takes --kind scalar, not {self.kind}")

    def check_ready(self) -> None:
        if not self.files:
            raise ValueError("molecules: give --files, which hold them and their targets")

    def settle(self, data: Any) -> FilesConfig:
        """Epochs for as many steps as widths need, however few molecules there are."""
        if self.epochs is not None:
            return self
        assert self.batch_size is not None, "resolve() fills the sizes"
        steps_per_epoch = -(-len(data.rows.train) // self.batch_size)
        fewest = QM9Config.presets[self.preset]["epochs"]
        return replace(self, epochs=max(fewest, -(-STEPS // steps_per_epoch)))


CONFIGS: dict[str, type[MoleculeConfig]] = {
    config.task: config for config in (QM9Config, FilesConfig)
}
