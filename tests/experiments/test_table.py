"""Table 1: means and deviations, dashes, and what is missing."""

import json

import pandas as pd
import pytest

from hybrid import paths
from hybrid.experiments import table

MEASURED = {
    "hybrid": {
        0: {"mse": 1.0, "acc": 60.0, "acc_w": 30.0, "fd_net": 50.0},
        1: {"mse": 2.0, "acc": 62.0, "acc_w": 31.0, "fd_net": 54.0},
    }
}


def test_tidy_rows():
    rows = table.tidy("cifar10", MEASURED)
    assert tuple(rows.columns) == ("method", "metric", "value", "std", "seeds", "paper")
    cells = rows.set_index(["method", "metric"])
    assert set(cells.loc["hybrid"].index) == {"mse", "fid", "acc", "fd_net"}
    mse = cells.loc[("hybrid", "mse")]
    assert (mse["value"], mse["seeds"], mse["paper"]) == (1.5, "0 1", 2.6)
    assert mse["std"] == pytest.approx(0.5**0.5)
    assert pd.isna(cells.loc[("hybrid", "fid"), "value"])


def test_every_committed_number_has_a_unit():
    outcomes = (paths.REPOSITORY / "results").glob("*/*/seed*/*.json")
    names = {name for path in outcomes for name in json.loads(path.read_text())["metrics"]}
    assert len(names) > 20 and all(table.unit(name) for name in (*names, "fid", "kid"))
    assert table.unit("acc_x_T_fine") == "%" and table.unit("moved_y") == table.unit("mse") == "1e-3 per dimension, on [0, 1]"
    assert table.unit("colour") == ""


def test_missing_is_not_a_dash():
    shown = table.formatted(table.tidy("cifar10", MEASURED | {"ddim": {0: {"fid": 3.0}}}))
    assert shown.loc["Hybrid", "FID"] == table.MISSING
    assert shown.loc["Hybrid", "FID (paper)"] == "34.6"
    assert shown.loc["Hybrid", "linear acc., %"] == "61.0 ± 1.4"
    one = table.formatted(table.tidy("cifar10", {"hybrid": {0: {"mse": 2.0}}}))
    assert one.loc["Hybrid", "MSE, 1e-3"] == "2.00"


def test_only_what_was_measured_is_shown():
    """A folder without labels, with one method: no column or row of nothing but "missing", and nothing to compare."""
    rows = table.tidy("mine", {"hybrid": {0: {"mse": 112.3, "fd_net": 1153.7, "recall": 0.0}}})
    shown = table.formatted(rows, "**")
    assert shown.to_dict("index") == {"Hybrid": {"MSE, 1e-3": "112.3", "FD, net": "1153.7", "recall": "0.00"}}
    legend = table.legend(rows, 64)
    assert "64 samples" in legend
    assert not any(word in legend for word in ("bold", "missing", "dash", "deviation", "Precision"))
    full = table.legend(table.tidy("mine", MEASURED | {"ddim": {0: {"acc": 20.0}}, "mocov2": {0: {"acc": 1.0}}}), 64)
    assert all(
        word in full for word in ("bold", "missing", "dash", "deviation over seeds (their number: Hybrid 2, MoCo-v2 1, DDIM 1)")
    )
    theirs = table.formatted(table.tidy("cifar10", MEASURED))  # FID is only in the paper
    assert "FID" not in theirs and theirs.loc["Hybrid", "FID (paper)"] == "34.6" and list(theirs.index) == ["Hybrid"]


def test_digits_are_those_that_the_spread_allows():
    assert table.number(-0.001) == "0.00"
    texts = [table.number(28.73, std) for std in (10.2, 3.0, 0.7, 0.14, 0.004, 0.0)]
    assert texts == ["29 ± 10", "29 ± 3", "28.7 ± 0.7", "28.73 ± 0.14", "28.730 ± 0.004", "28.7 ± 0.0"]


def test_the_best_of_a_column_is_marked():
    measured = MEASURED | {"ddim": {0: {"mse": 1.5, "acc": 20.0, "fd_net": 50.0}}}
    shown = table.formatted(table.tidy("digits", measured), "**")
    marked = {column: [name for name, text in cells.items() if text.startswith("**")] for column, cells in shown.items()}
    assert marked == {"MSE, 1e-3": ["Hybrid", "DDIM"], "linear acc., %": ["Hybrid"], "FD, net": ["DDIM"]}
    shares = table.tidy("digits", {name: {0: {"recall": 0.0}} for name in ("hybrid", "ddim")})
    assert table.best(shares, "recall") == []


