"""The progress of a training: a bar on a terminal; elsewhere (logs, Slurm, CI) a plain line per minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from hybrid.machine import distributed
from hybrid.machine.lines import LINE_SECONDS, in_words

# Seconds between plain lines when several processes share a terminal; None: show a bar on a terminal.
line_seconds: ContextVar[float | None] = ContextVar("line_seconds", default=None)


class Bar(tqdm):
    """A bar with a time left that is not the one of tqdm, which expects all steps to take the same time."""

    left = 0.0  # seconds

    @property
    def format_dict(self) -> dict:
        return super().format_dict | {"left": self.format_interval(self.left)}


class Progress:
    """The progress of a training with `steps` steps of `images` images, after `step` steps. Only rank 0 shows it.

    `time_share`: see `Trainable.time_share`.
    """

    def __init__(self, folder: Path, step: int, steps: int, per_epoch: int, images: int, time_share: Callable[[float], float]):
        self.name, self.steps, self.per_epoch, self.images = "/".join(folder.parts[-3:]), steps, per_epoch, images
        self.first, self.began, self.time_share = step, time.monotonic(), time_share
        self.last_line = self.began
        silent, self.apart = distributed.rank() > 0, line_seconds.get() or LINE_SECONDS
        hidden = silent or line_seconds.get() is not None or None  # None: hide the bar if standard error is no terminal
        done, total = step * images, steps * images
        shape = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{left}, {rate_fmt}{postfix}]"
        self.bar = Bar(
            desc=folder.name, initial=done, total=total, unit=" images", unit_scale=True, disable=hidden, bar_format=shape
        )
        self.plain = self.bar.disable and not silent

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def update(self, step: int, sums: dict[str, Tensor], count: int, after: float | None) -> None:
        """Show that `step` steps are done. `sums`: of scalars over the last `count` steps; `after`: seconds of later work."""
        now = time.monotonic()
        first, done = (self.time_share(count / self.steps) for count in (self.first, step))
        self.bar.left = left = (now - self.began) / (done - first) * (1 - done)
        self.bar.update(self.images)
        if not self.plain or now - self.last_line < self.apart:
            return
        self.last_line = now
        scalars = [f"{key} {value.item() / count:.3g}" for key, value in sums.items()]
        words = [f"epoch {step / self.per_epoch:.2f} of {self.steps // self.per_epoch}", *scalars, f"{in_words(left)} left"]
        if after:
            words.append(f"{in_words(left + after)} in all")
        print(f"{self.name}: {', '.join(words)}", file=sys.stderr, flush=True)

    def show(self, values: dict[str, float]) -> None:
        """Show the means of a line of the history next to the bar."""
        self.bar.set_postfix({key: f"{value:.3g}" for key, value in values.items()})
