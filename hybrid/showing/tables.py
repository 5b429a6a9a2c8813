"""Table 1 as a figure."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from hybrid.experiments.table import formatted


def draw(table: pd.DataFrame) -> Figure:
    """Draw Table 1."""
    shown = formatted(table).reset_index()
    figure, axis = plt.subplots(figsize=(1.5 * len(shown.columns), 0.45 * (len(shown) + 1)), layout="constrained")
    axis.axis("off")
    drawn = axis.table(shown.values, colLabels=list(shown.columns), loc="center", cellLoc="center", edges="horizontal")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(8)
    drawn.auto_set_column_width(list(range(len(shown.columns))))
    drawn.scale(1, 1.5)
    for (row, column), cell in drawn.get_celld().items():
        cell.set_edgecolor("0.8")
        if row == 0 or column == 0:
            cell.set_text_props(weight="bold")
    return figure
