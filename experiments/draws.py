"""Do stratified copies make the average steadier than independent ones?

python experiments/draws.py RUN      RUN is the folder of a finished learned run; two minutes

The standard deviation, over repeated draws, of predictions for 256 canonical test molecules, each
averaged over J copies. Stratified: a Latin hypercube over the copies of a molecule. Written to
results/draws.json.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import molaug.distributions
from molaug import load_qm9
from molaug.files import write_json
from molaug.molecules.tasks import load_task

REPEATS = 16


def independent_uniform(copies: int, graphs: int, algebra: int, like: torch.Tensor) -> torch.Tensor:
    return 2 * torch.rand(copies, graphs, algebra) - 1


def spread(model: torch.nn.Module, batch: object, copies: int) -> float:
    """Root mean square over molecules of the standard deviation over repeats, physical units."""
    draws = []
    for repeat in range(REPEATS):
        torch.manual_seed(repeat)
        draws.append(model.predict(batch, copies))
    return float(torch.stack(draws).var(0).mean().sqrt())


def main(run: Path) -> None:
    task = load_task(run, load_qm9())
    batch, _ = task.tests["canonical"].gather(torch.arange(256))
    stratified = molaug.distributions.stratified_uniform
    rows = []
    for copies in (2, 4, 8, 16):
        row = {"copies": copies, "unit": task.unit, "molecules": 256, "repeats": REPEATS}
        for name, draw in (("independent", independent_uniform), ("stratified", stratified)):
            molaug.distributions.stratified_uniform = draw
            row[name] = spread(task.model, batch, copies)
        rows.append(row)
        print(f"{copies} copies: independent {row['independent']:.3g}, stratified ", end="")
        print(f"{row['stratified']:.3g} {task.unit}")
    write_json(Path(__file__).parent / "results" / "draws.json", {"run": run.name, "rows": rows})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
