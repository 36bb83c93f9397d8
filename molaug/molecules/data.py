"""A set of molecules: where QM9 is kept, how it opens, and how its molecules are oriented."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from molaug.files import remove_partial
from molaug.molecules.cache import read_cache, write_cache
from molaug.molecules.convert import (
    check,
    find_source,
    read_compressed,
    read_source,
)
from molaug.molecules.splits import QM9_COUNT

if TYPE_CHECKING:
    from torch_geometric.data import Data as PygData

CACHE_NAME = "qm9.arrays"
SAMPLE_NAME = "sample.npz"
FRAMES = ("raw", "centred", "random")

_CHECKOUT = Path(__file__).resolve().parents[2] / "data" / "qm9"


@dataclass(frozen=True)
class MoleculeSet:
    """Molecules of any sizes, atom after atom: molecule i has atoms offsets[i] to offsets[i + 1].

    The atoms keep the order of QM9, in which a hydrogen may precede a heavy atom. Positions and
    Mulliken charges belong to one frame. Treat the arrays as read-only: those of the whole of QM9
    are mapped from a file.
    """

    positions: np.ndarray  # (atoms, 3) float32 [Angstrom]
    charges: np.ndarray  # (atoms,) uint8, nuclear charges
    offsets: np.ndarray  # (graphs + 1,) int64
    index: np.ndarray  # (graphs,) int32, the number of the molecule in QM9 or its files, from 1
    properties: np.ndarray  # (graphs, 15) float64, columns and units as in targets.PROPERTIES
    mulliken: np.ndarray  # (atoms,) float32, Mulliken charges [e]
    smiles: np.ndarray  # (graphs,) bytes of fixed width

    def __len__(self) -> int:
        return len(self.index)

    @property
    def sizes(self) -> np.ndarray:
        """Atoms per molecule, (graphs,) int64."""
        return np.diff(self.offsets)

    @property
    def elements(self) -> np.ndarray:
        """Nuclear charges that occur, each once, increasing."""
        return np.flatnonzero(np.bincount(self.charges))

    @staticmethod
    def from_atoms(molecules: Sequence[tuple[np.ndarray, np.ndarray]]) -> MoleculeSet:
        """From nuclear charges (atoms,) and positions (atoms, 3) [Angstrom] of each, in that order;
        without properties, Mulliken charges and SMILES.

        Raises ValueError, naming the molecule, for what are no atoms with a place each."""
        if not molecules:
            raise ValueError("no molecules: give at least one")
        for i, (charges, places) in enumerate(molecules):
            _check_atoms(f"molecule {i} (from 0)", np.asarray(charges), np.asarray(places))
        sizes = [len(charges) for charges, _ in molecules]
        return MoleculeSet(
            positions=np.concatenate([places for _, places in molecules]).astype(np.float32),
            charges=np.concatenate([charges for charges, _ in molecules]).astype(np.uint8),
            offsets=np.concatenate([[0], np.cumsum(sizes)]),
            index=np.arange(len(sizes), dtype=np.int32),
            properties=np.full((len(sizes), 15), np.nan),
            mulliken=np.full(sum(sizes), np.nan, dtype=np.float32),
            smiles=np.zeros(len(sizes), "S1"),
        )

    @staticmethod
    def from_pyg(graphs: Iterable[PygData]) -> MoleculeSet:
        """From PyTorch Geometric data with `pos` [Angstrom] and `z`, as `from_atoms`."""
        graphs = list(graphs)
        for i, graph in enumerate(graphs):
            if getattr(graph, "z", None) is None or getattr(graph, "pos", None) is None:
                raise ValueError(f"graph {i} (from 0) is no PyTorch Geometric data with z and pos")
        return MoleculeSet.from_atoms(
            [tuple(a.detach().cpu().numpy() for a in (graph.z, graph.pos)) for graph in graphs]
        )

    def take(self, rows: np.ndarray | slice | list[int]) -> MoleculeSet:
        """The molecules in those rows (integers, a mask or a slice), in that order."""
        rows = np.arange(len(self))[rows]
        sizes = self.sizes[rows]
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        # Atom k of the result is atom k + shift of this set; the shift is one per molecule.
        atoms = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], sizes)
        return MoleculeSet(
            positions=self.positions[atoms],
            charges=self.charges[atoms],
            offsets=offsets,
            index=self.index[rows],
            properties=self.properties[rows],
            mulliken=self.mulliken[atoms],
            smiles=self.smiles[rows],
        )

    def padded(self, nodes: int = 29) -> tuple[np.ndarray, np.ndarray]:
        """Positions (graphs, nodes, 3) float32 and charges (graphs, nodes) uint8, then zeros."""
        if len(self) and self.sizes.max() > nodes:
            row = self.sizes.argmax()
            raise ValueError(
                f"molecule {self.index[row]} has {self.sizes[row]} atoms and cannot be padded to "
                f"{nodes}: give at least {self.sizes[row]} nodes"
            )
        return self.pad(self.positions, nodes), self.pad(self.charges, nodes)

    def pad(self, values: np.ndarray, nodes: int) -> np.ndarray:
        """Values (atoms, ...) as (graphs, nodes, ...), then zeros; no molecule may be larger."""
        padded = np.zeros((len(self), nodes, *values.shape[1:]), values.dtype)
        padded[np.arange(nodes) < self.sizes[:, None]] = values
        return padded


def _check_atoms(name: str, charges: np.ndarray, positions: np.ndarray) -> None:
    if not len(charges):
        raise ValueError(f"{name} has no atoms")
    if charges.ndim != 1 or positions.shape != (len(charges), 3):
        raise ValueError(
            f"{name}: nuclear charges {charges.shape} and positions {positions.shape}; give "
            "(atoms,) and (atoms, 3)"
        )
    if not np.isfinite(positions).all():
        raise ValueError(f"{name} has a position that is no finite number")
    if ((charges < 1) | (charges > 118) | (charges != np.round(charges))).any():
        raise ValueError(f"{name} has a nuclear charge that is no whole number from 1 to 118")


def load_qm9(
    root: Path | None = None, qm9_dir: Path | None = None, *, expected: int | None = QM9_COUNT
) -> MoleculeSet:
    """All of QM9, sorted by index; converted at the first call, mapped from the cache afterwards.

    Parameters
    ----------
    root : Path, optional
        The folder of the cache, by default `default_root()`. A valid cache is used as it is, and
        may lie in a folder that cannot be written.
    qm9_dir : Path, optional
        What to convert if there is no valid cache: a folder with the csv files of qm9pack, or a
        compressed file. By default the installed package qm9pack.
    expected : int, optional
        How many molecules there must be; None accepts any number, for tests.

    Raises
    ------
    FileNotFoundError
        Neither a cache nor anything to convert.
    ValueError
        The files to convert are truncated or malformed.
    """
    root = Path(root or default_root())
    cache = root / CACHE_NAME
    given = None if qm9_dir is None else find_source(Path(qm9_dir))
    try:
        found = MoleculeSet(**read_cache(cache, expected))
        if given:
            _say(f"QM9 is in {cache}, from before: delete that file to have {given} converted")
        return found
    except (FileNotFoundError, NotADirectoryError):
        pass
    except ValueError as error:
        _say(f"{error}: converting QM9 again")
    source = given or find_source(None)
    _make_writable(root)
    with FileLock(cache.with_suffix(".lock")):
        # Another process may have converted while this one waited for the lock.
        with suppress(FileNotFoundError, ValueError):
            return MoleculeSet(**read_cache(cache, expected))
        remove_partial(cache.parent)  # of a conversion that was killed
        _say(f"converting QM9 from {source}, once")
        write_cache(cache, read_source(source, expected))
        return MoleculeSet(**read_cache(cache, expected))


def default_root() -> Path:
    """`$MOLAUG_DATA/qm9`; else `data/qm9` of the checkout; else a folder in the user's cache."""
    if folder := os.environ.get("MOLAUG_DATA"):
        return Path(folder) / "qm9"
    if _CHECKOUT.is_dir():
        return _CHECKOUT
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "molaug" / "qm9"


