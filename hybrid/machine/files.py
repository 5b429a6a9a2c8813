"""Write files so that a kill or a full disk cannot damage them, and check them before they are used.

Files that later commands read contain a digest: an .npz and a checkpoint have the CRCs of their archive, an outcome has the
SHA-256 of its values.
A reader returns the content, or None if the file is missing or damaged. A damaged file is renamed, reported in a line, and made
again. Files of versions without digests are accepted.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import logging
import math
import os
import platform
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
from filelock import FileLock, Timeout

from hybrid.errors import HybridError, one_line
from hybrid.machine import distributed

log = logging.getLogger(__name__)
HOST = re.sub(r"\W+", "-", platform.node())  # this machine, in the names of temporary files
moves: ContextVar[bool] = ContextVar("moves", default=True)  # whether unusable files are set aside

T = TypeVar("T")


def read_kept(path: Path, read: Callable[[BinaryIO], T]) -> T | None:
    """Return the result of `read` for the file, or None if there is no file. If `read` raises, set the file aside as damaged.

    Raises HybridError if an intact file may be unreadable at present: permissions, a failing disk, too little memory.
    """
    try:
        with open(path, "rb") as file:
            return read(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except HybridError:
        raise
    except Exception as error:
        # A reader may seek to an invalid place in a damaged archive. If memory is short, torch raises a RuntimeError.
        of_machine = isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)
        if of_machine or isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise HybridError(f"{path} cannot be read ({error}): it was not changed; solve this and run again") from error
        set_aside(path, error)
        return None


def set_aside(path: Path, why: Exception | str) -> None:
    """Rename a file that is damaged or has the wrong content, and log a line about it. Do neither in `only_read`."""
    if not moves.get():
        return
    names = (f"{path.name}.damaged{number or ''}" for number in count())
    aside = next(aside for aside in map(path.with_name, names) if not aside.exists())
    reason = one_line(why)
    try:
        os.replace(path, aside)
        log.warning("%s cannot be read (%s): set aside as %s", path, reason, aside.name)
    except OSError:
        log.warning("%s cannot be read (%s): it is not used; remove it", path, reason)


@contextlib.contextmanager
def only_read() -> Iterator[None]:
    """Leave unusable files in place: for files that this package may not have written, and cannot make again."""
    token = moves.set(False)
    try:
        yield
    finally:
        moves.reset(token)


def check_archive(file: BinaryIO) -> None:
    """Raise an error if the content of a zip archive does not match its CRCs."""
    with zipfile.ZipFile(file) as archive:
        if (broken := archive.testzip()) is not None:
            raise ValueError(f"the CRC of {broken} is wrong")
    file.seek(0)


def read_json(path: Path, check: Callable[[Any], object] | None = None) -> Any:
    """Return the named values of a JSON file without their digest, or its list. `check` raises ValueError for wrong values.

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
    """Raise ValueError if a field is missing from the values or has another type."""
    if not isinstance(values, dict):
        raise ValueError(f"expected named values, found {type(values).__name__}")
    for name, kind in fields.items():
        if not isinstance(values.get(name), kind):
            raise ValueError(f"{name} is missing or of another type")


def write_json(path: Path, values: dict | list) -> None:
    write_text(path, json.dumps(values, indent=1) + "\n")


def append_json(path: Path, row: dict) -> None:
    """Append a row to a list in a JSON file. Several processes may do so, if the file system supports locks.

    The lock is a hidden file beside it, which stays and which git ignores.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError, NotImplementedError):
        lock.acquire()
    try:
        write_json(path, [*(read_json(path) or []), row])
    finally:
        lock.release()


def sealed(values: dict) -> dict:
    """Return the values with their digest added, for `write_json`."""
    return values | {"digest": digest(values)}


def digest(values: dict) -> str:
    """Return the SHA-256 of plain values, in the form in which JSON stores them."""
    return hashlib.sha256(json.dumps(json.loads(json.dumps(values)), sort_keys=True).encode()).hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text atomically, as UTF-8 with plain newlines on every system."""
    write_atomically(path, lambda temporary: temporary.write_bytes(text.encode("utf-8")))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file in the folder of `path`, then rename it to `path`. Raises HybridError if that fails.

    If `path` is a symbolic link, the file that it names is written. With several processes, only the first one writes. The
    next call removes the temporary file of a killed process.
    """
    if distributed.rank() > 0:
        return
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    temporary = path.with_name(f".{path.name}.{HOST}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        write(temporary)
        with open(temporary, "r+b") as file:  # Windows syncs only what can be written
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
        raise HybridError(
            f"{path} could not be written ({error}): what was there is intact; check free space and permissions, and run again"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # there may be no folder
            temporary.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove temporary files of `path` whose processes on this machine have ended. Those of other machines stay."""
    for left in path.parent.glob(f"{glob.escape(f'.{path.name}.{HOST}')}.*"):
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
    """Write a compressed .npz atomically. The same arrays give the same bytes."""

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    write_atomically(path, write)


def load_arrays(path: Path, names: Iterable[str] = (), only: Iterable[str] | None = None) -> dict[str, np.ndarray] | None:
    """Return the arrays of an .npz, which must include `names`; if `only` is given, those of them. See `read_kept`."""

    def read(file: BinaryIO) -> dict[str, np.ndarray]:
        check_archive(file)
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files if only is None or name in only}
        if missing := sorted(set(names) - arrays.keys()):
            raise ValueError(f"it lacks {', '.join(missing)}")
        return arrays

    return read_kept(path, read)


def check_out(out: Path, *endings: str) -> None:
    """Raise HybridError if a result cannot be written to the file `out`. Call it before anything is computed."""
    if out.suffix not in endings:
        raise HybridError(f"out = {str(out)!r} has no known ending: expected {' or '.join(endings)}")
    if out.is_dir():
        raise HybridError(f"out = {str(out)!r} is a folder: give the name of a file in it")
    check_folder(out.parent)


def check_folder(folder: Path) -> None:
    """Raise HybridError if nothing can be written to `folder`, which may have to be made."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise HybridError(f"{there} is a file, but must be a folder: move it away, or give another path")
    if not os.access(there, os.W_OK):
        raise HybridError(f"{there} cannot be written to: change its permissions, or give another path")


def check_finite(values: dict[str, float], whose: str) -> None:
    """Raise HybridError if a number is NaN or infinite."""
    broken = [name for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise HybridError(f"{whose}: {broken[0]} is {values[broken[0]]}, not finite: the model is broken, train it again")


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Inside this context no other command can train or write codes in `folder`. Raises HybridError if one already does.

    If the file system supports locks, a kill releases the lock.
    """
    lock = FileLock(folder / "lock")

    def acquire() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise HybridError(
                f"another process is at work in {folder}: wait for it, or stop it; if there is none, remove {lock.lock_file}"
            ) from None
        except (OSError, NotImplementedError) as error:
            log.warning("%s cannot be locked (%s): make sure that nothing else works there", folder, error)

    distributed.on_rank_zero(acquire)
    try:
        yield
    finally:
        lock.release()
