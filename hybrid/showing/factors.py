"""Bar charts of the information that y, w and z keep about an image."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from hybrid.judging.factors import PARTS
from hybrid.showing import figures

COLOURS = dict(zip(PARTS, (figures.COLOURS[0], figures.COLOURS[1], "0.35", "0.6", figures.COLOURS[2], "0.85"), strict=True))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Pivot the rows of `judging.factors.study`: a row per factor, a column per part, with scores and accuracies of kinds."""
    parts = [part for part in COLOURS if part in set(rows["part"])]
    wide = rows.pivot(index="factor", columns="part", values="score")[parts]
    if "accuracy" in rows:
        kinds = rows.dropna(subset="accuracy").pivot(index="factor", columns="part", values="accuracy")
        wide = wide.join(kinds[parts].add_prefix("accuracy on "))
    return wide.loc[rows["factor"].unique()]


def draw(studies: dict[str, pd.DataFrame]) -> Figure:
    """Draw a panel for each named result of `judging.factors.study`: a group of bars per factor, a bar per part."""
    every = pd.concat(studies.values())
    parts = [part for part in COLOURS if part in set(every["part"])]
    height = 1 + 0.09 * (len(parts) + 2) * every["factor"].nunique()
    with figures.charts():
        figure, axes = plt.subplots(1, len(studies), figsize=(4.5 * len(studies), height), squeeze=False, layout="constrained")
        for axis, (title, rows) in zip(axes[0], studies.items(), strict=True):
            shown = rows.assign(score=rows["score"].clip(lower=0))
            sns.barplot(shown, y="factor", x="score", hue="part", hue_order=parts, palette=COLOURS, ax=axis)
            axis.set(title=title, xlabel="share that a linear probe reads: 0 none, 1 all", ylabel="", xlim=(0, 1))
            axis.get_legend().remove()
        columns = 3 if len(studies) == 1 else len(parts)
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=columns, frameon=False)
        sns.despine(figure, left=True)
    return figure
