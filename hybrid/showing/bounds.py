"""Plot the estimates of each bound against the true mutual information."""

from __future__ import annotations

import math

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from hybrid.showing import figures

MARKERS = {"best critic": "o", "trained critic": "P", "linear Gaussian": "s", "trained decoder": "D", "trained both": "^"}
LEAST = -0.3  # left end of the right panel, as a fraction of the truth
TITLES = {
    "best critic": "I_CPC, best critic",
    "trained critic": "I_CPC, trained",
    "linear Gaussian": "I_BA, linear Gaussian",
    "trained decoder": "I_BA, trained",
    "trained both": "hybrid, trained",
}


def draw(rows: pd.DataFrame) -> Figure:
    """Draw estimates with bars of three standard errors; each training is a marker of its own.

    Left: correlated Gaussians, with I_BA, and I_CPC for each m with its upper limit log m. Right: estimate / truth in all other
    cases, and that limit where it is below the truth. Values below LEAST are written beside a triangle at the left edge.
    """
    swept, others = _swept(rows)
    with figures.charts():
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), width_ratios=(4, 5), layout="constrained")
        most = swept["truth"].max()
        sizes = sorted(swept["m"].dropna().unique())
        for colour, m in zip(sns.color_palette("viridis", len(sizes)), sizes, strict=True):
            of_m = swept[swept["m"] == m]
            left.errorbar(of_m["truth"], of_m["estimate"], 3 * of_m["error"], color=colour, marker="o", markersize=3)
            left.axhline(math.log(m), color=colour, linestyle="--", linewidth=0.8)
            left.annotate(f"log m, m = {m:,.0f}", (0.1, math.log(m)), va="bottom", color="0.3", fontsize=7)
        ba = swept[swept["bound"] == "ba"]
        style = {"color": figures.COLOURS[2], "marker": "s", "markersize": 3, "linestyle": "none"}
        left.errorbar(ba["truth"], ba["estimate"], 3 * ba["error"], label="I_BA, linear Gaussian", **style)
        left.plot([0, most], [0, most], color="0.3", linewidth=0.8, zorder=1, label="the truth")
        left.legend(fontsize=7, loc="upper left", frameon=True)
        left.set(
            title="correlated Gaussians, the best critic and a linear Gaussian", xlabel="I(X; Z), nats", ylabel="estimate, nats"
        )
        cases = list(others["case"].unique())[::-1]
        for shift, ((by, title), colour) in enumerate(zip(TITLES.items(), figures.COLOURS, strict=False)):
            some = others[others["by"] == by]
            at = [cases.index(case) + 0.3 - 0.15 * shift for case in some["case"]]
            share, error = some["estimate"] / some["truth"], 3 * some["error"] / some["truth"]
            style = {"color": colour, "marker": MARKERS[by], "markersize": 4, "linestyle": "none", "label": title}
            right.errorbar(share.where(share > LEAST), at, xerr=error, **style)
            for value, height in zip(share, at, strict=True):
                if value <= LEAST:
                    right.plot(LEAST, height, "<", color=colour, markersize=4)
                    right.annotate(f"{value:.1f}", (LEAST + 0.02, height), va="center", color=colour, fontsize=6)
        capped = others[(others["bound"] == "cpc") & (others["m"].map(math.log, na_action="ignore") < others["truth"])]
        capped = capped.drop_duplicates("case")
        limits = capped["m"].map(math.log) / capped["truth"]
        heights = [cases.index(case) for case in capped["case"]]
        right.vlines(
            limits, [at - 0.4 for at in heights], [at + 0.4 for at in heights], color="0.3", linestyle="--", label="log m"
        )
        right.axvline(1, color="0.3", linewidth=0.8, zorder=1)
        right.set(title="all other cases", xlabel="estimate / truth", xlim=(LEAST - 0.05, 1.3))
        right.set_yticks(range(len(cases)), [_name(case, others) for case in cases], fontsize=6)
        right.legend(fontsize=6, loc="upper left", frameon=True)
        sns.despine(figure)
    return figure


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a table of the cases in the right panel: a row per case, with the truth and the mean of each estimate."""
    _, largest = _swept(rows)
    wide = largest.pivot_table(index=["case", "truth"], columns="by", values="estimate")
    order = largest.drop_duplicates("case").set_index(["case", "truth"]).index
    return wide[[by for by in TITLES if by in wide]].rename(columns=TITLES).loc[order].round(2)


def _swept(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the rows into correlated Gaussians with the best critic, and each estimate of the other cases at its largest m."""
    swept = rows["case"].str.startswith("correlated Gaussians, 20")
    largest = rows[~swept].sort_values("m", ascending=False, kind="stable").drop_duplicates(["case", "by", "seed"])
    return rows[swept], largest.sort_index()


def _name(case: str, rows: pd.DataFrame) -> str:
    """Return the case with its m, and without the benchmark's list of correlations."""
    m = rows.loc[rows["case"] == case, "m"].max()
    return f"{case.removesuffix('-2-2.0')}, m = {m:,.0f}"
