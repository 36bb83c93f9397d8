"""The C library's heap: memory that a step frees is kept for the next."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of mallopt(3), glibc
_LARGEST = 32 * 2**20  # the most that glibc takes as its threshold


def keep_freed_memory() -> bool:
    """Stop glibc from handing tensors of up to 32 MiB back to the system when they are freed.

    As it comes, the pages of every large tensor are given back and faulted in again at each step,
    thousands of them: a quarter of the step of a small network, measured on a virtual machine. The
    process stays as large as it was at its largest. Returns whether it was done: only with glibc.
    """
    if sys.platform != "linux" or not hasattr(library := ctypes.CDLL(None), "mallopt"):
        return False
    done = [library.mallopt(_MMAP_THRESHOLD, _LARGEST)]
    done.append(library.mallopt(_TRIM_THRESHOLD, 2**31 - 1))
    return all(done)
