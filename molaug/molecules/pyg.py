"""Networks of PyTorch Geometric behind the one interface: a MoleculeBatch in, a prediction out.

PyG's own graph builder, `radius_graph`, needs a compiled extension (pyg-lib or torch-cluster). For
small molecules it is not needed: all pairs are listed and those within the cutoff kept, which is
what it computes. What that took:

- SchNet runs as published: its `interaction_graph` argument takes a graph builder.
- ViSNet runs as published: the graph is built by its submodule `distance`, which is replaced.
- DimeNet++ as published does not run: `radius_graph` and a second compiled extension (torch-sparse,
  to list triplets) are called inside `forward`. `CompleteDimeNetPlusPlus` overrides that method and
  keeps every layer. DimeNet (the first) would need the same and is left out: DimeNet++ is faster
  and more accurate.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.nn import DimeNetPlusPlus, SchNet, ViSNet
from torch_geometric.utils import scatter

from .action import Output
from .batch import MoleculeBatch
from .config import SHAPES
from .geometry import TYPICAL_ATOMS

GIVEN = ("z", "pos", "batch", "edge_index")  # what a model may ask for, by these names


class PygNetwork(nn.Module):
    """Any model of PyTorch Geometric as a network on dense batches.

    model: called as model(z, pos, batch), nuclear charges (atoms,), positions (atoms, 3) [Angstrom]
        and the molecule of every atom, by these names if it has them, and with `edge_index`
        (2, edges) if it asks for that; or, if it takes one argument only, as model(data) with these
        in `data`. If it returns a tuple, as ViSNet does, the first entry counts.
    cutoff: of the edges, which join all pairs of atoms of a molecule within it [Angstrom]; only for
        a model that asks for edges.
    output: how many numbers per molecule the model predicts: `scalar` (one), `vector` (three) or
        `tensor` (nine); the adapter only gives them their shape.
    scale: factor on the output.
    largest_charge: the last element that the model knows; others are refused.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        cutoff: float | None = None,
        output: Output = "scalar",
        scale: float = 1.0,
        largest_charge: int = 118,
    ) -> None:
        super().__init__()
        self.model, self.output, self.scale = model, output, scale
        self.cutoff, self.largest_charge = cutoff, largest_charge
        arguments = inspect.signature(model.forward).parameters
        required = required_arguments(model)
        asks_for_edges = "edge_index" in required
        self.by_name = {"z", "pos", "batch"} <= arguments.keys() or asks_for_edges
        given = GIVEN if cutoff is not None else GIVEN[:-1]  # no edges, no edge_index
        self.names = [name for name in given if name in arguments]
        self.takes_data = len(required) == 1 and not self.by_name
        unknown = [name for name in required if name not in GIVEN]
        if self.by_name and unknown:
            raise ValueError(
                f"{type(model).__name__}.forward asks for {', '.join(unknown)}: give a module "
                f"whose forward takes some of {', '.join(GIVEN)}"
            )
        if asks_for_edges and cutoff is None:
            raise ValueError(
                f"{type(model).__name__}.forward asks for edge_index: give PygNetwork(model, "
                "cutoff=5.0), or another number [Angstrom]"
            )

    def forward(self, batch: MoleculeBatch) -> Float[Tensor, "graphs ..."]:
        data = batch.to_pyg()
        data.z = data.z.long()  # as PyTorch Geometric has it
        if data.z.max() > self.largest_charge:
            raise ValueError(
                f"{type(self.model).__name__} knows no element with nuclear charge "
                f"{int(data.z.max())}; its last is {self.largest_charge}"
            )
        if self.cutoff is not None:
            data.edge_index = connect(data.pos, data.batch, self.cutoff)
        if self.takes_data:
            prediction = self.model(data)
        elif self.by_name:
            prediction = self.model(**{name: data[name] for name in self.names})
        else:
            prediction = self.model(data.z, data.pos, data.batch)
        return self.scale * self._shape(prediction, len(batch))

    def _shape(self, prediction: Any, graphs: int) -> Tensor:
        """(graphs, 1) and the like to what `output` declares."""
        if isinstance(prediction, tuple):
            prediction = prediction[0]
        shape = (graphs, *SHAPES[self.output])
        if not isinstance(prediction, Tensor):
            name = type(self.model).__name__
            raise ValueError(f"{name} predicted a {type(prediction).__name__}, not a tensor")
        per_graph = prediction.shape[0] if prediction.ndim else 1  # squeezed, of a single molecule
        if prediction.numel() != torch.Size(shape).numel() or per_graph != graphs:
            raise ValueError(
                f"{type(self.model).__name__} predicted an array of shape "
                f"{tuple(prediction.shape)}; a {self.output} for {graphs} molecules has {shape}"
            )
        return prediction.reshape(shape)