def load_sample() -> MoleculeSet:
    """The sample of QM9 that is part of the project: 1,000 molecules, sorted by index."""
    path = next((p for p in (_CHECKOUT, default_root()) if (p / SAMPLE_NAME).exists()), None)
    if path is None:
        raise FileNotFoundError(f"there is no {_CHECKOUT / SAMPLE_NAME}: use a checkout of molaug")
    arrays = read_compressed(path / SAMPLE_NAME)
    check(arrays, path / SAMPLE_NAME, expected=None)
    return MoleculeSet(**arrays)


def _say(line: str) -> None:
    print(f"molaug: {line}", file=sys.stderr)


def _make_writable(root: Path) -> None:
    with suppress(OSError):
        root.mkdir(parents=True, exist_ok=True)
    if not os.access(root, os.W_OK):
        raise PermissionError(f"cannot write to {root}: set MOLAUG_DATA to a folder that you own")


def orient(molecules: MoleculeSet, frame: str, seed: int = 0) -> MoleculeSet:
    """The same molecules in another frame.

    Parameters
    ----------
    frame : str
        `raw`: as in the files, where most first bonds lie along y. `centred`: raw, with the mean
        of the atoms at the origin. `random`: centred, then one rotation per molecule, uniform
        over all rotations (Haar), that depends on `seed` and the molecule's number only: it keeps
        it in any subset and any order.
    """
    if frame not in FRAMES:
        raise ValueError(f"unknown frame '{frame}': choose from {', '.join(FRAMES)}")
    if frame == "raw" or not len(molecules):
        return molecules
    positions = _centred(molecules)
    if frame == "random":
        positions = _rotated(positions, random_rotations(molecules.index, seed), molecules.sizes)
    return replace(molecules, positions=positions.astype(np.float32))


