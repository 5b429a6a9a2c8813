"""The images nearest to a picture, by the code of a frozen hybrid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hybrid.data import datasets, pictures, sources
from hybrid.errors import HybridError, tell
from hybrid.judging import knn
from hybrid.model import HybridModel
from hybrid.showing import figures, probed
from hybrid.workflows import embed


@dataclass(frozen=True)
class Neighbours:
    """Images of the searched ones, the nearest to the query first."""

    query: Path
    part: str  # of z, by which they are near
    files: tuple[str, ...]
    labels: tuple[str, ...]  # their classes, empty where these are not known
    similarities: tuple[float, ...]  # cosines of standardised codes: 1 is the same

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
    """`find_in_codes` where `images` is an .npz of codes, else `find`; and the images that were searched, if they were read."""
    if len(images) == 1 and str(images[0]).endswith(".npz") and "file" in datasets.read_npz(Path(images[0]), ("file",)):
        return find_in_codes(model, query, Path(images[0]), part, count), None
    searched = sources.source(images)
    return find(model, query, searched, part, count), searched


def find(model: HybridModel, query: Path, images: sources.Source, part: str = "y", count: int = 8) -> Neighbours:
    """The `count` images nearest to the picture file `query` by a part of z: y, w or z. Itself is left out, if it is there."""
    if count < 1:
        raise HybridError(f"count = {count}: give 1 or more")
    asked = torch.from_numpy(pictures.read_image(query)).permute(2, 0, 1)[None]
    wanted = embed.parts_of(model, asked, (part,))[part]
    codes, places, errors = [], [], []
    with embed.Bar(len(images)) as bar:
        for start in range(0, len(images), embed.CHUNK):
            pixels, some, failed = images.read(start, start + embed.CHUNK)
            codes += [embed.parts_of(model, pixels, (part,))[part]] if some else []
            places += some
            errors += failed
            bar.add(min(embed.CHUNK, len(images) - start))
    if errors:
        tell(f"{len(errors)} images could not be read and are left out; the first: {errors[0]}")
    if not places:
        raise HybridError("none of the images could be read: give others")
    rows = [images.rows[place] for place in places]
    return _nearest(query, part, wanted, np.concatenate(codes), rows, count)


def find_in_codes(model: HybridModel, query: Path, codes: Path, part: str = "y", count: int = 8) -> Neighbours:
    """As `find`, among the images whose codes `hybrid embed` has written to an .npz, which takes seconds for a million."""
    if count < 1:
        raise HybridError(f"count = {count}: give 1 or more")
    kept = datasets.read_npz(codes, ("file", "class", part))
    if not {"file", part} <= kept.keys():
        raise HybridError(f"{codes} holds no {part} with its files: expected what hybrid embed --part {part} writes")
    asked = torch.from_numpy(pictures.read_image(query)).permute(2, 0, 1)[None]
    labels = kept.get("class", np.full(len(kept["file"]), ""))
    rows = [sources.Row(str(file), "", str(label)) for file, label in zip(kept["file"], labels, strict=True)]
    return _nearest(query, part, embed.parts_of(model, asked, (part,))[part], kept[part], rows, count)


def _nearest(query: Path, part: str, wanted: np.ndarray, codes: np.ndarray, rows: list, count: int) -> Neighbours:
    if wanted.shape[1:] != codes.shape[1:]:
        raise HybridError(f"the codes are {codes.shape[1:]}, this model's {wanted.shape[1:]}: give codes of the same model")
    train, asked = (torch.from_numpy(part).flatten(1) for part in (codes, wanted))
    similarities, places = (found[0].tolist() for found in knn.nearest(train, asked, count + 1))
    itself = str(query.expanduser().resolve())
    found = [
        (rows[place], value)
        for place, value in zip(places, similarities, strict=True)
        if str(Path(rows[place].file).resolve()) != itself
    ][:count]
    files, labels = tuple(row.file for row, _ in found), tuple(row.label for row, _ in found)
    return Neighbours(query, part, files, labels, tuple(value for _, value in found))


def draw(found: Neighbours, images: sources.Source | None, out: Path) -> None:
    """Write the query and its neighbours as `out` (.png and .pdf). `images`: where those that are no files are read."""
    places = {row.file: place for place, row in enumerate(images.rows)} if images is not None else {}
    pixels = []
    for file in found.files:
        if images is not None and file in places:
            pixels.append(images.read(places[file], places[file] + 1)[0][0].numpy())
        else:
            pixels.append(pictures.read_image(file).transpose(2, 0, 1))
    query = pictures.read_image(found.query).transpose(2, 0, 1)
    titles = [f"{value:.2f} {label}".strip() for value, label in zip(found.similarities, found.labels, strict=True)]
    figure = probed.neighbours(query[None], np.stack(pixels)[None], [titles])
    figures.save_figure(figure, out.with_suffix(""))
