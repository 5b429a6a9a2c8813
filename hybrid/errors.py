"""The exceptions that this package raises, warnings about what it changed or left out, and words for such messages."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

log = logging.getLogger("hybrid")


class HybridError(ValueError):
    """A wrong input. The message is one line: the value, what was expected, what to do."""


class TimeUp(Exception):
    """The time limit was reached before the end. There is a checkpoint to continue from."""


def counted(count: int, one: str, several: str = "") -> str:
    """Return a count with its words, such as 1 image or 20 images. `several`: the words of other counts; default: with an s."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"


def one_line(error: Exception | str) -> str:
    """Return the message of an error in one line of at most 200 characters; its type, if it has no message."""
    return " ".join(str(error).split())[:200] or type(error).__name__


@cache
def tell(line: str) -> None:
    """Log a line, such as one about what was left out and why. Each line appears once per process, on standard error."""
    log.warning(line)


@contextmanager
def silent() -> Iterator[None]:
    """Inside this context only errors are logged."""
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
