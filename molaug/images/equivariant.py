"""A network with hard-coded symmetry: the picture may be turned by multiples of 45 degrees.

Features carry an axis of eight orientations (Cohen, Welling 2016, "Group equivariant convolutional
networks"). When the picture is turned by one step, every map is turned with it and the axis moves
on by one. The grid keeps quarter turns exactly; turns by 45 degrees, to within interpolation.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .batch import ImageBatch

STEPS = 8
SIZE = 5  # pixels along a side of a kernel
RINGS = ((0, 0), (1, 2), (2, 3))  # radius [pixels] and highest frequency of what kernels have
SPREAD = 0.6  # of a ring [pixels]


def turned_basis() -> Float[Tensor, "steps functions pixels"]:
    """What kernels are made of, turned counter-clockwise by 0, 45, ... degrees about the centre.

    Gaussian rings times cos(m t) and sin(m t) (Weiler, Hamprecht, Storath 2018): smooth enough to
    be turned by any angle, which kernels of single pixels are not.
    """
    half = (SIZE - 1) / 2
    rows, columns = torch.meshgrid(*2 * [torch.arange(SIZE) - half], indexing="ij")
    x, y = columns.flatten().double(), -rows.flatten().double()
    angles = torch.atan2(y, x) - math.pi / 4 * torch.arange(STEPS)[:, None]
    functions = []
    for radius, highest in RINGS:
        ring = torch.exp(-((torch.hypot(x, y) - radius) ** 2) / (2 * SPREAD**2))
        for m in range(highest + 1):
            waves = [(m * angles).cos(), (m * angles).sin()][: 1 + (m > 0)]
            # At the very centre there is no angle.
            functions += [ring * wave * ((x != 0) | (y != 0) | (m == 0)) for wave in waves]
    basis = torch.stack(functions, 1)
    return (basis / basis[0].norm(dim=1)[:, None]).float()


class CyclicConvolution(nn.Module):
    """From `inputs` x `orientations` maps to `outputs` x 8 maps, the size kept.

    orientations: 1 for pictures (a lifting convolution), 8 for features. The kernel of output
    orientation k is that of orientation 0 turned by k steps, its input orientations moved on by k.
    """

    def __init__(self, inputs: int, outputs: int, orientations: int) -> None:
        super().__init__()
        self.basis = nn.Buffer(turned_basis(), persistent=False)
        shape = (outputs, inputs, orientations, self.basis.shape[1])
        self.weight = nn.Parameter(math.prod(shape[1:]) ** -0.5 * torch.randn(shape))

    def forward(
        self, x: Float[Tensor, "graphs inputs orientations height width"]
    ) -> Float[Tensor, "graphs outputs 8 height width"]:
        # Rolling a single orientation of a picture does nothing.
        turned = [self.weight.roll(k, 2) @ basis for k, basis in enumerate(self.basis)]
        kernels = torch.stack(turned, 1)
        outputs, steps = kernels.shape[:2]
        flat = kernels.flatten(0, 1).flatten(1, 2).unflatten(-1, (SIZE, SIZE))
        y = nn.functional.conv2d(x.flatten(1, 2), flat, padding=SIZE // 2)
        return y.unflatten(1, (outputs, steps))


class CyclicNetwork(nn.Module):
    """Convolutions with eight orientations and halvings between them, then the mean over the plane
    and over orientations: logits (graphs, classes).

    channels: of the first layer, each with eight orientations; doubled at every halving. The sides
    of a picture must halve layers - 1 times, or the halving itself sees a direction.
    """

    def __init__(self, inputs: int, classes: int, channels: int = 4, layers: int = 3) -> None:
        super().__init__()
        widths = [channels * 2**i for i in range(layers)]
        self.convolutions = nn.ModuleList([CyclicConvolution(inputs, channels, 1)])
        for width in widths[1:]:
            self.convolutions.append(CyclicConvolution(width // 2, width, STEPS))
        self.norms = nn.ModuleList(nn.GroupNorm(1, width) for width in widths)
        # Such means differ little from picture to picture until they are normalised.
        self.head = nn.Sequential(nn.LayerNorm(widths[-1]), nn.Linear(widths[-1], classes))

    def forward(self, batch: ImageBatch) -> Float[Tensor, "graphs classes"]:
        x = (batch.images - 0.5)[:, :, None]
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            x = nn.functional.avg_pool3d(x, (1, 2, 2)) if i else x
            x = nn.functional.silu(norm(convolution(x)))
        return self.head(x.mean((2, 3, 4)))
