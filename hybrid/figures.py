"""Figures 2-5 of the paper: interpolations between test images, drawn from saved data.

`interpolations` computes what a figure shows, an .npz keeps it, `draw` needs nothing but that file. The same data gives the
same bytes, as PNG and as PDF.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from hybrid.checkpoint import write_atomically
from hybrid.data import ImageSet
from hybrid.errors import HybridError
from hybrid.model import HybridModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = {2: ("z",), 3: ("y",), 4: ("w",), 5: ("z", "y", "w")}  # what moves in each of the paper's figures
TITLES = {"z": "z: the whole code moves", "y": "y moves, w stays", "w": "w moves, y stays"}
STYLE = {"savefig.dpi": 150, "figure.dpi": 100, "font.family": "DejaVu Sans", "pdf.fonttype": 42, "svg.hashsalt": "hybrid"}
MOVED_PAIRS = 512  # pairs that the distances moved are averaged over, where the test set has as many


def pairs(images: ImageSet, count: int, seed: int, fewer: bool = False) -> Tensor:
    """Indices (count, 2) of test images to draw paths between, of two classes each, no image twice.

    Raises HybridError where the test set does not give so many, or none at all if `fewer` will do.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = images.test_labels.cpu()
    order = torch.randperm(len(labels), generator=generator)
    starts, ends = order.chunk(2)
    chosen = [(a, b) for a, b in zip(starts.tolist(), ends.tolist(), strict=False) if labels[a] != labels[b]]
    if len(chosen) < (1 if fewer else count):
        raise HybridError(
            f"{count} pairs of unlike test images were asked for, the test set gives {len(chosen)}: lower evaluation.pairs"
        )
    return torch.tensor(chosen[:count])


def interpolations(model: HybridModel, images: ImageSet, indices: Tensor, frames: int, parts: tuple[str, ...]) -> dict:
    """The data of a figure: `between` the pairs of test images with these indices (pairs, 2)."""
    x0, x1 = images.test_images[indices[:, 0]], images.test_images[indices[:, 1]]
    return between(model, x0, x1, frames, parts) | {"indices": indices.numpy()}


def between(model: HybridModel, x0: Tensor, x1: Tensor, frames: int, parts: tuple[str, ...]) -> dict:
    """Paths between uint8 images (pairs, 3, 32, 32), t falling from 1 to 0: t, start, end, and for each part what is decoded.

    The latter are uint8 (pairs, frames, 32, 32, 3).
    """
    t = torch.linspace(1, 0, frames)
    paths = {part: to_uint8(model.interpolate(x0, x1, t, part)).permute(0, 1, 3, 4, 2).cpu().numpy() for part in parts}
    return {
        "t": t.numpy(),
        "start": x0.permute(0, 2, 3, 1).cpu().numpy(),
        "end": x1.permute(0, 2, 3, 1).cpu().numpy(),
        **paths,
    }


def moved(model: HybridModel, images: ImageSet, seed: int) -> dict[str, float]:
    """How far the decoded image moves from t = 1 to t = 0, moved_<part>: mean squared change in 1e-3 per dimension."""
    indices = pairs(images, MOVED_PAIRS, seed, fewer=True)
    x0, x1 = images.test_images[indices[:, 0]], images.test_images[indices[:, 1]]
    ends = torch.tensor([1.0, 0.0])
    result = {}
    for part in TITLES:
        path = model.interpolate(x0, x1, ends, part)
        result[f"moved_{part}"] = 1e3 * (path[:, 0] - path[:, 1]).square().mean().item()
    return result


