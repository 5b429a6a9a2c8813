"""Figure 6, drawn from saved data: same y with different w, and same w with different y."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from hybrid.data import pixels
from hybrid.showing import figures

GAP = 8  # white pixels between a test image and its row


def numbers(data: dict) -> pd.DataFrame:
    """Format the figure's numbers as a table: a row for each set of images."""
    judges = [name.removesuffix("_images") for name in data if name.endswith("_images")]
    found = {
        name: float(value)
        for name, value in data.items()
        if np.ndim(value) == 0 and name.split("_")[0] in (*judges, "colour", "layout")
    }
    sets = {"test images": "images", "reconstructions": "reconstructions", "same y, other w": "y", "same w, other y": "w"}
    rows = {
        title: {f"{judge}: class of its image, %": found.get(f"{judge}_{key}") for judge in judges}
        | {f"{judge}: class of the other y's, %": found.get(f"{judge}_other_y") if key == "w" else None for judge in judges}
        | {f"{what} varies": found.get(f"{what}_{key}") for what in ("colour", "layout")}
        for title, key in sets.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index", dtype=float).round(2).rename_axis("pictures")


def draw(data: dict) -> Figure:
    """Draw images with the same y (left) and with the same w (right). Each row starts with its test image."""
    titles = {"y": "same y, other w", "w": "same w, other y"}
    with plt.rc_context(figures.STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(11, 0.58 * len(data["start"]) + 0.35), layout="constrained")
        for axis, (part, title) in zip(axes, titles.items(), strict=True):
            start, others = (_tiled(images) for images in (data["start"][:, None], data[part]))
            gap = np.full((len(start), GAP, 3), 255, np.uint8)
            axis.imshow(np.concatenate([start, gap, others], axis=1), interpolation="nearest")
            axis.set_title(f"each row: a test image, then {title}", fontsize=9)
            axis.axis("off")
    return figure


def _tiled(images: np.ndarray) -> np.ndarray:
    """Arrange images (rows, columns, H, W, 3) in a grid."""
    return pixels.tile(images.reshape(-1, *images.shape[2:]).transpose(0, 3, 1, 2), images.shape[1])
