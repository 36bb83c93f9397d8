"""`python -m molaug.train qm9 --target homo`: train, compare, report."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .commandline import parse
from .config import CONFIGS, QM9Config, resolve

if TYPE_CHECKING:
    from rich.console import Console

    from .loop import Recipe
    from .molecules.data import MoleculeSet


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    config = parse(arguments, CONFIGS)
    # Threads that wait for each other by spinning for long lose a factor of twenty when another
    # program needs the same cores; not spinning at all loses the second core. A short spin, which
    # has to be said before torch is loaded, costs little of either.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # Only now, so that --help and a mistyped option answer at once.
    from .comparison import comparison_table, notes, show_verdicts
    from .files import write_json
    from .loop import NotFinite
    from .report import console, print_plain, show_widths

    out = console()
    try:
        config, molecules = prepare_run(config, out)
        folder = config.run_dir or Path("runs") / config.run_name
        claim_folder(folder, config)
        rows = train_all(molecules, config, folder, out)
    except (ValueError, FileNotFoundError, NotFinite) as error:
        print(f"molaug: {error}", file=sys.stderr)
        return 1
    write_json(folder / "comparison.json", {"rows": rows})
    out.print(comparison_table(rows, describe(config, rows)))
    for text in (*notes(rows), show_widths(rows), show_verdicts(rows)):
        print_plain(out, text)
    page = write_report(folder, config, rows, arguments)
    print_plain(out, f"The report, with pictures: {page}")
    print_plain(out, f"All of it is in {folder}; the same command continues or shows it again.")
    return 0


def prepare_run(config: QM9Config, out: Console) -> tuple[QM9Config, MoleculeSet]:
    """Resolve the preset for this machine, set threads, and open the data."""
    import torch

    from .molecules.data import load_qm9

    gpu = config.device != "cpu" and torch.cuda.is_available()
    resolved = resolve(config, gpu)
    if config.preset == "auto":
        out.print(
            f"{'A GPU was found' if gpu else 'No GPU'}: preset '{resolved.preset}' with "
            f"{resolved.train_size:,} training molecules and {resolved.epochs} epochs; "
            "--preset quick or full chooses otherwise."
        )
    if config.threads:
        torch.set_num_threads(config.threads)
    return resolved, load_qm9(qm9_dir=config.qm9_dir)


def runs(config: QM9Config) -> list[tuple[str, str, int]]:
    """The grid: (symmetry, network, seed)."""
    seeds = range(config.seed, config.seed + config.seeds)
    return [(s, n, k) for k in seeds for n in config.network for s in config.symmetry]


def train_all(
    molecules: MoleculeSet, config: QM9Config, folder: Path, out: Console
) -> list[dict[str, Any]]:
    """Every run of the grid, a line about each; returns the rows of the comparison."""
    from .report import describe_run, print_plain

    rows = []
    for number, run in enumerate(runs(config), 1):
        label = f"{number}/{len(runs(config))}  {run[0]} {run[1]} seed {run[2]}"
        rows.append(train_one(molecules, config, *run, folder, out, label))
        print_plain(out, describe_run(rows[-1], label))
    return rows


def run_folder(folder: Path, symmetry: str, network: str, seed: int) -> Path:
    """Where one cell of the grid lives."""
    return folder / f"{symmetry}-{network}-{seed}"


def claim_folder(folder: Path, config: QM9Config) -> None:
    """Write the configuration, or make sure the folder's run has the same.

    Raises ValueError, naming the settings that differ, if another run lives there.
    """
    from .files import write_json

    path, ours = folder / "config.json", config.to_dict()
    if path.exists():
        theirs = json.loads(path.read_text())
        fixed = set(ours) - FREE_TO_CHANGE
        differing = sorted(key for key in fixed if ours[key] != theirs.get(key))
        if differing:
            raise ValueError(
                f"{folder} holds a run with other settings ({', '.join(differing)}): "
                "choose another --run-dir, or delete that folder"
            )
    write_json(path, ours)


# What may differ when a folder is continued: which runs of the grid, and where things are.
FREE_TO_CHANGE = {"symmetry", "network", "seeds", "run_dir", "qm9_dir", "threads", "preset"}


def train_one(
    molecules: MoleculeSet,
    config: QM9Config,
    symmetry: str,
    network: str,
    seed: int,
    folder: Path,
    out: Console,
    label: str,
) -> dict[str, Any]:
    """One cell of the grid, continued from its folder; returns its row of the comparison."""
    from .checkpoint import save_weights
    from .evaluate import measure, measure_curves, turn_at_random
    from .files import write_json
    from .loop import Trainer, start_fabric
    from .molecules.pictures import draw_law
    from .molecules.tasks import build_task
    from .objectives import build_objective
    from .report import Monitor, describe_widths, save_widths_picture, versions

    run = run_folder(folder, symmetry, network, seed)
    finished = run / "metrics.json"
    if finished.exists():
        row: dict[str, Any] = json.loads(finished.read_text())
        return row
    fabric = start_fabric(config.device, config.precision)
    task, rows = build_task(
        molecules, config, symmetry=symmetry, network=network, seed=seed, device=fabric.device
    )
    identity = {"symmetry": symmetry, "network": network, "seed": seed, **task.about}
    settings = {"run": identity, "config": config.to_dict(), "versions": versions()}
    write_json(run / "run.json", settings)
    rows.save(run / "split.npz")
    initial = task.model.augmentation.distribution.widths.tolist()
    objective = build_objective(config.objective, config.reward)
    trainer = Trainer(task, objective, build_recipe(config, seed), run, fabric)
    with Monitor(out, label, task.unit, task.model.augmentation.distribution.group) as monitor:
        model = trainer.fit(monitor)
    save_weights(run / "weights.safetensors", model, settings)
    title = f"{symmetry} {network} seed {seed}"
    save_widths_picture(run / "widths.svg", title, trainer.progress.history, model, initial)
    curves = measure_curves(model, task, copies=config.test_copies, seed=seed)
    drawing = draw_law(model.augmentation, task.tests["canonical"])
    write_json(run / "curves.json", {**curves, "drawing": drawing})
    row = {
        **identity,
        "metric": task.metric,
        "examples": task.examples,
        **measure(model, task, copies=config.test_copies, seed=seed),
        "widths": describe_widths(model.augmentation.distribution, initial),
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "seconds_per_epoch": trainer.progress.seconds / trainer.recipe.epochs,
        "seconds_training": trainer.progress.seconds,
        "device": str(fabric.device),
    }
    if symmetry == "none":
        turned = turn_at_random(model)
        row["haar_at_test"] = measure(turned, task, copies=config.test_copies, seed=seed)
    write_json(finished, row)
    return row


def build_recipe(config: QM9Config, seed: int) -> Recipe:
    """How the loop is to train, out of a resolved configuration."""
    from .loop import Recipe

    shared = {f.name for f in fields(Recipe)} & {f.name for f in fields(config)} - {"seed"}
    return Recipe(seed=seed, **{name: getattr(config, name) for name in shared})


def describe(config: QM9Config, rows: list[dict[str, Any]]) -> str:
    """What the table was measured on, in one line."""
    row = rows[0]
    return (
        f"QM9 {row['target']} [{row['unit']}]: {row['train_count']:,} training and "
        f"{row['test_count']:,} test molecules of the {config.split} split, {config.frame} frames"
    )


def write_report(
    folder: Path, config: QM9Config, rows: list[dict[str, Any]], arguments: Sequence[str]
) -> Path:
    """The page about all runs of the grid; returns its path."""
    from .loop import read_history
    from .page import write_page
    from .report import versions

    cells = [run_folder(folder, *run) for run in runs(config)]
    page = folder / "report.html"
    write_page(
        page,
        rows,
        [read_curves(cell / "curves.json") for cell in cells],
        [read_history(cell / "history.csv") for cell in cells],
        command=["python", "-m", "molaug.train", *arguments],
        versions=versions(),
        about=describe(config, rows),
    )
    return page


def read_curves(path: Path) -> dict[str, Any]:
    """What the page draws of a run; nothing if the run was made before there were pages."""
    curves: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return curves


if __name__ == "__main__":
    raise SystemExit(main())
