"""The cost of a molecule in sets of 10^4, 10^5 and 10^6 molecules, in shards.

python experiments/scale.py            measure, write results/scale-cpu.json and the README's table
python experiments/scale.py --table    only the table, from the results that are there
python experiments/scale.py --sizes 10000    other sizes

The set is QM9 again and again, every atom displaced by a normal number that is a function of the
molecule's number: each size in a process of its own, in a temporary folder (0.3 GB for a million).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tables import markdown, processor, result, write_table

from molaug.files import write_json

SIZES = (10_000, 100_000, 1_000_000)
SHARD = 10_000  # molecules
BATCH = 48
DRAWN = 1200  # batches that are drawn and gathered: several shards
STEPS = 40  # training steps
NOISE = 0.02  # standard deviation of the displacement [Angstrom]


def generate(count: int) -> Iterator[tuple[Any, np.ndarray]]:
    """Parts of `SHARD` molecules and their HOMO energies [meV]."""
    from molaug.molecules.data import load_qm9
    from molaug.molecules.targets import target_values

    whole = load_qm9()
    for start in range(0, count, SHARD):
        part = whole.take(np.arange(start, min(start + SHARD, count)) % len(whole))
        noise = np.random.default_rng((0, start)).normal(0, NOISE, part.positions.shape)
        moved = replace(part, positions=(part.positions + noise).astype(np.float32))
        yield moved, target_values(part, "homo")


def write(folder: Path, count: int) -> float:
    """Generate a set and write it; returns seconds."""
    from molaug.molecules.shards import write_shards

    return _clock(lambda: write_shards(folder, generate(count)))


def resident() -> dict[str, float]:
    """Resident memory of this process, private and mapped from files [MB]."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return {name: int(found[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")}


def measure(count: int) -> dict[str, Any]:
    """One size, in this process."""
    import laps
    import torch

    from molaug.molecules.data import load_qm9
    from molaug.molecules.shards import ShardedExamples
    from molaug.task import draw_batches

    torch.set_num_threads(1)
    data = load_qm9().take(slice(0, 2 * laps.VALIDATION))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Written by another process, whose memory must not count here.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            seconds = {"write": pool.submit(write, folder, count).result()}
        disk = sum(path.stat().st_size for path in folder.iterdir())
        before = resident()
        start = time.perf_counter()
        examples = ShardedExamples(folder)
        seconds["open"] = time.perf_counter() - start
        seconds["scaling"] = _clock(examples.build_scaling)
        batches = draw_batches(examples.sizes, BATCH, 0, 0, windows=examples.windows)
        start, seen = time.perf_counter(), 0
        for rows in islice(batches, DRAWN):
            seen += len(examples.gather(rows)[1])
        drawing = (time.perf_counter() - start) / seen
        after = resident()
        # The law, the network and the recipe are those of the benchmark; the molecules are ours.
        trainer = laps.build_trainer(data, "coordinates", "se3")
        trainer.task = replace(trainer.task, train=examples)
        steps = []
        batches = draw_batches(examples.sizes, BATCH, 0, 1, windows=examples.windows)
        for rows in islice(batches, STEPS):
            start = time.perf_counter()
            trainer.step(rows)
            trainer.progress.step += 1
            steps.append((time.perf_counter() - start) / len(rows))
        return {
            "molecules": count,
            "seconds_to_write": seconds["write"],
            "seconds_to_open": seconds["open"],
            "seconds_for_mean_and_deviation": seconds["scaling"],
            "microseconds_to_draw_and_gather": drawing * 1e6,
            "molecules_drawn": seen,
            "milliseconds_of_a_step": float(np.median(steps)) * 1e3,
            "megabytes_before_opening": before,
            "megabytes_after_drawing": after,
            "bytes_on_disk_per_molecule": disk / count,
        }


def _clock(call: Any) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure_all(sizes: list[int]) -> None:
    from molaug.report import versions

    rows = []
    for count in sizes:
        command = [sys.executable, __file__, "--measure", str(count)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    about = {"processor": processor(), "threads": 1, "versions": versions()}
    about |= {"shard": SHARD, "batch": BATCH, "network": "coordinates 48 x 3, se3, 1 copy"}
    write_json(result("scale", "cpu"), {**about, "rows": rows})


def table() -> str:
    """Markdown, a line per size; a note where nothing has been measured yet."""
    path = result("scale", "cpu")
    if not path.exists():
        return "Not measured yet.\n"
    head = ["molecules", "write [s]", "open [ms]", "mean, deviation [s]"]
    head += ["draw and gather [µs per molecule]", "training step [ms per molecule]"]
    head += ["memory added: private [MB]", "mapped [MB]", "disk [bytes per molecule]"]
    lines = []
    for row in json.loads(path.read_text())["rows"]:
        before, after = row["megabytes_before_opening"], row["megabytes_after_drawing"]
        numbers = [row["seconds_to_write"], 1e3 * row["seconds_to_open"]]
        numbers += [row["seconds_for_mean_and_deviation"], row["microseconds_to_draw_and_gather"]]
        numbers += [row["milliseconds_of_a_step"]]
        numbers += [after[name] - before[name] for name in ("RssAnon", "RssFile")]
        numbers += [row["bytes_on_disk_per_molecule"]]
        lines.append([f"{row['molecules']:,}", *(f"{number:.3g}" for number in numbers)])
    return markdown(head, lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--table", action="store_true", help="only the table")
    parser.add_argument("--measure", type=int, help="one size, in this process; prints JSON")
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure)))
        return
    if not asked.table:
        measure_all(asked.sizes)
    write_table("scale", table())


if __name__ == "__main__":
    main()
