"""Samples and their nearest train images, drawn from a saved gallery."""

from __future__ import annotations

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from hybrid.data import pixels
from hybrid.judging.nearest import COUNT, NAMES, SAMPLES
from hybrid.showing import figures


def draw(gallery: dict) -> Figure:
    """Draw a gallery's first samples, each left of its nearest train images by features and by pixels."""
    rows = min(SAMPLES, len(gallery["samples"]))
    with plt.rc_context(figures.STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(7, 0.62 * rows + 0.6), width_ratios=(1, COUNT, COUNT), layout="constrained")
        for axis, name in zip(axes, ("samples", *NAMES), strict=True):
            shown = gallery[name][:rows]
            columns = 1 if name == "samples" else shown.shape[1]
            axis.imshow(pixels.tile(shown.reshape(-1, *shown.shape[-3:]), columns), interpolation="nearest")
            axis.set_title("sample" if columns == 1 else name.replace("_", " "), fontsize=8)
            axis.axis("off")
    return figure
