"""`python -m molaug.train qm9 --target homo`: train, compare, report."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .commandline import parse
from .config import CONFIGS, RunConfig, resolve
from .processes import count_cores, is_first, prepare_processor, run_commands, start_fabric

if TYPE_CHECKING:
    from rich.console import Console

    from .recipe import Recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    config = parse(arguments, CONFIGS)
    # Threads that wait for each other by spinning for long lose a factor of twenty when another
    # program needs the same cores; not spinning at all loses the second core. A short spin, which
    # has to be said before torch is loaded, costs little of either.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # Only now, so that --help and a mistyped option answer at once.
    from .comparison import comparison_table, notes, show_verdicts, verdicts_over_seeds
    from .engine import NotCaptured
    from .files import write_json
    from .loop import NotFinite
    from .report import console, print_plain, show_widths

    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal may not know the sign ±
    out = console()
    out.quiet = not is_first()
    try:
        config = prepare_run(config, out)
        data = tasks_of(config).open_data(config)
        folder = config.run_dir or Path("runs") / config.run_name
        with claim_folder(folder, config):
            rows = train_all(data, config, folder, out)
            if not is_first():
                return 0
            over_seeds = verdicts_over_seeds(rows)
            write_json(folder / "comparison.json", {"rows": rows, "verdicts": over_seeds})
            out.print(comparison_table(rows, tasks_of(config).describe(config, rows)))
            for text in (*notes(rows), show_widths(rows), show_verdicts(rows)):
                print_plain(out, text)
            page = write_report(folder, config, rows, arguments)
    except (ValueError, OSError, NotFinite, NotCaptured) as error:
        print(f"molaug: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("molaug: stopped; the same command continues", file=sys.stderr)
        return 130
    print_plain(out, f"The report, with pictures: {page}")
    print_plain(out, f"All of it is in {folder}; the same command continues or shows it again.")
    return 0


def tasks_of(config: RunConfig) -> Any:
    """The module that knows the data and the models of a task: `tasks` of molecules or images, with
    open_data, build_task, describe and illustrate."""
    return import_module(f".{config.domain}.tasks", __package__)


def prepare_run(config: RunConfig, out: Console) -> RunConfig:
    """Resolve the preset for this machine, and set threads.

    Raises ValueError if this machine lacks the devices that were asked for.
    """
    import torch

    gpus = torch.cuda.device_count() if config.device != "cpu" else 0
    gpu = bool(gpus)
    if config.device == "gpu" and not gpu:
        raise ValueError("--device gpu: torch finds no CUDA GPU here; leave it out, or choose cpu")
    # torchrun has started the processes already, on several machines perhaps.
    if gpu and config.devices > gpus and "WORLD_SIZE" not in os.environ:
        raise ValueError(f"--devices {config.devices}: there are {gpus} GPUs here")
    if gpu and (config.jobs or 1) > 1:
        raise ValueError(f"--jobs {config.jobs}: is for CPUs; add --device cpu, or leave it out")
    resolved = resolve(config, gpu)
    if config.preset == "auto":
        out.print(
            f"{'A GPU was found' if gpu else 'No GPU'}: preset '{resolved.preset}' with "
            f"{f'{resolved.train_size:,}' if resolved.train_size else 'all'} training examples and "
            f"{resolved.epochs} epoch{'s' * (resolved.epochs != 1)}; --preset quick or full "
            "chooses otherwise."
        )
    prepare_processor(config.threads)
    return resolved


def runs(config: RunConfig) -> list[tuple[str, str, int]]:
    """The grid: (symmetry, network, seed)."""
    seeds = range(config.seed, config.seed + config.seeds)
    return [(s, n, k) for k in seeds for n in config.network for s in config.symmetry]


def train_all(data: Any, config: RunConfig, folder: Path, out: Console) -> list[dict[str, Any]]:
    """Every run of the grid, a line about each; returns the rows of the comparison, which only the
    first of several processes measures: they are empty in the others."""
    from .report import describe_run, print_plain

    grid = runs(config)
    labels = [f"{i}/{len(grid)}  {s} {n} seed {k}" for i, (s, n, k) in enumerate(grid, 1)]
    trained = train_side_by_side(config, folder, dict(zip(labels, grid, strict=True)))
    rows = []
    for label, run in zip(labels, grid, strict=True):
        rows.append(train_one(data, config, *run, folder, out, label))
        if rows[-1] and label not in trained:
            print_plain(out, describe_run(rows[-1], label))
    return rows


AT_ONCE = 4  # runs, because each takes about a gigabyte


def train_side_by_side(
    config: RunConfig, folder: Path, grid: dict[str, tuple[str, str, int]]
) -> list[str]:
    """Finish runs of the grid, several at a time, where that is asked for or usual; returns the
    labels of those that were. Two small runs of one thread each are half as fast again as one after
    the other on two threads.

    Raises SystemExit if one of them fails, which has said why.
    """
    import torch

    missing = {label: run for label, run in grid.items() if not is_finished(folder, *run)}
    is_on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    alone = config.devices == 1 and "WORLD_SIZE" not in os.environ and is_on_cpu
    jobs = min(config.jobs or min(count_cores(), AT_ONCE), len(grid)) if alone else 1
    if jobs <= 1 or not missing:
        return []
    # As many for the last one left: their number changes the rounding of sums.
    threads = config.threads or max(1, count_cores() // jobs)
    start = [sys.executable, "-m", "molaug.cell", config.task, str(folder)]
    commands = [
        [*start, symmetry, network, str(seed), str(threads), label]
        for label, (symmetry, network, seed) in missing.items()
    ]
    sys.stdout.flush()
    if status := run_commands(commands, jobs):
        raise SystemExit(status)
    return [*missing]


METRICS, CURVES, HISTORY = "metrics.json", "curves.json", "history.csv"


def run_folder(folder: Path, symmetry: str, network: str, seed: int) -> Path:
    """Where one cell of the grid lives."""
    return folder / f"{symmetry}-{network}-{seed}"


def is_finished(folder: Path, symmetry: str, network: str, seed: int) -> bool:
    """Whether a cell of the grid has all that is made of it."""
    from .checkpoint import WEIGHTS

    run = run_folder(folder, symmetry, network, seed)
    return all((run / name).exists() for name in (METRICS, CURVES, HISTORY, WEIGHTS))


@contextmanager
def claim_folder(folder: Path, config: RunConfig) -> Iterator[None]:
    """The folder for this command alone while open; the first of its processes holds it for all.

    Writes the configuration, or makes sure the folder's run has the same. Raises ValueError, naming
    the settings that differ, if another run lives there, and if another command is using it.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--run-dir {folder}: is a file; give a folder, which may be new")
    with lock_folder(folder) if is_first() else nullcontext():
        share_configuration(folder, config)
        yield


