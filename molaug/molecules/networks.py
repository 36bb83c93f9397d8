"""The geometric graph network, at three levels of hard-coded symmetry, and the table of networks.

`coordinates` sees absolute positions and the vectors between atoms (no symmetry), `vectors` only
the vectors between atoms (translations), `distances` only their lengths (all of E(3)). Nothing else
differs, so that a comparison changes one thing.
"""

from __future__ import annotations

from typing import Literal, cast, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from molaug.external import build_external, is_external

from .action import Output
from .batch import MoleculeBatch
from .config import SCALAR_ONLY, SHAPES
from .geometry import ELEMENTS, TYPICAL_ATOMS, GaussianBasis, assemble, traceless
from .pairs import PairGeometry, PairLinear, activate_pairs, gather_messages, pair_terms
from .vector_channels import VectorChannelNetwork

Level = Literal["coordinates", "vectors", "distances"]


def look_up(
    charges: Int[Tensor, "graphs nodes"], *tables: nn.Embedding
) -> list[Float[Tensor, "graphs nodes channels"]]:
    """The rows of each table. On a GPU as products, because the gradient of a look-up has to sort
    all atoms there."""
    if charges.device.type == "cpu":
        return [table(charges) for table in tables]
    chosen = charges[..., None] == torch.arange(ELEMENTS, device=charges.device)
    return [chosen.to(table.weight.dtype) @ table.weight for table in tables]


