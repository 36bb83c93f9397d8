"""Muon: momentum whose update is made orthogonal, for the matrices of hidden layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

# Of the quintic a X + b (X X^t) X + c (X X^t)^2 X, steepest at zero (Jordan et al. 2024).
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonalise(wide: Float[Tensor, "matrices n m"]) -> Float[Tensor, "matrices n m"]:
    """Nearly U V^t of each matrix U S V^t with n <= m, by Newton-Schulz iterations: singular
    values come out between about 0.7 and 1.2, which trains as well as exactly one. On a GPU in
    bfloat16, as by Jordan et al., whose products are many times as fast."""
    a, b, c = QUINTIC
    x = wide / wide.norm(dim=(1, 2), keepdim=True).clamp_min(1e-7)
    if x.is_cuda:
        x = x.bfloat16()
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.to(wide.dtype)


@final
class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) with the update scaled to AdamW's size (Liu et al. 2025,
    arXiv:2502.16982), as `torch.optim.Muon(adjust_lr_fn="match_rms_adamw")`:

        M <- mu M + (1 - mu) G,   O = orthogonalise((1 - mu) G + mu M),
        W <- (1 - lr decay) W - 0.2 sqrt(max(n, m)) lr O

    All matrices of one shape, or of its transpose, are orthogonalised together: small networks have
    many small matrices, whose products cost less than calling them.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            moving = [p for p in group["params"] if p.grad is not None]
            if moving:
                self._move(moving, group)
        return loss

    def _move(self, matrices: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [p.grad for p in matrices if p.grad is not None]
        momenta = [self._momentum(p) for p in matrices]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, momenta, group["momentum"])
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        alike: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for pair in zip(matrices, updates, strict=True):
            wide = pair if pair[0].shape[0] <= pair[0].shape[1] else (pair[0].mT, pair[1].mT)
            alike[tuple(wide[0].shape)].append(wide)
        for (_, longer), pairs in alike.items():
            moved, drives = zip(*pairs, strict=True)
            # The rate may be a tensor, which no operation takes for its alpha.
            steps = orthogonalise(torch.stack(drives)) * (-0.2 * longer**0.5 * group["lr"])
            torch._foreach_add_(moved, steps.unbind())

    def _momentum(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        momentum: Tensor = state["momentum"]
        return momentum
