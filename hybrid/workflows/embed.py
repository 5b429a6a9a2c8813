"""Write the codes of any number of images to an .npz, .csv or .parquet, one row per image.

Only a few hundred images are in memory at once. Each finished chunk of codes is saved in a folder beside the output, so the
same command continues after an interruption.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from torch import Tensor
from tqdm import tqdm

from hybrid.data.sources import Row, Source
from hybrid.errors import HybridError, counted, one_line
from hybrid.machine import distributed, files
from hybrid.machine.lines import LINE_SECONDS, in_words
from hybrid.model import HybridModel
from hybrid.training import checkpoint

CHUNK = 500  # images to read and encode at once
SUFFIXES = (".npz", ".csv", ".parquet")
SHOWN = 3  # largest number of unreadable files to name

Chunks = Iterator[tuple[list[Row], dict[str, np.ndarray]]]  # rows, and their codes (n, C, 16, 16) by part


@dataclass(frozen=True)
class Embedded:
    """The result of `embed`."""

    out: Path
    images: int  # number of images with codes
    errors: tuple[str, ...]  # a message for each image that could not be read

    def __str__(self) -> str:
        written = f"codes of {counted(self.images, 'image')}: {self.out}"
        if not self.errors:
            return written
        named = "; ".join(self.errors[:SHOWN]) + ("; ..." if len(self.errors) > SHOWN else "")
        return (
            f"{written}; {counted(len(self.errors), 'could not be read and is', 'could not be read and are')} left out: {named}"
        )


def check(out: Path) -> None:
    """Raise HybridError if codes cannot be written to a file with this name."""
    if distributed.world() > 1:
        raise HybridError(f"hybrid embed runs in one process, not in {distributed.world()}: start it without torchrun")
    files.check_out(out, *SUFFIXES)
    if out.suffix == ".parquet":
        _pyarrow()


def embed(
    model: HybridModel,
    source: Source,
    out: Path,
    parts: tuple[str, ...] = ("y",),
    chunk: int = CHUNK,
    origin: dict | None = None,
) -> Embedded:
    """Write a row for each image of `source`: its file, its split and class if known, and these parts of z.

    Each part is float32 (N, C, 16, 16) in an .npz, a list of C * 256 numbers in Parquet, and C * 256 columns in CSV. An .npz
    also has the `encoder`, the digest of its weights (`checkpoint.digest`), and the `origin` as JSON, for `hybrid explain`;
    Parquet has both in the schema's metadata. Images that cannot be read are left out and reported. Raises HybridError if no
    image can be read.
    """
    check(out)
    folder, encoder = kept_in(out), checkpoint.digest(model.encoder.state_dict())
    with files.sole_use(folder):
        about = {"model": encoder, "images": source.identity, "parts": list(parts), "chunk": chunk}
        if files.read_json(folder / "about.json") != about:
            for old in folder.glob("*.npz"):
                old.unlink()
            files.write_json(folder / "about.json", about)
        kept, errors = [], []
        for path, places, failed in _encoded(model, source, folder, parts, chunk):
            kept.append((path, places))
            errors += failed
        count = sum(len(places) for _, places in kept)
        if not count:
            raise HybridError(f"none of {counted(len(source), 'image')} could be read; the first: {errors[0]}")

        def chunks() -> Chunks:
            for path, places in kept:
                if (arrays := files.load_arrays(path)) is None:
                    raise HybridError(f"{path} changed during the run: run the same command again")
                yield [source.rows[i] for i in places], {part: arrays[part] for part in parts}

        columns = [name for name in ("split", "label") if any(getattr(row, name) for row in source.rows)]
        write, facts = WRITERS[out.suffix], {"encoder": encoder, **({} if origin is None else {"origin": json.dumps(origin)})}
        files.write_atomically(out, lambda temporary: write(temporary, chunks, count, columns, parts, facts))
        shutil.rmtree(folder, ignore_errors=True)
    return Embedded(out, count, tuple(errors))


def kept_in(out: Path) -> Path:
    """Return the folder with the finished codes of a command that has not ended. It is removed at the end."""
    return out.with_name(f".{out.name}.parts")


def parts_of(model: HybridModel, images: Tensor, parts: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Encode images (N, 3, 32, 32); return the named parts of z, float32 (N, C, 16, 16) each."""
    z = model.encode(images)
    y, w = model.split(z)
    return {part: {"z": z, "y": y, "w": w}[part].cpu().numpy() for part in parts}


def _encoded(
    model: HybridModel, source: Source, folder: Path, parts: tuple[str, ...], chunk: int
) -> Iterator[tuple[Path, list[int], list[str]]]:
    """Yield for each chunk the file of its codes, the indices of its rows, and errors. Missing files are made."""
    starts = range(0, len(source), chunk)
    with Bar(len(source)) as bar, ThreadPoolExecutor(1) as reader:
        ahead = None  # while one chunk is encoded, the next one is read
        for start in starts:
            path = folder / f"{start:012}.npz"
            found = files.load_arrays(path) if path.exists() else None
            if found is not None and {"places", "errors", *parts} <= found.keys():
                places, errors, ahead = found["places"].tolist(), found["errors"].tolist(), None
                bar.skip(min(chunk, len(source) - start))
            else:
                images, places, errors = ahead.result() if ahead else source.read(start, start + chunk)
                ahead = reader.submit(source.read, start + chunk, start + 2 * chunk) if start + chunk < len(source) else None
                arrays = parts_of(model, images, parts) if places else {part: np.empty((0, 0, 16, 16)) for part in parts}
                arrays |= {"places": np.array(places, np.int64), "errors": np.array(errors, str)}
                files.write_atomically(path, lambda temporary, arrays=arrays: _save(temporary, arrays))
                bar.add(min(chunk, len(source) - start))
            yield path, places, errors


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with open(path, "wb") as file:  # given a path, numpy would append .npz
        np.savez(file, **arrays)  # type: ignore[arg-type]


