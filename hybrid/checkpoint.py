"""The one checkpoint format: plain values and tensors, written atomically, the last but one kept beside the last.

A kill or a full disk while writing leaves the older file as it was. A file that cannot be read is set aside, never
deleted, and the one before it is used. Of several processes the first writes and reads, for all.
"""

from __future__ import annotations

import contextlib
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from hybrid import distributed
from hybrid.errors import HybridError

log = logging.getLogger(__name__)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Have `write` fill a temporary file beside `path`, then put it in its place. Raises HybridError where that fails.

    Only the first of several processes does.
    """
    if distributed.rank() > 0:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        raise HybridError(
            f"{path} could not be written ({error}): what was there is intact; see to room and rights there, and run again"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # there may be no folder
            temporary.unlink(missing_ok=True)


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz, compressed, atomically. The same arrays give the same bytes."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    write_atomically(path, write)


def load_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz, None where there is none or it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Keeps other commands from training in `folder` meanwhile. Raises HybridError if one does already.

    A kill ends it too, where the file system knows locks.
    """
    lock = FileLock(folder / "lock")

    def acquire() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise HybridError(
                f"another process is training in {folder}: wait for it, or stop it; if there is none, remove {lock.lock_file}"
            ) from None
        except (OSError, NotImplementedError) as error:
            log.warning("%s cannot be locked (%s): see to it that nothing else trains there", folder, error)

    distributed.from_first(acquire)
    try:
        yield
    finally:
        lock.release()


def save(path: Path, state: dict) -> None:
    """Write `state` to `path`, keeping the checkpoint that was there as the last but one."""

    def write() -> None:
        written = path.with_name(f"{path.name}.new")
        write_atomically(written, lambda temporary: torch.save(state, temporary))
        if path.exists():
            os.replace(path, previous(path))
        os.replace(written, path)

    distributed.from_first(write)


def load(path: Path) -> dict | None:
    """The newest readable checkpoint at `path`, its tensors on the CPU, or None when there is none."""
    return distributed.from_first(lambda: _newest(path))


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
