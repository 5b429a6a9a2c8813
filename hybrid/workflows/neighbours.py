"""Find the images whose codes are nearest to that of a query image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hybrid.data import datasets, pictures, sources
from hybrid.errors import HybridError, counted, tell
from hybrid.judging import knn
from hybrid.model import PARTS, HybridModel
from hybrid.showing import figures, probed
from hybrid.training import checkpoint
from hybrid.workflows import embed


@dataclass(frozen=True)
class Neighbours:
    """The images nearest to a query, nearest first."""

    query: Path
    part: str  # the part of z that is compared
    files: tuple[str, ...]
    labels: tuple[str, ...]  # their classes; empty if unknown
    similarities: tuple[float, ...]  # cosine similarities, see `knn.nearest`; 1 means equal

    def as_json(self) -> dict:
        rows = zip(self.files, self.labels, self.similarities, strict=True)
        found = [{"file": file, "class": label, "similarity": round(value, 4)} for file, label, value in rows]
        return {"query": str(self.query), "part": self.part, "neighbours": found}

    def __str__(self) -> str:
        rows = zip(self.similarities, self.files, self.labels, strict=True)
        return "\n".join(f"{value:6.3f}  {file}{f'  ({label})' if label else ''}" for value, file, label in rows)


def search(
    model: HybridModel, query: Path, images: Sequence[str], part: str = "y", count: int = 8
) -> tuple[Neighbours, sources.Source | None]:
    """Search images with `find`, or codes with `find_in_codes` if `images` is an .npz of codes.

    Returns the neighbours, and the image source if images were searched. Raises HybridError for codes of another format.
    """
    if tables := [name for name in images if Path(name).suffix in embed.SUFFIXES[1:]]:
        raise HybridError(f"{tables[0]} cannot be searched: give images, or codes in an .npz from hybrid embed --out codes.npz")
    if len(images) == 1 and str(images[0]).endswith(".npz") and "file" in datasets.read_npz(Path(images[0]), ("file",)):
        return find_in_codes(model, query, Path(images[0]), part, count), None
    searched = sources.source(images)
    return find(model, query, searched, part, count), searched


def find(model: HybridModel, query: Path, images: sources.Source, part: str = "y", count: int = 8) -> Neighbours:
    """Find the `count` images with the nearest `part` of z (y, w or z) to that of the image file `query`.

    The query itself is left out if it is among the images.
    """
    query_code = _code(model, query, part, count)
    codes, places, errors = [], [], []
    with embed.Bar(len(images)) as bar:
        for start in range(0, len(images), embed.CHUNK):
            pixels, some, failed = images.read(start, start + embed.CHUNK)
            codes += [embed.parts_of(model, pixels, (part,))[part]] if some else []
            places += some
            errors += failed
            bar.add(min(embed.CHUNK, len(images) - start))
    if errors:
        words = counted(len(errors), "image could not be read and is", "images could not be read and are")
        tell(f"{words} left out; the first: {errors[0]}")
    if not places:
        raise HybridError("none of the images could be read: give other images")
    rows = [images.rows[place] for place in places]
    return _nearest(query, part, query_code, np.concatenate(codes), rows, count)


def find_in_codes(model: HybridModel, query: Path, codes: Path, part: str = "y", count: int = 8) -> Neighbours:
    """Do the same as `find` for codes that `hybrid embed` wrote to an .npz. A million codes take seconds.

    Raises HybridError if the codes are of other weights than the model's. A file of an earlier version does not tell this.
    """
    query_code = _code(model, query, part, count)
    arrays = datasets.read_npz(codes, ("file", "class", "encoder", part))
    if part not in arrays:
        with np.load(codes) as archive:
            others = [other for other in PARTS if other in archive.files]
        instead = f"give --part {' or '.join(others)}, or " if others else ""
        raise HybridError(f"{codes} has no codes of {part}: {instead}write them with hybrid embed --part {part}")
    if "encoder" not in arrays:
        tell(f"{codes} does not name the weights that its codes come from: they may be of another model")
    elif (kept := str(arrays["encoder"])) != (own := checkpoint.digest(model.encoder.state_dict())):
        raise HybridError(
            f"{codes} has codes of other weights (digest {kept}) than this model's ({own}): "
            "give the run that wrote them, or write them again with hybrid embed"
        )
    if len({len(arrays[name]) for name in ("file", "class", part) if name in arrays}) > 1:
        raise HybridError(f"{codes} has not a file and a class for each code: write it again with hybrid embed")
    labels = arrays.get("class", np.full(len(arrays["file"]), ""))
    rows = [sources.Row(str(file), "", str(label)) for file, label in zip(arrays["file"], labels, strict=True)]
    return _nearest(query, part, query_code, arrays[part], rows, count)


def _code(model: HybridModel, query: Path, part: str, count: int) -> np.ndarray:
    """Return the part of the query's code: float32 (1, C, 16, 16). Raises HybridError if `count` is below 1."""
    if count < 1:
        raise HybridError(f"count = {count}: give 1 or more")
    image = torch.from_numpy(pictures.read_image(query)).permute(2, 0, 1)[None]
    return embed.parts_of(model, image, (part,))[part]


