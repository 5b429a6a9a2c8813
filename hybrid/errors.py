"""What this package raises on purpose, and how it says what it did otherwise than asked."""

import logging
from functools import cache

log = logging.getLogger("hybrid")


class HybridError(ValueError):
    """A wrong input, told in one line: the value, what was expected, what to do."""


class TimeUp(Exception):
    """The time limit came before the end; a checkpoint is there to go on from."""


@cache
def tell(line: str) -> None:
    """Say on standard error, once in a process, what was left out or made smaller, and why."""
    log.warning(line)