def lock_folder(folder: Path) -> AbstractContextManager[Any]:
    """Held until its block ends, or the process. Raises ValueError if another command holds it."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(folder / "lock").acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"{folder} is in use by another command: wait for it, or choose another --run-dir"
        ) from None


def share_configuration(folder: Path, config: RunConfig) -> None:
    """Write it, or raise ValueError for that of another run."""
    from .files import read_json, remove_partial, write_json

    path, ours = folder / "config.json", config.to_dict()
    if path.exists():
        theirs = read_json(path)
        if not isinstance(theirs, dict):
            raise ValueError(f"{path}: damaged (no settings); delete it to have it made again")
        fixed = set(ours) - FREE_TO_CHANGE - config.places()
        differing = sorted(key for key in fixed if ours[key] != theirs.get(key))
        if differing:
            raise ValueError(
                f"{folder} holds a run with other settings ({', '.join(differing)}): "
                "choose another --run-dir, or delete that folder"
            )
    if is_first():
        for place in (folder, *(run_folder(folder, *run) for run in runs(config))):
            remove_partial(place)
        write_json(path, ours)


# What may differ when a folder is continued, besides where things are: which runs of the grid.
FREE_TO_CHANGE = {
    *("symmetry", "network", "seeds", "preset"),
    *("device", "devices", "engine", "jobs", "threads"),
}


def train_one(
    data: Any,
    config: RunConfig,
    symmetry: str,
    network: str,
    seed: int,
    folder: Path,
    out: Console,
    label: str,
) -> dict[str, Any]:
    """One cell of the grid, continued from its folder; returns its row of the comparison."""
    from .checkpoint import WEIGHTS, read_configuration, save_weights
    from .evaluate import look_at_all, mean_rotation, measure, measure_curves, turn_at_random
    from .files import write_json
    from .history import write_history
    from .loop import Interrupted, Trainer
    from .objectives import build_objective
    from .report import Monitor, describe_widths, print_plain, save_widths_picture, versions
    from .verdict import judge

    run = run_folder(folder, symmetry, network, seed)
    finished = run / METRICS
    if is_finished(folder, symmetry, network, seed):
        read_configuration(run / WEIGHTS)  # raises, if it is damaged
        return read_made(finished, "metric")
    fabric = start_fabric(config.device, config.devices)
    task, rows = tasks_of(config).build_task(
        data, config, symmetry=symmetry, network=network, seed=seed, device=fabric.device
    )
    identity = {"symmetry": symmetry, "network": network, "seed": seed, **task.about}
    settings = {"run": identity, "config": config.to_dict(), "versions": versions()}
    if fabric.is_global_zero:
        write_json(run / "run.json", settings)
        rows.save(run / "split.npz")
    initial = task.model.augmentation.distribution.widths.tolist()
    objective = build_objective(config.objective, config.reward)
    recipe, capture = build_recipe(config, seed), config.engine == "captured"
    trainer = Trainer(task, objective, recipe, run, fabric, capture)
    if done := trainer.progress.step:
        print_plain(out, f"{label}  continued after step {done:,} of {trainer.total:,}")
    try:
        with Monitor(out, label, task.unit, task.model.augmentation.distribution.group) as monitor:
            model = trainer.fit(monitor)
    except Interrupted:
        at = f"{label}  stopped after step {trainer.progress.step:,} of {trainer.total:,}"
        print_plain(out, f"{at}, its state saved; the same command continues")
        raise
    if not fabric.is_global_zero:
        return {}
    save_weights(run / WEIGHTS, model, settings)
    write_history(run / HISTORY, trainer.progress.history)  # it may have been deleted
    title = f"{symmetry} {network} seed {seed}"
    save_widths_picture(run / "widths.svg", title, trainer.progress.history, model, initial)
    curves = measure_curves(model, task, copies=config.test_copies, seed=seed)
    write_json(run / CURVES, {**curves, **tasks_of(config).illustrate(model, task)})
    measured = measure(model, task, copies=config.test_copies, seed=seed)
    tests = next(iter(task.tests.values()))
    look_at_all(model, tests)
    row = {
        **identity,
        "metric": task.metric,
        "examples": task.examples,
        **({"scores": [*task.scores]} if task.scores else {}),
        **({"output_unit": task.output_unit} if task.output_unit else {}),
        **measured,
        "widths": describe_widths(model.augmentation.distribution, initial),
        "mean_rotation": mean_rotation(model.augmentation.distribution),
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "seconds_per_epoch": trainer.progress.seconds / trainer.recipe.epochs,
        "seconds_training": trainer.progress.seconds,
        "device": str(fabric.device),
    }
    if len(model.augmentation.distribution.learned):
        found = judge(model, task, tests)
        row["verdicts"] = {name: verdict.to_dict() for name, verdict in found.items()}
    if symmetry == "none" and "invariance_error" in row:
        turned = turn_at_random(model)
        row["haar_at_test"] = measure(turned, task, copies=config.test_copies, seed=seed)
    write_json(finished, row)
    return row


def build_recipe(config: RunConfig, seed: int) -> Recipe:
    """How the loop is to train, out of a resolved configuration."""
    from .recipe import Recipe

    shared = {f.name for f in fields(Recipe)} & {f.name for f in fields(config)} - {"seed"}
    return Recipe(seed=seed, **{name: getattr(config, name) for name in shared})


def write_report(
    folder: Path, config: RunConfig, rows: list[dict[str, Any]], arguments: Sequence[str]
) -> Path:
    """The page about all runs of the grid; returns its path."""
    from .history import read_history
    from .page import write_page
    from .report import versions

    cells = [run_folder(folder, *run) for run in runs(config)]
    page = folder / "report.html"
    write_page(
        page,
        rows,
        [read_made(cell / CURVES, "orbits") for cell in cells],
        [read_history(cell / HISTORY) for cell in cells],
        command=["python", "-m", "molaug.train", *arguments],
        versions=versions(),
        about=tasks_of(config).describe(config, rows),
    )
    return page


def read_made(path: Path, key: str) -> dict[str, Any]:
    """What a run has written about itself, with `key` in it. Raises ValueError if it is damaged."""
    from .files import read_json

    found = read_json(path)
    if not isinstance(found, dict) or key not in found:
        raise ValueError(f"{path}: damaged (no '{key}'); delete it to have it made again")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
