"""Keep freed memory in the process, because the next training step allocates the same again."""

from __future__ import annotations

import ctypes
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD, TOP_PAD = -3, -1, -2  # parameters of glibc's mallopt
LARGEST_FROM_HEAP = 32 * 2**20  # bytes, the largest value that glibc accepts
NEVER = 2**31 - 1


def keep_freed() -> None:
    """Make glibc keep freed memory. With another C library, do nothing.

    By default each large tensor has its own mapping, and the system clears its pages in every step. On two AVX2 cores, a step
    of the demo's nets then takes 10 % longer.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return
    for parameter, value in ((MMAP_THRESHOLD, LARGEST_FROM_HEAP), (TRIM_THRESHOLD, NEVER), (TOP_PAD, 64 * 2**20)):
        mallopt(parameter, value)
