"""How fast molaug is on this machine: every case in turn, in one run, with ratios round by round.

python experiments/speed.py                all of it, on one CPU thread: writes
                                           results/speed-cpu.json and speed-cpu.svg
python experiments/speed.py --device gpu   on a GPU, batches of 384: speed-gpu.json and .svg
python experiments/speed.py --table        only the table of the README, from the results of the CPU
python experiments/speed.py --only race    only this part or these, into the results that are there
python experiments/speed.py --small        seconds, on the sample that is part of the project
python experiments/speed.py --out F        writes F.json and F.svg instead
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import laps
import numpy as np
import torch
from stopwatch import interleave, spread, wait
from tables import RESULTS, markdown, write_table

from molaug.costs import MEASURED, ROUGHLY
from molaug.distributions import LearnedUniform
from molaug.files import write_bytes, write_json
from molaug.groups import GROUPS, Group
from molaug.loop import Trainer
from molaug.molecules.data import MoleculeSet, load_qm9, load_sample
from molaug.pictures import Series, curve_chart, even_axis
from molaug.processes import prepare_processor
from molaug.report import versions

Rates = dict[str, Any]  # of a machine
LAWS = ("none", "se3", "aff3", "fixed")
OURS = {  # network, channels, layers
    "coordinates 48 x 3": ("coordinates", 48, 3),
    "vectors 48 x 3": ("vectors", 48, 3),
    "distances 48 x 3": ("distances", 48, 3),
    "coordinates 128 x 4": ("coordinates", 128, 4),
    "coordinates 256 x 8": ("coordinates", 256, 8),
    "vector_channels 48 x 3": ("vector_channels", 48, 3),
    "e3nn 48 x 3": ("e3nn", 48, 3),
}
PYG = ("schnet", "dimenetpp", "visnet")
THEIRS = {f"{name} (PyG)": (name, 0, 0) for name in PYG}
ATOMS = 18
PROFILED, LARGEST, NAMED = 4, 30, 100  # steps, what is listed of them, and characters of a name
# Of a quick run on HOMO: after which share all widths are open and stay, and how often the costs of
# six generators are measured until then, well and roughly.
SETTLED, MEASURED_TIMES, ROUGHLY_TIMES = 14 / 24, 4, 1


@dataclass(frozen=True)
class Plan:
    """How long to look: rounds of light and of heavy cases, and seconds of the race per network."""

    light: int = 60
    heavy: int = 3
    seconds: float = 60.0
    molecules: int = 12_000
    batch: int = 48
    sizes: int = 10  # networks, and values of copies, atoms and batch, at most
    device: str = "cpu"  # or gpu

    def build(self, molecules: MoleculeSet, network: str, law: str, **settings: Any) -> Trainer:
        """A trainer there."""
        return laps.build_trainer(molecules, network, law, device=self.device, **settings)

    def time(self, cases: dict[str, Callable[[], Any]], rounds: int) -> dict[str, np.ndarray]:
        """Seconds of each case in each round."""
        return interleave(cases, rounds, self.device)


def open_molecules(plan: Plan, small: bool) -> MoleculeSet:
    """Training and validation molecules, the same for every network."""
    if small:
        return load_sample()
    whole = load_qm9()
    rows = np.random.default_rng(0).permutation(len(whole))
    return whole.take(rows[: plan.molecules + laps.VALIDATION])


def measure_machine(plan: Plan) -> dict[str, Any]:
    """The rates against which a share of the roofline is counted, on the threads in use."""
    on_gpu = plan.device == "gpu"
    where, size, count = ("cuda", 8192, 2**28) if on_gpu else ("cpu", 1024, 2**24)
    a, b = torch.randn(2, size, size, device=where).unbind()
    source, target = torch.randn(2, count, device=where).unbind()
    cases = {"product": lambda: a @ b, "copy": lambda: target.copy_(source)}
    if on_gpu:
        low, other = a.bfloat16(), b.bfloat16()
        cases["bfloat16"] = lambda: low @ other
    times = plan.time(cases, plan.light)
    rates = {name: spread(2 * size**3 / times[name], 1e9) for name in times if name != "copy"}
    return {
        "processor": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        **({"gpu": torch.cuda.get_device_name()} if on_gpu else {}),
        "threads": torch.get_num_threads(),
        "product_gflops": rates["product"],
        **({"product_bfloat16_gflops": rates["bfloat16"]} if on_gpu else {}),
        "copy_gigabytes_per_second": spread(8 * count / times["copy"], 1e9),
    }


def measure_throughput(molecules: MoleculeSet, plan: Plan, machine: Rates) -> dict[str, Any]:
    """Training steps of every network on the same molecules; machine: its rates, the roofline."""
    rows = laps.choose_rows(molecules, plan.batch, ATOMS)
    trainers: dict[str, Trainer] = {
        label: plan.build(
            molecules, name, "se3" if "coordinates" in name else "none", channels=c, layers=n
        )
        for label, (name, c, n) in [*[*OURS.items()][: plan.sizes], *THEIRS.items()]
    }
    # In a first step, before any is captured.
    counted = {label: laps.count_work(trainer, rows) for label, trainer in trainers.items()}
    if plan.device == "gpu":
        trainers["coordinates 256 x 8 in bfloat16"] = plan.build(
            molecules, "coordinates", "se3", channels=256, layers=8, precision="bf16-mixed"
        )
        counted["coordinates 256 x 8 in bfloat16"] = laps.count_work(
            trainers["coordinates 256 x 8 in bfloat16"], rows
        )
    steps = {label: laps.steps(t, rows, count=1) for label, t in trainers.items()}
    times = plan.time(steps, plan.heavy)
    result = {}
    for label, trainer in trainers.items():
        work = counted[label]
        kind = "product_bfloat16_gflops" if "bfloat16" in label else "product_gflops"
        peak, copy = machine[kind]["median"], machine["copy_gigabytes_per_second"]["median"]
        rate, seconds = plan.batch / times[label], float(np.median(times[label]))
        result[label] = {
            "molecules_per_second": spread(rate),
            "parameters": sum(p.numel() for p in trainer.task.model.network.parameters()),
            "megaflop_per_molecule": round(work.flops / plan.batch / 1e6, 1),
            "megabytes_per_molecule": round(work.bytes / plan.batch / 1e6, 1),
            "share_of_product_rate": round(work.flops / seconds / peak / 1e9, 3),
            "share_of_roofline": round(work.least_seconds(peak * 1e9, copy * 1e9) / seconds, 3),
            "ratio_to_schnet": spread(times["schnet (PyG)"] / times[label]),
        }
    return result


def measure_augmentation(molecules: MoleculeSet, plan: Plan) -> dict[str, Any]:
    """The same training step with and without augmentation, as ratios within a round, and what they
    make of a whole run."""
    rows = laps.choose_rows(molecules, plan.batch, ATOMS)
    trainers = {law: plan.build(molecules, "coordinates", law) for law in LAWS}
    trainers |= {kind: plan.build(molecules, "coordinates", "se3") for kind in ("still", "frozen")}
    if plan.device == "gpu":
        trainers["not captured"] = plan.build(molecules, "coordinates", "se3", capture=False)
    trainers["frozen"].progress.step = 0
    moving = ("se3", "aff3", "not captured")
    steps = {law: laps.steps(t, rows, moving=law in moving) for law, t in trainers.items()}
    augmentation = trainers["se3"].task.model.augmentation
    batch, _ = trainers["se3"].task.train.gather(rows)
    gradient = torch.randn_like(batch.positions)
    alone = {"alone": lambda: augmentation(batch)[0].positions.backward(gradient)}
    run = trainers["se3"]
    freeze, every = run.recipe.freeze, run.timetable.every
    times = {law: t / every for law, t in plan.time(steps, plan.light // 3 + 1).items()}
    # In rounds of their own: as long as a step of the median round.
    times["alone"] = plan.time(alone, plan.light)["alone"][: plan.light // 3 + 1]
    over = {law: spread(times[law] / times["none"]) for law in times}
    first = run.timetable.free_from
    costs = plan.time({"costs": lambda: run.measure_costs(first)}, plan.heavy)["costs"]
    measured = float(np.median(costs) / np.median(times["none"]))
    median = {law: over[law]["median"] for law in over}

    def of_run(ratios: dict[str, float]) -> float:
        """Of the mean step."""
        free = ratios["se3"] / every + ratios["still"] * (1 - 1 / every)
        late = (SETTLED - freeze) * free + (1 - SETTLED) * ratios["still"]
        return freeze * ratios["frozen"] + late

    step = of_run(median)
    kernels: dict[str, Any] = {}
    if plan.device == "gpu":  # whose kernels take as long however slow the host is
        spent = {law: profile_calls(case, plan.device).values() for law, case in steps.items()}
        busy = {law: sum(t for t, _ in one) / PROFILED / every / 1e3 for law, one in spent.items()}
        whole = of_run({law: one / busy["none"] for law, one in busy.items()})
        kernels = {
            "busy_ms": {law: round(one, 4) for law, one in busy.items()},
            "busy_learned_se3_over_none": round(whole, 4),
        }
    times_measured = MEASURED_TIMES + ROUGHLY_TIMES * ROUGHLY / MEASURED
    return {
        "what": f"coordinates 48 x 3, batch {plan.batch} of {ATOMS} atoms, whole step on the "
        f"{plan.device}; the gradient of the widths goes through the network's geometry",
        "learned_se3_over_none": round(step, 3),
        "of_which": f"the mean step of a quick run on HOMO: widths are frozen for {freeze:.2f} of "
        f"its {run.total:,} steps, and until {SETTLED:.2f} one in {every} moves them; the elements "
        "of the steps between are drawn together",
        "with_measured_costs_over_none": round(step + times_measured * measured / run.total, 3),
        "measured": f"the costs of six generators, {MEASURED_TIMES} times and {ROUGHLY_TIMES} time "
        "on a quarter of the examples, in a run of any length",
        "step_that_moves_widths_over_none": median["se3"],
        "step_that_does_not_over_none": median["still"],
        "step_that_moves_aff3_over_none": median["aff3"],
        "step_while_frozen_over_none": median["frozen"],
        "fixed_over_none": median["fixed"],
        "one_measurement_of_costs_in_steps": round(measured, 1),
        "draw_exponential_action_and_backward_over_none": median["alone"],
        "spread": over,
        "step_ms": {law: spread(times[law], 1e-3) for law in times},
        **kernels,
    }


def measure_sizes(molecules: MoleculeSet, plan: Plan) -> dict[str, Any]:
    """Milliseconds per molecule and step against copies, atoms and batch size."""
    base = {"copies": 1, "atoms": ATOMS, "batch": plan.batch}
    asked = {
        f"{name} {value}": base | {name: value}
        for name, values in {
            "copies": (1, 2, 4, 8),
            "atoms": (9, 12, 15, 18, 21, 24),
            "batch": (12, 24, 48, 96, 192),
        }.items()
        for value in values[: plan.sizes]
    }
    by_copies = {
        copies: plan.build(molecules, "coordinates", "se3", copies=copies)
        for copies in (1, 2, 4, 8)[: plan.sizes]
    }

    def case(copies: int, atoms: int, batch: int) -> Any:
        return laps.steps(by_copies[copies], laps.choose_rows(molecules, batch, atoms), count=1)

    times = plan.time({label: case(**one) for label, one in asked.items()}, plan.light // 4 + 1)
    return {label: spread(times[label] / one["batch"], 1e-3) for label, one in asked.items()}


def solve(group: Group, coefficients: torch.Tensor, steps: int) -> torch.Tensor:
    """exp by classical Runge-Kutta steps of dX/dt = M X, as the method's first code has it."""
    basis = group.generators(coefficients.device)
    matrix = torch.einsum("...a,aij->...ij", coefficients, basis)
    x = torch.eye(matrix.shape[-1], device=matrix.device).expand_as(matrix)
    h = 1 / steps
    for _ in range(steps):
        k1 = matrix @ x
        k2 = matrix @ (x + h / 2 * k1)
        k3 = matrix @ (x + h / 2 * k2)
        k4 = matrix @ (x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


def measure_exponentials(plan: Plan) -> dict[str, Any]:
    """The closed exponentials beside the ODE solver's, forward and backward, at full width."""
    result = {}
    for name in ("se3", "aff3"):
        group = GROUPS[name]()
        for count in (96, 2048):
            caps = LearnedUniform(group).caps
            draw = (torch.rand(count, len(caps)) * 2 - 1) * caps
            exact = torch.linalg.matrix_exp(
                torch.einsum("ga,aij->gij", draw.double(), group.generators(dtype=torch.float64))
            )
            draw = draw.to("cuda" if plan.device == "gpu" else "cpu").requires_grad_()
            makers = {"ours": group.exp}
            makers |= {f"rk4_{n}": lambda a, n=n, g=group: solve(g, a, n) for n in (1, 10, 40)}
            cases = {
                label: lambda f=make, d=draw: torch.autograd.grad(f(d).sum(), d)
                for label, make in makers.items()
            }
            times = plan.time(cases, plan.light)
            result[f"{name}, batch {count}"] = {
                label: {
                    "time_over_ours": spread(times[label] / times["ours"])["median"],
                    "largest_relative_error": _relative(make(draw.detach()).cpu(), exact),
                }
                for label, make in makers.items()
            }
    return result


def _relative(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float(f"{float((found - exact).abs().max() / exact.abs().max()):.2g}")


def measure_start(plan: Plan, small: bool) -> dict[str, Any]:
    """Seconds from a fresh interpreter: help, import, first training step; and data."""
    first = "import laps, speed; p = speed.Plan(); m = speed.open_molecules(p, {}); "
    first += "t = laps.build_trainer(m, 'coordinates', 'se3', device='{}'); "
    first += "float(t.step(laps.choose_rows(m, 48, 18)))"
    commands = {
        "help": ["-m", "molaug.train", "qm9", "--help"],
        "import": ["-c", "import molaug"],
        "first_step": ["-c", first.format(small, plan.device)],
    }
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path}

    def run(command: list[str]) -> None:
        subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment)

    cases = {name: lambda c=command: run(c) for name, command in commands.items()}
    if not small:
        cases["open_qm9"] = load_qm9
    seconds = {name: spread(values) for name, values in interleave(cases, plan.heavy).items()}
    if not small and find_spec("qm9pack"):  # a machine with a GPU may have the converted file alone
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            load_qm9(Path(folder))
            seconds["convert_qm9_once"] = {"median": round(time.perf_counter() - start, 2)}
    return seconds


