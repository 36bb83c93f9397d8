"""Laws over Lie-algebra coefficients: how far, and in which directions, inputs are moved.

A law draws coefficients a of shape (copies, graphs, algebra), one per generator of a group, in the
units of `Generator.cap`. A width of zero is exactly the identity.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .exponentials import constant
from .groups import SO3, Group

# Of probes: the share for a generator that costs nothing, the cost that brings it to all of them,
# and the one from which on they become few.
CALM, DOUBTFUL, DISBELIEVED = 1 / 8, 0.1, 0.35


def doubt(costs: Float[Tensor, "some"]) -> Float[Tensor, "some"]:
    """How much a generator of cost c is worth asking about, from 0 to 1:

        (1/8 + 7/8 min(c / 0.1, 1)) exp(-(c / 0.35)^2).

    One that costs nothing opens without being asked. One that costs everything is false. In between
    are those that may be true and not yet learned: digits that were turned by up to 90 degrees lose
    a fifth of what is known about them when they are turned further, as long as nobody did.
    """
    costs = costs.clamp_min(0)
    raised = CALM + (1 - CALM) * (costs / DOUBTFUL).clamp_max(1)
    return raised * (-(costs / DISBELIEVED).square()).exp()


class Distribution(nn.Module, ABC):
    """A law over the coefficients of `group`; subclasses are final.

    moves: whether anything is drawn that is not zero.
    """

    moves: ClassVar[bool] = True

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group
        caps = torch.tensor([member.cap for member in group.members])
        self.caps = nn.Buffer(caps, persistent=False)
        # What a training loop knows of each generator, as far as its symmetry goes and over the
        # whole of its range: see `costs.measure_costs`.
        self.costs = nn.Buffer(torch.zeros_like(caps))
        self.whole_costs = nn.Buffer(torch.zeros_like(caps))
        # Tensors, so that they can change from step to step within a captured graph.
        self.probing = nn.Buffer(torch.zeros(()), persistent=False)
        self.limit = nn.Buffer(torch.ones(()), persistent=False)

    @abstractmethod
    def rsample(self, copies: int, graphs: int) -> Float[Tensor, "copies graphs algebra"]:
        """Coefficients, differentiable in the widths."""

    @property
    def looks(self) -> bool:
        """Whether what is drawn depends on the examples, at which it must `look` before."""
        return False

    def look(self, batch: Any) -> None:
        """At the examples that will be moved next."""

    @property
    @abstractmethod
    def widths(self) -> Float[Tensor, "algebra"]:
        """The half-range of every coefficient [rad, length or 1]; zero where nothing moves."""

    def extra_repr(self) -> str:
        """Widths by name, in the units of the generators."""
        shown = zip(self.group.members, self.widths.tolist(), strict=True)
        return ", ".join(f"{one.name}={width:.3g} {one.unit}".rstrip() for one, width in shown)

    @property
    def learned(self) -> Float[Tensor, "learned"]:
        """The widths that are trained; empty for a fixed law."""
        return self.widths[:0]

    @property
    def directions(self) -> Float[Tensor, "algebra algebra"]:
        """Row i is the direction in the algebra along which width i reaches: generator i itself,
        unless directions are learned."""
        return torch.eye(len(self.caps), device=self.caps.device)

    @property
    def learned_costs(self) -> Float[Tensor, "learned"]:
        """The costs of the generators whose widths are trained."""
        return self.costs[: len(self.learned)]


def stratified_uniform(copies: int, graphs: int, algebra: int, like: Tensor) -> Tensor:
    """U[-1, 1] per coefficient, Latin-hypercube over the copies of each graph.

    Each coefficient visits every one of `copies` equal intervals once (McKay, Beckman, Conover
    1979), so that an average over copies varies less than over independent draws; every single
    copy is still uniform, and for one copy this is plain uniform sampling.
    """
    inside = torch.empty(copies, graphs, algebra, device=like.device, dtype=like.dtype)
    if copies == 1:
        return inside.uniform_(-1, 1)
    inside.uniform_()
    stratum = torch.rand_like(inside).argsort(0)
    return 2 * (stratum + inside) / copies - 1


@final
class Identity(Distribution):
    """No augmentation at all."""

    moves = False

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
        if len(widths) != len(group.members):
            raise ValueError(
                f"{len(widths)} widths for the {len(group.members)} generators of "
                f"{type(group).__name__}"
            )
        self.fixed = nn.Buffer(torch.tensor(widths, dtype=torch.float32))

    def rsample(self, copies: int, graphs: int) -> Float[Tensor, "copies graphs algebra"]:
        return self.fixed * stratified_uniform(copies, graphs, len(self.fixed), self.fixed)

    @property
    def widths(self) -> Float[Tensor, "algebra"]:
        return self.fixed


@final
class Haar(Distribution):
    """Rotations uniform on the rotation group; translations uniform; nothing else.

    translation_width: half-range of the translations, in the length unit of the positions.
    """

    def __init__(self, group: Group, translation_width: float = 0.0) -> None:
        super().__init__(group)
        kinds = [member.kind for member in group.members]
        natural = {"rotation": math.pi, "translation": translation_width}
        fixed = torch.tensor([natural.get(kind, 0.0) for kind in kinds])
        self.fixed = nn.Buffer(fixed)
        turns = [i for i, kind in enumerate(kinds) if kind == "rotation"]
        self.turns = nn.Buffer(torch.tensor(turns, dtype=torch.long), persistent=False)

    def rsample(self, copies: int, graphs: int) -> Float[Tensor, "copies graphs algebra"]:
        like = self.fixed
        draw = stratified_uniform(copies, graphs, len(like), like)
        if len(self.turns) == 3:
            turned = haar_rotation_vectors(draw[..., self.turns])
        else:  # of a plane: any angle
            turned = math.pi * draw[..., self.turns]
        return (draw * like).index_copy(-1, self.turns, turned)

    @property
    def widths(self) -> Float[Tensor, "algebra"]:
        return self.fixed


def haar_rotation_vectors(uniform: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Rotation vectors of rotations uniform on SO(3), from three uniform numbers in [-1, 1].

    The logarithm of a uniform unit quaternion (Shoemake 1992). Stratified numbers give stratified
    rotations.
    """
    angles = math.pi * uniform[..., 1:]
    waves = torch.stack([angles.sin(), angles.cos()], -1)
    radii = (0.5 + _halves(uniform.device, uniform.dtype) * uniform[..., :1]).sqrt()
    quaternion = (radii[..., None] * waves).flatten(-2)
    vector, real = quaternion.split([3, 1], -1)
    sine = torch.linalg.vector_norm(vector, dim=-1, keepdim=True).clamp_min(1e-12)
    # q and -q are one rotation: where the real part is below zero, so is the arc tangent.
    return vector * ((sine / real).atan() / (sine / 2))


