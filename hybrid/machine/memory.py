"""Memory that is freed stays with the process: a training step asks for the same again."""

from __future__ import annotations

import ctypes
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD = -3, -1, -2  # of glibc's mallopt
LARGEST_FROM_HEAP = 32 * 2**20  # bytes, the most that glibc takes
NEVER = 2**31 - 1


def keep_freed() -> None:
    """Have glibc keep what it frees. Elsewhere nothing changes.

    By default each large tensor is a mapping of its own, whose pages the system clears at every step: on two AVX2 cores a
    step of the demo's nets takes a tenth longer so.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return
    for parameter, value in ((MMAP_THRESHOLD, LARGEST_FROM_HEAP), (TRIM_THRESHOLD, NEVER), (TOP_PAD, 64 * 2**20)):
        mallopt(parameter, value)
