"""The one error that this package raises on purpose."""


class HybridError(ValueError):
    """A wrong input, told in one line: the value, what was expected, what to do."""
