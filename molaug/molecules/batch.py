"""A batch of molecules: dense, padded, on one device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from torch_geometric.data import Batch as PygBatch


@dataclass(frozen=True)
class MoleculeBatch:
    """Molecules padded to one number of atoms; every pair of atoms is connected.

    Static shapes are what compilers and captured graphs want, and molecules of 3 to 29 atoms
    waste little when batches are drawn from buckets of similar size.
    """

    positions: Float[Tensor, "graphs nodes 3"]  # [Angstrom], zero where padded
    charges: Int[Tensor, "graphs nodes"]  # nuclear charges (6 is carbon), zero where padded
    partial: Float[Tensor, "graphs nodes"] | None = None  # partial charges [e], if to be learned
    # Standardised, if they are to be learned too.
    properties: Float[Tensor, "graphs properties"] | None = None

    def __len__(self) -> int:
        return self.charges.shape[0]

    @property
    def mask(self) -> Bool[Tensor, "graphs nodes"]:
        """True where there is an atom."""
        return self.charges > 0

    def repeat(self, copies: int) -> MoleculeBatch:
        """Every molecule `copies` times: all of the first copy, then all of the second, ..."""
        if copies == 1:
            return self
        return self._each(lambda values: values.repeat(copies, *[1] * (values.ndim - 1)))

    def to(self, device: torch.device | str) -> MoleculeBatch:
        """The same batch on another device."""
        return self._each(lambda values: values.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> MoleculeBatch:
        """All that there is, changed."""
        there = {name: value for name, value in vars(self).items() if value is not None}
        return MoleculeBatch(**{name: change(value) for name, value in there.items()})

    def features(self) -> Float[Tensor, "graphs features"]:
        """Numbers in which a change of pose shows: the centre and the second moments of nuclear
        charge, and the first three atoms [Angstrom]."""
        weight = self.charges / self.charges.sum(1, keepdim=True)
        centre = torch.einsum("ga,gai->gi", weight, self.positions)
        second = torch.einsum("ga,gai,gaj->gij", weight, self.positions, self.positions)
        return torch.cat([centre, second.flatten(1), self.positions[:, :3].flatten(1)], 1)

    def to_pyg(self) -> PygBatch:
        """A PyTorch Geometric batch: `pos (atoms, 3)`, `z (atoms,)`, `batch (atoms,)`.

        Padding is dropped; atoms keep their order within a molecule.
        """
        from torch_geometric.data import Batch

        mask = self.mask
        graph = torch.arange(len(self), device=mask.device)[:, None].expand_as(mask)[mask]
        sizes = mask.sum(1)
        pointer = torch.nn.functional.pad(sizes.cumsum(0), (1, 0))
        return Batch(pos=self.positions[mask], z=self.charges[mask], batch=graph, ptr=pointer)

    @staticmethod
    def from_pyg(data: PygBatch) -> MoleculeBatch:
        """From a PyTorch Geometric batch with `pos`, `z` and `batch` (or one molecule, without),
        in float32. Atoms keep their order within a molecule."""
        from torch_geometric.utils import to_dense_batch

        charges, positions, graph = data.z, data.pos.float(), data.batch
        if graph is not None:  # PyTorch Geometric takes it for sorted
            graph, order = graph.sort(stable=True)
            charges, positions = charges[order], positions[order]
        return MoleculeBatch(to_dense_batch(positions, graph)[0], to_dense_batch(charges, graph)[0])
