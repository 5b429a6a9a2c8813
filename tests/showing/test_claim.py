"""The figure of Table 1: it has the table's points, names missing methods, and has the same bytes when drawn again."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import PathCollection

from hybrid.experiments.methods import TABLE
from hybrid.experiments.table import PAPER
from hybrid.showing import claim, figures

FD = "fd_net"
FIVE = {
    "hybrid": {"mse": (2.1, 0.2), "acc": (92.4, 0.4), FD: (311.0, 20.0)},
    "hybridplus": {"mse": (2.1, 0.2), "acc": (92.4, 0.4), FD: (200.0, 9.0)},
    "mocov2": {"acc": (93.1, 0.3)},
    "nvae": {"mse": (0.9, 0.05), "acc": (61.0, 2.0), FD: (280.0, 15.0)},
    "ddim": {"mse": (3.0, 0.4), "acc": (48.0, 1.5), FD: (150.0, 8.0)},
    "biggan": {"acc": (86.0, 1.0), FD: (210.0, 40.0)},
}
ONE = {"hybrid": {"mse": (2.08, None), "acc": (92.4, None), FD: (511.0, None)}}
CIFAR = {
    "hybrid": {"mse": (0.7, None), "acc": (67.2, None), "fid": (88.0, None)},
    "mocov2": {"acc": (70.1, None)},
    "ddim": {"mse": (3.1, None), "acc": (33.0, None), "fid": (41.0, None), FD: (100.0, None)},
}


@pytest.fixture(autouse=True)
def of_six_methods(monkeypatch):
    """Whatever methods the table gets."""
    monkeypatch.setattr(claim, "TABLE", {name: TABLE[name] for name in FIVE})
    yield
    plt.close("all")


def tidy(measured, paper=None, metrics=("mse", "fid", "acc", FD)):
    """`table.tidy`'s rows; what a method was not measured with is there without a value."""
    rows = []
    for method in claim.TABLE:
        for metric in metrics:
            value, std = measured.get(method, {}).get(metric, (None, None))
            rows.append((method, metric, value, std, "0", (paper or {}).get(method, {}).get(metric)))
    return pd.DataFrame(rows, columns=["method", "metric", "value", "std", "seeds", "paper"])


def points(axis):
    """Ours: (accuracy, metric)."""
    scattered = [collection for collection in axis.collections if isinstance(collection, PathCollection)]
    return {tuple(offset) for collection in scattered for offset in collection.get_offsets().tolist()}


def across(axis, style):
    """Where lines of a style stand from the lower edge to the upper, in percent."""
    lines = [line for line in axis.lines if line.get_linestyle() == style and list(line.get_ydata()) == [0, 1]]
    return {float(line.get_xdata()[0]) for line in lines}


def labels(axis):
    return {text.get_text() for text in axis.texts}


def remarks(figure):
    row = figure.subfigs[0] if figure.subfigs else figure
    return row.get_supxlabel()


def test_points_lie_where_the_table_says():
    figure = claim.draw(tidy(FIVE))
    left, right = figure.axes
    assert points(left) == {(92.4, 2.1), (61.0, 0.9), (48.0, 3.0)}
    assert points(right) == {(92.4, 311.0), (92.4, 200.0), (61.0, 280.0), (48.0, 150.0), (86.0, 210.0)}
    assert across(left, "--") == {93.1, 86.0} and across(right, "--") == {93.1}
    assert labels(left) == set(claim.titles().values()) - {"Hybrid+"}  # the hybrid's representation, told once
    assert labels(right) == set(claim.titles().values())
    for axis in figure.axes:
        assert axis.get_yscale() == "log" and axis.yaxis_inverted()
        assert not axis.xaxis_inverted()
    assert right.get_ylabel() == "FD, net (not FID)"
    assert "not run" not in remarks(figure)


def test_several_data_sets_have_a_row_each():
    figure = claim.draw({"ten": tidy(CIFAR, PAPER["cifar10"]), "hundred": tidy(ONE, PAPER["cifar100"])})
    assert [axis.get_title().partition(":")[0] for axis in figure.axes] == ["ten", "ten", "hundred", "hundred"]
    assert points(figure.axes[0]) == {(67.2, 0.7), (33.0, 3.1)} and points(figure.axes[2]) == {(92.4, 2.08)}
    assert figure.axes[1].get_ylabel() == "FID" and figure.axes[3].get_ylabel() == "FD, net (not FID)"
    assert ["not run" in remarks(row) for row in figure.subfigs] == [True, True]
    assert "Hybrid" in labels(figure.axes[2]) and across(figure.axes[2], ":") == {49.04, 43.3}


