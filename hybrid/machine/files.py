"""Files that a kill or a full disk leaves whole, and that are looked at before they are believed.

Every kind of file that is kept carries a digest: an .npz and a checkpoint the CRCs of their archive, JSON the SHA-256 of its
values. A reader gives what a file holds, or None where there is none or it is damaged: that one is set aside, told in a line
and made anew. Files from before there were digests are believed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import math
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from filelock import FileLock, Timeout

from hybrid.errors import HybridError
from hybrid.machine import distributed

log = logging.getLogger(__name__)

T = TypeVar("T")


def read_kept(path: Path, read: Callable[[BinaryIO], T]) -> T | None:
    """What `read` makes of the file; None where there is none, or where `read` raises: then it is set aside as damaged.

    Raises HybridError where the file may be whole and cannot be read now: rights, a failing disk, short memory.
    """
    try:
        with open(path, "rb") as file:
            return read(file)
    except FileNotFoundError:
        return None
    except HybridError:
        raise
    except Exception as error:
        # A damaged archive can have its reader seek to nowhere; of short memory torch tells by a RuntimeError.
        of_machine = isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
        if of_machine or isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise HybridError(f"{path} cannot be read ({error}): it is left as it is; mend that and run again") from error
        set_aside(path, error)
        return None


def set_aside(path: Path, why: Exception | str) -> None:
    """Rename a file that is damaged, or not what it should be, and say so in a line."""
    aside = path.with_name(f"{path.name}.damaged")
    reason = " ".join(str(why).split())[:200] or type(why).__name__
    try:
        os.replace(path, aside)
        log.warning("%s cannot be read (%s): set aside as %s", path, reason, aside.name)
    except OSError:
        log.warning("%s cannot be read (%s): it is not used; remove it", path, reason)


def check_archive(file: BinaryIO) -> None:
    """Raises where a zip archive's content does not have the CRCs that were written with it."""
    with zipfile.ZipFile(file) as archive:
        if (broken := archive.testzip()) is not None:
            raise ValueError(f"the CRC of {broken} is wrong")
    file.seek(0)


def read_json(path: Path, check: Callable[[Any], object] | None = None) -> Any:
    """The named values of a JSON file, without their digest, or its list; `check` raises where they are not right.

    See `read_kept`.
    """

    def read(file: BinaryIO) -> dict | list:
        values = json.loads(file.read().decode("utf-8"))
        if not isinstance(values, dict | list):
            raise ValueError(f"expected named values or a list, found {type(values).__name__}")
        if isinstance(values, dict) and values.pop("digest", None) not in (None, digest(values)):
            raise ValueError("its content does not have the digest that was written with it")
        if check is not None:
            check(values)
        return values

    return read_kept(path, read)


def demand(values: dict, fields: Mapping[str, Any]) -> None:
    """Raises ValueError where values lack one of these fields, or it is of another type."""
    if not isinstance(values, dict):
        raise ValueError(f"expected named values, found {type(values).__name__}")
    for name, kind in fields.items():
        if not isinstance(values.get(name), kind):
            raise ValueError(f"{name} is missing or of another type")


def write_json(path: Path, values: dict | list) -> None:
    write_text(path, json.dumps(values, indent=1) + "\n")


def sealed(values: dict) -> dict:
    """Values with their digest among them, for `write_json`."""
    return values | {"digest": digest(values)}


def digest(values: dict) -> str:
    """SHA-256 of plain values, as they are read back from JSON."""
    return hashlib.sha256(json.dumps(json.loads(json.dumps(values)), sort_keys=True).encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text atomically, as UTF-8 with plain newlines on every system."""
    write_atomically(path, lambda temporary: temporary.write_bytes(text.encode("utf-8")))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` fill a temporary file beside `path`, then put it in its place. Raises HybridError where that fails.

    Only the first of several processes does. What a kill in the middle of this left behind is removed by the next.
    """
    if distributed.rank() > 0:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
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


def _sweep(path: Path) -> None:
    """Remove temporary files of `path` whose processes are no more. Another machine's are left."""
    for left in path.parent.glob(f".{path.name.replace('[', '[[]')}.*"):
        number = left.name.rpartition(".")[2]
        if number.isdigit() and not _runs(int(number)):
            with contextlib.suppress(OSError):
                left.unlink()


def _runs(process: int) -> bool:
    if os.name == "nt":  # where signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an .npz, compressed, atomically. The same arrays give the same bytes."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    write_atomically(path, write)


def load_arrays(path: Path, names: Iterable[str] = ()) -> dict[str, np.ndarray] | None:
    """The arrays of an .npz that has these and perhaps others. See `read_kept`."""

    def read(file: BinaryIO) -> dict[str, np.ndarray]:
        check_archive(file)
        with np.load(file, allow_pickle=False) as archive:
            arrays = dict(archive)
        if missing := sorted(set(names) - arrays.keys()):
            raise ValueError(f"it lacks {', '.join(missing)}")
        return arrays

    return read_kept(path, read)


def check_finite(values: dict[str, float], whose: str) -> None:
    """Raises HybridError where a number is NaN or infinite."""
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise HybridError(f"{whose}: {broken[0]} is {values[broken[0]]}, not finite: the model is broken, train it anew")


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
