"""The exceptions that this package raises, and warnings about what it changed or left out."""

import logging
from functools import cache

log = logging.getLogger("hybrid")


class HybridError(ValueError):
    """A wrong input. The message is one line: the value, what was expected, what to do."""


class TimeUp(Exception):
    """The time limit was reached before the end. There is a checkpoint to continue from."""


@cache
def tell(line: str) -> None:
    """Log a line about what was left out or made smaller, and why. Each line appears once per process, on standard error."""
    log.warning(line)
