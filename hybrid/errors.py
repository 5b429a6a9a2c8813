"""What this package raises on purpose."""


class HybridError(ValueError):
    """A wrong input, told in one line: the value, what was expected, what to do."""


class TimeUp(Exception):
    """The time limit came before the end; a checkpoint is there to go on from."""