def required_arguments(model: nn.Module) -> list[str]:
    """What its forward cannot be called without."""
    variable = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return [
        name
        for name, one in inspect.signature(model.forward).parameters.items()
        if one.default is one.empty and one.kind not in variable
    ]


def wrap(model: nn.Module, output: Output) -> nn.Module:
    """As a network on a `MoleculeBatch`, which it is if its forward takes one `batch` alone."""
    if isinstance(model, PygNetwork):
        model.output = output
    return model if required_arguments(model) == ["batch"] else PygNetwork(model, output=output)


def connect(
    positions: Float[Tensor, "atoms 3"], graph: Int[Tensor, " atoms"], cutoff: float
) -> Int[Tensor, "2 edges"]:
    """(source, target) of all pairs of different atoms of one molecule within the cutoff.

    Atoms at exactly one place are not connected: no direction leads from one to the other, and
    published networks divide by their distance.
    """
    # (atoms, largest molecule): every atom against every member of its own molecule
    sizes = torch.bincount(graph)
    start = sizes.cumsum(0) - sizes
    slot = torch.arange(int(sizes.max()), device=graph.device)
    partner = start[graph][:, None] + slot
    exists = slot < sizes[graph][:, None]
    target = torch.arange(len(graph), device=graph.device)[:, None].expand_as(partner)
    source, target = partner[exists], target[exists]
    squared = (positions[source] - positions[target]).detach().square().sum(-1)
    near = (squared > 0) & (squared < cutoff**2)
    return torch.stack([source[near], target[near]])


class PairGraph(nn.Module):
    """`connect`, in the form in which SchNet asks for its graph: (edges, distances)."""

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff

    def forward(self, positions: Tensor, graph: Tensor) -> tuple[Tensor, Tensor]:
        edges = connect(positions, graph, self.cutoff)
        return edges, (positions[edges[0]] - positions[edges[1]]).norm(dim=-1)


class LoopedPairGraph(nn.Module):
    """The same as ViSNet asks for it: (edges, distances, differences), and every atom with itself
    at distance zero, so that it attends to itself too."""

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.pairs = PairGraph(cutoff)

    def forward(self, positions: Tensor, graph: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        edges, distances = self.pairs(positions, graph)
        loops = torch.arange(len(positions), device=positions.device).expand(2, -1)
        edges = torch.cat([edges, loops], 1)
        distances = torch.cat([distances, distances.new_zeros(len(positions))])
        return edges, distances, positions[edges[0]] - positions[edges[1]]


def find_triplets(edges: Int[Tensor, "2 edges"], atoms: int) -> tuple[Tensor, Tensor]:
    """All pairs of edges k->j and j->i with k != i, as two lists of edge indices, (kj, ji)."""
    source, target = edges
    # Sorted by target, the edges that end in an atom follow one another.
    by_target = target.argsort(stable=True)
    arriving = torch.bincount(target, minlength=atoms)
    start = arriving.cumsum(0) - arriving
    count = arriving[source]
    ji = torch.arange(len(source), device=edges.device).repeat_interleave(count)
    nth = torch.arange(len(ji), device=edges.device) - (count.cumsum(0) - count)[ji]
    kj = by_target[start[source[ji]] + nth]
    different = source[kj] != target[ji]
    return kj[different], ji[different]


class CompleteDimeNetPlusPlus(DimeNetPlusPlus):
    """PyG's DimeNet++ (Gasteiger et al. 2020) with its graph and triplets listed without
    extensions; the layers, and so the weights of a trained model, are PyG's."""

    def forward(
        self, z: Int[Tensor, " atoms"], pos: Float[Tensor, "atoms 3"], batch: Tensor | None = None
    ) -> Float[Tensor, "graphs outputs"]:
        batch = torch.zeros_like(z, dtype=torch.long) if batch is None else batch
        edges = connect(pos, batch, self.cutoff)
        j, i = edges
        kj, ji = find_triplets(edges, len(z))
        differences = pos[i] - pos[j]
        distances = differences.norm(dim=-1)
        radial = self.rbf(distances)
        spherical = self.sbf(distances, angles(differences[ji], differences[kj]), kj)
        messages = self.emb(z, radial, i, j)
        atoms = self.output_blocks[0](messages, radial, i, num_nodes=len(z))
        for interaction, output in zip(
            self.interaction_blocks, self.output_blocks[1:], strict=True
        ):
            messages = interaction(messages, radial, spherical, kj, ji)
            atoms = atoms + output(messages, radial, i, num_nodes=len(z))
        return scatter(atoms, batch, dim=0, reduce="sum")


def angles(a: Float[Tensor, "n 3"], b: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """Between 0 and pi, with finite gradients where vectors are parallel."""
    return torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), (a * b).sum(-1))