def rotate(molecules: MoleculeSet, rotations: np.ndarray) -> MoleculeSet:
    """Each molecule turned about the origin by its matrix of `rotations` (graphs, 3, 3)."""
    turned = _rotated(molecules.positions, rotations, molecules.sizes)
    return replace(molecules, positions=turned.astype(np.float32))


def random_rotations(index: np.ndarray, seed: int) -> np.ndarray:
    """Uniform rotation matrices, one per molecule number, (graphs, 3, 3) float64.

    Shoemake, "Uniform random rotations", Graphics Gems III (1992): a uniform unit quaternion.
    """
    # Number i owns row i of an endless table of uniform numbers. RandomState, because numpy has
    # frozen its stream: frames stay what they were when numpy is upgraded.
    table = np.random.RandomState(seed).random_sample((int(index.max()) + 1, 3))
    share, first, second = table[index].T * np.array([[1.0], [2 * np.pi], [2 * np.pi]])
    a, b = np.sqrt(1 - share), np.sqrt(share)
    return _matrices(a * np.sin(first), a * np.cos(first), b * np.sin(second), b * np.cos(second))


def _matrices(x: np.ndarray, y: np.ndarray, z: np.ndarray, w: np.ndarray) -> np.ndarray:
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def _centred(molecules: MoleculeSet) -> np.ndarray:
    positions = molecules.positions.astype(np.float64)
    sizes = molecules.sizes
    centroids = np.add.reduceat(positions, molecules.offsets[:-1]) / sizes[:, None]
    return positions - np.repeat(centroids, sizes, axis=0)


def _rotated(positions: np.ndarray, rotations: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    # One matrix row at a time: a matrix per atom would take 170 MB for QM9.
    rows = np.moveaxis(rotations, 1, 0)
    return np.stack([(np.repeat(row, sizes, axis=0) * positions).sum(1) for row in rows], axis=1)
