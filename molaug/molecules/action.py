"""How an affine map moves a molecule, and a prediction about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .batch import MoleculeBatch

Output = Literal["scalar", "vector", "tensor"]


@dataclass(frozen=True)
class MoleculeAction:
    """x -> A x + t on every atom; an output is moved as its declared type says.

    scalar (graphs,): invariant. vector (graphs, 3): A v. tensor (graphs, 3, 3), symmetric and
    traceless: A T A^t, which under a rotation is symmetric and traceless again.
    """

    output: Output = "scalar"

    def act(self, elements: Float[Tensor, "graphs 4 4"], batch: MoleculeBatch) -> MoleculeBatch:
        """The molecules with molecule i moved by elements[i]; padding stays at the origin."""
        # In float32 whatever the precision of the network: bf16 would move atoms by 0.03 Angstrom.
        with torch.autocast(batch.positions.device.type, enabled=False):
            linear, shift = elements[:, :3, :3], elements[:, None, :3, 3]
            moved = torch.baddbmm(shift, batch.positions, linear.mT)
        moved = moved * batch.mask[..., None]
        return replace(batch, positions=moved)

    def act_on_output(self, elements: Float[Tensor, "graphs 4 4"], prediction: Tensor) -> Tensor:
        """Predictions (graphs, ...) for the moved molecules, brought back: A^-1 v, A^-1 T A^-t."""
        if self.output == "scalar":
            return prediction
        inverse = torch.linalg.inv_ex(elements[:, :3, :3]).inverse.to(prediction.dtype)
        if self.output == "vector":
            return (inverse @ prediction[..., None]).squeeze(-1)
        return inverse @ prediction @ inverse.mT
