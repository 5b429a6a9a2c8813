"""The committed outcome of `demo`: of the profile as it stands, whole, and with the pattern that the paper claims."""

import json

import pandas as pd
import pytest

from hybrid import figures, paths
from hybrid.experiment import Experiment

RESULTS = paths.REPOSITORY / "results" / "demo" / "digits"


@pytest.fixture
def judged():
    return json.loads((RESULTS / "seed0" / "hybrid.json").read_text())


def test_they_are_of_the_profile_as_it_stands(judged):
    key = Experiment("demo")._key("hybrid")
    assert judged["key"] == key
    for stem in ("figure2", "figure3", "figure4", "figure5", "samples"):
        assert json.loads(str(figures.read(RESULTS / "seed0" / f"{stem}.npz")["key"])) == key
    assert judged["provenance"]["sha256"] == Experiment("demo").images.sha256


def test_y_classifies_and_z_reconstructs(judged):
    metrics = judged["metrics"]
    assert metrics["acc"] >= 90
    assert metrics["mse"] <= 2.6
    assert metrics["acc_y"] > metrics["acc_w"] + 20
    assert all(probe["converged"] for probe in judged["details"]["probes"].values())


def test_the_picture_moves_with_w_and_hardly_with_y(judged):
    metrics = judged["metrics"]
    assert metrics["moved_y"] < 0.1 * metrics["moved_w"]
    assert metrics["moved_w"] == pytest.approx(metrics["moved_z"], rel=0.2)


def test_calibration_rows_are_in_order(judged):
    distances = {row["images"]: row["fd_efficientnet_lite0"] for row in judged["calibration"]}
    assert distances["real, test set"] < distances["real, 2x box blur"] < distances["real, noise of sd 0.1"]
    assert distances["real, test set"] < distances["reconstructions of the test set"]


def test_the_table_is_of_these_numbers_and_in_the_readme(judged):
    rows = pd.read_csv(RESULTS / "table1.csv").set_index(["method", "metric"])
    for metric in ("mse", "acc", "fd_efficientnet_lite0"):
        assert rows.loc[("hybrid", metric), "value"] == pytest.approx(judged["metrics"][metric], rel=1e-4)
    assert (RESULTS / "table1.md").read_text().strip() in (paths.REPOSITORY / "README.md").read_text()
