"""The checkpoint format: plain values and tensors, written atomically. The previous checkpoint is kept.

A kill or a full disk during writing does not damage the older file. A checkpoint that is damaged, incomplete or not finite is
renamed, never deleted, and the previous one is used. With several processes, the first one reads and writes for all.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from hybrid.errors import HybridError
from hybrid.machine import distributed
from hybrid.machine.files import check_archive, demand, read_kept, write_atomically

# What each checkpoint has.
FIELDS = {
    "about": dict,  # the model and its data
    "provenance": dict,
    "step": int,  # number of finished steps
    "steps": int,  # number of all steps
    "seconds": (int, float),
    "history": str,
    "model": dict,  # weights for further training
    "optimisers": dict,
    "weights": dict,  # weights for use
}


def save(path: Path, state: dict) -> None:
    """Write `state` to `path`, and keep the checkpoint that was there as the previous one."""

    def write() -> None:
        written = path.with_name(f"{path.name}.new")
        write_atomically(written, lambda temporary: torch.save(state, temporary))
        if path.exists():
            os.replace(path, previous(path))
        os.replace(written, path)

    distributed.on_rank_zero(write)


def load(path: Path, fits: Callable[[dict], None] | None = None) -> dict | None:
    """Return the newest intact checkpoint at `path`, with tensors on the CPU, or None if there is none.

    `fits` raises ValueError for a state that cannot be used, which is then renamed, or HybridError to refuse it.
    """

    def read(file: BinaryIO) -> dict:
        check_archive(file)  # torch does not look at the CRCs
        state = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"expected named values, found {type(state).__name__}")
        demand(state, FIELDS)
        if (name := not_finite(state["weights"]) or not_finite(state["model"])) is not None:
            raise ValueError(f"{name} is not finite")
        if fits is not None:
            fits(state)
        return state

    def newest() -> dict | None:
        states = (read_kept(candidate, read) for candidate in (path, previous(path)))
        return next((state for state in states if state is not None), None)

    return distributed.on_rank_zero(newest)


def load_finished(path: Path) -> dict | None:
    """Return the newest intact checkpoint at `path` if it is of the last step, else None."""
    state = load(path)
    return state if state is not None and state["step"] >= state["steps"] else None


def origin(path: Path) -> dict:
    """Return the provenance of the training at `path`. Raises HybridError if there is no checkpoint."""
    if (state := load(path)) is None:
        raise HybridError(f"{path} is not there: run the same command again, it trains what is missing")
    return state["provenance"]


def previous(path: Path) -> Path:
    """Return the path of the previous checkpoint."""
    return path.with_name(f"{path.name}.previous")


def not_finite(weights: dict[str, Tensor]) -> str | None:
    """Return the name of the first tensor with NaN or infinity, or None."""
    return next((n for n, x in weights.items() if x.is_floating_point() and not torch.isfinite(x).all()), None)


def digest(weights: dict[str, Tensor]) -> str:
    """Return sixteen hexadecimal digits that identify a set of weights."""
    found = hashlib.sha256()
    for name, value in weights.items():
        found.update(name.encode())
        found.update(value.cpu().contiguous().numpy())
    return found.hexdigest()[:16]