def build_schnet(*, channels: int = 128, layers: int = 6, cutoff: float = 10.0) -> SchNet:
    """SchNet (Schuett et al. 2017) at PyG's sizes for QM9, unless told otherwise."""
    return SchNet(
        hidden_channels=channels,
        num_filters=channels,
        num_interactions=layers,
        cutoff=cutoff,
        interaction_graph=PairGraph(cutoff),
    )


def build_dimenetpp(
    *, channels: int = 128, layers: int = 4, cutoff: float = 5.0, spherical: int = 7
) -> CompleteDimeNetPlusPlus:
    """DimeNet++ at the published sizes, narrower ones in proportion.

    With its seven spherical harmonics PyG takes several seconds to derive the basis symbolically.
    """
    return CompleteDimeNetPlusPlus(
        hidden_channels=channels,
        out_channels=1,
        num_blocks=layers,
        int_emb_size=channels // 2,
        basis_emb_size=8,
        out_emb_channels=2 * channels,
        num_spherical=spherical,
        num_radial=6,
        cutoff=cutoff,
    )


def build_visnet(*, channels: int = 128, layers: int = 6, cutoff: float = 5.0) -> ViSNet:
    """ViSNet (Wang et al. 2024) at PyG's sizes; channels must be a multiple of its eight heads."""
    model = ViSNet(hidden_channels=channels, num_layers=layers, cutoff=cutoff)
    model.representation_model.distance = LoopedPairGraph(cutoff)
    return model


BUILDERS = {"schnet": build_schnet, "dimenetpp": build_dimenetpp, "visnet": build_visnet}
LARGEST_CHARGES = {"schnet": 99, "dimenetpp": 94, "visnet": 99}


def build_pyg(
    name: str,
    *,
    output: Output = "scalar",
    channels: int | None = None,
    layers: int | None = None,
    cutoff: float | None = None,
) -> PygNetwork:
    """`schnet`, `dimenetpp` or `visnet`; sizes and cutoff [Angstrom] that are not given are those
    that were published. All three sum over atoms, and are scaled to start near unit scale.

    Raises ValueError for a vector or a tensor: PyG's models of this kind predict scalars only.
    """
    if name not in BUILDERS:
        raise ValueError(f"unknown network {name!r}: choose from {', '.join(BUILDERS)}")
    if output != "scalar":
        raise ValueError(f"{name} predicts scalars only, not a {output}")
    asked: dict[str, Any] = {"channels": channels, "layers": layers, "cutoff": cutoff}
    model = BUILDERS[name](**{key: value for key, value in asked.items() if value is not None})
    return PygNetwork(model, scale=1 / TYPICAL_ATOMS, largest_charge=LARGEST_CHARGES[name])
