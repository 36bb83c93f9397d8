"""`python -m molaug.train qm9 --target homo`: train, compare, report."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .commandline import parse
from .config import CONFIGS, RunConfig, resolve
from .external import code_of, complaints_of, is_external
from .folder import (
    CURVES,
    HISTORY,
    METRICS,
    RUN,
    Run,
    check_same,
    claim_folder,
    identify,
    is_finished,
    read_made,
    run_folder,
    runs,
)
from .processes import count_cores, is_first, prepare_processor, run_commands, start_fabric

if TYPE_CHECKING:
    from rich.console import Console

    from .averaging import AveragedModel
    from .loop import Trainer
    from .recipe import Recipe
    from .task import Task


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
    from .files import checksum, write_json
    from .loop import NotFinite
    from .report import console, print_plain, show_widths

    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal may not know the sign ±
    out = console()
    out.quiet = not is_first()
    try:
        asked, config = config, prepare_run(config)
        data = tasks_of(config).open_data(config)
        mark = checksum(tasks_of(config).arrays_of(data))
        folder = config.run_dir or Path("runs") / config.run_name
        config = config.settle(data)
        try_networks(data, config)
        if asked.preset == "auto":
            out.print(describe_preset(config))
        with claim_folder(folder, config, mark):
            rows = train_all(data, mark, config, folder, out)
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
    """The module that knows the data and the models of a task, with open_data, arrays_of,
    build_task, describe and illustrate."""
    return import_module(f".{config.tasks_module}", __package__)


def prepare_run(config: RunConfig) -> RunConfig:
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
    prepare_processor(config.threads)
    return resolve(config, gpu)


def try_networks(data: Any, config: RunConfig) -> None:
    """Raises ValueError, in one line, if a network of one's own cannot be built, does not learn
    from two training examples, or passes no gradient on to its inputs, for widths to be learned."""
    import torch

    from .averaging import evaluating
    from .task import check_shapes

    learned = [symmetry for symmetry in config.symmetry if symmetry not in ("fixed", "none")]
    for network in filter(is_external, config.network):
        symmetry = (learned or config.symmetry)[0]
        build_task = tasks_of(config).build_task
        task, _ = build_task(data, config, symmetry=symmetry, network=network, seed=config.seed)
        if not any(weight.requires_grad for weight in task.model.network.parameters()):
            raise ValueError(f"--network {network}: has nothing to train")
        batch, target = task.train.gather(torch.arange(2))
        with complaints_of(network):
            output = task.model(batch)
            check_shapes(output, target)
            task.loss(output, task.model.scaling.to_standard(target)).backward()
            with torch.no_grad(), evaluating(task.model):
                task.model(batch)
        widths = task.model.augmentation.distribution.parameters()
        if any(width.requires_grad and width.grad is None for width in widths):
            raise ValueError(
                f"--network {network}: no gradient reaches its inputs, and so no width can be "
                "learned; leave out detach, no_grad and numpy, or take --symmetry fixed none"
            )


def describe_preset(config: RunConfig) -> str:
    """What was chosen for this machine."""
    return (
        f"{'A GPU was found' if config.preset == 'full' else 'No GPU'}: preset '{config.preset}' "
        f"with {f'{config.train_size:,}' if config.train_size else 'all'} training examples and "
        f"{config.epochs} epoch{'s' * (config.epochs != 1)}; --preset quick or full chooses "
        "otherwise."
    )


def train_all(
    data: Any, mark: str, config: RunConfig, folder: Path, out: Console
) -> list[dict[str, Any]]:
    """Every run of the grid, a line about each; returns the rows of the comparison, which only the
    first of several processes measures: they are empty in the others."""
    from .report import describe_run, print_plain

    grid = runs(config)
    labels = [f"{i}/{len(grid)}  {run}" for i, run in enumerate(grid, 1)]
    trained = train_side_by_side(config, folder, dict(zip(labels, grid, strict=True)))
    rows = []
    for label, run in zip(labels, grid, strict=True):
        rows.append(train_one(data, mark, config, run, folder, out, label))
        if rows[-1] and label not in trained:
            print_plain(out, describe_run(rows[-1], label))
    return rows


AT_ONCE = 4  # runs, because each takes about a gigabyte


def train_side_by_side(config: RunConfig, folder: Path, grid: dict[str, Run]) -> list[str]:
    """Finish runs of the grid, several at a time, where that is asked for or usual; returns the
    labels of those that were. Two small runs of one thread each are half as fast again as one after
    the other on two threads.

    Raises SystemExit if one of them fails, which has said why.
    """
    import torch

    missing = {
        label: run for label, run in grid.items() if not is_finished(run_folder(folder, run))
    }
    is_on_cpu = config.device == "cpu" or not torch.cuda.is_available()
    alone = config.devices == 1 and "WORLD_SIZE" not in os.environ and is_on_cpu
    jobs = min(config.jobs or min(count_cores(), AT_ONCE), len(grid)) if alone else 1
    if jobs <= 1 or not missing:
        return []
    # As many for the last one left: their number changes the rounding of sums.
    threads = config.threads or max(1, count_cores() // jobs)
    start = [sys.executable, "-m", "molaug.cell", config.task, str(folder)]
    commands = [[*start, *map(str, run), str(threads), label] for label, run in missing.items()]
    sys.stdout.flush()
    if status := run_commands(commands, jobs):
        raise SystemExit(status)
    return [*missing]


def train_one(
    data: Any, mark: str, config: RunConfig, run: Run, folder: Path, out: Console, label: str
) -> dict[str, Any]:
    """One run of the grid, continued from its folder; returns its row of the comparison.

    mark: the checksum of the data.
    """
    from .checkpoint import WEIGHTS, check_code, read_configuration, save_weights
    from .evaluate import measure_curves
    from .files import read_json, write_json
    from .history import write_history
    from .loop import Trainer
    from .objectives import build_objective
    from .report import save_widths_picture, versions

    place = run_folder(folder, run)
    if (place / RUN).exists():
        known = read_json(place / RUN)
        check_same(place / RUN, known, config, mark)
        check_code(run.network, known)
    if is_finished(place):
        read_configuration(place / WEIGHTS)  # raises, if it is damaged
        return read_made(place / METRICS, "metric")
    fabric = start_fabric(config.device, config.devices)
    task, rows = tasks_of(config).build_task(data, config, **run._asdict(), device=fabric.device)
    identity = {**run._asdict(), **task.about}
    settings = {"run": identity, **identify(config, mark), "versions": versions()}
    if code := code_of(run.network):
        settings["code"] = code
    if fabric.is_global_zero:
        write_json(place / RUN, settings)
        rows.save(place / "split.npz")
    initial = task.model.augmentation.distribution.widths.tolist()
    objective = build_objective(config.objective, config.reward)
    recipe, capture = build_recipe(config, run.seed), config.engine == "captured"
    trainer = Trainer(task, objective, recipe, place, fabric, capture)
    model = fit(trainer, out, label)
    if not fabric.is_global_zero:
        return {}
    save_weights(place / WEIGHTS, model, settings)
    history = trainer.progress.history
    write_history(place / HISTORY, history)  # it may have been deleted
    save_widths_picture(place / "widths.svg", str(run), history, model, initial)
    curves = measure_curves(model, task, copies=config.test_copies, seed=run.seed)
    write_json(place / CURVES, {**curves, **tasks_of(config).illustrate(model, task)})
    row = {
        **identity,
        **measure_all(model, task, initial, run, config.test_copies),
        "seconds_per_epoch": trainer.progress.seconds / trainer.recipe.epochs,
        "seconds_training": trainer.progress.seconds,
        "device": str(fabric.device),
    }
    write_json(place / METRICS, row)
    return row


def fit(trainer: Trainer, out: Console, label: str) -> AveragedModel:
    """Train to the end, and show how it goes."""
    from .loop import Interrupted
    from .report import Monitor, print_plain

    task = trainer.task
    if done := trainer.progress.step:
        print_plain(out, f"{label}  continued after step {done:,} of {trainer.total:,}")
    try:
        with Monitor(out, label, task.unit, task.model.augmentation.distribution.group) as monitor:
            return trainer.fit(monitor)
    except Interrupted:
        at = f"{label}  stopped after step {trainer.progress.step:,} of {trainer.total:,}"
        print_plain(out, f"{at}, its state saved; the same command continues")
        raise


def measure_all(
    model: AveragedModel, task: Task, initial: list[float], run: Run, copies: int
) -> dict[str, Any]:
    """Errors, widths and verdicts of a finished run, whose widths were `initial` at its start."""
    from .evaluate import look_at_all, mean_rotation, measure, turn_at_random
    from .report import describe_widths
    from .verdict import judge

    law, tests = model.augmentation.distribution, next(iter(task.tests.values()))
    found: dict[str, Any] = {
        "metric": task.metric,
        "examples": task.examples,
        **({"scores": [*task.scores]} if task.scores else {}),
        **({"output_unit": task.output_unit} if task.output_unit else {}),
        **measure(model, task, copies=copies, seed=run.seed),
    }
    look_at_all(model, tests)
    found |= {
        "widths": describe_widths(law, initial),
        "mean_rotation": mean_rotation(law),
        "parameters": sum(p.numel() for p in model.network.parameters()),
    }
    if len(law.learned):
        verdicts = judge(model, task, tests)
        found["verdicts"] = {name: verdict.to_dict() for name, verdict in verdicts.items()}
    if run.symmetry == "none" and "invariance_error" in found:
        turned = turn_at_random(model)
        found["haar_at_test"] = measure(turned, task, copies=copies, seed=run.seed)
    return found


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

    places = [run_folder(folder, run) for run in runs(config)]
    page = folder / "report.html"
    write_page(
        page,
        rows,
        [read_made(place / CURVES, "orbits") for place in places],
        [read_history(place / HISTORY) for place in places],
        command=["python", "-m", "molaug.train", *arguments],
        versions=versions(),
        about=tasks_of(config).describe(config, rows),
    )
    return page


if __name__ == "__main__":
    raise SystemExit(main())
