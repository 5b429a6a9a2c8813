"""Figures of a probe's confusion matrix, and of images with their nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from hybrid.showing import figures


def confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw counts (C, C), a row per true class, shaded by their share of the row. Up to 15 classes also get the numbers."""
    size = 1.6 + 0.32 * len(names) if len(names) <= 30 else 10
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with plt.rc_context(figures.STYLE):
        figure, axis = plt.subplots(figsize=(size + 0.6, size), layout="constrained")
        shown = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        figure.colorbar(shown, ax=axis, label="share of the class", shrink=0.8)
        axis.set(xlabel="the probe says", ylabel="class")
        if len(names) <= 30:
            axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
            axis.set_yticks(range(len(names)), names, fontsize=7)
        if len(names) <= 15:
            for (row, column), count in np.ndenumerate(counts):
                colour = "white" if share[row, column] > 0.6 else "black"
                axis.text(column, row, str(count), ha="center", va="center", fontsize=6, color=colour)
    return figure


def neighbours(queries: np.ndarray, found: np.ndarray, titles: Sequence[Sequence[str]], name: str = "query") -> Figure:
    """Draw queries, uint8 (n, 3, H, W), left of their nearest images (n, k, 3, H, W) with titles. `name` heads the queries."""
    rows, columns = found.shape[:2]
    with plt.rc_context(figures.STYLE):
        figure, axes = plt.subplots(
            rows, columns + 1, figsize=(1.0 * (columns + 1), 1.16 * rows + 0.2), squeeze=False, layout="constrained"
        )
        for row, (query, nearest, texts) in enumerate(zip(queries, found, titles, strict=True)):
            for axis, image, title in zip(axes[row], (query, *nearest), (name if not row else "", *texts), strict=True):
                axis.imshow(image.transpose(1, 2, 0), interpolation="nearest")
                axis.set_title(title, fontsize=7)
                axis.axis("off")
    return figure
