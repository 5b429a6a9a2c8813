"""Table 1 as a figure."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from hybrid.experiments.table import formatted

MARK = "**"


def draw(table: pd.DataFrame) -> Figure:
    """Draw Table 1, with the best of each column bold."""
    shown = formatted(table, MARK).reset_index()
    best, texts = shown.map(lambda text: text.startswith(MARK)), shown.map(lambda text: text.strip(MARK))
    rows = len(shown) + 1
    figure, axis = plt.subplots(figsize=(8, 0.26 * rows))
    axis.set_position((0, 0, 1, 1))
    axis.axis("off")
    drawn = axis.table(texts.values, colLabels=list(shown.columns), loc="center", cellLoc="center", edges="horizontal")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(8)
    drawn.auto_set_column_width(list(range(len(shown.columns))))
    for (row, column), cell in drawn.get_celld().items():
        cell.set_edgecolor("0.8")
        cell.set_height(0.98 / rows)
        if row == 0 or column == 0 or best.iloc[row - 1, column]:
            cell.set_text_props(weight="bold")
    figure.draw_without_rendering()
    figure.set_figwidth(drawn.get_window_extent().width / figure.dpi + 0.2)  # columns are as wide as their texts
    return figure
