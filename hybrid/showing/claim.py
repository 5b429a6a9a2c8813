"""Table 1 as a figure: accuracy against error, and against the distance of the samples."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Bbox

from hybrid.experiments.methods import TABLE
from hybrid.experiments.table import distance as shown_distance
from hybrid.experiments.table import heading
from hybrid.showing import figures

MARKERS = "oPsD^vX*pdh<>"  # of the table's methods, in order; after the last one they begin again, like the colours
AXES = {"mse": "MSE, 1e-3 per dimension", "fid": "FID"}
TEXT = "0.25"  # names stand in grey: some of the colours are too light to read
Points = dict[str, tuple[float, float]]  # method -> position

# Positions of a label around its point, best first: horizontal and vertical alignment, and the offset in points.
PLACES = [
    (horizontal, vertical, distance * right, distance * up)
    for distance in (7, 12, 18, 26)
    for horizontal, vertical, right, up in (
        ("left", "center", 1, 0),
        ("right", "center", -1, 0),
        ("center", "bottom", 0, 1),
        ("center", "top", 0, -1),
        ("left", "bottom", 0.7, 0.7),
        ("right", "bottom", -0.7, 0.7),
        ("left", "top", 0.7, -0.7),
        ("right", "top", -0.7, -0.7),
    )
]
EDGE_PLACES = [
    (side, "bottom", away * right, up)
    for away in (1, 4)
    for up in range(3, 140, 20)
    for side, right in (("right", -1), ("left", 1))
]


def titles() -> dict[str, str]:
    """Return the titles of the table's methods, by name."""
    return {method.name: method.title for method in TABLE.values()}


def colours() -> dict[str, str]:
    """Return a colour for each of the table's methods."""
    return dict(zip(TABLE, cycle(figures.COLOURS), strict=False))


def markers() -> dict[str, str]:
    """Return a marker for each of the table's methods."""
    return dict(zip(TABLE, cycle(MARKERS), strict=False))


def draw(tables: pd.DataFrame | dict[str, pd.DataFrame]) -> Figure:
    """Draw accuracy (percent) against MSE (1e-3 per dimension) and against the samples' distance, from rows of `table.tidy`.

    `tables`: those of one data set, or of several by their titles, which get a row of two panels each. Up and right is better.
    The distance is FID if any method has it, else the stand-in that most methods have. A method with only an accuracy is a
    vertical line. The paper's numbers are hollow. A line below names missing methods.
    """
    titled = tables if isinstance(tables, dict) else {"": tables}
    with figures.charts(grid="0.92"):
        figure = plt.figure(figsize=(9, 3.8 * len(titled)), layout="constrained")
        rows = np.atleast_1d(figure.subfigures(len(titled), 1))
        for row, (title, table) in zip(rows, titled.items(), strict=True):
            _row(row, title, table)
        figure.draw_without_rendering()  # fix the layout before placing labels
        for row, table in zip(rows, titled.values(), strict=True):
            for metric, axis in zip(("mse", _distance(table)), row.axes, strict=True):
                _labels(axis, metric, *_numbers(table))
    return figure


def _row(row: SubFigure, title: str, table: pd.DataFrame) -> None:
    """Draw the two panels of a data set, without the names of the methods."""
    ours, spread, paper = _numbers(table)
    distance = _distance(table)
    axes = row.subplots(1, 2, sharex=True)
    for metric, axis in zip(("mse", distance), axes, strict=True):
        _points(axis, metric, ours, spread, paper)
        axis.set(xlabel="linear accuracy, %", ylabel=AXES.get(metric, f"{heading(metric)} (not FID)"))
    accuracies = pd.concat([ours["acc"], paper["acc"]]).dropna()
    if len(accuracies):
        low, high = accuracies.min(), accuracies.max()
        pad = max(0.15 * (high - low), 4)
        axes[0].set_xlim(max(low - pad, 0), min(high + pad, 101))
    before = f"{title}: " if title else ""
    axes[0].set_title(f"{before}classifies and reconstructs (better is up and right)", fontsize=9)
    axes[1].set_title(f"{before}classifies and generates (better is up and right)", fontsize=9)
    row.supxlabel(_remarks(ours, paper, distance), x=0.01, ha="left", fontsize=7, color="0.4")
    for axis in axes:
        sns.despine(ax=axis)


