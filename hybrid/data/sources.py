"""Read any number of images, from files or arrays, a few hundred at a time."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hybrid.data import datasets, pictures
from hybrid.errors import HybridError, tell

SPLITS = ("train", "test", "val", "valid", "validation")  # folders' and arrays' names
KINDS = "a data set's name, an .npz, a folder, image files, a .txt with one file per line, or - for lines of standard input"


@dataclass(frozen=True)
class Row:
    """One image."""

    file: str  # its path, or its position in an array, such as test_images[7]
    split: str = ""  # train, test or val, if known
    label: str = ""  # its class, if known


class Source:
    """Rows and their pixels. `identity` changes when the images do."""

    def __init__(self, rows: Sequence[Row], identity: str):
        self.rows, self.identity = tuple(rows), identity

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, start: int, stop: int) -> tuple[Tensor, list[int], list[str]]:
        """Read the rows from `start` to before `stop`: uint8 pixels (n, 3, 32, 32), their row numbers, and error messages."""
        raise NotImplementedError


class Arrays(Source):
    """Images in memory, uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3)."""

    def __init__(self, rows: Sequence[Row], arrays: Sequence[np.ndarray]):
        digest = hashlib.sha256()
        for array in arrays:
            digest.update(f"{array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array))
        super().__init__(rows, digest.hexdigest())
        self.arrays = arrays

    def read(self, start: int, stop: int) -> tuple[Tensor, list[int], list[str]]:
        parts, first = [], 0
        for array in self.arrays:
            chosen = array[max(start - first, 0) : max(stop - first, 0)]
            parts += [datasets.squared(chosen)] if len(chosen) else []
            first += len(array)
        return torch.cat(parts), list(range(start, min(stop, first))), []


class Files(Source):
    """Image files, read by several threads."""

    def __init__(self, rows: Sequence[Row]):
        digest = hashlib.sha256()
        for row in rows:
            try:
                about = Path(row.file).stat()
                known = f"{about.st_size} {about.st_mtime_ns}"
            except OSError:
                known = "absent"
            digest.update(f"{row.file}\0{known}\n".encode(errors="surrogateescape"))
        super().__init__(rows, digest.hexdigest())

    def read(self, start: int, stop: int) -> tuple[Tensor, list[int], list[str]]:
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(_pixels_or_error, [row.file for row in self.rows[start:stop]]))
        places = [start + i for i, pixels in enumerate(found) if not isinstance(pixels, str)]
        errors = [said for said in found if isinstance(said, str)]
        pixels = [pixels for pixels in found if not isinstance(pixels, str)]
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2) if pixels else torch.empty(0, 3, 32, 32).byte()
        return images.contiguous(), places, errors


def _pixels_or_error(file: str) -> np.ndarray | str:
    try:
        return pictures.read_image(file)
    except HybridError as error:
        return str(error)


def source(names: Sequence[str]) -> Source:
    """Return the images of `names`: a data set, an .npz, a folder, or files. Raises HybridError if there are none."""
    names = [str(name) for name in names]
    if len(names) == 1 and names[0] in datasets.NAMED:
        return _of_set(datasets.load(names[0]))
    if len(names) == 1 and names[0].endswith(".npz"):
        return _of_npz(Path(names[0]).expanduser())
    rows = []
    for name in _listed(names):
        path = Path(name).expanduser()
        if path.is_dir():
            found = pictures.find(path)
            if str(found):
                tell(str(found))
            rows += _rows(found)
        elif path.is_file() and path.suffix == ".npz":
            raise HybridError(f"{name!r} is one of several names: give an .npz alone, and one command for each")
        elif path.is_file():
            rows.append(Row(str(path)))
        else:
            raise HybridError(f"{name!r} is not there: expected {KINDS}")
    if not rows:
        raise HybridError(f"{', '.join(names) or 'the list'} holds no images: expected {KINDS}")
    return Files(rows)


def _listed(names: list[str]) -> list[str]:
    """Return the names, with lists replaced by their lines."""
    listed = []
    for name in names:
        if name == "-":
            read = getattr(sys.stdin, "buffer", None)  # bytes: a name need not be UTF-8
            listed += _lines(sys.stdin.read() if read is None else os.fsdecode(read.read()))
        elif name.endswith(".txt"):
            try:
                listed += _lines(Path(name).expanduser().read_text(encoding="utf-8-sig"))
            except (OSError, UnicodeDecodeError) as error:
                raise HybridError(f"{name} cannot be read ({error}): expected one path per line, in UTF-8") from None
        else:
            listed.append(name)
    return listed


def _lines(text: str) -> list[str]:
    """Return the lines that are not empty. Unlike `splitlines`, it keeps the rarer separators, which names may have."""
    return [line for each in text.split("\n") if (line := each.removesuffix("\r"))]


def _rows(found: pictures.Found) -> list[Row]:
    """Return a row per file. Folders such as train, test and val are splits; folders in them, or at the top, are classes."""
    parts = [file.relative_to(found.folder).parts for file in found.files]
    split = any(part[0] in SPLITS for part in parts if len(part) > 1)
    rows = []
    for file, (*folders, _) in zip(found.files, parts, strict=True):
        of = folders.pop(0) if split and folders and folders[0] in SPLITS else ""
        rows.append(Row(str(file), of, folders[0] if folders else ""))
    return rows


def _of_set(images: datasets.ImageSet) -> Source:
    rows, arrays = [], []
    for split in ("train", "test"):
        pixels, labels = getattr(images, f"{split}_images"), getattr(images, f"{split}_labels")
        rows += [
            Row(f"{split}_images[{i}]", split, images.class_names[label] if images.labelled else "")
            for i, label in enumerate(labels.tolist())
        ]
        arrays.append(pixels.permute(0, 2, 3, 1).numpy())
    return Arrays(rows, arrays)


def _of_npz(path: Path) -> Source:
    """Read an .npz with `images`, as from `hybrid sample`, or train_images, val_images, test_images, with or without labels."""
    possible = ("images", *(f"{split}_images" for split in SPLITS))
    kept = datasets.read_npz(path, (*possible, *(name.replace("images", "labels") for name in possible), "class_names"))
    names = [name for name in possible if name in kept]
    if not names:
        raise HybridError(f"{path} holds no images: expected an array called images, or train_images and test_images")
    rows, arrays = [], []
    for name in names:
        array, labels = kept[name], kept.get(name.replace("images", "labels"))
        right = array.dtype == np.uint8 and (array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))) and array.size
        if not right:
            raise HybridError(f"{path}: {name} is {array.dtype} {array.shape}: expected uint8 (N, H, W) or (N, H, W, 1 or 3)")
        if labels is not None and (labels.size != len(array) or labels.dtype.kind not in "iu"):
            tell(f"{path}: labels of {name} are {labels.dtype} {labels.shape}, not one whole number per image: left out")
            labels = None
        classes = dict(enumerate(kept["class_names"].tolist())) if "class_names" in kept else {}
        text = [""] * len(array) if labels is None else [str(classes.get(label, label)) for label in labels.ravel().tolist()]
        split = name.removesuffix("images").removesuffix("_")
        rows += [Row(f"{name}[{i}]", split, label) for i, label in enumerate(text)]
        arrays.append(array)
    return Arrays(rows, arrays)