def test_error_bars_are_the_deviations():
    left, _ = claim.draw(tidy({"hybrid": FIVE["hybrid"]})).axes
    ends = np.concatenate([np.concatenate(bar.get_segments()) for _, _, bars in left.containers for bar in bars])
    expected = [[92.0, 2.1], [92.8, 2.1], [92.4, 1.9], [92.4, 2.3]]
    assert sorted(ends.round(6).tolist()) == sorted(expected)


def test_fid_goes_before_its_stand_ins_and_brings_the_papers_numbers():
    figure = claim.draw(tidy(CIFAR, PAPER["cifar10"]))
    left, right = figure.axes
    assert right.get_ylabel() == "FID"
    lines = {tuple(map(tuple, line.get_xydata().tolist())) for line in right.lines}
    assert ((77.6, 34.6), (67.2, 88.0)) in lines  # from the paper's to ours
    assert ((18.8, 36.4),) in lines  # the paper's alone
    assert across(left, ":") == {78.3, 70.8} and across(right, ":") == {78.3}
    assert {"NVAE-lite (paper)", "BigGAN (paper)", "Hybrid", "DDIM", "MoCo-v2"} == labels(right)
    assert "not run: Hybrid+, NVAE-lite, BigGAN" in remarks(figure)
    hollow = next(line for line in right.lines if len(line.get_xdata()) == 1)
    assert hollow.get_markerfacecolor() == "white" and hollow.get_color() == claim.colours()["nvae"]


def test_a_stand_in_is_not_set_beside_the_papers_fid():
    _, right = claim.draw(tidy(ONE, PAPER["cifar10"])).axes
    assert points(right) == {(92.4, 511.0)}
    assert not across(right, ":") and labels(right) == {"Hybrid"}


@pytest.mark.parametrize("case", [(FIVE, None), (ONE, None), (CIFAR, PAPER["cifar10"]), ({}, PAPER["cifar100"])])
def test_labels_cover_neither_each_other_nor_points(case):
    figure = claim.draw(tidy(*case))
    figure.draw_without_rendering()
    for axis in figure.axes:
        boxes = [text.get_window_extent() for text in axis.texts]
        assert boxes
        assert all(box.count_overlaps(boxes) == 1 for box in boxes)
        lines = [axis.transData.transform((x, 1))[0] for style in ("--", ":") for x in across(axis, style)]
        assert not any(box.x0 < line < box.x1 for box in boxes for line in lines)
        centres = axis.transData.transform(list(points(axis))) if points(axis) else []
        assert not any(box.contains(*centre) for box in boxes for centre in centres)


@pytest.mark.parametrize(
    ("measured", "metrics", "says"),
    [
        (ONE, ("mse", "fid", "acc", FD), "not run: Hybrid+, MoCo-v2, NVAE-lite, DDIM, BigGAN"),
        (ONE, ("acc",), "not run: Hybrid+, MoCo-v2, NVAE-lite, DDIM, BigGAN"),
        ({"ddim": {"mse": (3.0, None)}, **ONE}, ("mse", "acc"), "accuracy not measured: DDIM"),
        ({"hybrid": {"acc": (92.4, None)}}, ("mse", "fid", "acc"), "dashed: accuracy alone"),
        ({}, ("mse", "fid", "acc"), "not run: Hybrid, Hybrid+, MoCo-v2, NVAE-lite, DDIM, BigGAN"),
        ({}, (), "not run: Hybrid, Hybrid+, MoCo-v2, NVAE-lite, DDIM, BigGAN"),
    ],
)
def test_partial_tables_are_drawn_and_say_what_is_missing(measured, metrics, says):
    figure = claim.draw(tidy(measured, metrics=metrics))
    figure.draw_without_rendering()
    assert says in remarks(figure)
    for axis, needed in zip(figure.axes, ("mse", FD), strict=True):
        there = any({"acc", needed} <= set(values) & set(metrics) for values in measured.values())
        assert ("not measured" in labels(axis)) is not there


def test_a_table_from_a_file_is_drawn_to_the_same_bytes(tmp_path):
    table = tidy(CIFAR, PAPER["cifar10"])
    table.to_csv(tmp_path / "table.csv", index=False)
    for stem, rows in (("a", table), ("b", pd.read_csv(tmp_path / "table.csv"))):
        figures.save_figure(claim.draw(rows), tmp_path / stem)
    for suffix in (".png", ".pdf"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