class Bar:
    """Report progress on standard error: a bar on a terminal, otherwise a line per minute."""

    def __init__(self, total: int):
        self.bar = tqdm(total=total, desc="embedding", unit=" images", unit_scale=True, disable=None)
        self.total, self.done, self.skipped, self.started = total, 0, 0, time.monotonic()
        self.reported = self.started

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def skip(self, count: int) -> None:
        """Count images that an earlier run finished."""
        self.skipped += count
        self.add(count)

    def add(self, count: int) -> None:
        self.bar.update(count)
        self.done += count
        now = time.monotonic()
        if self.bar.disable and now - self.reported > LINE_SECONDS and self.done > self.skipped:
            left = (now - self.started) / (self.done - self.skipped) * (self.total - self.done)
            print(f"embedding: {self.done:,} of {self.total:,} images, {in_words(left)} left", file=sys.stderr, flush=True)
            self.reported = now


def _write_npz(
    path: Path, chunks: Callable[[], Chunks], count: int, columns: list[str], parts: tuple[str, ...], facts: dict[str, str]
) -> None:
    """Write one array after the other. An array of codes is never in memory as a whole."""
    rows = [row for some, _ in chunks() for row in some]
    _, first = next(chunk for chunk in chunks() if chunk[0])
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("file", *columns):
            with _member(archive, name) as member:
                np.lib.format.write_array(member, np.array([getattr(row, name) for row in rows], str))
        for part in parts:
            with _member(archive, part) as member:
                header = {"descr": "<f4", "fortran_order": False, "shape": (count, *first[part].shape[1:])}
                np.lib.format.write_array_header_1_0(member, header)
                for some, arrays in chunks():
                    member.write(arrays[part].astype("<f4").tobytes() if some else b"")
        for name, value in facts.items():
            with _member(archive, name) as member:
                np.lib.format.write_array(member, np.array(value))


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open the member for an array in an .npz, without a date."""
    return archive.open(zipfile.ZipInfo(f"{NAMES.get(name, name)}.npy"), "w", force_zip64=True)


def _write_csv(
    path: Path, chunks: Callable[[], Chunks], count: int, columns: list[str], parts: tuple[str, ...], facts: dict[str, str]
) -> None:
    with open(path, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer, head = csv.writer(file), False
        for rows, arrays in chunks():
            if not rows:
                continue
            codes = {part: arrays[part].reshape(len(rows), -1) for part in parts}
            if not head:
                numbered = [f"{part}{i}" for part in parts for i in range(codes[part].shape[1])]
                writer.writerow(["file", *(NAMES.get(name, name) for name in columns), *numbered])
                head = True
            values = np.concatenate([codes[part] for part in parts], axis=1)
            for row, numbers in zip(rows, values.tolist(), strict=True):
                known = [row.file, *(getattr(row, name) for name in columns)]
                writer.writerow([*known, *("%.6g" % number for number in numbers)])  # noqa: UP031 - twice as fast as format


def _write_parquet(
    path: Path, chunks: Callable[[], Chunks], count: int, columns: list[str], parts: tuple[str, ...], facts: dict[str, str]
) -> None:
    pa, parquet = _pyarrow()
    writer = None
    try:
        for rows, arrays in chunks():
            if not rows:
                continue
            names = [os.fsencode(row.file).decode("utf-8", "replace") for row in rows]  # Parquet has only Unicode
            table = {"file": pa.array(names)}
            table |= {NAMES.get(name, name): pa.array([getattr(row, name) for row in rows]) for name in columns}
            for part in parts:
                codes = arrays[part].reshape(len(rows), -1).astype(np.float32)
                table[part] = pa.FixedSizeListArray.from_arrays(pa.array(codes.ravel()), codes.shape[1])
            table = pa.table(table).replace_schema_metadata(facts)
            writer = writer or parquet.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


NAMES = {"label": "class"}  # field -> column, where the names differ
WRITERS = {".npz": _write_npz, ".csv": _write_csv, ".parquet": _write_parquet}


def origin_in(path: Path) -> str | None:
    """Return the origin in a .parquet of `embed`, as JSON; None if it has none. Raises HybridError if it cannot be read."""
    pa, parquet = _pyarrow()
    try:
        origin = (parquet.read_schema(path).metadata or {}).get(b"origin")
    except (OSError, pa.ArrowException) as error:
        raise HybridError(f"{path} cannot be read ({one_line(error)}): make it again") from None
    return None if origin is None else origin.decode()


def _pyarrow():
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise HybridError("Parquet needs pyarrow: pip install 'hybrid-mi[parquet]', or write .csv or .npz") from None
    return pyarrow, parquet
