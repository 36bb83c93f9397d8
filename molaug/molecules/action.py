"""How an affine map moves a molecule, and a prediction about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from molaug.augmentation import Share
from molaug.exponentials import invert

from .batch import MoleculeBatch

Output = Literal["scalar", "vector", "tensor"]


@dataclass(frozen=True)
class MoleculeAction:
    """x -> A x + t on every atom; an output is moved as its declared type says.

    scalar (graphs,): invariant. vector (graphs, 3): A v. tensor (graphs, 3, 3), symmetric and
    traceless: A T A^t, which under a rotation is symmetric and traceless again.
    """

    output: Output = "scalar"

    def __post_init__(self) -> None:
        if self.output not in get_args(Output):
            raise ValueError(f"output {self.output!r}: choose from {', '.join(get_args(Output))}")

    def act(self, elements: Float[Tensor, "graphs 4 4"], batch: MoleculeBatch) -> MoleculeBatch:
        """The molecules with molecule i moved by elements[i]; padding stays at the origin."""
        # In float32 whatever the precision of the network: bf16 would move atoms by 0.03 Angstrom.
        with torch.autocast(batch.positions.device.type, enabled=False):
            linear, shift = elements[:, :3, :3], elements[:, None, :3, 3]
            moved = torch.baddbmm(shift, batch.positions, linear.mT)
        moved = moved * batch.mask[..., None]
        return replace(batch, positions=moved)

    def disturb(
        self, batch: MoleculeBatch, deviation: float, copies: int, share: Share
    ) -> MoleculeBatch:
        """Every atom moved by a normal number [Angstrom] along each axis; `copies` and `share` are
        those of the molecules, and the noise what one process would draw for all of them."""
        places = batch.positions
        nodes = places.shape[1]
        # By 32 atoms: the first of a molecule are moved alike however many the largest one of a
        # share has.
        parts = -(-nodes // 32)
        noise = torch.randn(parts, copies, share.whole, 32, 3, device=places.device)
        mine = noise[:, :, share.first :: share.step].movedim(0, 2).flatten(2, 3)
        mine = mine[:, :, :nodes].flatten(0, 1)
        return replace(batch, positions=places + deviation * mine * batch.mask[..., None])

    def act_on_output(self, elements: Float[Tensor, "graphs 4 4"], prediction: Tensor) -> Tensor:
        """Predictions (graphs, ...) for the moved molecules, brought back: A^-1 v, A^-1 T A^-t."""
        if self.output == "scalar":
            return prediction
        expected = (3,) if self.output == "vector" else (3, 3)
        if prediction.shape[1:] != expected:
            raise ValueError(
                f"the network predicts {tuple(prediction.shape)}; {self.output}s of "
                f"{len(elements)} molecules are {(len(elements), *expected)}"
            )
        with torch.autocast(prediction.device.type, enabled=False):
            inverse = invert(elements[:, :3, :3]).to(prediction.dtype)
            if self.output == "vector":
                return (inverse @ prediction[..., None]).squeeze(-1)
            return inverse @ prediction @ inverse.mT
