"""Files that are never half-written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file to write that appears under its name only when it is complete and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)  # the new name itself
    os.close(folder)


def write_bytes(path: Path, content: bytes) -> None:
    """`content` under `path`, all or nothing."""
    with atomic(path) as file:
        file.write(content)


def write_json(path: Path, content: Any) -> None:
    """As JSON that a person can read, all or nothing."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())
