"""An E(3)-equivariant network written on e3nn: irreducible representations up to l = 2.

Features are direct sums of irreps: 0e scalars, 1o vectors, 2e symmetric traceless tensors.
e3nn runs eagerly here. On one CPU core, with 48 x 3 and batches of 48 molecules of 18 atoms, its
own compilation of products (`e3nn.set_optimization_defaults(jit_mode="inductor")`) made a step no
faster (146 for 132 ms); torch.compile of the whole network made it a fifth faster (105 ms) after
220 s for every number of atoms, which a run of minutes does not get back.
"""

from __future__ import annotations

import torch
from e3nn import o3
from e3nn.io import CartesianTensor
from e3nn.nn import FullyConnectedNet, Gate
from jaxtyping import Float
from torch import Tensor, nn

from .action import Output
from .batch import MoleculeBatch
from .geometry import ELEMENTS, GaussianBasis, assemble, gather, separations

HARMONICS = o3.Irreps("0e + 1o + 2e")  # Y_0, Y_1, Y_2 of a direction
DIMENSIONS = (1, 3, 5)  # of the three, as integers, which torch.compile can follow
GAUSSIANS, RADIAL = 16, 8  # of the distance between two atoms, and functions R_k made of them


def evenly(multiplicity: int) -> o3.Irreps:
    """As many scalars as vectors as tensors."""
    return o3.Irreps([(multiplicity, ir) for _, ir in HARMONICS])


def squares(irreps: o3.Irreps) -> o3.TensorProduct:
    """x, y -> all x_c (x) y_c that lie in `irreps`, channel by channel, without weights."""
    paths = [
        (i, j, ir)
        for i, (_, left) in enumerate(irreps)
        for j, (_, right) in enumerate(irreps)
        for ir in left * right
        if ir in irreps
    ]
    products, order, _ = o3.Irreps([(irreps[i].mul, ir) for i, _, ir in paths]).sort()
    instructions = [(i, j, order[k], "uuu", False) for k, (i, j, _) in enumerate(paths)]
    return o3.TensorProduct(irreps, irreps, products, instructions)


class Linear(o3.Linear):
    """o3.Linear with the weights stored as they act: drawn with variance 1 / inputs.

    e3nn draws them with variance 1 and divides by sqrt(inputs) in every call, which under Adam
    learns sqrt(inputs) times slower than torch.nn.Linear at the same learning rate.
    """

    def __init__(self, irreps_in: o3.Irreps, irreps_out: o3.Irreps) -> None:
        super().__init__(irreps_in, irreps_out)
        norms = [torch.full(path.path_shape, path.path_weight) for path in self.instructions]
        self.norms = nn.Buffer(torch.cat([n.flatten() for n in norms]), persistent=False)
        with torch.no_grad():
            self.weight.mul_(self.norms)

    def forward(self, x: Float[Tensor, "*axes inputs"]) -> Float[Tensor, "*axes outputs"]:
        return super().forward(x, self.weight / self.norms)


class GatedLinear(nn.Module):
    """A linear map, then silu on scalars, and vectors and tensors times a sigmoid of a scalar:

    x -> silu(W x)_{l=0} + sigmoid(G x) (W x)_{l>0}      (Weiler et al. 2018, arXiv:1807.02547)
    """

    def __init__(self, irreps_in: o3.Irreps, irreps_out: o3.Irreps) -> None:
        super().__init__()
        scalars, gated = irreps_out[:1], irreps_out[1:]
        gates = o3.Irreps([(gated.num_irreps, "0e")])
        self.gate = Gate(scalars, [nn.functional.silu], gates, [torch.sigmoid], gated)
        self.linear = Linear(irreps_in, self.gate.irreps_in)

    def forward(self, x: Float[Tensor, "*axes inputs"]) -> Float[Tensor, "*axes outputs"]:
        return self.gate(self.linear(x))


