"""The cost of a molecule in sets of 10^4, 10^5 and 10^6 molecules, in shards.

python experiments/scale.py            measure, write results/scale-cpu.json and the README's table
python experiments/scale.py --table    only the table, from the results that are there
python experiments/scale.py --sizes 10000    other sizes

The set is QM9 again and again, every atom displaced by a normal number that is a function of the
shard's number: each size in a process of its own, in a temporary folder (0.3 GB for a million).
Times are of the processor, so that other work on the machine does not count; wall time of the same
is kept beside them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tables import markdown, processor, result, write_table

from molaug.files import write_json
from molaug.processes import prepare_processor

SIZES = (10_000, 100_000, 1_000_000)
SHARD = 10_000  # molecules
BATCH = 48
STEPS = 100  # training steps
LOOK = 100  # batches after which memory is looked at
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


def write(folder: Path, count: int) -> dict[str, float]:
    """Generate a set and write it; returns seconds."""
    from molaug.molecules.shards import write_shards

    return timed(lambda: write_shards(folder, generate(count)))


def timed(call: Callable[[], Any]) -> dict[str, float]:
    """Seconds of the processor and of wall time."""
    start = time.process_time(), time.perf_counter()
    call()
    return {"processor": time.process_time() - start[0], "wall": time.perf_counter() - start[1]}


def resident() -> np.ndarray:
    """Resident memory of this process, (2,): private, and mapped from files [MB]."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    return np.array([int(found[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile")])


def draw_epoch(examples: Any, looks: list[np.ndarray]) -> None:
    """Gather every batch of an epoch, noting resident memory now and then."""
    from molaug.task import draw_batches

    batches = draw_batches(examples.sizes, BATCH, 0, 0, windows=examples.windows)
    for number, rows in enumerate(batches):
        examples.gather(rows)
        if number % LOOK == 0:
            looks.append(resident())


def measure(count: int) -> dict[str, Any]:
    """One size, in this process."""
    import laps

    from molaug.molecules.data import load_qm9
    from molaug.molecules.shards import ShardedExamples
    from molaug.task import draw_batches

    prepare_processor(1)
    # The law, the network and the recipe are those of the benchmark; the molecules are ours.
    trainer = laps.build_trainer(
        load_qm9().take(np.arange(2 * laps.VALIDATION)), "coordinates", "se3"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Written by another process, whose memory must not count here.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            seconds = {"write": pool.submit(write, folder, count).result()}
        disk = sum(path.stat().st_size for path in folder.iterdir())
        before, looks = resident(), []
        seconds["open"] = timed(lambda: ShardedExamples(folder))
        examples = ShardedExamples(folder)
        seconds["mean_and_deviation"] = timed(examples.build_scaling)
        seconds["epoch_without_training"] = timed(lambda: draw_epoch(examples, looks))
        trainer.task = replace(trainer.task, train=examples)
        batches = draw_batches(examples.sizes, BATCH, 0, 1, windows=examples.windows)
        steps = []
        for rows in islice(batches, STEPS):
            steps.append(timed(lambda rows=rows: trainer.step(rows))["processor"] / len(rows))
            trainer.progress.step += 1
        return {
            "molecules": count,
            "seconds": seconds,
            "milliseconds_of_a_step_per_molecule": 1e3 * float(np.median(steps)),
            "resident_private_and_mapped_MB": {
                "before_opening": before.tolist(),
                "largest_in_an_epoch": np.max(looks, axis=0).tolist(),
                "middle_of_an_epoch": np.median(looks, axis=0).tolist(),
                "after_steps": resident().tolist(),
            },
            "bytes_on_disk_per_molecule": disk / count,
        }


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
    head += ["draw and gather [µs per molecule]", "training step [µs per molecule]"]
    head += ["added private memory [MB]", "added mapped files [MB]"]
    head += ["disk [bytes per molecule]"]
    lines = []
    for row in json.loads(path.read_text())["rows"]:
        seconds = {name: both["processor"] for name, both in row["seconds"].items()}
        memory = row["resident_private_and_mapped_MB"]
        added = np.subtract(memory["largest_in_an_epoch"], memory["before_opening"])
        numbers = [seconds["write"], 1e3 * seconds["open"], seconds["mean_and_deviation"]]
        numbers += [1e6 * seconds["epoch_without_training"] / row["molecules"]]
        numbers += [1e3 * row["milliseconds_of_a_step_per_molecule"], *added]
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
