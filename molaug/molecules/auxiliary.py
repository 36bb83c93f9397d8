"""What a graph network may learn beside its target, in training only: to take noise out of the
coordinates, and the partial charges of the atoms."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .batch import MoleculeBatch
from .networks import GraphNetwork

CHARGE = 0.2  # [e], about the spread of Mulliken charges in QM9
NOISY = 0.5  # of the molecules get noise
DENOISING = 0.1  # weight of its loss, that of Equiformer's second version


class AuxiliaryNetwork(nn.Module):
    """`network` with further heads per atom. In tests it is `network` itself.

    In training, half of the molecules have Gaussian noise of standard deviation `noise` [Angstrom]
    added to their coordinates (after these were moved), the target stays what it was, and a head
    predicts the noise (Noisy Nodes; Godwin et al., ICLR 2022):

        loss = task's + 0.1 mean |n_i / noise - head(h_i)| + charges mean |q_i / 0.2 e - head(h_i)|

    charges: weight of the loss of the partial charges q_i in `MoleculeBatch.partial`.
    """

    def __init__(self, network: GraphNetwork, *, noise: float = 0.0, charges: float = 0.0) -> None:
        super().__init__()
        self.network, self.noise, self.charges = network, noise, charges
        self.heads = nn.Linear(network.norm.normalized_shape[0], 4)
        self._loss: Tensor | None = None

    def forward(self, batch: MoleculeBatch) -> Float[Tensor, "graphs ..."]:
        if not self.training:
            prediction: Tensor = self.network(batch)
            return prediction
        moved, noise = self._add_noise(batch)
        encoded = self.network.encode(moved)
        found = self.heads(encoded).to(batch.positions.dtype)
        present = batch.mask
        noisy = present & (noise != 0).any(-1)
        losses = DENOISING * _mean((noise - found[..., :3]).abs().mean(-1), noisy)
        if batch.partial is not None:
            missed = (batch.partial / CHARGE - found[..., 3]).abs()
            losses = losses + self.charges * _mean(missed, present)
        self._loss = losses
        return self.network.read(moved, encoded)

    def pop_auxiliary_loss(self) -> Float[Tensor, ""]:
        """That of the last forward pass in training, which is forgotten with it."""
        assert self._loss is not None, "there was no forward pass in training"
        loss, self._loss = self._loss, None
        return loss

    def _add_noise(self, batch: MoleculeBatch) -> tuple[MoleculeBatch, Tensor]:
        """The batch with noise, and the noise in units of its standard deviation."""
        shape = batch.positions.shape
        noise = torch.randn(shape, device=batch.positions.device, dtype=batch.positions.dtype)
        chosen = torch.rand(shape[0], 1, 1, device=noise.device) < NOISY * (self.noise > 0)
        noise = noise * (chosen & batch.mask[..., None])
        return replace(batch, positions=batch.positions + self.noise * noise), noise


def _mean(values: Float[Tensor, "graphs nodes"], chosen: Tensor) -> Float[Tensor, ""]:
    """Over the atoms chosen; zero if there is none."""
    return (values * chosen).sum() / chosen.sum().clamp_min(1)
