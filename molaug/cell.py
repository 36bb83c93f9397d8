"""One run of a grid in an interpreter of its own, for `molaug.train` to have several at a time.

python -m molaug.cell TASK FOLDER SYMMETRY NETWORK SEED THREADS LABEL
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Train a run of the grid whose configuration is in FOLDER; returns the exit status."""
    name, place, symmetry, network, seed, threads, label = sys.argv[1:]
    folder = Path(place)
    try:
        # Only now, so that Ctrl-C while they load is met below.
        from .config import CONFIGS
        from .files import checksum, read_json
        from .folder import CONFIG, Run
        from .loop import NotFinite
        from .processes import prepare_processor
        from .report import console, describe_run, print_plain
        from .train import tasks_of, train_one

        prepare_processor(int(threads))
        known = read_json(folder / CONFIG)
        config = CONFIGS[name].from_dict(known["config"])
        out = console(live=False)  # the bars of several would overwrite each other
        try:
            data = tasks_of(config).open_data(config)
            mark = checksum(tasks_of(config).arrays_of(data))
            if mark != known["data"]:
                raise ValueError(f"{place}: the data changed since the command began")
            run = Run(symmetry, network, int(seed))
            row = train_one(data, mark, config, run, folder, out, label)
        except (ValueError, OSError, NotFinite) as error:
            print(f"molaug: {error}", file=sys.stderr)
            return 1
        print_plain(out, describe_run(row, label))
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
