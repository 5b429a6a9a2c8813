"""The tables of `hybrid diagnose` as Markdown and as a figure."""

from __future__ import annotations

import json

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from hybrid.experiments import table
from hybrid.showing import figures

NOTES = {  # what stands under each table
    "facts": "The error is that of reconstructions. A picture that hardly moves when noise replaces y does not depend on y.",
    "spectra": "The share of a channel's variance that is left in means of k x k blocks, for the channels with the smallest "
    "and the largest share. White noise is only fine detail, which a diffusion hardly learns.",
    "losses": "A prior's loss on test images, and the losses of two predictors fitted to train images: the best linear one "
    "(Gaussian), and the best one that ignores correlations. Each sees its own part only, so that of p(w given y) does not see "
    "y. A prior below the Gaussian has learned more than the covariances within that part. p(z), p(y) and p(w given y) are the "
    "parts of the prior; v and noise are what a diffusion can predict. A dash means that "
    "this loss is not computed.",
    "power": "The power of sampled codes, divided by that of real codes, for frequencies i + j of the cosine transform, from "
    "coarse to fine. 1 is ideal; samples with less power look soft.",
    "distances": "Distances of decoded images to the train set, on the features of the named network; smaller is better. Codes "
    "that are mixed from real and drawn (sampled) parts show which part makes samples worse than reconstructions. In the row "
    "“w's fine part another's”, the high frequencies of w come from another image.",
}


def markdown(diagnosis: dict[str, pd.DataFrame]) -> str:
    """Format the tables as Markdown, each under its name and above its explanation. A dash is a value that is not there."""
    return "\n\n".join(f"{name}\n\n{_table(frame)}\n\n{NOTES[name]}" for name, frame in diagnosis.items() if len(frame))


def _table(frame: pd.DataFrame) -> str:
    """Format a table as Markdown. A bar in a name would end its cell."""
    named = frame.rename(index=lambda name: name.replace(" | ", " given "))
    texts = named.map(lambda cell: cell if isinstance(cell, str) else table.DASH if pd.isna(cell) else f"{round(cell, 3):g}")
    return texts.to_markdown(disable_numparse=True, colalign=("left", *["right"] * texts.shape[1]))


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
