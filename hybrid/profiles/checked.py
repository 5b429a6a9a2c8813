"""Fields that check their values: kinds of numbers with a range, and the base class of the dataclasses in `schema`."""

from __future__ import annotations

import math
from dataclasses import dataclass, is_dataclass
from functools import cache
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

from hybrid.errors import HybridError

SEEDS = 2**32  # the number of seeds that torch's generators on CPUs tell apart


@dataclass(frozen=True)
class Range:
    """The values that a field may have: numbers from `low` to `high`. In a tuple, every number has this range."""

    low: float
    high: float
    expected: str  # the end of the error message, after "give"
    above: bool = False  # whether `low` itself is excluded
    below: bool = False  # whether `high` itself is excluded
    fewest: int = 1  # smallest length of a tuple

    def holds(self, value: object, whole: bool) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not math.isfinite(value):
            return False
        over = value > self.low if self.above else value >= self.low
        return over and (value < self.high if self.below else value <= self.high)


# The kinds of numbers. Where there is no upper limit in theory, the limit here is far above all useful values.
Count = Annotated[int, Range(1, 10**8, "a number above 0")]
Several = Annotated[int, Range(2, 10**8, "2 or more")]
Counts = Annotated[tuple[int, ...], Range(1, 10**6, "one or more numbers above 0")]
Weights = Annotated[tuple[float, ...], Range(0, 1e12, "one or more numbers above 0", above=True)]
Positive = Annotated[float, Range(0, 1e12, "a number above 0", above=True)]
NotNegative = Annotated[float, Range(0, 1e12, "0 or more")]
Share = Annotated[float, Range(0, 1, "a share from 0 to 1")]
BelowOne = Annotated[float, Range(0, 1, "a share of at least 0 and below 1", below=True)]
Crop = Annotated[float, Range(0, 1, "a share above 0, at most 1", above=True)]
Turns = Annotated[float, Range(0, 0.5, "turns from 0 to 0.5")]
Rate = Annotated[float, Range(0, 10, "a number above 0, at most 10", above=True)]
Betas = Annotated[tuple[float, float], Range(0, 1, "two values of at least 0 and below 1", below=True, fewest=2)]
Width = Annotated[float, Range(0, 0.25, "a share above 0, at most 0.25", above=True)]
YChannels = Annotated[int, Range(1, 5, "1 to 5 of z's six channels")]
Deviation = Annotated[float, Range(0, 100, "a deviation above 0", above=True)]
Resolutions = Annotated[tuple[int, ...], Range(1, 32, "resolutions from 1 to 32", fewest=0)]
Between = Annotated[float, Range(0, 1, "a share above 0 and below 1", above=True, below=True)]
Eta = Annotated[float, Range(0, 1, "a value from 0 (DDIM) to 1 (DDPM)")]
Order = Annotated[int, Range(1, 2, "1 (DDIM) or 2")]


class Checked:
    """A dataclass that checks the types of its fields, and their ranges if they have one, when it is made."""

    def __post_init__(self):
        for name, (kind, optional, range_) in ranges(type(self)).items():  # type: ignore[arg-type]
            value = getattr(self, name)
            if value is None and optional:
                continue
            if range_ is not None:
                several = kind not in (int, float)
                values = value if isinstance(value, tuple) else (value,)
                right = isinstance(value, tuple) == several and len(values) >= (range_.fewest if several else 1)
                right = right and all(range_.holds(each, int in (kind, *get_args(kind))) for each in values)
                demand(right, name, value, range_.expected + ", or none" * optional)
            elif kind in (bool, str):
                demand(isinstance(value, kind), name, value, "true or false" if kind is bool else "a word")
            elif get_origin(kind) is Literal:
                demand(value in get_args(kind), name, value, " or ".join(get_args(kind)))
            elif is_dataclass(kind):
                demand(isinstance(value, kind), name, value, f"a {kind.__name__}")


@cache
def ranges(kind: type) -> dict[str, tuple[type, bool, Range | None]]:
    """Return, for each field, its type, whether it may be None, and its range."""
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        parts = [part for part in get_args(hint) if part is not type(None)] if type(None) in get_args(hint) else [hint]
        optional, hint = type(None) in get_args(hint), parts[0]
        own = [each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Range)]
        found[name] = (hint.__origin__ if own else hint, optional, own[0] if own else None)
    return found


def whole_seed(seed: object) -> int:
    """Return the seed. Raises HybridError if it is none: torch's generators on CPUs use only 32 bits of a seed."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < SEEDS:
        raise HybridError(f"seed {seed!r} is not usable: expected a whole number from 0 to {SEEDS - 1}")
    return seed


def demand(right: bool, name: str, value: object, expected: str) -> None:
    """Raise HybridError, which names the field and its value and says what to give, unless the value is `right`."""
    if not right:
        raise HybridError(f"{name} = {value!r}: give {expected}")