def profile_calls(call: Callable[[], Any], device: str) -> dict[str, tuple[float, int]]:
    """Microseconds in each kernel of a GPU, or operation of a CPU, and how often it ran, in
    `PROFILED` calls."""
    on_gpu = device == "gpu"
    activity = (
        torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU
    )
    with torch.profiler.profile(activities=[activity], acc_events=True) as profile:
        for _ in range(PROFILED):
            call()
        wait(device)
    return {
        one.key: (one.self_device_time_total if on_gpu else one.self_cpu_time_total, one.count)
        for one in profile.key_averages()
    }


def measure_anatomy(molecules: MoleculeSet, plan: Plan) -> dict[str, Any]:
    """Where the time of a step goes: of a GPU the kernels of the largest network, of a CPU the
    operations of the small one, by the profiler of torch."""
    on_gpu = plan.device == "gpu"
    size = {"channels": 256, "layers": 8, "precision": "bf16-mixed"} if on_gpu else {}
    trainer = plan.build(molecules, "coordinates", "se3", **size)
    step = laps.steps(trainer, laps.choose_rows(molecules, plan.batch, ATOMS), count=1)
    seconds = float(np.median(plan.time({"step": step}, plan.light // 4 + 1)["step"]))
    spent = profile_calls(step, plan.device)
    whole = sum(time for time, _ in spent.values())
    largest = sorted(spent.items(), key=lambda item: -item[1][0])[:LARGEST]
    return {
        "what": f"coordinates {'256 x 8 in bfloat16' if on_gpu else '48 x 3'}, batch {plan.batch} "
        f"of {ATOMS} atoms, a step that does not move widths",
        "step_ms": round(1e3 * seconds, 3),
        "busy_ms": round(whole / PROFILED / 1e3, 3),
        "started": round(sum(count for _, count in spent.values()) / PROFILED),
        "largest": [
            {
                "name": name[:NAMED],
                "times": round(count / PROFILED, 1),
                "microseconds": round(time / PROFILED, 1),
                "share": round(time / whole, 4),
            }
            for name, (time, count) in largest
        ],
    }


def draw(record: dict[str, Any]) -> str:
    """Error against seconds of training, one CPU thread each or the GPU."""
    lines = {name: Series(one["points_seconds_meV"]) for name, one in record["race"].items()}
    points = [point for line in lines.values() for point in line.points]
    x = even_axis("seconds of training", 0, max(p[0] for p in points), start=0)
    y = even_axis("validation error of HOMO [meV]", 0, max(p[1] for p in points), start=0)
    where = record["machine"].get("gpu", "one CPU thread")
    title = f"HOMO: {record['molecules']:,} molecules, {where}"
    return curve_chart(title, x, y, lines)


def measure_race(molecules: MoleculeSet, plan: Plan) -> dict[str, Any]:
    """Each network trained for the same seconds."""
    racers = {"coordinates, learned SE(3)": ("coordinates", "se3")}
    racers |= {name: (name, "none") for name in ("schnet", "distances", "dimenetpp")[: plan.sizes]}
    return laps.race(molecules, racers, plan.seconds, slices=8, device=plan.device)


def measure(plan: Plan, small: bool, path: Path, only: list[str]) -> dict[str, Any]:
    """Everything; what is known is written to `path` after each part.

    only: the parts to measure, into what is there.
    """
    molecules = open_molecules(plan, small)
    machine = measure_machine(plan)
    parts: dict[str, Callable[[], Any]] = {
        "start_seconds": lambda: measure_start(plan, small),
        "augmentation_overhead": lambda: measure_augmentation(molecules, plan),
        "exponentials": lambda: measure_exponentials(plan),
        "milliseconds_per_molecule": lambda: measure_sizes(molecules, plan),
        "throughput": lambda: measure_throughput(molecules, plan, machine),
        "anatomy": lambda: measure_anatomy(molecules, plan),
        "race": lambda: measure_race(molecules, plan),
    }
    record: dict[str, Any] = {
        "note": "ratios are medians of ratios within a round; times mean little if the machine was "
        "shared",
        "machine": machine,
        "versions": versions(),
        "molecules": len(molecules) - laps.VALIDATION,
    }
    if unknown := {*only} - {*parts}:
        raise SystemExit(f"--only {' '.join(unknown)}: choose from {', '.join(parts)}")
    if only and path.exists():
        record |= {k: v for k, v in json.loads(path.read_text()).items() if k in {*parts}}
    for name, part in parts.items():
        if only and name not in only:
            continue
        start = time.perf_counter()
        record[name] = part()
        write_json(path, record)
        print(f"{name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
    if "race" not in record:
        return record
    ours, schnet = (record["race"][k] for k in ("coordinates, learned SE(3)", "schnet"))
    record["throughput_ratio"] = {
        "ours_over_pyg_schnet": round(
            ours["molecules_per_second"] / schnet["molecules_per_second"], 2
        ),
        "error_ours_meV": ours["points_seconds_meV"][-1][1],
        "error_pyg_schnet_meV": schnet["points_seconds_meV"][-1][1],
        "after_seconds": plan.seconds,
        "threads": 1,
        "device": plan.device,
    }
    write_json(path, record)
    return record


def table(record: dict[str, Any]) -> str:
    """Markdown: training of every network, and what the race left of their errors."""
    lines = []
    for name, one in record["throughput"].items():
        lines.append(
            [
                name,
                f"{one['parameters']:,}",
                f"{one['megaflop_per_molecule']:,.0f}",
                f"{one['megabytes_per_molecule']:,.0f}",
                f"{one['molecules_per_second']['median']:,.0f}",
                f"{one['ratio_to_schnet']['median']:.2g}",
                f"{100 * one['share_of_product_rate']:.0f} %",
                f"{100 * one['share_of_roofline']:.0f} %",
            ]
        )
    head = ["network", "parameters", "MFLOP", "MB", "molecules per second", "over SchNet"]
    whole = markdown([*head, "of the rate of a large product", "of the roofline"], lines)
    seconds = record["throughput_ratio"]["after_seconds"]
    race = [
        [name, f"{one['points_seconds_meV'][-1][1]:.0f}", f"{one['epochs']:.2g}"]
        for name, one in record["race"].items()
    ]
    error = f"validation MAE of HOMO after {seconds:.0f} s of training [meV]"
    return whole + "\n" + markdown(["network", error, "epochs in that time"], race)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--only", metavar="PART", nargs="+", default=[])
    parser.add_argument("--device", default="cpu", choices=("cpu", "gpu"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    usual = RESULTS / "speed-cpu"
    if arguments.table:
        write_table("speed", table(json.loads(usual.with_suffix(".json").read_text())))
        return
    prepare_processor(1)
    plan = Plan(1, 1, 0.5, 0, batch=4, sizes=1) if arguments.small else Plan()
    if arguments.device == "gpu" and not arguments.small:
        plan = Plan(light=30, seconds=20, batch=384)
    plan = replace(plan, device=arguments.device)
    out = arguments.out or RESULTS / f"speed-{arguments.device}"
    record = measure(plan, arguments.small, out.with_suffix(".json"), arguments.only)
    if not {"race", "throughput"} <= {*record}:
        return
    write_bytes(out.with_suffix(".svg"), draw(record).encode())
    if out == usual:
        write_table("speed", table(record))
    else:
        print(table(record))


if __name__ == "__main__":
    main()
