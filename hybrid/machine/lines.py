"""Plain lines about work that takes minutes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence

from torch import Tensor

LINE_SECONDS = 60.0  # between lines


def in_words(seconds: float) -> str:
    """Format a duration with two digits: 8 s, 2.5 min, 31 h, 4.2 days."""
    for unit, size, most in (("s", 1, 60), ("min", 60, 90), ("h", 3600, 48), ("days", 86400, float("inf"))):
        if (count := seconds / size) < most:
            return f"{count:.0f} {unit}" if unit == "s" or count >= 10 else f"{count:.1f} {unit}"
    raise ValueError(seconds)


def told(parts: Sequence[tuple[Tensor, ...]], silent: bool = False) -> Iterator[tuple[Tensor, ...]]:
    """Yield the parts of a long computation. Each minute, print how many of their images are done, and the time left."""
    began = last = time.monotonic()
    done, total = 0, sum(len(part[0]) for part in parts)
    for part in parts:
        now = time.monotonic()
        if done and not silent and now - last >= LINE_SECONDS:
            last, left = now, (now - began) / done * (total - done)
            print(f"{done:,} of {total:,} images, {in_words(left)} left", file=sys.stderr, flush=True)
        yield part
        done += len(part[0])
