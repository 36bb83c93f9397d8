"""What a graph network may learn beside its target, in training only: the partial charges of the
atoms."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from .batch import MoleculeBatch
from .networks import GraphNetwork

CHARGE = 0.2  # [e], about the spread of Mulliken charges in QM9


class AuxiliaryNetwork(nn.Module):
    """`network` with a further head per atom. In tests it is `network` itself.

    In training the head predicts the partial charges q_i in `MoleculeBatch.partial`, with

        loss = task's + weight * mean_m mean_{i in m} |q_i / 0.2 e - head(h_i)|,

    the mean over the atoms i of each molecule m and then over molecules, so that every share of a
    batch counts by its molecules.
    """

    def __init__(self, network: GraphNetwork, weight: float) -> None:
        super().__init__()
        self.network, self.weight = network, weight
        self.head = nn.Linear(network.norm.normalized_shape[0], 1)
        self._loss: Tensor | None = None

    def forward(self, batch: MoleculeBatch) -> Float[Tensor, "graphs ..."]:
        encoded = self.network.encode(batch)
        if self.training:
            assert batch.partial is not None, "the examples come with partial charges"
            found = self.head(encoded).squeeze(-1).to(batch.positions.dtype)
            missed = (batch.partial / CHARGE - found).abs() * batch.mask
            each = missed.sum(1) / batch.mask.sum(1).clamp_min(1)
            self._loss = self.weight * each.mean()
        return self.network.read(batch, encoded)

    def pop_auxiliary_loss(self) -> Float[Tensor, ""]:
        """That of the last forward pass in training, which is forgotten with it."""
        assert self._loss is not None, "there was no forward pass in training"
        loss, self._loss = self._loss, None
        return loss
