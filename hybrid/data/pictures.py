"""Image files: find them in folders, and convert them to 32 x 32 pixels.

All commands and data sets convert images in the same way: turn the image upright as its EXIF says, put it on white if it is
transparent, take the middle square, and resize it with antialiasing (bilinear).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from hybrid.errors import HybridError

SIDE = 32  # pixels
# Formats that Pillow knows by name but cannot read by itself.
NOT_SHOWN = frozenset({"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "WMF"})


def read_image(file: str | Path | BinaryIO) -> np.ndarray:
    """Read an image file with Pillow: uint8 (32, 32, 3). If the file has several images, it is the first one.

    Raises HybridError for a file that cannot be read, and for grey images of 16 bits and images of floats.
    """
    try:
        with Image.open(file) as image:
            return from_pil(image, str(file))
    except HybridError:
        raise
    except (FileNotFoundError, IsADirectoryError) as error:
        what = "is a folder" if isinstance(error, IsADirectoryError) else "does not exist"
        raise HybridError(f"{file} {what}: expected an image file") from None
    except Exception as error:  # Pillow's forty readers raise many kinds of errors for damaged files
        said = " ".join(str(error).split()) or type(error).__name__
        raise HybridError(f"{file} cannot be read as an image ({said}): repair or remove it") from None


def from_pil(image: Image.Image, name: str = "the image") -> np.ndarray:
    """Convert a Pillow image of any size to uint8 (32, 32, 3). Raises HybridError, with `name`, for 16-bit grey and floats."""
    if image.mode[0] in "IF":
        raise HybridError(f"{name} has more than 8 bits a channel ({image.mode}): expected 8, convert it first")
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = image.convert("RGB").crop((left, top, left + side, top + side))
    return np.array(square.resize((SIDE, SIDE), Image.Resampling.BILINEAR))  # writable


@dataclass(frozen=True)
class Found:
    """The image files below a folder."""

    folder: Path
    files: tuple[Path, ...]  # those of a folder first, by name, then those of its subfolders
    left_out: dict[str, int]  # what it is, in the plural -> how many of them

    def __str__(self) -> str:
        """Say in a line what was left out; empty if nothing was."""
        if not self.left_out:
            return ""
        return f"left out of {self.folder}: " + "; ".join(f"{why}: {count}" for why, count in sorted(self.left_out.items()))


def find(folder: str | Path) -> Found:
    """Find all image files below `folder`, at any depth. Links are followed, but not in a circle.

    A file is an image if Pillow knows its suffix, or if it can read its beginning. Files and folders whose names begin with a
    dot are left out. Raises HybridError for a folder that cannot be read.
    """
    folder, left_out, others = Path(folder).expanduser(), Counter(), Counter()
    files = tuple(_walk(folder, (), left_out, others))
    if others:
        most = sorted(others, key=lambda suffix: (-others[suffix], suffix))[:4]
        kinds = ", ".join(suffix or "no suffix" for suffix in most)
        left_out[f"files that are no images ({kinds}{', ...' * (len(others) > 4)})"] = others.total()
    return Found(folder, files, dict(left_out))


def _walk(folder: Path, above: tuple[str, ...], left_out: Counter, others: Counter) -> Iterator[Path]:
    above = (*above, os.path.realpath(folder))
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise HybridError(f"{folder} cannot be read ({error.strerror}): expected a folder that you may read") from None
    folders = []
    for entry in found:
        path = folder / entry.name
        if entry.name.startswith("."):
            left_out["names that begin with a dot"] += 1
        elif entry.is_dir():
            folders.append(path)
        elif not entry.is_file():
            left_out["links that lead nowhere"] += 1
        elif is_picture(path):
            yield path
        else:
            others[path.suffix.lower()] += 1
    for path in folders:
        if os.path.realpath(path) in above:
            left_out["links that go in a circle"] += 1
        else:
            yield from _walk(path, above, left_out, others)


def is_picture(path: Path) -> bool:
    """Return whether Pillow knows the file's suffix, or can read the file's beginning."""
    known = suffixes().get(path.suffix.lower())
    if known is not None:
        return known not in NOT_SHOWN
    try:
        with Image.open(path) as image:
            return image.format not in NOT_SHOWN
    except Exception:  # as in `read_image`
        return False


@cache
def suffixes() -> dict[str, str]:
    """Return the suffixes that Pillow opens, such as .jpg, and their formats."""
    return {suffix: kind for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