@constant
def _halves(device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor([-0.5, 0.5], dtype=dtype, device=device)


@final
class LearnedUniform(Distribution):
    """a_i ~ U[-w_i, w_i] with trained widths (Benton et al. 2020, eq. 6), smoothly capped:

        w_i = c_i x / (1 + x^4)^(1/4),   x = exp(parameter_i),

    with c_i the natural range of generator i (`Generator.cap`). Below the cap the width is the
    exponential of its parameter, so that equal steps are equal ratios for every generator.

    Three rotations that have all opened approach the uniform law on SO(3), which no box of rotation
    vectors is: from 90 to 99 per cent of pi, more and more of the draws are a_i = (w_i / pi) v_i
    with v the rotation vector of a uniform rotation, and beyond all of them.

    No draw uses more than the share `limit` of a range: 1, unless a training loop lowers it.
    While it trains, at most a share `probing` of the draws are probes: one coefficient, any of the
    learned ones, is drawn from its whole natural range. A network can only be asked whether it
    minds a move that it has had occasion to learn; without probes a true symmetry that has to be
    learned shuts before it is. How many each of the generators has is said by what moves over its
    whole range cost (`doubt`): probes of a false symmetry are wrong answers. Of learned directions
    nobody knows that, and all have the few of a generator that costs nothing.

    directions: learn along which directions the widths reach, too: a = sum_i u_i w_i d_i, the d_i
    turning, from the generators, within the three rotations and within the three translations. It
    finds a symmetry about an axis that is none of the generators'.

    instances: maps a batch to what is added to parameter_i for each of its examples (graphs,
    learned), so that examples have widths of their own; `widths` and `learned` are then geometric
    means over the examples looked at last.

    initial: the width at the start, as a share of the cap, the same for every generator.
    generators: names of those that may open (default all); the others stay at exactly zero.
    caps: natural ranges by name, in place of the defaults, where the task knows better.
    Raises ValueError for a name the group does not have, an initial share outside (0, 1), or
    directions where only some of three rotations or translations may open.
    """

    def __init__(
        self,
        group: Group,
        initial: float | Sequence[float] = 0.05,
        generators: Sequence[str] = (),
        caps: dict[str, float] | None = None,
        directions: bool = False,
        instances: nn.Module | None = None,
    ) -> None:
        super().__init__(group)
        self.instances = instances
        unknown = (set(generators) | set(caps or {})) - set(group.names)
        if unknown:
            raise ValueError(
                f"{type(group).__name__} has no generator {', '.join(sorted(unknown))}: "
                f"choose from {', '.join(group.names)}"
            )
        chosen = [i for i, name in enumerate(group.names) if not generators or name in generators]
        for name, cap in (caps or {}).items():
            if not 0 < cap < math.inf:
                raise ValueError(f"cap of {name} {cap}: must be above 0 and finite")
            self.caps[group.names.index(name)] = cap
        share = torch.as_tensor(initial, dtype=torch.float32).expand(len(chosen)).clone()
        if not bool(((share > 0) & (share < 1)).all()):
            raise ValueError(f"initial width {initial}: give a share of the cap between 0 and 1")
        self.chosen = nn.Buffer(torch.tensor(chosen), persistent=False)
        rank = [chosen.index(i) if i in chosen else -1 for i in range(len(group.members))]
        self.rank = nn.Buffer(torch.tensor(rank), persistent=False)
        self.parameter = nn.Parameter(share.log() - (1 - share**4).log() / 4)
        self.seen: Tensor = nn.Buffer(torch.zeros(1, len(chosen)), persistent=False)
        triples = _triples(group, chosen)
        self.rotations = triples.get("rotation")
        self.turned = list(triples.values()) if directions else []
        if directions and len(triples) < len(_triples(group, range(len(group.members)))):
            raise ValueError("learned directions: let all three rotations and translations open")
        if directions:
            self.turns = nn.Parameter(torch.zeros(len(self.turned), 3))  # rotation vectors

    @property
    def learned(self) -> Float[Tensor, "learned"]:
        shares = self.log_shares
        mean = shares[0] if len(shares) == 1 else shares.mean(0)
        return self._of_chosen(self.caps) * mean.exp()

    @property
    def log_shares(self) -> Float[Tensor, "graphs learned"]:
        """log(w / c) of every example looked at last, of one if all have the same."""
        # sigmoid(4 p)^(1/4) = x / (1 + x^4)^(1/4), without overflow.
        position = self.parameter[None] if self.instances is None else self.parameter + self.seen
        return -nn.functional.softplus(-position, beta=4)

    @property
    def looks(self) -> bool:
        return self.instances is not None

    def look(self, batch: Any) -> None:
        if self.instances is not None:
            self.seen = self.instances(batch)

    @property
    def learned_costs(self) -> Float[Tensor, "learned"]:
        return self._of_chosen(self.costs)

    def _of_chosen(self, values: Float[Tensor, "algebra"]) -> Float[Tensor, "learned"]:
        return values if len(self.chosen) == len(values) else values[self.chosen]

    def _placed(
        self, learned: Float[Tensor, "*graphs learned"]
    ) -> Float[Tensor, "*graphs algebra"]:
        """The widths of all generators, zero for those that may not open."""
        if len(self.chosen) == len(self.caps):
            return learned
        everywhere = learned.new_zeros(*learned.shape[:-1], len(self.caps))
        return everywhere.index_copy(-1, self.chosen, learned)

    @property
    def widths(self) -> Float[Tensor, "algebra"]:
        return self._placed(self.learned)

    def widths_of_each(self) -> Float[Tensor, "*graphs algebra"]:
        """The widths of every example looked at last; without a first axis if all have the same."""
        if self.instances is None:
            return self.widths
        return self._placed(self._of_chosen(self.caps) * self.log_shares.exp())

    @property
    def directions(self) -> Float[Tensor, "algebra algebra"]:
        found = torch.eye(len(self.caps), device=self.caps.device, dtype=self.parameter.dtype)
        if not self.turned:
            return found
        blocks = SO3().exp(self.turns)[:, :3, :3].mT  # a row of its transpose is a turned axis
        for place, block in zip(self.turned, blocks, strict=True):
            found[place, place] = block
        return found

    def rsample(self, copies: int, graphs: int) -> Float[Tensor, "copies graphs algebra"]:
        widths = self.widths_of_each()
        if widths.ndim > 1 and len(widths) != graphs:  # not of those looked at last: in their turn
            widths = widths[torch.arange(graphs, device=widths.device) % len(widths)]
        used = torch.minimum(widths, self.limit * self.caps)
        if widths.requires_grad:
            # Its gradient is that of the width, so that one beyond the limit can shut.
            used = widths + (used - widths).detach()
        draw = stratified_uniform(copies, graphs, len(self.caps), widths)
        moved = used * draw
        if self.rotations is not None:
            moved = self._with_uniform_rotations(self.rotations, moved, draw, used)
        if self.training:
            moved = self._with_probes(moved)
        return moved @ self.directions.to(moved) if self.turned else moved

    def _with_probes(self, moved: Tensor) -> Tensor:
        """Some draws with one coefficient from its whole range."""
        costs = self._of_chosen(self.whole_costs)
        if self.turned:  # nobody knows the costs of directions that are still turning
            costs = torch.zeros_like(costs)
        chances = self.probing / len(self.chosen) * doubt(costs)
        chance = 1 - torch.rand_like(moved[..., :1])  # in (0, 1]: zero chances are never met
        which = torch.searchsorted(chances.cumsum(0), chance)
        whole = self.caps * torch.empty_like(moved).uniform_(-1, 1)
        return torch.where(which == self.rank, whole, moved)

    @staticmethod
    def _with_uniform_rotations(
        place: slice, moved: Tensor, draw: Tensor, widths: Tensor
    ) -> Tensor:
        """Some of the rotation vectors replaced, more the wider all three are."""
        share = widths[..., place] / math.pi
        vector = share * haar_rotation_vectors(draw[..., place])
        probability = (share.detach().amin() - 0.9) / 0.09  # all above one, none below zero
        replaced = torch.rand_like(draw[..., :1]) < probability
        rotated = torch.where(replaced, vector, moved[..., place])
        before, after = moved[..., : place.start], moved[..., place.stop :]
        return torch.cat([before, rotated, after], -1)


def _triples(group: Group, chosen: Sequence[int]) -> dict[str, slice]:
    """Where the three rotations and the three translations of space are, if all are chosen."""
    found = {}
    for kind in ("rotation", "translation"):
        places = [i for i in chosen if group.members[i].kind == kind]
        if len(places) == 3 and places[2] - places[0] == 2:
            found[kind] = slice(places[0], places[0] + 3)
    return found
