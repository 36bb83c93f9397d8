"""The geometry that networks on dense batches share: what a pair of atoms sees, and how what the
atoms say becomes one prediction per molecule."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .action import Output
from .batch import MoleculeBatch

ELEMENTS = 119  # nuclear charges 0 (padding) to 118
TYPICAL_ATOMS = 18.0  # of a QM9 molecule, so that sums over atoms start near unit scale


def gaussians(
    distance: Float[Tensor, "graphs i j"], centres: Float[Tensor, "basis"], sharpness: float
) -> Float[Tensor, "graphs i j basis"]:
    """exp(-sharpness (r - centre)^2).

    As a power of two, because most are zero and exp takes up to forty times as long where its value
    underflows (measured, on a CPU).
    """
    return torch.exp2((distance[..., None] - centres).square() * (-sharpness / math.log(2)))


class GaussianBasis(nn.Module):
    """exp(-(r - mu_k)^2 / (2 s^2)) with mu_k from 0.6 to `reach` [Angstrom] and
    s = (reach - 0.6) / count, a little less than their spacing."""

    def __init__(self, count: int, reach: float = 6.0) -> None:
        super().__init__()
        self.centres = nn.Buffer(torch.linspace(0.6, reach, count), persistent=False)
        self.sharpness = 0.5 * (count / (reach - 0.6)) ** 2

    def forward(self, distance: Float[Tensor, "graphs i j"]) -> Float[Tensor, "graphs i j basis"]:
        return gaussians(distance, self.centres, self.sharpness)


def separations(
    batch: MoleculeBatch,
) -> tuple[Float[Tensor, "graphs i j"], Float[Tensor, "graphs i j 3"], Bool[Tensor, "graphs i j"]]:
    """Distances [Angstrom], unit vectors from i to j, and which pairs are connected.

    Connected are different atoms at different places. All other pairs, among them those with
    padding, have distance 1 and direction 0, and a gradient of exactly zero.
    """
    difference = batch.positions[:, None] - batch.positions[:, :, None]
    squared = difference.square().sum(-1)
    connected = batch.mask[:, :, None] & batch.mask[:, None] & (squared > 0)
    distance = torch.where(connected, squared, 1.0).sqrt()  # chosen before the root, for gradients
    return distance, difference * (connected / distance)[..., None], connected


def gather(
    kernels: Float[Tensor, "graphs i kernels j"], features: Float[Tensor, "graphs j channels"]
) -> Float[Tensor, "graphs i kernels channels"]:
    """Moments of the neighbourhood of every atom: sum_j K_k(r_ij) f_j."""
    return (kernels.flatten(1, 2) @ features).unflatten(1, kernels.shape[1:3])


def arms(batch: MoleculeBatch) -> Float[Tensor, "graphs nodes 3"]:
    """Positions of the atoms about their centroid [Angstrom], zero where padded."""
    mask = batch.mask[..., None]
    centroid = (batch.positions * mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True)
    return (batch.positions - centroid) * mask


def traceless(tensor: Float[Tensor, "*axes 3 3"]) -> Float[Tensor, "*axes 3 3"]:
    """The symmetric traceless part, (T + T^t) / 2 - tr(T) / 3."""
    trace = tensor.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    identity = torch.eye(3, dtype=tensor.dtype, device=tensor.device)
    return (tensor + tensor.mT) / 2 - trace / 3 * identity


def assemble(
    output: Output,
    batch: MoleculeBatch,
    charge: Float[Tensor, "graphs nodes"],
    vector: Float[Tensor, "graphs nodes 3"] | float = 0.0,
    tensor: Float[Tensor, "graphs nodes 3 3"] | float = 0.0,
) -> Float[Tensor, "graphs ..."]:
    """What the atoms say to one prediction per molecule, a sum over atoms in units of 18 of them.

    With x_i the position about the centroid, a multipole expansion whose terms the network gives
    (as PaiNN predicts dipoles and polarizabilities, Schuett et al. 2021, arXiv:2102.03150):

        scalar: sum_i q_i        vector: sum_i q_i x_i + v_i
        tensor: sum_i symmetric traceless part of q_i x_i x_i^t + v_i x_i^t + T_i
    """
    mask = batch.mask
    if output == "scalar":
        return (charge * mask).sum(1) / TYPICAL_ATOMS
    arm = arms(batch)
    if output == "vector":
        return (charge[..., None] * arm + vector * mask[..., None]).sum(1) / TYPICAL_ATOMS
    outer = (charge[..., None] * arm + vector)[..., None] * arm[..., None, :]
    return traceless((outer + tensor * mask[..., None, None]).sum(1)) / TYPICAL_ATOMS