def _numbers(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return our values, their deviations and the paper's values, with a row per method and a column per metric."""
    return _wide(table, "value"), _wide(table, "std"), _wide(table, "paper")


def _distance(table: pd.DataFrame) -> str:
    return shown_distance(table) or "fid"


def _wide(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Pivot one column of the table: a row per method, a column per metric, NaN where there is no value."""
    wide = table.astype({column: float}).pivot(index="method", columns="metric", values=column)
    return wide.reindex(index=list(TABLE), columns=wide.columns.union(["mse", "fid", "acc"]))


def _split(numbers: pd.DataFrame, metric: str) -> tuple[Points, Points]:
    """Return the methods with a point in a panel, (accuracy, metric), and those with only an accuracy, (accuracy, 0)."""
    known = numbers[numbers["acc"].notna()]
    if metric == "mse":  # Hybrid+ has the hybrid's representation, so its point would be the same
        known = known.drop([name for name, method in TABLE.items() if method.first], errors="ignore")
    points, edges = known.dropna(subset=metric), known[known[metric].isna()]
    at = {name: (row["acc"], row[metric]) for name, row in points.iterrows()}
    return at, {name: (accuracy, 0.0) for name, accuracy in edges["acc"].items()}


def _shown(ours: pd.DataFrame, paper: pd.DataFrame, metric: str) -> tuple[Points, Points, Points, Points]:
    """Return our points and edges, then the paper's. The paper has none for a distance that it does not report."""
    theirs = _split(paper, metric) if paper[metric].notna().any() else ({}, {})
    return *_split(ours, metric), *theirs


def _points(axis: Axes, metric: str, ours: pd.DataFrame, spread: pd.DataFrame, paper: pd.DataFrame) -> None:
    points, edges, paper_points, paper_edges = _shown(ours, paper, metric)
    colour, marker = colours(), markers()
    for name, (accuracy, _) in edges.items():
        axis.axvline(accuracy, color=colour[name], linestyle="--", linewidth=1.2, zorder=1)
    for name, (accuracy, _) in paper_edges.items():
        axis.axvline(accuracy, color=colour[name], linestyle=":", linewidth=1, zorder=1)
    for name, point in paper_points.items():
        line = np.array([point, *([points[name]] if name in points else [])]).T  # from the paper's point, a thin line to ours
        axis.plot(*line, marker[name], linestyle="-", linewidth=0.7, color=colour[name], mfc="white", markevery=[0], ms=6)
    if points:
        names = list(points)
        across, up = np.array(list(points.values())).T
        sns.scatterplot(
            x=across, y=up, hue=names, style=names, palette=colour, markers=marker, s=55, legend=False, ax=axis, zorder=4
        )
        for name, (x, y) in points.items():
            error = spread.loc[name].fillna(0)
            axis.errorbar(x, y, error[metric], error["acc"], color=colour[name], fmt="none", capsize=2, elinewidth=1)
    values = [y for _, y in (*points.values(), *paper_points.values())]
    if not values:
        nothing(axis, "not measured")
        return
    low, high = min(values), max(values)
    pad = max(1.6, (high / low) ** 0.15)
    axis.set(yscale="log", ylim=(high * pad, low / pad))
    narrow = high * pad**2 < 10 * low
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7) if narrow else (1, 2, 5), numticks=20))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _labels(axis: Axes, metric: str, ours: pd.DataFrame, spread: pd.DataFrame, paper: pd.DataFrame) -> None:
    """Place names at points and along lines without overlaps. The paper's points get names only if ours are missing."""
    points, edges, paper_points, paper_edges = _shown(ours, paper, metric)
    title = titles()
    across = axis.get_xaxis_transform()  # x in percent, y from 0 to 1 over the panel
    taken = [text.get_window_extent() for text in axis.texts]
    for x, _ in (*edges.values(), *paper_edges.values()):
        taken += _along(across.transform([(x, 0), (x, 1)]), 1)
    for name, point in (*points.items(), *paper_points.items()):
        taken += _along(axis.transData.transform([point, points.get(name, point)]), 5)
    for name, (x, y) in points.items():
        wide, high = spread.loc[name, ["acc", metric]].fillna(0)
        lowest, highest = sorted(axis.get_ylim())
        bottom, top = max(y - high, lowest), min(y + high, highest)
        taken += _along(axis.transData.transform([(x - wide, y), (x + wide, y)]), 3)
        taken += _along(axis.transData.transform([(x, bottom), (x, top)]), 3)
    for own, theirs, coordinates, places, rotation in (
        (points, paper_points, "data", PLACES, 0),
        (edges, paper_edges, across, EDGE_PLACES, 90),
    ):
        for name in [name for name in title if name in own or name in theirs]:
            label = axis.annotate(
                title[name] if name in own else f"{title[name]} (paper)",
                own[name] if name in own else theirs[name],
                xycoords=coordinates,
                xytext=(0, 0),
                textcoords="offset points",
                color=TEXT,
                rotation=rotation,
            )
            for horizontal, vertical, right, up in places:
                label.set(ha=horizontal, va=vertical, position=(right, up))
                box = label.get_window_extent()
                fits = axis.bbox.contains(*box.min) and axis.bbox.contains(*box.max)
                if fits and not box.count_overlaps(taken):
                    break
            taken.append(box)


def _along(line: np.ndarray, radius: float) -> list[Bbox]:
    """Return squares of `radius` pixels along a line (2, 2), in pixels of the figure."""
    start, end = line
    return [Bbox([centre - radius, centre + radius]) for centre in np.linspace(start, end, 40)]


def nothing(axis: Axes, text: str) -> None:
    axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center", va="center", color="0.5", bbox={"color": "white"})
    axis.set(yticks=[])


def _remarks(ours: pd.DataFrame, paper: pd.DataFrame, distance: str) -> str:
    """Explain the figure's line styles, if it uses them, and name missing methods."""
    absent = ours.index[ours.isna().all(axis=1)]
    unplaced = ours.index[ours["acc"].isna()].difference(absent, sort=False)
    remarks = []
    if any(_shown(ours, paper, metric)[1] for metric in ("mse", distance)):
        remarks.append("dashed: accuracy alone")
    if paper.notna().any(axis=None):
        remarks.append("hollow and dotted: the paper's")
    for words, names in (("accuracy not measured", unplaced), ("not run", absent)):
        if len(names):
            remarks.append(f"{words}: {', '.join(titles()[name] for name in names)}")
    return "   ·   ".join(remarks)
