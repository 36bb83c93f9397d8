"""Laws over Lie-algebra coefficients: how far, and in which directions, inputs are moved.

A law draws coefficients a of shape (copies, graphs, algebra), one per generator of a group, in the
units of `Generator.cap`. A width of zero is exactly the identity.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .groups import Group


class Distribution(nn.Module, ABC):
    """A law over the coefficients of `group`; subclasses are final."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group
        caps = torch.tensor([member.cap for member in group.members])
        self.register_buffer("caps", caps, persistent=False)
        self.caps: Tensor

    @abstractmethod
    def rsample(self, copies: int, graphs: int) -> Float[Tensor, "copies graphs algebra"]:
        """Coefficients, differentiable in the widths."""

    @property
    @abstractmethod
    def widths(self) -> Float[Tensor, "algebra"]:
        """The half-range of every coefficient [rad, length or 1]; zero where nothing moves."""

    @property
    def learned(self) -> Float[Tensor, "learned"]:
        """The widths that are trained; empty for a fixed law."""
        return self.widths[:0]

    @property
    def log_volume(self) -> Float[Tensor, ""]:
        """sum_i log(2 w_i) over the learned widths."""
        return (2 * self.learned).log().sum()


def stratified_uniform(copies: int, graphs: int, algebra: int, like: Tensor) -> Tensor:
    """U[-1, 1] per coefficient, Latin-hypercube over the copies of each graph.

    Each coefficient visits every one of `copies` equal intervals once (McKay, Beckman, Conover
    1979), so that an average over copies varies less than over independent draws; every single
    copy is still uniform, and for one copy this is plain uniform sampling.
    """
    inside = torch.rand(copies, graphs, algebra, device=like.device, dtype=like.dtype)
    if copies == 1:
        return 2 * inside - 1
    stratum = torch.rand_like(inside).argsort(0)
    return 2 * (stratum + inside) / copies - 1


@final
class Identity(Distribution):
    """No augmentation at all."""

    def rsample(self, copies: int, graphs: int) -> Float[Tensor, "copies graphs algebra"]:
        return self.caps.new_zeros(copies, graphs, len(self.caps))

    @property
    def widths(self) -> Float[Tensor, "algebra"]:
        return torch.zeros_like(self.caps)


@final
class Uniform(Distribution):
    """a_i ~ U[-w_i, w_i] with fixed widths (algebra,)."""

    def __init__(self, group: Group, widths: Sequence[float]) -> None:
        super().__init__(group)
        self.register_buffer("fixed", torch.tensor(widths, dtype=torch.float32))
        self.fixed: Tensor

    def rsample(self, copies: int, graphs: int) -> Float[Tensor, "copies graphs algebra"]:
        return self.fixed * stratified_uniform(copies, graphs, len(self.fixed), self.fixed)

    @property
    def widths(self) -> Float[Tensor, "algebra"]:
        return self.fixed


@final
class Haar(Distribution):
    """Rotations uniform on the rotation group; translations uniform or Gaussian; nothing else.

    translation_width: half-range of the uniform law, or standard deviation of the Gaussian one, in
    the length unit of the positions.
    """

    def __init__(self, group: Group, translation_width: float = 0.0, gaussian: bool = False):
        super().__init__(group)
        self.gaussian = gaussian
        kinds = [member.kind for member in group.members]
        natural = {"rotation": math.pi, "translation": translation_width}
        fixed = torch.tensor([natural.get(kind, 0.0) for kind in kinds])
        self.register_buffer("fixed", fixed)
        self.fixed: Tensor
        turns = [i for i, kind in enumerate(kinds) if kind == "rotation"]
        self.register_buffer("turns", torch.tensor(turns, dtype=torch.long), persistent=False)
        self.turns: Tensor

    def rsample(self, copies: int, graphs: int) -> Float[Tensor, "copies graphs algebra"]:
        like = self.fixed
        draw = stratified_uniform(copies, graphs, len(like), like)
        if len(self.turns) == 3:
            turned = haar_rotation_vectors(copies * graphs, like).unflatten(0, (copies, graphs))
        else:  # of a plane: any angle
            turned = math.pi * draw[..., self.turns]
        shift = torch.randn_like(draw) if self.gaussian else draw
        return (shift * like).index_copy(-1, self.turns, turned)

    @property
    def widths(self) -> Float[Tensor, "algebra"]:
        return self.fixed


def haar_rotation_vectors(count: int, like: Tensor) -> Float[Tensor, "count 3"]:
    """Rotation vectors of rotations uniform on SO(3): the logarithm of random unit quaternions."""
    quaternion = torch.randn(count, 4, device=like.device, dtype=like.dtype)
    quaternion = quaternion * torch.where(quaternion[:, :1] < 0, -1.0, 1.0)  # q and -q are one
    sine = quaternion[:, 1:].norm(dim=1, keepdim=True)
    angle = 2 * torch.atan2(sine, quaternion[:, :1])
    return quaternion[:, 1:] / sine.clamp_min(1e-12) * angle


@final
class LearnedUniform(Distribution):
    """a_i ~ U[-w_i, w_i] with trained widths (Benton et al. 2020, eq. 6), smoothly capped:

        w_i = c_i x / (1 + x^4)^(1/4),   x = exp(parameter_i),

    with c_i the natural range of generator i (`Generator.cap`). Below the cap the width is the
    exponential of its parameter, so that equal steps are equal ratios for every generator.

    initial: the width at the start, as a share of the cap, the same for every generator.
    generators: names of those that may open (default all); the others stay at exactly zero.
    caps: natural ranges by name, in place of the defaults, where the task knows better.
    Raises ValueError for a name the group does not have, or an initial share outside (0, 1).
    """

    def __init__(
        self,
        group: Group,
        initial: float | Sequence[float] = 0.05,
        generators: Sequence[str] = (),
        caps: dict[str, float] | None = None,
    ) -> None:
        super().__init__(group)
        unknown = (set(generators) | set(caps or {})) - set(group.names)
        if unknown:
            raise ValueError(
                f"{type(group).__name__} has no generator {', '.join(sorted(unknown))}: "
                f"choose from {', '.join(group.names)}"
            )
        chosen = [i for i, name in enumerate(group.names) if not generators or name in generators]
        for name, cap in (caps or {}).items():
            self.caps[group.names.index(name)] = cap
        share = torch.as_tensor(initial, dtype=torch.float32).expand(len(chosen)).clone()
        if not bool(((share > 0) & (share < 1)).all()):
            raise ValueError(f"initial width {initial}: give a share of the cap between 0 and 1")
        self.register_buffer("chosen", torch.tensor(chosen), persistent=False)
        self.chosen: Tensor
        self.parameter = nn.Parameter(share.log() - (1 - share**4).log() / 4)

    @property
    def learned(self) -> Float[Tensor, "learned"]:
        # sigmoid(4 p)^(1/4) = x / (1 + x^4)^(1/4), without overflow.
        share = torch.exp(nn.functional.logsigmoid(4 * self.parameter) / 4)
        return self.caps[self.chosen] * share

    @property
    def widths(self) -> Float[Tensor, "algebra"]:
        return torch.zeros_like(self.caps).index_copy(0, self.chosen, self.learned)

    def rsample(self, copies: int, graphs: int) -> Float[Tensor, "copies graphs algebra"]:
        return self.widths * stratified_uniform(copies, graphs, len(self.caps), self.caps)