def test_precision_and_recall_are_missing_where_an_outcome_is_older():
    both = {name: {0: {"mse": 1.0}} for name in table.TABLE} | {"hybrid": {0: {"mse": 1.0, "precision": 0.5, "recall": 0.25}}}
    shown = table.formatted(table.tidy("cifar10", both))
    assert shown["precision"].to_dict() == {
        method.title: "0.50" if method.name == "hybrid" else table.MISSING if "fid" in method.metrics else table.DASH
        for method in table.TABLE.values()
    }
    assert (shown.loc["DDIM", "precision"], shown.loc["MoCo-v2", "precision"]) == (table.MISSING, table.DASH)
    assert "Recall is the share" in table.markdown(table.tidy("cifar10", both), 512)
    older = table.tidy("cifar10", MEASURED)
    assert "recall" not in table.formatted(older) and "recall" not in table.legend(older, 512)


def test_no_paper_column_where_the_paper_has_no_number():
    assert not any("paper" in name for name in table.formatted(table.tidy("digits", MEASURED)).columns)


def test_the_papers_numbers():
    """Table 1 as the paper prints it."""
    printed = {
        "hybrid": "2.6 34.6 77.6 3.3 41.2 46.7",
        "mocov2": "- - 78.3 - - 49.04",
        "nvae": "0.25 36.4 18.8 0.53 42.5 4.1",
        "ddim": "2.5 3.2 22.5 3.2 13.3 2.2",
        "biggan": "- 18.6 70.8 - 22.2 43.3",
    }
    for method, numbers in printed.items():
        found = [table.PAPER[name][method].get(metric, "-") for name in table.DATA_SETS for metric in ("mse", "fid", "acc")]
        assert " ".join(map(str, found)) == numbers


def test_markdown_and_csv_round_trip(tmp_path):
    rows = table.tidy("cifar10", MEASURED)
    text = table.markdown(rows, 512)
    assert text.startswith("| method")
    assert "61.0 ± 1.4" in text
    rows.to_csv(tmp_path / "t.csv", index=False)
    read = pd.read_csv(tmp_path / "t.csv")
    assert list(read.columns) == list(rows.columns)
    pd.testing.assert_frame_equal(read[["value", "std", "paper"]], rows[["value", "std", "paper"]])
    assert read["seeds"].fillna("").tolist() == rows["seeds"].tolist()
    assert rows["seeds"].tolist()[:4] == ["0 1", "", "0 1", "0 1"]


def test_a_probe_that_did_not_converge_is_told():
    outcome = {"details": {"probes": {"y": {"converged": True}, "w": {"converged": False}}}}
    assert table.unconverged(outcome) == "Not converged: the probe on w; its accuracy may be too low."
    assert table.unconverged({"details": {"probes": {"y": {"converged": True}}}}) == table.unconverged({}) == ""


def test_x_T_of_more_steps_is_told_where_it_was_measured():
    assert table.finer({"acc": 40.0}) == ""
    said = table.finer({"acc_x_T_coarse": 31.25, "acc_x_T_fine": 40.5})
    assert "256 train images gets 31.2 % of 256 test images right with it, and 40.5 % with that of 50 steps" in said


@pytest.mark.parametrize(("on_z", "says"), [(3.0, "This agrees"), (2.01, "No clear difference"), (1.0, "This disagrees")])
def test_the_ablation_agrees_where_the_error_gets_larger(on_z, says):
    assert says in table.verdict({"mse": 2.0, "acc_z": 50.0}, {"mse": on_z, "acc_z": 60.0})


def test_a_new_metric_with_a_heading_has_a_column(monkeypatch):
    monkeypatch.setitem(table.HEADINGS, "sharpness", "sharpness")
    shown = table.formatted(table.tidy("digits", {"nvae": {0: {"mse": 2.0, "sharpness": 0.5}}, "mocov2": {0: {"acc": 9.0}}}))
    assert shown.loc["NVAE-lite", "sharpness"] == "0.50" and shown.loc["MoCo-v2", "sharpness"] == table.DASH