def _nearest(query: Path, part: str, query_code: np.ndarray, codes: np.ndarray, rows: list, count: int) -> Neighbours:
    if query_code.shape[1:] != codes.shape[1:]:  # in codes that do not name their weights
        shapes = f"the codes have shape {codes.shape[1:]}, those of this model {query_code.shape[1:]}"
        raise HybridError(f"{shapes}: give codes of the same model")
    searched, wanted = (torch.from_numpy(array).flatten(1) for array in (codes, query_code))
    itself, most = str(query.expanduser().resolve()), count + 1
    while True:
        similarities, places = (one[0].tolist() for one in knn.nearest(searched, wanted, most))
        nearest = [(rows[place], value) for place, value in zip(places, similarities, strict=True)]
        found = [(row, value) for row, value in nearest if str(Path(row.file).resolve()) != itself][:count]
        if len(found) == count or most >= len(rows):
            break
        most *= 2  # the query is there several times
    if not found:
        raise HybridError(f"there is no image but {query} itself: give others to search")
    files, labels = tuple(row.file for row, _ in found), tuple(row.label for row, _ in found)
    return Neighbours(query, part, files, labels, tuple(value for _, value in found))


def draw(found: Neighbours, images: sources.Source | None, out: Path, origin: dict | None = None) -> None:
    """Draw the query and its neighbours to `out` (.png and .pdf). `images`: the source of images that are not files.

    The place of an image that cannot be read, such as one of a data set whose codes were searched, is white.
    """
    places = {row.file: place for place, row in enumerate(images.rows)} if images is not None else {}
    pixels, missing = [], []
    for file in found.files:
        if images is not None and file in places:
            pixels.append(images.read(places[file], places[file] + 1)[0][0].numpy())
            continue
        try:
            pixels.append(pictures.read_image(file).transpose(2, 0, 1))
        except HybridError as error:
            pixels.append(np.full((3, pictures.SIDE, pictures.SIDE), 255, np.uint8))
            missing.append(str(error))
    if missing:
        words = counted(len(missing), "neighbour cannot be drawn and is", "neighbours cannot be drawn and are")
        tell(f"{words} white in {out}; the first: {missing[0]}")
    query = pictures.read_image(found.query).transpose(2, 0, 1)
    rows = zip(found.similarities, found.labels, strict=True)
    titles = [f"{value:.2f} ({label})" if label else f"{value:.2f}" for value, label in rows]
    figure = probed.neighbours(query[None], np.stack(pixels)[None], [titles])
    figures.save_figure(figure, out.with_suffix(""), origin)
