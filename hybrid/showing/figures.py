"""Figures 2-5 of the paper: interpolations between test images, drawn from saved data.

`judging.interpolations` computes the data, an .npz file stores it, and `draw` needs only that file. The same data gives the
same bytes, as PNG and as PDF.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from hybrid.data.pixels import tile
from hybrid.machine.files import write_atomically
from hybrid.machine.provenance import summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {"z": "z: the whole code moves", "y": "y moves, w stays", "w": "w moves, y stays"}

ENLARGED = 4  # sides of a pixel in a .png of plain images, which are too small to see at 32 x 32
COLOURS = ("#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161")  # seaborn's "colorblind"
STYLE = {"savefig.dpi": 200, "figure.dpi": 100, "font.family": "DejaVu Sans", "pdf.fonttype": 42, "svg.hashsalt": "hybrid"}


@contextmanager
def charts(grid: str = "0.8") -> Iterator[None]:
    """Inside this context, charts have a white ground with a grid of this colour, and small text."""
    import seaborn as sns
    from matplotlib import pyplot as plt  # imported here and below because it is slow, and computing figures does not need it

    with sns.axes_style("whitegrid", {"grid.color": grid}), plt.rc_context(STYLE | {"font.size": 8}):
        yield


def draw(data: dict) -> Figure:
    """Draw a panel per part. Each row is a path from t = 1 (left) to t = 0 (right), between the two original images."""
    from matplotlib import pyplot as plt

    parts = [part for part in TITLES if part in data]
    rows, frames = data[parts[0]].shape[:2]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(parts),
            1,
            figsize=(0.62 * (frames + 2.4), len(parts) * (0.62 * rows + 0.75)),
            squeeze=False,
            layout="constrained",
        )
        for axis, part in zip(axes[:, 0], parts, strict=True):
            axis.imshow(grid(data, part), interpolation="nearest")
            axis.set_title(TITLES[part], fontsize=9)
            centres = _centres(frames)
            axis.set_xticks(centres, ["start", *(f"{t:.2g}" for t in data["t"]), "end"], fontsize=7)
            axis.set_xlabel("t", fontsize=8)
            axis.set_ylabel("each row: one pair" if rows > 1 else "", fontsize=8)
            axis.set_yticks([])
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
    return figure


def grid(data: dict, part: str, gap: int = 2, aside: int = 10) -> np.ndarray:
    """Arrange start images, paths and end images on one white sheet (H, W, 3)."""
    path = data[part]
    rows, frames, size = path.shape[:3]
    height, width = rows * (size + gap) - gap, (frames + 2) * (size + gap) - gap + 2 * aside
    sheet = np.full((height, width, 3), 255, np.uint8)
    columns = [data["start"], *path.swapaxes(0, 1), data["end"]]
    for centre, column in zip(_centres(frames, size, gap, aside), columns, strict=True):
        left = int(centre - size / 2 + 0.5)
        for row, image in enumerate(column):
            sheet[row * (size + gap) : row * (size + gap) + size, left : left + size] = image
    return sheet


def _centres(frames: int, size: int = 32, gap: int = 2, aside: int = 10) -> list[float]:
    """Return the centres of the columns of `grid`. A gap separates the original images from the decoded ones."""
    left = np.arange(frames + 2) * (size + gap)
    left[1:] += aside
    left[-1] += aside
    return [float(x) + (size - 1) / 2 for x in left]


def sheet(images: np.ndarray | Tensor, columns: int) -> Figure:
    """Draw images (N, 3, H, W) uint8 as a plain grid."""
    from matplotlib import pyplot as plt

    grid = tile(images, columns)
    figure, axis = plt.subplots(figsize=(grid.shape[1] / 52, grid.shape[0] / 52), layout="constrained")
    axis.imshow(grid, interpolation="nearest")
    axis.axis("off")
    return figure


def save_png(path: str | Path, images: np.ndarray | Tensor, columns: int, origin: dict | None = None) -> None:
    """Write images (N, 3, H, W) uint8 to a .png, as a grid with this many columns, each image enlarged 4 times.

    The file contains the `origin`, as in `save_figure`.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    if origin is not None:
        text.add_text("hybrid", json.dumps(origin))
    picture = Image.fromarray(tile(images, columns).repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1))
    write_atomically(Path(path), lambda temporary: picture.save(temporary, format="png", pnginfo=text))


def draw_gallery(data: dict) -> Figure:
    """Draw samples (left) and test images (right), each row above the row of its reconstructions."""
    from matplotlib import pyplot as plt

    both = np.stack([data["originals"].reshape(4, 8, 3, 32, 32), data["reconstructions"].reshape(4, 8, 3, 32, 32)], axis=1)
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.7), layout="constrained")
        for axis, images, title in (
            (left, data["samples"], "samples of the latent DDIM, decoded"),
            (right, both.reshape(64, 3, 32, 32), "test images above their reconstructions"),
        ):
            axis.imshow(tile(images, 8), interpolation="nearest")
            axis.set_title(title, fontsize=9)
            axis.axis("off")
    return figure


def draw_galleries(galleries: dict[str, dict]) -> Figure:
    """Draw a row per method (title -> gallery): 36 samples, and eight test images above their reconstructions.

    What a method cannot do has no panel; the title says so.
    """
    from matplotlib import pyplot as plt

    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(galleries), 2, figsize=(9, 1.55 * len(galleries)), width_ratios=(12, 8), squeeze=False, layout="constrained"
        )
        for (left, right), (title, data) in zip(axes, galleries.items(), strict=True):
            both = {"originals", "reconstructions"} <= data.keys()
            left.axis("off")
            if "samples" in data:
                left.set_title(f"{title}: samples{'' if both else ' (it reconstructs nothing)'}", fontsize=9)
                left.imshow(tile(data["samples"][:36], 12), interpolation="nearest")
            else:
                left.set_title(f"{title} (it samples nothing)", fontsize=9)
            if both:
                right.set_title("test images above reconstructions", fontsize=9)
                sheet = np.concatenate([data["originals"][:8], data["reconstructions"][:8]])
                right.imshow(tile(sheet, 8), interpolation="nearest")
                right.axis("off")
            else:
                right.remove()
    return figure


def origin(data: dict, source: str) -> dict:
    """Return the origin of saved arrays, for `save_figure`."""
    key, provenance = (json.loads(str(data[part])) for part in ("key", "provenance"))
    return summary(provenance, key, source)


def show(figure: Figure) -> None:
    """Show a figure once in a notebook, as PNG, and close it."""
    from IPython.display import display
    from matplotlib import pyplot as plt

    display(figure)
    plt.close(figure)


def save_figure(figure: Figure, stem: Path, origin: dict | None = None) -> None:
    """Write `stem`.png and `stem`.pdf without dates or versions in them, and close the figure.

    Both contain the `origin` (see `provenance.summary`), which `hybrid explain` prints.
    """
    from matplotlib import pyplot as plt

    text = None if origin is None else json.dumps(origin)
    kinds = {
        ".png": {"Software": None, **({} if text is None else {"hybrid": text})},
        ".pdf": {"Creator": None, "Producer": None, "CreationDate": None, "Subject": text},
    }
    with plt.rc_context(STYLE):
        for suffix, metadata in kinds.items():
            draw = partial(figure.savefig, format=suffix[1:], metadata=metadata)
            write_atomically(stem.with_name(stem.name + suffix), draw)  # the stem may have dots
    plt.close(figure)
