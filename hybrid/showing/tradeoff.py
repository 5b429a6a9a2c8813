"""Plot the trade-off between accuracy on y and reconstruction error, over alpha and over the number of y's channels."""

from __future__ import annotations

import math

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hybrid.judging.tradeoff import own
from hybrid.models.autoencoder import LATENT_CHANNELS
from hybrid.showing import figures

# Columns of accuracies: colour, name.
PARTS = {"acc_y": (figures.COLOURS[0], "y"), "acc_w": (figures.COLOURS[3], "w")}
GREY = "0.3"
ROWS = {
    "acc_y": "accuracy of a\nprobe on y or w, %",
    "mse": "mean squared\nerror, 1e-3",
    "i_cpc": "I_CPC, nats",
    "i_ba": "I_BA − h(X), nats",
}
ENDS = {0.0: "0\nMoCo-v2", 1.0: "1\nautoencoder"}
SWEEPS = {"alpha": "alpha", "y_channels": "channels of y"}
ON_Z = "contrast\non all of z"


def draw(rows: pd.DataFrame) -> Figure:
    """Draw `workflows.tradeoff.read`'s rows: accuracies, error and both bounds over each sweep, and accuracy against error.

    Each point is a training. Lines connect means over the seeds that all settings of a sweep have. A vertical line marks the
    profile's own setting, and a dashed line the cap of I_CPC. The contrast on all of z has the encoder of that setting, so no
    line leads to it.
    """
    with figures.charts():
        figure = plt.figure(figsize=(11, 6), layout="constrained")
        grid = figure.add_gridspec(len(ROWS), 3, width_ratios=(3, 3, 3.4))
        axes = grid[:, :2].subgridspec(len(ROWS), 2).subplots(sharex="col", sharey="row")
        shared, m = dict(zip(SWEEPS, own(rows), strict=True)), rows["m"].iloc[0]
        for column, (over, label) in zip(axes.T, SWEEPS.items(), strict=True):
            swept = rows[rows["sweep"] == over]
            values = sorted(swept[over].unique())
            for metric, (colour, name) in PARTS.items():
                _line(column[0], swept, over, values, metric, colour, name)
            for axis, metric in zip(column[1:], list(ROWS)[1:], strict=True):
                _line(axis, swept, over, values, metric, GREY)
            column[2].axhline(math.log(m), color=GREY, linewidth=0.8, linestyle="--")
            for axis in column:
                axis.axvline(values.index(shared[over]), color="0.6", linewidth=0.8, linestyle=":")
            column[-1].set_xticks(range(len(values)), [_name(over, value) for value in values])
            column[-1].set_xlabel(label)
        for axis, label in zip(axes[:, 0], ROWS.values(), strict=True):
            axis.set_ylabel(label)
        axes[2, 0].annotate(f"log m, m = {m:,}", (0, math.log(m)), (2, -8), textcoords="offset points", color=GREY, fontsize=7)
        for axis in axes[1:3, 0]:
            axis.set_ylim(bottom=0)
        _against(figure.add_subplot(grid[:, 2]), rows)
        figure.align_ylabels(axes[:, 0])
        sns.despine(figure)
    return figure


def draw_lengths(rows: pd.DataFrame) -> Figure:
    """Draw `workflows.tradeoff.lengths`: the error and the accuracy over epochs, with the contrast on y and on all of z.

    Each point is a training; lines connect means over seeds.
    """
    with figures.charts():
        figure, axes = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
        labels = {"mse": "mean squared error, 1e-3", "accuracy": "linear accuracy on y or z, %"}
        for axis, (metric, label) in zip(axes, labels.items(), strict=True):
            for on, colour, marker in (("y", figures.COLOURS[0], "o"), ("z", GREY, "D")):
                some = rows[rows["on"] == on]
                axis.plot(some.groupby("epochs")[metric].mean(), color=colour)
                axis.plot(some["epochs"], some[metric], marker, markersize=4, color=colour, label=f"contrast on {on}")
            axis.set_xscale("log")
            axis.set_xticks(sorted(rows["epochs"].unique()), sorted(rows["epochs"].unique()))
            axis.minorticks_off()
            axis.set(xlabel="epochs of training", ylabel=label)
        axes[0].set_ylim(bottom=0)
        axes[1].legend(frameon=True, loc="best")
        sns.despine(figure)
    return figure


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a row per setting: means over seeds, with ± the standard deviation if there are two or more."""
    metrics = ["acc_y", "acc_w", "acc_z", "mse", "i_cpc", "i_ba"]
    grouped = rows.groupby(["sweep", "alpha", "y_channels"])[metrics]
    means, spreads = grouped.mean(), grouped.std()
    shown = means.round(2).astype(str).where(spreads.isna(), means.round(2).astype(str) + " ± " + spreads.round(2).astype(str))
    return shown.where(means.notna(), "").assign(seeds=grouped.size())


def _line(axis: Axes, rows: pd.DataFrame, over: str, values: list, metric: str, colour: str, name: str | None = None) -> None:
    known = rows.dropna(subset=metric)
    means = _means(known, over, metric)
    places = [values.index(value) for value in means.index]
    axis.plot(places, means, color=colour)
    if name and places:
        axis.annotate(name, (places[-1], means.iloc[-1]), (6, -3), textcoords="offset points", color=colour)
    on_z = known["y_channels"] == LATENT_CHANNELS
    for some, marker in ((known[~on_z], "o"), (known[on_z], "D")):
        axis.plot([values.index(value) for value in some[over]], some[metric], marker, markersize=3, color=colour)


def _against(axis: Axes, rows: pd.DataFrame) -> None:
    """Draw accuracy on y against error: up and left is better. MoCo-v2 has no error, so it is a horizontal line."""
    for over, colour, offset in zip(SWEEPS, (figures.COLOURS[0], figures.COLOURS[2]), ((3, -9), (-2, 5)), strict=True):
        swept = rows[rows["sweep"] == over].dropna(subset="mse")
        errors, accuracies = (_means(swept, over, metric) for metric in ("mse", "acc_y"))
        axis.plot(errors, accuracies, color=colour, label=f"{SWEEPS[over]} changes")
        axis.plot(swept["mse"], swept["acc_y"], "o", markersize=3, color=colour)
        for value in errors.index:
            text = _name(over, value).replace("\n", ": ")
            axis.annotate(
                text, (errors[value], accuracies[value]), offset, textcoords="offset points", fontsize=7, color=colour
            )
    on_z = rows[rows["y_channels"] == LATENT_CHANNELS]
    axis.plot(on_z["mse"], on_z["acc_y"], "D", markersize=4, color=GREY, label=ON_Z.replace("\n", " "))
    if (rows["alpha"] == 0).any():
        axis.axhline(rows.loc[rows["alpha"] == 0, "acc_y"].mean(), color=GREY, linestyle="--", linewidth=0.8, label="MoCo-v2")
    axis.set(title="better is up and left", xlabel=ROWS["mse"].replace("\n", " "), ylabel="linear accuracy on y, %")
    axis.legend(frameon=True, loc="best")


def _means(rows: pd.DataFrame, over: str, metric: str) -> pd.Series:
    """Return means by setting over the seeds that all settings have, without the contrast on z."""
    by = rows[rows["y_channels"] < LATENT_CHANNELS].pivot_table(metric, over, "seed")
    return by.dropna(axis=1).mean(axis=1)


def _name(over: str, value: float) -> str:
    if over == "y_channels":
        return ON_Z if value == LATENT_CHANNELS else f"{value:g}"
    return ENDS.get(value, f"{value:.0e}".replace("e-0", "e-"))
