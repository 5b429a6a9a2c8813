"""Plot accuracy on y against reconstruction error, over alpha and over the number of y's channels."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from hybrid.judging.tradeoff import own
from hybrid.showing import figures

# Columns of accuracies: colour, name.
PARTS = {"acc_y": (figures.COLOURS[0], "contrasted part"), "acc_w": (figures.COLOURS[3], "w")}
ENDS = {0.0: "0\nMoCo-v2", 1.0: "1\nautoencoder"}
SWEEPS = {"alpha": "alpha", "y_channels": "channels of y (6: the contrast is on all of z)"}


def draw(rows: pd.DataFrame) -> Figure:
    """Draw accuracy, error and I_CPC over alpha (left) and over y's channels (right), from rows of `workflows.tradeoff.read`.

    Lines connect means over seeds. Each point is a training. A vertical line marks the profile's own setting.
    """
    with sns.axes_style("whitegrid"), plt.rc_context(figures.STYLE | {"font.size": 8}):
        figure, axes = plt.subplots(3, 2, figsize=(9, 5.6), sharex="col", sharey="row", layout="constrained")
        shared = dict(zip(SWEEPS, own(rows), strict=True))
        for column, (over, label) in zip(axes.T, SWEEPS.items(), strict=True):
            swept = rows[rows["sweep"] == over]
            values = sorted(swept[over].unique())
            for metric, (colour, name) in PARTS.items():
                _line(column[0], swept, over, values, metric, colour, name)
            _line(column[1], swept, over, values, "mse", "0.3")
            _line(column[2], swept, over, values, "i_cpc", "0.3")
            for axis in column:
                axis.axvline(values.index(shared[over]), color="0.6", linewidth=0.8, linestyle=":")
            column[2].set_xticks(range(len(values)), [_name(over, value) for value in values])
            column[2].set_xlabel(label)
        for axis, label in zip(axes[:, 0], ("linear accuracy, %", "error, 1e-3", "I_CPC, nats"), strict=True):
            axis.set_ylabel(label)
        axes[1, 0].set_ylim(bottom=0)
        axes[0, 0].legend(title=None, frameon=True)
        sns.despine(figure)
    return figure


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per setting: means over seeds, with ± the standard deviation if there are two or more."""
    metrics = ["acc_y", "acc_w", "acc_z", "mse", "i_cpc", "i_ba"]
    grouped = rows.groupby(["sweep", "alpha", "y_channels"])[metrics]
    means, spreads = grouped.mean(), grouped.std()
    shown = means.round(2).astype(str).where(spreads.isna(), means.round(2).astype(str) + " ± " + spreads.round(2).astype(str))
    return shown.where(means.notna(), "").assign(seeds=grouped.size())


def _line(axis, rows: pd.DataFrame, over: str, values: list, metric: str, colour: str, name: str | None = None) -> None:
    known = rows.dropna(subset=metric)
    means = known.groupby(over)[metric].mean()
    axis.plot([values.index(value) for value in means.index], means, color=colour, label=name)
    axis.plot([values.index(value) for value in known[over]], known[metric], "o", markersize=3, color=colour)


def _name(over: str, value: float) -> str:
    return f"{value:g}" if over == "y_channels" else ENDS.get(value, f"{value:.0e}".replace("e-0", "e-"))
