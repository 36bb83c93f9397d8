"""Arrays in a file that opens in milliseconds: mapped, aligned, and covered by a checksum."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from molaug.files import atomic
from molaug.molecules.convert import Arrays
from molaug.molecules.splits import QM9_COUNT

_SIGNATURE = 64  # bytes of the first line of a cache: format, checksum and size of the file
_HEADER = 4096  # bytes before the arrays: the signature, then names, dtypes, shapes and places


def read_cache(path: Path, expected: int | None = QM9_COUNT, *, verify: bool = True) -> Arrays:
    """Arrays mapped from a cache, after its checksum has been compared, unless `verify` is false.

    A crc32 of the 63 MB costs 12 ms where sha256 costs 35 to 200, and it is there to notice
    accidents, not forgery. Every byte of the file is covered.
    """
    try:
        raw = np.asarray(np.memmap(path, np.uint8, mode="r"))
    except ValueError as error:
        raise ValueError(f"{path} is empty") from error
    if verify and bytes(raw[:_SIGNATURE]) != _signature(
        zlib.crc32(raw[_SIGNATURE:].data), raw.size
    ):
        raise ValueError(f"{path} is truncated, altered or of another version")
    arrays = {}
    for name, (dtype, shape, start) in json.loads(bytes(raw[_SIGNATURE:_HEADER])).items():
        stop = start + np.dtype(dtype).itemsize * int(np.prod(shape))
        arrays[name] = raw[start:stop].view(dtype).reshape(shape)
    if expected is not None and len(arrays["index"]) != expected:
        raise ValueError(f"{path} has {len(arrays['index']):,} molecules, not {expected:,}")
    return arrays


def read_signature(path: Path) -> bytes:
    """The first line of a cache, which has the checksum and the size of all that follows."""
    with open(path, "rb") as file:
        return file.read(_SIGNATURE)


def write_cache(path: Path, arrays: Arrays) -> None:
    """Write a cache: a signature line, a header of json, then the arrays 64-byte aligned."""
    checksum, size = 0, _SIGNATURE
    with atomic(path) as file:
        file.write(bytes(_SIGNATURE))
        for block in _blocks(arrays):
            file.write(block)
            checksum, size = zlib.crc32(block, checksum), size + len(block)
        file.seek(0)
        file.write(_signature(checksum, size))


def _signature(checksum: int, size: int) -> bytes:
    text = f"molaug arrays 1, crc32 {checksum:08x}, {size} bytes"
    return text.ljust(_SIGNATURE - 1).encode() + b"\n"


def _blocks(arrays: Arrays) -> Iterator[bytes]:
    layout, start = {}, _HEADER
    for name, array in arrays.items():
        layout[name] = (array.dtype.str, array.shape, start)
        start += _aligned(array.nbytes)
    yield json.dumps(layout).ljust(_HEADER - _SIGNATURE).encode()
    for array in arrays.values():
        yield array.tobytes() + bytes(_aligned(array.nbytes) - array.nbytes)


def _aligned(size: int) -> int:
    return -(-size // 64) * 64
