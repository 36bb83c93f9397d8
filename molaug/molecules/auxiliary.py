"""What a graph network may learn beside its target, in training only: the partial charges of the
atoms, and the other properties of the molecule."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from .batch import MoleculeBatch
from .geometry import TYPICAL_ATOMS
from .networks import GraphNetwork

CHARGE = 0.2  # [e], about the spread of Mulliken charges in QM9


class AuxiliaryNetwork(nn.Module):
    """`network` with further heads. In tests it is `network` itself.

    In training one head predicts the partial charges q_i in `MoleculeBatch.partial` from what is
    known of atom i, and another the standardised p_k in `MoleculeBatch.properties`, as a sum over
    atoms, with

        loss = task's + charges * mean_m mean_{i in m} |q_i / 0.2 e - head(h_i)|
                      + properties * mean_m mean_k |p_mk - sum_{i in m} head_k(h_i) / 18|,

    means over the atoms i of each molecule m, or over properties k, and then over molecules, so
    that every share of a batch counts by its molecules.

    charges, properties: these weights; without one there is no such head. count: of properties.
    """

    def __init__(
        self, network: GraphNetwork, charges: float = 0.0, properties: float = 0.0, count: int = 0
    ) -> None:
        super().__init__()
        self.network, self.charges, self.properties = network, charges, properties
        width = network.norm.normalized_shape[0]
        if charges:
            self.charge_head = nn.Linear(width, 1)
        if properties:
            self.property_head = nn.Sequential(
                nn.Linear(width, width), nn.SiLU(), nn.Linear(width, count)
            )
        self._loss: Tensor | None = None

    def forward(self, batch: MoleculeBatch) -> Float[Tensor, "graphs ..."]:
        encoded = self.network.encode(batch)
        if self.training:
            charges = self._missed_charges(batch, encoded)
            self._loss = charges + self._missed_properties(batch, encoded)
        return self.network.read(batch, encoded)

    def _missed_charges(self, batch: MoleculeBatch, encoded: Tensor) -> Tensor:
        if not self.charges:
            return batch.positions.new_zeros(())
        assert batch.partial is not None, "the examples come with partial charges"
        found = self.charge_head(encoded).squeeze(-1).to(batch.positions.dtype)
        missed = (batch.partial / CHARGE - found).abs() * batch.mask
        each = missed.sum(1) / batch.mask.sum(1).clamp_min(1)
        return self.charges * each.mean()

    def _missed_properties(self, batch: MoleculeBatch, encoded: Tensor) -> Tensor:
        if not self.properties:
            return batch.positions.new_zeros(())
        assert batch.properties is not None, "the examples come with properties"
        per_atom = self.property_head(encoded).to(batch.positions.dtype) * batch.mask[..., None]
        found = per_atom.sum(1) / TYPICAL_ATOMS
        return self.properties * (batch.properties - found).abs().mean()

    def pop_auxiliary_loss(self) -> Float[Tensor, ""]:
        """That of the last forward pass in training, which is forgotten with it."""
        assert self._loss is not None, "there was no forward pass in training"
        loss, self._loss = self._loss, None
        return loss
