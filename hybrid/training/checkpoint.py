"""The one checkpoint format: plain values and tensors, written atomically, the last but one kept beside the last.

A kill or a full disk while writing leaves the older file as it was. A file that cannot be read is set aside, never
deleted, and the one before it is used. Of several processes the first writes and reads, for all.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch

from hybrid.errors import HybridError
from hybrid.machine import distributed
from hybrid.machine.files import write_atomically

log = logging.getLogger(__name__)


def save(path: Path, state: dict) -> None:
    """Write `state` to `path`, keeping the checkpoint that was there as the last but one."""

    def write() -> None:
        written = path.with_name(f"{path.name}.new")
        write_atomically(written, lambda temporary: torch.save(state, temporary))
        if path.exists():
            os.replace(path, previous(path))
        os.replace(written, path)

    distributed.on_rank_zero(write)


def load(path: Path) -> dict | None:
    """The newest readable checkpoint at `path`, its tensors on the CPU, or None when there is none."""
    return distributed.on_rank_zero(lambda: _newest(path))


def previous(path: Path) -> Path:
    """Where the last but one checkpoint of `path` lies."""
    return path.with_name(f"{path.name}.previous")


def _newest(path: Path) -> dict | None:
    for candidate in (path, previous(path)):
        try:
            return torch.load(candidate, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            continue
        except Exception as error:
            # Which say nothing of the file; that memory is short torch tells by a RuntimeError.
            if isinstance(error, OSError | MemoryError) or "allocate memory" in str(error):
                raise HybridError(
                    f"{candidate} cannot be read ({error}): it is left as it is; mend that and run again"
                ) from error
            aside = candidate.with_name(f"{candidate.name}.damaged")
            os.replace(candidate, aside)
            log.warning("%s cannot be read (%s): set aside as %s", candidate, type(error).__name__, aside.name)
    return None
