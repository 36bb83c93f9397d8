"""Files that are never half-written."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file to write that appears under its name only when it is complete and on the disk; of
    several writers at a time the last one's is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.urandom(4).hex()}.partial")
    try:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a full disk does not say what it had no room for
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)  # the new name itself
    os.close(folder)


def remove_partial(folder: Path) -> None:
    """Delete what killed writers have left in a folder; nobody may be writing there meanwhile."""
    for partial in folder.glob(f"*.{'[0-9a-f]' * 8}.partial"):
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """`content` under `path`, all or nothing."""
    with atomic(path) as file:
        file.write(content)


def checksum(arrays: Iterable[Any]) -> str:
    """By which the data of a run is known again, whatever files it came from."""
    found = 0
    for array in arrays:
        found = zlib.crc32(array.tobytes(), found)
    return f"{found:08x}"


def read_json(path: Path) -> Any:
    """What `write_json` wrote. Raises ValueError, naming the file, for anything else."""
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: damaged ({error}); delete it to have it made again") from error


def write_json(path: Path, content: Any) -> None:
    """As JSON that a person can read, all or nothing."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())
