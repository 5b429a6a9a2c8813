"""The tables of `hybrid diagnose` as Markdown and as a figure."""

from __future__ import annotations

import json

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from hybrid.showing import figures


def markdown(diagnosis: dict[str, pd.DataFrame]) -> str:
    """Format the tables as Markdown, each under its name."""
    return "\n\n".join(f"{name}\n\n{frame.round(3).to_markdown()}" for name, frame in diagnosis.items() if len(frame))


def as_json(diagnosis: dict[str, pd.DataFrame]) -> dict:
    """Return the tables as lists of rows, each with its index."""
    return {name: json.loads(frame.reset_index().to_json(orient="records")) for name, frame in diagnosis.items()}


def draw(diagnosis: dict[str, pd.DataFrame]) -> Figure:
    """Draw four panels: spectra, losses, the samples' power, distances."""
    with plt.rc_context(figures.STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
        (left, right), (below, last) = axes
        diagnosis["spectra"].T.plot(ax=left, marker="o", logy=True, title="share of variance in block means")
        bars = diagnosis["losses"].reset_index()
        bars.index = bars["of"] + ", " + bars["predicted"]
        kinds = [column for column in ("prior", "Gaussian", "without correlation") if column in bars]
        bars[kinds].iloc[::-1].plot.barh(ax=right, title="loss")
        if len(diagnosis["power"]):
            diagnosis["power"].plot(ax=below, marker="o", title="power of sampled codes / power of real codes")
            below.axhline(1, color="0.6", linewidth=1)
        else:
            below.text(0.5, 0.5, "no prior, so no samples", ha="center", color="0.4")
        distances = diagnosis["distances"].filter(regex="^(fid|fd_)")
        distances.iloc[::-1].plot.barh(ax=last, title="distance to the train set")
        for axis in axes.flat:
            axis.tick_params(labelsize=7)
            axis.set(xlabel="", ylabel="")
            if axis.get_legend():
                axis.legend(fontsize=6)
    return figure