class E3nnLayer(nn.Module):
    """One round of messages and a residual update, of features h_i in the given irreps:

        f_j = gated(h_j)
        A_i = sum_j R_k(r_ij) Y_l(r_ij) f_j^(l=0)  +  sum_j R_k(r_ij) f_j^(l>0)
        B_i = W A_i,     h_i += W' gated(h_i, B_i, (B_i + W'' h_i) (x) B_i)

    The density A_i and its product B_i (x) B_i are the idea of MACE (Batatia et al. 2022,
    arXiv:2206.07697). Taking the tensor product after the sum over neighbours, and not before,
    makes it one per atom and not one per pair: several times faster.
    """

    def __init__(self, irreps: o3.Irreps, *, sent: int, radial: int, products: int) -> None:
        super().__init__()
        channels = irreps[0].mul
        self.scalars, self.sent = channels, sent
        self.norm = nn.LayerNorm(channels)
        self.send = GatedLinear(irreps, evenly(sent))
        density = evenly(radial * sent) + evenly(radial * sent)[1:]
        factors = evenly(products)
        self.mix = Linear(density, factors)
        self.self_factor = Linear(irreps, factors)
        self.square = squares(factors)
        together = irreps + factors + self.square.irreps_out.simplify()
        self.update = GatedLinear(together, irreps)
        self.out = Linear(irreps, irreps)
        nn.init.zeros_(self.out.weight)

    def forward(
        self,
        h: Float[Tensor, "graphs nodes irreps"],
        kernels: list[Float[Tensor, "graphs nodes _ nodes"]],
    ) -> Float[Tensor, "graphs nodes irreps"]:
        x = torch.cat([self.norm(h[..., : self.scalars]), h[..., self.scalars :]], -1)
        b = self.mix(self.density(self.send(x), kernels))
        product = self.square(b + self.self_factor(x), b)
        return h + self.out(self.update(torch.cat([x, b, product], -1)))

    def density(self, sent: Tensor, kernels: list[Tensor]) -> Tensor:
        """A_i (graphs, nodes, irreps) from f_j, with the channels (k, c) of every l together."""
        scalars, *others = sent.split([self.sent * dimension for dimension in DIMENSIONS], -1)
        created = [
            gather(kernel, scalars).unflatten(2, (-1, dimension)).transpose(-1, -2).flatten(2)
            for kernel, dimension in zip(kernels, DIMENSIONS, strict=True)
        ]
        carried = [gather(kernels[0], other).flatten(2) for other in others]  # Y_0 is 1
        return torch.cat([*created, *carried], -1)


class E3nnNetwork(nn.Module):
    """Irreps on every atom, mixed by `E3nnLayer`, then a sum over atoms.

    Exactly invariant (`scalar`) or equivariant (`vector`, `tensor`) under rotations, reflections,
    translations and permutations of atoms.

    output: `scalar` (graphs,), `vector` (graphs, 3) or `tensor` (graphs, 3, 3; symmetric and
        traceless, l = 2), in standardised units.
    channels, layers: `channels` scalars, half as many vectors, a quarter as many tensors; 48 x 3
        has 7e4 parameters.
    reach: of the Gaussians of the distance [Angstrom]. The radial functions R_k are a perceptron of
        them without bias, so that zero stays zero for pairs that are not connected.
    """

    def __init__(
        self, *, output: Output = "scalar", channels: int = 48, layers: int = 3, reach: float = 3.5
    ) -> None:
        super().__init__()
        self.output, self.channels = output, channels
        half, quarter = max(1, channels // 2), max(1, channels // 4)
        irreps = o3.Irreps([(channels, "0e"), (half, "1o"), (quarter, "2e")])
        self.higher = irreps[1:].dim  # components that are no scalars
        self.element = nn.Embedding(ELEMENTS, channels)
        self.basis = GaussianBasis(GAUSSIANS, reach)
        sizes = [GAUSSIANS, 2 * GAUSSIANS, RADIAL]
        self.radial = FullyConnectedNet(sizes, nn.functional.silu)
        self.harmonics = o3.SphericalHarmonics(HARMONICS, False, normalization="component")
        sent = max(4, channels // 6)
        self.layers = nn.ModuleList(
            E3nnLayer(irreps, sent=sent, radial=RADIAL, products=quarter) for _ in range(layers)
        )
        self.charge = nn.Sequential(
            nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, 1)
        )
        self.readout = Linear(irreps, HARMONICS[1:]) if output != "scalar" else None
        # (5, 3, 3), the matrices that the five components of an l = 2 feature multiply
        basis_of_l2 = CartesianTensor("ij=ji").reduced_tensor_products().change_of_basis[1:]
        self.matrices = nn.Buffer(basis_of_l2.to(self.element.weight), persistent=False)

    def forward(self, batch: MoleculeBatch) -> Float[Tensor, "graphs ..."]:
        # e3nn cannot mix precisions, and bf16 would be equivariant to two digits only.
        with torch.autocast(batch.positions.device.type, enabled=False):
            kernels = self.kernels(batch)
            h = nn.functional.pad(self.element(batch.charges), (0, self.higher))
            for layer in self.layers:
                h = layer(h, kernels)
            charge = self.charge(h[..., : self.channels]).squeeze(-1)
            if self.readout is None:
                return assemble("scalar", batch, charge)
            vector, tensor = self.readout(h).split([3, 5], -1)
            tensor = torch.einsum("...m,mab->...ab", tensor, self.matrices)
            return assemble(self.output, batch, charge, vector, tensor)

    def kernels(self, batch: MoleculeBatch) -> list[Tensor]:
        """R_k(r_ij) Y_lm(r_ij), (graphs, nodes, (k, m), nodes), for l = 0, 1, 2: zero unless i and
        j are connected."""
        distance, direction, connected = separations(batch)
        radial = self.radial(self.basis(distance) * connected[..., None]).transpose(2, 3)
        harmonics = self.harmonics(direction).transpose(2, 3)
        parts = harmonics.split(DIMENSIONS, 2)
        return [(radial[:, :, :, None] * part[:, :, None]).flatten(2, 3) for part in parts]
