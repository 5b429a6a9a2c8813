"""The whole pipeline at its smallest, from images to report; a second run repeats no work."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hybrid import paths
from hybrid.cli import STOPPED, main
from hybrid.data.datasets import NAMED
from hybrid.errors import HybridError
from hybrid.experiments import methods
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import METHODS, TABLE
from hybrid.judging import evaluate
from hybrid.machine import files
from hybrid.training import checkpoint
from hybrid.workflows import notebooks, report
from hybrid.workflows.explain import explain
from hybrid.workflows.reproduce import write_table, write_table_of_both

pytestmark = pytest.mark.slow


def test_everything_is_there(done):
    results = done / "results" / "smoke" / "digits"
    for name in ("table1.csv", "table1.md", "table1.png", "table1.json", "report.html"):
        assert (results / name).stat().st_size > 0
    for stem in ("figure2", "figure3", "figure4", "figure5", "figure6"):
        assert all((results / "seed0" / f"{stem}{suffix}").exists() for suffix in (".npz", ".png", ".pdf"))
    assert (results / "claim.png").exists() and (results / "seed0" / "baselines.png").exists()
    shown = [files.load_arrays(results / f"seed0/figure{number}.npz")["indices"] for number in (2, 3, 4, 5)]
    assert all(np.array_equal(shown[0], each) for each in shown[1:3]) and not set(shown[0].flat) & set(shown[3].flat)
    assert (results / "seed0/work.md").stat().st_size > 0
    nearest = files.load_arrays(results / "seed0" / "hybrid-gallery.npz")["nearest_by_features"]
    assert nearest.shape == (8, 4, 3, 32, 32) and (results / "seed0" / "hybrid-nearest.png").exists()
    rows = pd.read_csv(results / "table1.csv").set_index(["method", "metric"])
    assert set(rows.index.get_level_values("method")) == set(TABLE)
    assert all(rows.loc[(name, metric), "value"] > 0 for name, m in TABLE.items() for metric in m.metrics if metric != "fid")
    assert 0 < rows.loc[("hybrid", "acc"), "value"] <= 100
    assert pd.isna(rows.loc[("hybrid", "fid"), "value"])
    assert rows.loc[("hybrid", "fd_efficientnet_lite0"), "value"] > 0
    assert 0 <= rows.loc[("hybrid", "precision"), "value"] <= 1


def test_provenance_is_whole(done):
    kept = json.loads((done / "results/smoke/digits/seed0/hybrid.json").read_text())
    found = kept["provenance"]
    where = ("device", "precision", "instructions")
    for key in ("command", "commit", "dirty", "date", "python", "versions", "profile", "sha256", "seed", *where):
        assert key in found, key
    assert found["sha256"] == Experiment("smoke").images.sha256
    assert set(found["training_seconds"]) == set(found["trained"]) == {"representation", "prior"}
    for stage, origin in found["trained"].items():
        assert {"command", "commit", "dirty", "date", "versions", "device"} <= origin.keys()
        assert 0.1 < origin["peak_memory_gib"] <= found["peak_memory_gib"] < 64
        assert origin == checkpoint.load(done / f"runs/smoke/digits/hybrid/seed0/{stage}/checkpoint.pt")["provenance"]
    assert {row["images"] for row in kept["calibration"]} >= {"samples", "real, test set", "real, 2x box blur"}
    assert all({"precision", "recall"} <= row.keys() for row in kept["calibration"])


@pytest.mark.parametrize("only", [[], ["--methods", "nvae"]], ids=["all methods", "one method"])
def test_a_second_time_trains_nothing_and_changes_nothing(done, monkeypatch, only):
    before = {path: path.read_bytes() for path in (done / "results").rglob("*") if path.is_file()}
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: pytest.fail("judged again"))
    monkeypatch.setattr(methods, "train", lambda *_, **__: pytest.fail("trained again"))
    assert main(["reproduce", "--profile", "smoke", "--no-notebooks", *only]) == 0
    assert before == {path: path.read_bytes() for path in (done / "results").rglob("*") if path.is_file()}


def test_a_notebook_that_fails_leaves_a_report(done, monkeypatch, capsys):
    def fail(*_):
        raise HybridError("notebook figure2.ipynb failed")

    page = done / "results" / "smoke" / "digits" / "report.html"
    kept = page.read_bytes()
    page.unlink()
    monkeypatch.setattr(notebooks, "execute", fail)
    try:
        assert main(["reproduce", "--profile", "smoke"]) == 2
        assert "figure2.ipynb failed" in capsys.readouterr().err and "Notebooks" not in page.read_text()
    finally:
        page.write_bytes(kept)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--profile", "desktop"], "choose one of smoke, demo, laptop, gpu, paper"),
        (["--profile", "smoke", "--methods", "hybrid", "gan"], f"choose one of {', '.join(METHODS)}"),
        (["--profile", "smoke", "--dataset", "mnist"], ", ".join(NAMED)),
        (["--profile", "smoke", "--seed", "-1"], "whole number from 0"),
        (["--profile", "smoke", "--seed", str(2**64)], "whole number from 0"),
        (["--profile", "smoke", "--methods"], "methods is empty: choose among hybrid"),
    ],
)
@pytest.mark.parametrize("command", ["reproduce", "train", "evaluate"])
def test_wrong_values_end_with_one_line(home, capsys, command, arguments, says):
    assert main([command, *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_a_time_limit_stops_at_a_checkpoint_and_the_same_command_goes_on(home, capsys):
    profile = "smoke,hybrid.representation.training.epochs=2"
    assert main(["train", "--profile", profile, "--time-limit", "0"]) == STOPPED
    assert "the same command continues" in capsys.readouterr().err
    folder = paths.runs(profile, "digits") / "hybrid/seed0/representation"
    assert 0 < checkpoint.load(folder / "checkpoint.pt")["step"] < checkpoint.load(folder / "checkpoint.pt")["steps"]
    assert main(["train", "--profile", profile]) == 0


@pytest.mark.parametrize("more", [1, 9])
def test_a_further_method_has_its_row_its_point_and_its_place_in_the_report(home, monkeypatch, more):
    """Nothing that draws the table counts on six methods; after the thirteenth, markers begin again."""
    for name in (f"linear{i}" for i in range(more)):
        for registry in (TABLE, METHODS):
            monkeypatch.setitem(registry, name, replace(TABLE["nvae"], name=name, title=name.title()))
    experiment = Experiment("smoke")
    for name, method in TABLE.items():
        metrics = {metric: 50.0 + len(name) for metric in method.metrics if metric != "fid"}
        metrics |= {"fd_net": 100.0} if "fid" in method.metrics else {}
        origin = {"seed": 0, "device": "a", "sha256": experiment.sha256}
        experiment.store.keep_outcome(name, experiment.key(name), {"metrics": metrics, "calibration": [], "provenance": origin})
    write_table(experiment)
    assert (experiment.results / "table1.md").read_text().count("| Linear") == more
    assert (experiment.results / "claim.png").stat().st_size > 0 and (experiment.results / "table1.png").stat().st_size > 0
    shown = report.main_numbers(experiment.table(), [])
    assert [row[0]["text"] for row in shown["rows"]] == [method.title for method in TABLE.values()]


def test_both_data_sets_of_the_paper_share_a_table_and_a_picture_once_both_are_there(tmp_path):
    def keep(name, accuracy):
        outcome = {
            "key": {},
            "metrics": {"acc": accuracy, "mse": 2.0},
            "calibration": [],
            "provenance": {"seed": 0, "device": "a", "command": f"train {name}", "commit": "c"},
        }
        files.write_json(tmp_path / name / "seed0" / "hybrid.json", files.sealed(outcome))
        files.write_json(tmp_path / name / "table1.json", {"computed from": ["seed0/hybrid.json"]})

    keep("cifar10", 71.25)
    write_table_of_both(tmp_path, 64)
    assert not (tmp_path / "table1.md").exists() and not (tmp_path / "claim.png").exists()
    keep("cifar100", 43.75)
    write_table_of_both(tmp_path, 64)
    ten, hundred = (tmp_path / "table1.md").read_text(encoding="utf-8").split("## CIFAR-100")
    assert "71.2" in ten and "77.6" in ten and "43.8" in hundred and "46.7" in hundred  # the paper's beside ours
    assert all(words in explain(tmp_path / "claim.png") for words in ("train cifar10", "train cifar100"))
