"""Files that a kill or a full disk leaves whole: written atomically, read or reported as absent."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from hybrid.errors import HybridError
from hybrid.machine import distributed

log = logging.getLogger(__name__)


def read_json(path: Path) -> dict | None:
    """The content of a JSON file, None where there is none or it is damaged."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def write_json(path: Path, value: dict) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(value, indent=1) + "\n"))


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

    distributed.on_rank_zero(acquire)
    try:
        yield
    finally:
        lock.release()
