"""PyTorch Geometric models behind the one adapter, on complete graphs.

SchNet takes its own graph builder, which is all that a complete graph needs. DimeNet++ and ViSNet
call `radius_graph` inside their forward pass, from the compiled extension torch-cluster.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.nn import SchNet

from .action import Output
from .batch import MoleculeBatch
from .networks import TYPICAL_ATOMS


class PygNetwork(nn.Module):
    """Lets a PyTorch Geometric model take the place of a network.

    model: called as model(z (atoms,), pos (atoms, 3) [Angstrom], batch (atoms,)), returns one row
        per molecule: (graphs,), (graphs, 1) or (graphs, components).
    scale: factor on the output; 1 by default.
    """

    def __init__(self, model: nn.Module, *, scale: float = 1.0) -> None:
        super().__init__()
        self.model = model
        self.scale = scale

    def forward(self, batch: MoleculeBatch) -> Float[Tensor, "graphs ..."]:
        graph = batch.to_pyg()
        output: Tensor = self.model(graph.z.long(), graph.pos, graph.batch)
        if output.ndim == 2 and output.shape[1] == 1:
            output = output.squeeze(1)
        return self.scale * output


class CompleteGraph(nn.Module):
    """Edges between all pairs of atoms of each molecule, and their lengths: SchNet's
    `interaction_graph`, in place of a radius graph."""

    def forward(
        self, pos: Float[Tensor, "atoms 3"], batch: Int[Tensor, "atoms"]
    ) -> tuple[Int[Tensor, "2 edges"], Float[Tensor, "edges"]]:
        others = ~torch.eye(len(batch), dtype=torch.bool, device=batch.device)
        sender, receiver = (others & (batch[:, None] == batch)).nonzero().T
        return torch.stack([sender, receiver]), (pos[sender] - pos[receiver]).norm(dim=1)


def build_pyg(
    name: str, *, output: Output = "scalar", channels: int = 128, layers: int = 6
) -> PygNetwork:
    """PyG's SchNet (Schutt et al. 2017) with `layers` interactions of `channels` channels.

    Raises ValueError for a target that it cannot predict equivariantly.
    """
    if output != "scalar":
        raise ValueError(f"--network {name} predicts scalars only, not a {output}")
    model = SchNet(
        hidden_channels=channels,
        num_filters=channels,
        num_interactions=layers,
        interaction_graph=CompleteGraph(),
    )
    return PygNetwork(model, scale=1 / TYPICAL_ATOMS)
