"""Figures of a probe's confusion matrix, and of images with their nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from hybrid.showing import figures

WIDTH, MOST = 10, 200  # largest number of nearest images in a row, and in a figure
ABOVE, GAP = 8, 6  # white pixels above an image, for its title, and between two images
INCH, HEAD = 38, 0.18  # pixels of images per inch; inches for the line at the top
NUMBERS = "number: cosine similarity of the codes (1: equal)"


def confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw counts (C, C), a row per true class, shaded by their share of the row. Up to 15 classes also get the numbers."""
    size = 1.6 + 0.32 * len(names) if len(names) <= 30 else 10
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with plt.rc_context(figures.STYLE):
        figure, axis = plt.subplots(figsize=(size + 0.6, size), layout="constrained")
        shown = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        figure.colorbar(shown, ax=axis, label="share of the class", shrink=0.8)
        axis.set(xlabel="predicted class", ylabel="class")
        if len(names) <= 30:
            axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
            axis.set_yticks(range(len(names)), names, fontsize=7)
        if len(names) <= 15:
            for (row, column), count in np.ndenumerate(counts):
                colour = "white" if share[row, column] > 0.6 else "black"
                axis.text(column, row, str(count), ha="center", va="center", fontsize=6, color=colour)
    return figure


def neighbours(queries: np.ndarray, found: np.ndarray, titles: Sequence[Sequence[str]], name: str = "query") -> Figure:
    """Draw queries, uint8 (n, 3, H, W), left of their nearest images (n, k, 3, H, W). Titles begin with a cosine similarity.

    A row has up to WIDTH nearest images; more of them go on below. Those after the first MOST are not drawn. `name` heads the
    queries.
    """
    drawn = min(found.shape[1], MOST)
    columns, (height, width) = min(drawn, WIDTH), found.shape[-2:]
    rows, down, across = -(-drawn // columns), height + ABOVE, width + GAP  # rows of a query; the distances of images
    sheet = np.full((len(queries) * rows * down, (columns + 1) * across, 3), 255, np.uint8)
    said = NUMBERS + (f"; the first {drawn:,} of {found.shape[1]:,} are drawn" if drawn < found.shape[1] else "")
    with plt.rc_context(figures.STYLE):
        across_inches, down_inches = max(sheet.shape[1] / INCH, 2.8), sheet.shape[0] / INCH + HEAD
        figure = plt.figure(figsize=(across_inches, down_inches))
        axis = figure.add_axes((0, 0, sheet.shape[1] / INCH / across_inches, 1 - HEAD / down_inches))
        figure.text(0.05 / across_inches, 1 - 0.05 / down_inches, said, ha="left", va="top", fontsize=7, color="0.3")
        for number, (query, nearest, texts) in enumerate(zip(queries, found, titles, strict=True)):
            places = [(0, 0), *((place // columns, 1 + place % columns) for place in range(drawn))]
            images = (query, *nearest[:drawn])
            for (row, column), image, text in zip(places, images, ("" if number else name, *texts[:drawn]), strict=True):
                top, left = (number * rows + row) * down + ABOVE, column * across + GAP // 2
                sheet[top : top + height, left : left + width] = image.transpose(1, 2, 0)
                axis.text(left + width / 2, top - 1, text, ha="center", va="bottom", fontsize=7)
        axis.imshow(sheet, interpolation="nearest")
        axis.axis("off")
    return figure