class MessageLayer(nn.Module):
    """One round of messages over all pairs, and a residual update that starts at zero:

        m_i = sum_j c(r_ij) silu(A h_i + B h_j + C e_ij),      h_i += O silu(U [h_i, m_i])

    The first linear map of the pair is split into A, B and C so that only C, the smallest, is
    multiplied per pair; all others are per atom.
    """

    def __init__(self, channels: int, pair_channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.ends = nn.Linear(channels, 2 * channels)
        self.pair = PairLinear(pair_channels, channels, bias=False)
        self.update = nn.Linear(2 * channels, 2 * channels)
        self.out = nn.Linear(2 * channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self,
        h: Float[Tensor, "graphs nodes channels"],
        terms: Float[Tensor, "graphs nodes nodes channels"],
        envelope: Float[Tensor, "graphs nodes nodes"],
    ) -> Float[Tensor, "graphs nodes channels"]:
        """terms: C e_ij, which `pair_terms` makes of this layer's `pair`."""
        x = self.norm(h).to(terms.dtype)
        gathered = gather_messages(terms, self.ends(x), envelope)
        return h + self.out(nn.functional.silu(self.update(torch.cat([x, gathered], -1))))


class GraphNetwork(nn.Module):
    """Messages over all pairs of atoms of a dense batch.

    level: what the network may see (see the module).
    output: `scalar` (graphs,), `vector` (graphs, 3) or `tensor` (graphs, 3, 3; symmetric and
        traceless), in standardised units; a sum over atoms. From `distances`, vectors and tensors
        are the dipole and quadrupole of a charge that the network gives to each atom: equivariant.
    channels, layers: 48 x 3 has 8.4e4 parameters, 256 x 8 has 4.9e6.
    reach: of the message envelope exp(-(r / reach)^2) [Angstrom].
    """

    def __init__(
        self,
        *,
        level: Level = "coordinates",
        output: Output = "scalar",
        channels: int = 48,
        layers: int = 3,
        basis: int = 20,
        reach: float = 4.0,
    ) -> None:
        super().__init__()
        self.level, self.output, self.reach = level, output, reach
        self.element = nn.Embedding(ELEMENTS, channels)
        self.element_receiving = nn.Embedding(ELEMENTS, channels)
        self.element_sending = nn.Embedding(ELEMENTS, channels)
        if level == "coordinates":
            self.place = nn.Linear(3, channels, bias=False)
            # Positions reach 10 Angstrom where embeddings are near one.
            nn.init.normal_(self.place.weight, std=0.05)
        self.basis = GaussianBasis(basis)
        self.pair = PairLinear(basis + (0 if level == "distances" else 3), channels)
        self.layers = nn.ModuleList(MessageLayer(channels, channels) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        components = 3 ** len(SHAPES[output]) if level != "distances" else 1
        last = nn.Linear(channels, components)
        nn.init.zeros_(last.weight)
        self.readout = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), last)

    def forward(self, batch: MoleculeBatch) -> Float[Tensor, "graphs ..."]:
        return self.read(batch, self.encode(batch))

    def encode(self, batch: MoleculeBatch) -> Float[Tensor, "graphs nodes channels"]:
        """What is known of every atom after all messages."""
        h, pairs, envelope = self.embed(batch)
        layers = cast(list[MessageLayer], [*self.layers])
        terms = pair_terms(pairs, [layer.pair.weight for layer in layers])
        for layer, term in zip(layers, terms, strict=True):
            h = layer(h, term, envelope)
        encoded: Tensor = self.norm(h)
        return encoded

    def read(
        self, batch: MoleculeBatch, encoded: Float[Tensor, "graphs nodes channels"]
    ) -> Float[Tensor, "graphs ..."]:
        """The prediction from what is known of every atom."""
        # Summed in float32: over atoms, over copies and in the loss.
        per_atom = self.readout(encoded).to(batch.positions.dtype) * batch.mask[..., None]
        if self.output == "scalar" or self.level == "distances":
            return assemble(self.output, batch, per_atom.squeeze(-1))
        total = per_atom.sum(1) / TYPICAL_ATOMS
        return total if self.output == "vector" else traceless(total.unflatten(-1, (3, 3)))

    def embed(self, batch: MoleculeBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Atoms (graphs, nodes, channels), pairs (graphs, nodes, nodes, channels), envelope."""
        charges, positions = batch.charges, batch.positions
        tables = (self.element, self.element_receiving, self.element_sending)
        h, *ends = look_up(charges, *tables)
        # In float32 whatever the precision of the network: bf16 has 0.03 Angstrom at ten.
        with torch.autocast(positions.device.type, enabled=False):
            if self.level == "coordinates":
                h = h + self.place(positions)
            features, near = PairGeometry.apply(
                positions,
                self.basis.centres,
                self.basis.sharpness,
                self.reach,
                self.level != "distances",
            )
        pairs = self.pair(features)
        # In the precision of the products: every layer multiplies them.
        pairs = activate_pairs(pairs, torch.cat(ends, -1).to(pairs.dtype))
        return h, pairs, near * self._linked(batch)

    def _linked(self, batch: MoleculeBatch) -> Tensor:
        """One between different atoms, zero for padding, (graphs, nodes, nodes)."""
        present = batch.mask.to(batch.positions.dtype)
        nodes = present.shape[1]
        others = 1 - torch.eye(nodes, dtype=present.dtype, device=present.device)
        return present[:, :, None] * present[:, None] * others


def build_network(
    name: str, *, output: Output = "scalar", channels: int = 48, layers: int = 3
) -> nn.Module:
    """A network by its name on the command line: a level of `GraphNetwork`, an opponent, or
    FILE.py:NAME, which is `PygNetwork`'s to call unless its forward takes one `batch` alone.

    Raises ValueError for an unknown name.
    """
    if is_external(name):
        from .pyg import wrap

        return wrap(build_external(name), output)
    if name in get_args(Level):
        return GraphNetwork(
            level=cast(Level, name), output=output, channels=channels, layers=layers
        )
    if name == "vector_channels":
        return VectorChannelNetwork(output=output, channels=channels, layers=layers)
    if name == "e3nn":  # imported only here: it takes seconds
        from .equivariant import E3nnNetwork

        return E3nnNetwork(output=output, channels=channels, layers=layers)
    if name in SCALAR_ONLY:
        from .pyg import build_pyg

        return build_pyg(name, output=output, channels=channels, layers=layers)
    raise ValueError(f"unknown network {name!r}")