def to_uint8(images: Tensor) -> Tensor:
    """Float images in [0, 1] to uint8, rounded."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def draw(data: dict) -> Figure:
    """One panel a part: each row a path from start (left, t = 1) to end (right, t = 0), between the two images themselves."""
    from matplotlib import pyplot as plt  # slow to import, here and below: figures are computed without it

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
            axis.imshow(_grid(data, part), interpolation="nearest")
            axis.set_title(TITLES[part], fontsize=9)
            centres = _centres(frames)
            axis.set_xticks(centres, ["start", *(f"{t:.2g}" for t in data["t"]), "end"], fontsize=7)
            axis.set_xlabel("t", fontsize=8)
            axis.set_yticks([])
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
    return figure


def _grid(data: dict, part: str, gap: int = 2, aside: int = 10) -> np.ndarray:
    """Start images, the paths and end images on one white sheet (H, W, 3)."""
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
    """Where the columns of `_grid` lie: the true images stand apart from the decoded ones."""
    left = np.arange(frames + 2) * (size + gap)
    left[1:] += aside
    left[-1] += aside
    return [float(x) + (size - 1) / 2 for x in left]


def tile(images: np.ndarray | Tensor, columns: int) -> np.ndarray:
    """Images (N, 3, H, W) uint8 as one sheet (rows * H, columns * W, 3), the last row filled up with white.

    Fewer than a row of them make a row as short.
    """
    images = torch.as_tensor(images).cpu().numpy()
    columns = min(columns, len(images))
    rows, (height, width) = -(-len(images) // columns), images.shape[2:]
    cells = np.full((rows * columns, 3, height, width), 255, np.uint8)
    cells[: len(images)] = images
    cells = cells.reshape(rows, columns, 3, height, width).transpose(0, 3, 1, 4, 2)
    return cells.reshape(rows * height, columns * width, 3)


def sheet(images: np.ndarray | Tensor, columns: int) -> Figure:
    """Images (N, 3, H, W) uint8 as a plain picture."""
    from matplotlib import pyplot as plt

    grid = tile(images, columns)
    figure, axis = plt.subplots(figsize=(grid.shape[1] / 52, grid.shape[0] / 52), layout="constrained")
    axis.imshow(grid, interpolation="nearest")
    axis.axis("off")
    return figure


def gallery(model: nn.Module, metrics: tuple[str, ...], images: ImageSet, steps: int, eta: float, seed: int) -> dict:
    """What a method with these metrics can show: 64 samples (fid), 32 test images and their reconstructions (mse).

    uint8 (N, 3, 32, 32) each.
    """
    shown = {}
    if "fid" in metrics:
        shown["samples"] = to_uint8(model.sample(64, steps, eta, seed)).cpu().numpy()
    if "mse" in metrics:
        order = torch.randperm(len(images.test_images), generator=torch.Generator().manual_seed(seed))
        originals = images.test_images[order[torch.arange(32) % len(order)]]
        shown["originals"] = originals.cpu().numpy()
        shown["reconstructions"] = to_uint8(model.reconstruct(originals)).cpu().numpy()
    return shown


def draw_gallery(data: dict) -> Figure:
    """Left the samples; right test images, each row above the row of its reconstructions."""
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
    """A row a method (title -> its gallery): left 36 samples, right eight test images above their reconstructions."""
    from matplotlib import pyplot as plt

    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(galleries), 2, figsize=(9, 1.75 * len(galleries)), width_ratios=(12, 8), squeeze=False, layout="constrained"
        )
        for (left, right), (title, data) in zip(axes, galleries.items(), strict=True):
            left.set_title(f"{title}: samples", fontsize=9)
            right.set_title("test images above reconstructions", fontsize=9)
            both = {"originals", "reconstructions"} <= data.keys()
            for axis, sheet in (
                (left, tile(data["samples"][:36], 12) if "samples" in data else None),
                (right, tile(np.concatenate([data["originals"][:8], data["reconstructions"][:8]]), 8) if both else None),
            ):
                axis.axis("off")
                if sheet is None:
                    axis.text(0.5, 0.5, "none: it has no such path", ha="center", color="0.4", fontsize=8)
                else:
                    axis.imshow(sheet, interpolation="nearest")
    return figure


def show(figure: Figure) -> None:
    """Show a figure in a notebook, once, as PNG, and close it."""
    from IPython.display import display
    from matplotlib import pyplot as plt

    display(figure)
    plt.close(figure)


def save_figure(figure: Figure, stem: Path) -> None:
    """Write `stem`.png and `stem`.pdf without dates or versions in them, and close the figure."""
    from matplotlib import pyplot as plt

    for suffix, metadata in ((".png", {"Software": None}), (".pdf", {"Creator": None, "Producer": None, "CreationDate": None})):
        draw = partial(figure.savefig, format=suffix[1:], metadata=metadata)
        write_atomically(stem.with_suffix(suffix), draw)
    plt.close(figure)
