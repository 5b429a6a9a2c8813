"""Training curves: both bounds in nats, the error of reconstruction, and the losses of all methods."""

from __future__ import annotations

import math

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from hybrid.profiles.schema import Profile
from hybrid.showing import claim, figures
from hybrid.training.history import active_seconds

NOT_SCALARS = ("step", "epoch", "seconds")  # columns of a history that are not results of the training


def draw(history: pd.DataFrame, profile: Profile) -> Figure:
    """Draw I_CPC with its upper limit log m, I_BA and the MSE over the epochs of the first stage."""
    representation = profile.hybrid.representation
    cap = math.log(representation.contrast.queue)
    with figures.charts():
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
        sns.lineplot(history, x="epoch", y="i_cpc", ax=left, color=figures.COLOURS[0])
        left.axhline(cap, color="0.3", linestyle="--", linewidth=1)
        left.annotate(f"log m = {cap:.2f}", (history["epoch"].max(), cap), ha="right", va="bottom", color="0.3")
        left.set(title="I_CPC(x; y), equation (3)", ylabel="nats", ylim=(0, 1.12 * cap))
        sns.lineplot(history, x="epoch", y="i_ba", ax=middle, color=figures.COLOURS[3])
        middle.set(title="I_BA(x; z) − h(X), equation (2)", ylabel="nats", ylim=(min(0, history["i_ba"].quantile(0.1)), None))
        sns.lineplot(history, x="epoch", y="mse", ax=right, color=figures.COLOURS[2])
        right.set(title="reconstruction of augmented views", ylabel="MSE, 1e-3 per dimension", yscale="log")
        _plain(right)
        sns.despine(figure)
    return figure


def overlay(histories: dict[str, pd.DataFrame], profile: Profile) -> Figure:
    """Draw I_CPC below its limit log m, and the MSE, of several trainings (title -> history) in the same two panels."""
    cap = math.log(profile.hybrid.representation.contrast.queue)
    with figures.charts():
        figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
        for (title, history), colour, dashes in zip(histories.items(), figures.COLOURS, ("-", "--", ":", "-."), strict=False):
            for axis, scalar in ((left, "i_cpc"), (right, "mse")):
                axis.plot(history["epoch"], history[scalar], dashes, color=colour, linewidth=1.3, label=title)
        left.axhline(cap, color="0.3", linestyle="--", linewidth=1)
        left.annotate(f"log m = {cap:.2f}", (0, cap), ha="left", va="bottom", color="0.3")
        left.set(title="the contrast's bound, I_CPC", xlabel="epoch", ylabel="nats", ylim=(0, 1.15 * cap))
        right.set(title="reconstruction of augmented views", xlabel="epoch", ylabel="MSE, 1e-3 per dimension", yscale="log")
        _plain(right)
        left.legend(loc="lower right", frameon=True)
        sns.despine(figure)
    return figure


def losses(histories: dict[str, pd.DataFrame]) -> Figure:
    """Draw the loss of each training, by <method>-<stage>, over minutes without pauses. Without a `loss`: the first scalar."""
    columns = max(1, min(4, len(histories)))
    rows = max(1, -(-len(histories) // columns))
    with figures.charts(grid="0.92"):
        figure, axes = plt.subplots(rows, columns, figsize=(2.25 * columns, 1.9 * rows), squeeze=False, layout="constrained")
        for axis in axes.flat[len(histories) :]:
            axis.axis("off")
        for axis, (name, history) in zip(axes.flat, histories.items(), strict=False):
            method, _, stage = name.partition("-")
            axis.set_title(", ".join(filter(None, (claim.titles().get(method, method), stage))))
            scalars = [column for column in history if column not in NOT_SCALARS]
            if history.empty or not scalars:
                claim.nothing(axis, "no history")
                continue
            scalar = "loss" if "loss" in scalars else scalars[0]
            colour = claim.colours().get(method, "0.4")
            minutes = active_seconds(history.to_dict("records")) / 60
            sns.lineplot(x=minutes, y=history[scalar], ax=axis, color=colour, linewidth=1.2, errorbar=None)
            axis.set(xlabel="minutes", ylabel=scalar.replace("_", " "))
        sns.despine(figure)
    return figure


def _plain(axis: Axes) -> None:
    """Plain numbers on a logarithmic axis."""
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
