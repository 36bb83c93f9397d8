"""`python -m molaug.predict RUN FILE ...`: what a trained network says of other molecules."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .commandline import Parser
from .folder import METRICS, read_made

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .averaging import AveragedModel
    from .molecules.data import MoleculeSet
    from .molecules.read import Label

PROG = "python -m molaug.predict"
PAIRS = 64 * 8 * 29**2  # of atoms in a batch, padding and copies included: what memory goes by
COMPONENTS: dict[int, dict[str, tuple[int, ...]]] = {
    # By the dimensions of predictions (graphs, ...), the names of their parts and their places.
    1: {"": ()},
    2: {" x": (0,), " y": (1,), " z": (2,)},
    3: {f" {'xyz'[i]}{'xyz'[j]}": (i, j) for i in range(3) for j in range(i, 3)},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    asked = build_parser().parse_intermixed_args(words)
    # Only now, so that --help and a mistyped option answer at once.
    from .checkpoint import find_run
    from .files import write_bytes
    from .molecules.data import orient
    from .molecules.read import Rules, read_molecules
    from .molecules.tasks import load_model

    try:
        if asked.copies < 1:
            raise ValueError(f"--copies {asked.copies}: must be at least 1")
        if asked.out and asked.out.is_dir():
            raise ValueError(f"--out {asked.out}: is a folder; name a file")
        if files := [text for text in asked.smiles if Path(text).is_file()]:
            raise ValueError(f"--smiles {files[0]}: is a file; name files before --smiles")
        run = find_run(asked.run)
        model, about = load_model(run)
        refused: list[str] | None = [] if asked.skip else None
        rules = Rules(about["source"], frozenset(about["elements"]), about["neutral"])
        labels, molecules = read_molecules(asked.files, asked.smiles, refused, rules)
        said = describe(run, about, molecules, asked.copies)
        # Networks know molecules where they were trained; those of QM9 lie near the origin.
        if about["task"] == "qm9" or about["frame"] != "raw":
            molecules = orient(molecules, "centred")
        middle, spread = predict(model, labels, molecules, asked.copies)
        values = add_atoms(middle, molecules, about)
        text = write_csv(labels, molecules, values, spread, about)
        if asked.out:
            write_bytes(asked.out, text.encode())
    except (ValueError, OSError) as error:
        print(f"molaug: {error}", file=sys.stderr)
        return 1
    for line in refused or ():
        print(f"molaug: left out: {line}", file=sys.stderr)
    print(said, file=sys.stderr)
    print(f"Written to {asked.out}" if asked.out else text, end="\n" if asked.out else "")
    return 0


def build_parser() -> Parser:
    """Of the command."""
    parser = Parser(
        prog=PROG,
        description="Predict the target of a trained run for molecules of your own: a CSV with a "
        "line per molecule, its prediction averaged over moved copies, and how far the copies "
        "differ (standard deviation), which is zero for a network of that symmetry.",
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, help="folder of a run, or of a command with one run")
    parser.add_argument("files", type=Path, nargs="*", help="xyz, sdf, smi, and what ASE reads")
    parser.add_argument("--smiles", nargs="+", default=[], metavar="TEXT", help="molecules as text")
    parser.add_argument("--copies", type=int, default=8, metavar="N", help="to average over [8]")
    parser.add_argument(
        "--skip", action="store_true", help="leave out what cannot be predicted, and say why"
    )
    parser.add_argument("--out", type=Path, metavar="PATH", help="file to write [print it]")
    return parser


def predict(
    model: AveragedModel, labels: Sequence[Label], molecules: MoleculeSet, copies: int
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over copies (graphs, ...), in physical units.

    Every molecule is moved by the same elements, so that its prediction does not depend on what
    else is in the file. Raises ValueError for a molecule that is too large for the memory of this
    machine, by its label.
    """
    import numpy as np
    import torch

    from .molecules.tasks import MoleculeExamples

    examples = MoleculeExamples(molecules, np.zeros(len(molecules)))
    torch.manual_seed(0)
    with torch.no_grad():
        one_each = model.augmentation.draw(copies, 1)  # (copies, 1, n, n)
        found, order = [], []
        for rows in batches(molecules.sizes, copies):
            try:
                batch, _ = examples.gather(rows)
                elements = one_each.expand(-1, len(batch), -1, -1).flatten(0, 1)
                output = model.move(elements, batch.repeat(copies))
            except (MemoryError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and "memory" not in str(error):
                    raise
                largest = int(rows[-1])
                raise ValueError(
                    f"{labels[largest].place}: {counted(copies, 'copy', 'copies')} of its "
                    f"{molecules.sizes[largest]:,} atoms need more memory than there is"
                ) from error
            found.append(model.scaling.to_physical(output.unflatten(0, (copies, len(batch)))))
            order.append(rows)
    each = torch.cat(found, 1)[:, torch.cat(order).argsort()]
    return each.mean(0), each.std(0, correction=0)


def batches(sizes: np.ndarray, copies: int) -> Iterator[Tensor]:
    """Rows by size, as many at a time as have no more than PAIRS, or a single one."""
    import numpy as np
    import torch

    by_size = np.argsort(sizes, kind="stable")
    order, start = torch.from_numpy(by_size), 0
    for end, size in enumerate(sizes[by_size].tolist()):
        if end > start and (end + 1 - start) * copies * size**2 > PAIRS:
            yield order[start:end]
            start = end
    yield order[start:]


def add_atoms(middle: Tensor, molecules: MoleculeSet, about: dict[str, Any]) -> Tensor:
    """Total energies are learned without what atoms contribute."""
    if "atom_references" not in about:
        return middle
    import numpy as np
    import torch

    from .molecules.targets import sum_references

    return middle + torch.from_numpy(sum_references(molecules, np.array(about["atom_references"])))


def write_csv(
    labels: Sequence[Label],
    molecules: MoleculeSet,
    middle: Tensor,
    spread: Tensor,
    about: dict[str, Any],
) -> str:
    """A line per molecule; for vectors and tensors two columns per component."""
    parts = COMPONENTS[middle.ndim]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"{about['target']}{part} [{about['unit']}]" for part in parts]
    writer.writerow(
        ["molecule", "name", "atoms", *columns, *(f"copies differ: {c}" for c in columns)]
    )
    for i, (label, size) in enumerate(zip(labels, molecules.sizes.tolist(), strict=True)):
        numbers = [f"{float(v[(i, *p)]):.10g}" for v in (middle, spread) for p in parts.values()]
        writer.writerow([label.place, label.name, size, *numbers])
    return text.getvalue()


def counted(count: int, one: str, many: str = "") -> str:
    """1 molecule, 2 molecules."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def describe(run: Path, about: dict[str, Any], molecules: MoleculeSet, copies: int) -> str:
    """What was asked of what, and how far it can be believed."""
    text = (
        f"{about['target']}, {about['symmetry']} {about['network']}, seed {about['seed']}, trained "
        f"on {about['train_count']:,} molecules of {about['source']}; "
        f"{counted(len(molecules), 'molecule')}, "
        f"{counted(copies, 'copy', 'copies')}"
    )
    if (metrics := run / METRICS).exists():
        row = read_made(metrics, "test_mae_rotated")
        text += (
            f"\nIts test MAE is {row['test_mae_canonical']:.4g} {row['unit']} on molecules as they "
            f"are in {about['source']}, {row['test_mae_rotated']:.4g} randomly rotated."
        )
    low, high = about["usual_atoms"]
    unusual = int(((molecules.sizes < low) | (molecules.sizes > high)).sum())
    if unusual:
        text += (
            f"\nBelieve {unusual} of them less: 99 % of what it was trained on has {low} to {high} "
            "atoms."
        )
    return text


if __name__ == "__main__":
    raise SystemExit(main())
