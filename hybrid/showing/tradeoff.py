"""The trade-off between accuracy on y and error of reconstruction, over alpha and over the number of y's channels."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hybrid.showing import figures

BLUE, RED = figures.COLOURS[0], figures.COLOURS[3]


def draw(rows: pd.DataFrame) -> Figure:
    """Draw accuracy on y and error, over alpha and over y's channels: lines for means over seeds, points for single seeds."""
    with sns.axes_style("whitegrid"), plt.rc_context(figures.STYLE | {"font.size": 8}):
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
        alphas, channels = (rows[rows["sweep"] == sweep] for sweep in ("alpha", "y_channels"))
        _both(axes[0], alphas, "alpha", "alpha: 0 is MoCo-v2, 1 the autoencoder")
        least = alphas.loc[alphas["alpha"] > 0, "alpha"].min()
        axes[0].set_xscale("symlog", linthresh=least)  # it can show alpha = 0
        _both(axes[1], channels, "y_channels", "channels of y, of z's 6")
        sns.despine(figure, right=False)
    return figure


def _both(axis: Axes, rows: pd.DataFrame, over: str, label: str) -> None:
    right = axis.twinx()
    for side, metric, colour, title in ((axis, "acc_y", BLUE, "linear accuracy on y, %"), (right, "mse", RED, "MSE, 1e-3")):
        known = rows.dropna(subset=metric)
        means = known.groupby(over)[metric].mean()
        side.plot(means.index, means.values, color=colour)
        side.plot(known[over], known[metric], "o", markersize=3, color=colour)
        side.set_ylabel(title, color=colour)
    right.set_yscale("log")
    right.grid(False)
    axis.set_xlabel(label)
