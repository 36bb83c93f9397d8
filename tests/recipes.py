"""How the small runs of several test modules are trained."""

from __future__ import annotations

from molaug.recipe import Recipe

RECIPE = Recipe(
    epochs=3,
    batch_size=16,
    rate=0.01,
    width_rate=0.12,
    weight_decay=0.01,
    clip=1.0,
    averaging=0.9,
    freeze=0.2,
    copies=1,
    seed=3,
)
