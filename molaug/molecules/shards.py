"""Molecules in files that are together larger than memory: written part by part, mapped to train.

A folder holds `shard-00000.arrays`, `shard-00001.arrays`, ... and `index.arrays`, all in the format
of `write_cache`. The index is written last: a folder without it was not finished.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from molaug.averaging import Scaling, scaling_of

from .batch import MoleculeBatch
from .cache import read_cache, read_signature, write_cache
from .convert import Arrays
from .data import MoleculeSet

INDEX = "index.arrays"
OPEN_SHARDS = 8  # mapped at a time: what is mapped and has been read counts as resident memory


def shard_name(number: int) -> str:
    """The name of the file of a shard."""
    return f"shard-{number:05}.arrays"


def write_shards(folder: Path, parts: Iterable[tuple[MoleculeSet, np.ndarray]]) -> None:
    """Write each part as a shard: molecules, and their targets as they are to be learned.

    Parameters
    ----------
    folder : Path
        Made if it is not there. What an earlier attempt left unfinished there is overwritten.
    parts : iterable of (MoleculeSet, values)
        Values (graphs, ...), finite, a row per molecule, in the physical unit of the target. One
        part is in memory at a time; some 10,000 molecules (3 MB) are a good size. Molecules should
        be in no order: a batch mixes those of a few parts, and the costs of generators are measured
        on neighbours.

    Raises
    ------
    ValueError
        The folder holds a finished set; or a part is empty or does not fit the others.
    """
    folder = Path(folder)
    if (folder / INDEX).exists():
        raise ValueError(f"{folder} holds shards already: choose another folder, or delete it")
    shape: tuple[int, ...] | None = None
    lengths: list[int] = []
    sizes: list[np.ndarray] = []
    stored: list[int] = []
    signatures: list[bytes] = []
    for number, (molecules, values) in enumerate(parts):
        values = np.asarray(values, np.float64)
        shape = values.shape[1:] if shape is None else shape
        _check_part(number, molecules, values, shape)
        path = folder / shard_name(number)
        arrays: dict[str, np.ndarray] = {
            "positions": molecules.positions.astype(np.float32),
            "charges": molecules.charges.astype(np.uint8),
            "offsets": molecules.offsets.astype(np.int64),
            "targets": values,
        }
        write_cache(path, arrays)
        lengths.append(len(molecules))
        sizes.append(molecules.sizes.astype(np.uint16))
        stored.append(path.stat().st_size)
        signatures.append(read_signature(path))
    if not lengths:
        raise ValueError(f"there is no part to write to {folder}")
    whole = np.concatenate(sizes)
    index = {
        "starts": np.cumsum([0, *lengths[:-1]]),
        "sizes": whole.astype(np.min_scalar_type(int(whole.max()))),
        "bytes": np.array(stored),
        "signatures": np.frombuffer(b"".join(signatures), np.uint8).reshape(len(stored), -1),
    }
    write_cache(folder / INDEX, index)


def _check_part(
    number: int, molecules: MoleculeSet, values: np.ndarray, shape: tuple[int, ...]
) -> None:
    if not len(molecules):
        raise ValueError(f"part {number} has no molecules")
    if len(values) != len(molecules):
        raise ValueError(f"part {number} has {len(molecules)} molecules and {len(values)} targets")
    if values.shape[1:] != shape:
        raise ValueError(f"part {number} has targets {values.shape[1:]}, those before {shape}")
    if shape not in ((), (3,), (3, 3)):
        raise ValueError(
            f"part {number} has targets {values.shape}: give scalars (n,), vectors (n, 3) or "
            "tensors (n, 3, 3)"
        )
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
        raise ValueError(f"part {number}: the target of its molecule {bad} is not finite")
    if molecules.sizes.min() < 1 or molecules.sizes.max() > np.iinfo(np.uint16).max:
        raise ValueError(f"part {number} has a molecule without atoms, or of more than 65,535")


class ShardedExamples:
    """The examples of a folder of shards, mapped from its files (`Examples` in molaug.task).

    Opening reads the index, a byte per molecule (two, if a molecule has more than 255 atoms), and
    compares its checksum, and the sizes and first lines of all shards: that these are those that
    were written. Whether the rest of a shard agrees with its first line is seen when the first
    batch asks for it, once in a process: an epoch reads the whole shard then anyway.

    `windows` tells the loop to visit shards one after another. Rows all over the set, such as
    `sorted_batches` gives, are right too, but slow where the set is larger than memory: keep
    validation and test sets small.

    device: where batches are put.

    Raises FileNotFoundError if the folder was not finished or a shard is missing, ValueError if a
    file is truncated, altered or of another set.
    """

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self.folder, self.device = Path(folder), device
        if not (self.folder / INDEX).exists():
            raise FileNotFoundError(
                f"{self.folder} has no {INDEX}: it holds no shards, or writing them did not finish"
            )
        index = read_cache(self.folder / INDEX, None)
        self.windows: np.ndarray = np.array(index["starts"])  # (shards,) the first row of each
        self.sizes: np.ndarray = index["sizes"]  # atoms per molecule, mapped from the index
        for number, (expected, signature) in enumerate(
            zip(index["bytes"], index["signatures"], strict=True)
        ):
            path = self.folder / shard_name(number)
            if not path.exists():
                raise FileNotFoundError(f"{path} is missing")
            if path.stat().st_size != expected:
                raise ValueError(f"{path} has {path.stat().st_size:,} bytes, not {expected:,}")
            if read_signature(path) != signature.tobytes():
                raise ValueError(f"{path} is not the shard that was written here: of another set?")
        self._verified: set[int] = set()
        self._open = lru_cache(OPEN_SHARDS)(self._map)

    def __len__(self) -> int:
        return len(self.sizes)

    def _map(self, number: int) -> Arrays:
        path = self.folder / shard_name(number)
        arrays = read_cache(path, None, verify=number not in self._verified)
        self._verified.add(number)
        return arrays

    def _locate(self, rows: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The shard of each row, and its row there."""
        chosen = rows.numpy()
        shards = np.searchsorted(self.windows, chosen, side="right") - 1
        return shards, chosen - self.windows[shards]

    def gather(self, rows: Tensor) -> tuple[MoleculeBatch, Tensor]:
        """The batch, padded to its largest molecule, and the targets in physical units."""
        shards, places = self._locate(rows)
        sizes = self.sizes[rows.numpy()].astype(np.int64)
        nodes = int(sizes.max())
        positions = np.zeros((len(rows), nodes, 3), np.float32)
        charges = np.zeros((len(rows), nodes), np.int32)
        targets: np.ndarray | None = None
        for number in np.unique(shards):
            shard, here = self._open(int(number)), np.flatnonzero(shards == number)
            if targets is None:
                targets = np.zeros((len(rows), *shard["targets"].shape[1:]))
            targets[here] = shard["targets"][places[here]]
            row, node = np.nonzero(np.arange(nodes) < sizes[here, None])
            atoms = shard["offsets"][places[here]][row] + node
            positions[here[row], node] = shard["positions"][atoms]
            charges[here[row], node] = shard["charges"][atoms]
        assert targets is not None, "a batch has rows"
        # The host need not wait until a GPU has come to take them.
        there = [
            torch.from_numpy(array).to(self.device, non_blocking=True)
            for array in (positions, charges, targets)
        ]
        return MoleculeBatch(there[0], there[1]), there[2]

    def describe(self, rows: Tensor) -> str:
        """File and row of each molecule."""
        shards, places = (found.tolist() for found in self._locate(rows))
        pairs = zip(shards, places, strict=True)
        return "molecules " + ", ".join(f"{shard_name(s)}[{place}]" for s, place in pairs)

    def build_scaling(self) -> Scaling:
        """What `build_scaling` in molaug.averaging makes of all targets: mean and standard
        deviation, or for vectors no shift and the root mean square of a component.

        Reads the targets of one shard after another, without its other arrays.
        """
        count, mean, squares = 0, 0.0, 0.0  # squares: summed about the mean
        scalar = True
        for number in range(len(self.windows)):
            arrays = read_cache(self.folder / shard_name(number), None, verify=False)
            values = arrays["targets"]
            scalar = values.ndim == 1
            # Chan, Golub, LeVeque (1983): merging the moments of two sets.
            other = float(values.mean()) if scalar else 0.0
            step, total = other - mean, count + values.size
            squares += float(((values - other) ** 2).sum()) + step**2 * count * values.size / total
            count, mean = total, mean + step * values.size / total
        return scaling_of(mean, float(np.sqrt(squares / count)))
