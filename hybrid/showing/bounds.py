"""Estimates of mutual information against the truth. They show where each bound saturates."""

from __future__ import annotations

import math

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hybrid.showing import figures

MARKERS = {"best critic": "o", "trained critic": "P", "linear Gaussian": "s", "trained Gaussian": "D", "trained both": "^"}
TITLES = {
    "best critic": "I_CPC, best critic",
    "trained critic": "I_CPC, trained",
    "linear Gaussian": "I_BA, linear Gaussian",
    "trained Gaussian": "I_BA, trained",
    "trained both": "hybrid, trained",
}


def draw(rows: pd.DataFrame) -> Figure:
    """Draw I_CPC for each m with its limit log m, and I_BA, on correlated Gaussians (left); trained estimators (right)."""
    swept = rows[rows["case"].str.startswith("correlated Gaussians, 20")]
    with sns.axes_style("whitegrid"), plt.rc_context(figures.STYLE | {"font.size": 8}):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
        most = swept["truth"].max()
        sizes = sorted(swept["m"].dropna().unique())
        for colour, m in zip(sns.color_palette("viridis", len(sizes)), sizes, strict=True):
            of_m = swept[swept["m"] == m]
            left.errorbar(of_m["truth"], of_m["estimate"], 3 * of_m["error"], color=colour, marker="o", markersize=3)
            left.axhline(math.log(m), color=colour, linestyle="--", linewidth=0.8)
            left.annotate(f"log {m:,.0f}", (0.1, math.log(m)), va="bottom", color=colour, fontsize=7)
        ba = swept[swept["bound"] == "ba"]
        left.errorbar(ba["truth"], ba["estimate"], 3 * ba["error"], color="C1", marker="s", markersize=3, linestyle="none")
        left.annotate("I_BA, linear Gaussian", (most, most), ha="right", va="bottom", color="C1", rotation=38, fontsize=7)
        _diagonal(left, most)
        left.set(title="correlated Gaussians, the best critic", xlabel="I(X; Z), nats", ylabel="estimate, nats")
        others = rows[~rows.index.isin(swept.index)]
        for by, some in others.groupby("by", sort=False):
            style = {"marker": MARKERS[by], "markersize": 4, "linestyle": "none", "label": TITLES[by], "alpha": 0.8}
            right.errorbar(some["truth"], some["estimate"].clip(lower=0.05), 3 * some["error"], **style)
        _diagonal(right, others["truth"].max())
        right.set(title="all other cases", xlabel="I(X; Z), nats", ylabel="estimate, nats", xscale="log", yscale="log")
        right.set(xlim=(0.12, None), ylim=(0.05, None))
        right.legend(fontsize=7, loc="upper left")
        sns.despine(figure)
    return figure


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the trained estimators' results: a row per case, with the truth and each estimate."""
    others = rows[~rows["case"].str.startswith("correlated Gaussians, 20")]
    largest = others.sort_values("m", ascending=False).drop_duplicates(["case", "by"])
    wide = largest.pivot(index=["case", "truth"], columns="by", values="estimate")
    order = others.drop_duplicates("case").set_index(["case", "truth"]).index
    return wide[[by for by in TITLES if by in wide]].rename(columns=TITLES).loc[order].round(2)


def _diagonal(axis: Axes, most: float) -> None:
    axis.plot([0.01, most], [0.01, most], color="0.3", linewidth=0.8, zorder=1)
