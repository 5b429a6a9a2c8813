"""The whole pipeline in its smallest form: images to report, once, and then again without doing anything twice."""

import json
import os
import shutil
import subprocess
import time
from dataclasses import replace

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest
import torch
from papermill.exceptions import PapermillExecutionError

import hybrid
from hybrid import paths
from hybrid.cli import STOPPED, main
from hybrid.errors import HybridError
from hybrid.experiments import methods
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import METHODS, TABLE, check
from hybrid.judging import evaluate, frechet
from hybrid.machine import files, provenance
from hybrid.machine.files import write_json
from hybrid.profiles.overrides import profile
from hybrid.training import checkpoint
from hybrid.training.loop import Clock, TimeUp
from hybrid.workflows import notebooks


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A home in which `smoke` was reproduced, without notebooks."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYBRID_HOME", str(home))
        assert main(["reproduce", "--profile", "smoke", "--no-notebooks"]) == 0
        yield home


def test_everything_is_there(done):
    results = done / "results" / "smoke" / "digits"
    for name in ("table1.csv", "table1.md", "table1.png", "table1.json", "report.html"):
        assert (results / name).stat().st_size > 0
    for stem in ("figure2", "figure3", "figure4", "figure5", "figure6"):
        assert all((results / "seed0" / f"{stem}{suffix}").exists() for suffix in (".npz", ".png", ".pdf"))
    assert (results / "claim.png").exists() and (results / "seed0" / "baselines.png").exists()
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


def test_a_commit_can_be_named_where_there_is_no_git(monkeypatch):
    monkeypatch.setattr(provenance, "git", lambda *_, **__: None)
    monkeypatch.delenv("HYBRID_COMMIT", raising=False)
    assert provenance.code.__wrapped__() == {"commit": None, "dirty": None}
    monkeypatch.setenv("HYBRID_COMMIT", "4820b72")
    assert provenance.code.__wrapped__() == {"commit": "4820b72", "dirty": None}


def test_another_repositorys_commit_is_not_the_codes(tmp_path, monkeypatch):
    """As where a project has this one installed in its own folder."""
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    (tmp_path / "hybrid").mkdir()
    (tmp_path / "hybrid" / "provenance.py").touch()
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "hybrid" / "provenance.py"))
    monkeypatch.delenv("HYBRID_COMMIT", raising=False)
    assert provenance.code.__wrapped__() == {"commit": None, "dirty": None}


def test_a_second_time_trains_nothing_and_changes_nothing(done, monkeypatch):
    before = {path: path.read_bytes() for path in (done / "results").rglob("*") if path.is_file()}
    started = time.monotonic()
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: pytest.fail("judged again"))
    monkeypatch.setattr(methods, "train", lambda *_, **__: pytest.fail("trained again"))
    assert main(["reproduce", "--profile", "smoke", "--no-notebooks"]) == 0
    assert time.monotonic() - started < 30
    assert before == {path: path.read_bytes() for path in (done / "results").rglob("*") if path.is_file()}


def test_fid_is_measured_once_its_weights_are_there(done, monkeypatch):
    kept, judged = Experiment("smoke").metrics("biggan"), []
    monkeypatch.setattr(frechet, "inception_is_here", lambda: True)
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: judged.append(1) or {"seconds": 0.0, **kept})
    Experiment("smoke").metrics("biggan")  # this profile wants none
    assert not judged
    wanting = Experiment("smoke")
    wanting.profile = replace(wanting.profile, evaluation=replace(wanting.profile.evaluation, inception=True))
    monkeypatch.setattr(wanting, "key", Experiment("smoke").key)
    path = done / "results/smoke/digits/seed0/biggan.json"
    before = path.read_bytes()
    wanting.metrics("biggan"), wanting.metrics("mocov2")
    path.write_bytes(before)
    assert judged == [1]  # the second has none
    monkeypatch.setattr(wanting, "runs", done / "elsewhere")
    wanting.metrics("biggan")
    assert judged == [1]  # a clone shows what it came with, and trains nothing


def test_what_does_not_fit_is_told_before_anything_is_trained(home, monkeypatch):
    monkeypatch.setattr(methods, "train", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(HybridError, match=r"1 to 5 of z's six channels"):
        Experiment("smoke,hybrid.representation.autoencoder.y_channels=6")
    with pytest.raises(HybridError, match="a hybrid needs a weight above 0"):
        Experiment("smoke,hybrid.representation.alpha=0").model()
    with pytest.raises(HybridError, match=r"lower evaluation\.pairs"):
        Experiment("smoke,evaluation.pairs=1000").model("nvae")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("hybrid.representation.augmentation.size=25", "size = 25: give a multiple of the encoder's stride, 8 pixels"),
        ("hybrid.representation.decode_every=0", "decode_every = 0: give 1 to the 512 images of a batch"),
        ("hybrid.representation.decode_every=513", "decode_every = 513: give 1 to the 512 images of a batch"),
        ("hybrid.prior.channels=7", "channels is 7; the time embedding needs an even number"),
        ("hybrid.prior.predict=x", "predict is 'x'; give noise or v"),
        ("ddim.ode_steps=101", "101 sampling steps; this diffusion has 100"),
        ("evaluation.sampler_steps=101", "101 sampling steps; this diffusion has 100"),
    ],
)
def test_networks_that_cannot_be_are_refused(change, says):
    with pytest.raises(HybridError, match=says):
        check(profile(f"smoke,{change}"))


def test_values_that_go_together_are_taken_in_any_order():
    wider = "smoke,hybrid.representation.autoencoder.{}=8-8-8-16,hybrid.representation.autoencoder.{}=1-1-1-1"
    fitting = ",hybrid.representation.augmentation.size=48,plus.w.multipliers=1-1-1-2"  # y at 2 x 2, and the net that sees it
    check(profile(wider.format("widths", "cells") + fitting))
    check(profile("smoke,ddim.steps=5,ddim.ode_steps=5,ddim.encoding_steps=5"))


def test_the_table_averages_seeds_of_one_profile_alone(done):
    experiment = Experiment("smoke")
    kept, other = experiment.metrics("mocov2"), done / "results/smoke/digits/seed1/mocov2.json"
    other.parent.mkdir()
    key = {**kept["key"], "seed": 1, "training": "another"}
    shutil.copytree(done / "results/smoke/digits/seed0", done / "results/smoke/digits/seed0.bak")  # a user's own copy
    for changed, seeds in [({}, "0 1"), ({"method": {**key["method"], "sigma": 1.0}}, "0"), ({"evaluation": {}}, "0")]:
        write_json(other, {**kept, "key": key | changed})
        assert experiment.table().set_index(["method", "metric"]).loc[("mocov2", "acc"), "seeds"] == seeds
        assert (other in experiment.comparable_outcomes()) == (seeds == "0 1")
    shutil.rmtree(other.parent)


def test_time_that_is_up_before_judging_stops_with_the_training_kept(done):
    target = done / "results/smoke/digits/seed0/mocov2.json"
    kept = target.read_bytes()
    target.unlink()
    with pytest.raises(TimeUp, match="mocov2 is trained and not judged yet"):
        Experiment("smoke", clock=Clock(0.0)).metrics("mocov2")
    target.write_bytes(kept)


def test_outcomes_of_another_data_set_of_the_same_name_are_not_taken_for_ones_own(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_HOME", str(tmp_path))
    keys = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        images = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8).numpy()
        labels = torch.arange(8).remainder(2).numpy()
        arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
        np.savez(tmp_path / place / "mine.npz", **arrays)
        keys.append(Experiment("smoke", str(tmp_path / place / "mine.npz")).key("mocov2").values)
    assert keys[0]["dataset"] == keys[1]["dataset"] == "mine" and keys[0] != keys[1]
    assert "sha256" not in Experiment("smoke").key("mocov2").values


def test_the_trained_hybrid_is_loaded_and_used(done):
    model = hybrid.load(done / "runs/smoke/digits/hybrid/seed0")
    images = Experiment("smoke").images.test_images[:4]
    z = model.encode(images)
    assert z.shape == (4, 6, 16, 16)
    torch.testing.assert_close(z, Experiment("smoke").model().encode(images))
    assert model.decode(z).shape == (4, 3, 32, 32)
    samples = model.sample(3, steps=2, seed=1)
    assert samples.shape == (3, 3, 32, 32)
    assert 0 <= samples.min() <= samples.max() <= 1
    torch.testing.assert_close(samples, model.sample(3, steps=2, seed=1))
    assert not torch.equal(samples, model.sample(3, steps=2, seed=2))
    with pytest.raises(HybridError, match="holds no trained hybrid"):
        hybrid.load(done)
    with pytest.raises(HybridError, match="holds MoCo-v2, which decodes nothing"):
        hybrid.load(done / "runs/smoke/digits/mocov2/seed0")


def test_command_line_tools(done, tmp_path, capsys):
    run = str(done / "runs/smoke/digits/hybrid/seed0")
    assert main(["sample", "--run", run, "--out", str(tmp_path / "s.png"), "--count", "4", "--steps", "2"]) == 0
    assert main(["sample", "--run", run, "--out", str(tmp_path / "s.npz"), "--count", "4", "--steps", "2"]) == 0
    assert files.load_arrays(tmp_path / "s.npz")["images"].shape == (4, 32, 32, 3)
    ends = ["--start", str(tmp_path / "s.png"), "--end", str(tmp_path / "s.png")]
    assert main(["interpolate", "--run", run, *ends, "--out", str(tmp_path / "p.png"), "--part", "w"]) == 0
    assert main(["embed", "--run", run, "--dataset", "digits", "--out", str(tmp_path / "z.npz")]) == 0
    codes = files.load_arrays(tmp_path / "z.npz")
    assert codes["train_y"].shape[1:] == (3, 16, 16)
    assert len(codes["test_w"]) == len(codes["test_labels"])
    assert main(["evaluate", "--profile", "smoke"]) == 0
    assert main(["data"]) == 0
    assert "sha256" in capsys.readouterr().out
    assert main(["sample", "--run", run, "--out", str(tmp_path / "s.png"), "--count", "0"]) == 2
    assert "count = 0: give 1 or more" in capsys.readouterr().err
    assert main(["sample", "--run", run, "--out", str(tmp_path / "s.jpg")]) == 2
    assert "expected .png or .npz" in capsys.readouterr().err
    assert main(["interpolate", "--run", run, *ends, "--out", str(tmp_path / "p.png"), "--frames", "1"]) == 2
    assert "frames = 1: give 2 or more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--profile", "desktop"], "choose one of smoke, demo, laptop, gpu, paper"),
        (
            ["--profile", "smoke", "--methods", "hybrid", "gan"],
            "choose one of hybrid, hybridplus, mocov2, nvae, ddim, biggan, contrast_on_z",
        ),
        (["--profile", "smoke", "--dataset", "mnist"], "digits, cifar10, cifar100"),
        (["--profile", "smoke", "--seed", "-1"], "whole number from 0"),
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
    assert "the same command goes on" in capsys.readouterr().err
    folder = paths.runs(profile, "digits") / "hybrid/seed0/representation"
    assert 0 < checkpoint.load(folder / "checkpoint.pt")["step"] < checkpoint.load(folder / "checkpoint.pt")["steps"]
    assert main(["train", "--profile", profile]) == 0


def test_a_changed_profile_is_judged_anew(done, monkeypatch):
    experiment = Experiment("smoke")
    path = experiment.outcomes / "hybrid.json"
    kept = path.read_text()
    path.write_text(kept.replace('"pairs": 2', '"pairs": 3'))
    with pytest.raises(pytest.fail.Exception, match="judged again"):
        monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: pytest.fail("judged again"))
        experiment.metrics("hybrid")
    path.write_text(kept)


def test_a_damaged_outcome_is_made_anew(done):
    experiment = Experiment("smoke")
    before = experiment.figure(2)
    path = experiment.outcomes / "figure2.npz"
    path.write_bytes(path.read_bytes()[:100])
    after = Experiment("smoke").figure(2)
    assert (after["z"] == before["z"]).all()


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"profil": "smoke"}, "parameter 'profil' is unknown: this notebook takes dataset, profile, seed"),
        ({"profile": "huge"}, "choose one of smoke, demo"),
    ],
)
def test_notebooks_refuse_what_they_do_not_know(home, tmp_path, parameters, says):
    with pytest.raises(PapermillExecutionError, match=says):
        papermill.execute_notebook(
            paths.notebooks() / "figure2.ipynb", tmp_path / "out.ipynb", parameters, kernel_name="python3", progress_bar=False
        )


def test_a_notebooks_cells_can_be_run_again(done):
    """What they made then stands among the parameters; a plain value that is none is still refused."""
    cells = {"profile": "smoke", "dataset": "digits", "seed": 0, "json": json, "replace": replace, "data": {"t": np.ones(1)}}
    cells["experiment"] = Experiment.from_notebook(cells)
    assert Experiment.from_notebook(cells).outcomes == cells["experiment"].outcomes
    with pytest.raises(HybridError, match="parameter 'epochs' is unknown: this notebook takes dataset, profile, seed"):
        Experiment.from_notebook(cells | {"epochs": 3})


def test_a_history_is_of_the_profile_as_it_is(done, monkeypatch):
    """The one that was kept of another is not shown under its name: the model is asked for, and trained where it is not."""
    experiment = Experiment("smoke")
    asked = []
    monkeypatch.setattr(experiment, "model", asked.append)
    assert len(experiment.history("mocov2", "representation")) and not asked
    path = experiment.outcomes / "mocov2.json"
    kept = path.read_text()
    path.write_text(kept.replace('"temperature": 0.1', '"temperature": 0.2'))
    experiment.history("mocov2", "representation")
    path.write_text(kept)
    assert asked == ["mocov2"]


def test_notebooks_run_from_any_folder_and_are_not_run_twice(done, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paths, "notebooks", lambda: paths.REPOSITORY / "notebooks")
    experiment = Experiment("smoke")
    executed = notebooks.execute(experiment, tuple(METHODS))
    there = {path.name for path in (paths.REPOSITORY / "notebooks").glob("*.ipynb")}
    assert {path.name for path in executed} == there - {"explorer.ipynb"}  # of no experiment
    for path in executed:
        cells = nbformat.read(path, as_version=4).cells
        assert all(output.output_type != "error" for cell in cells if cell.cell_type == "code" for output in cell.outputs)
    times = [os.stat(path).st_mtime for path in executed]
    again = Experiment("smoke")
    again.model()
    notebooks.execute(again, tuple(METHODS))
    assert times == [os.stat(path).st_mtime for path in executed]


def test_outcomes_of_another_training_are_made_anew(done, monkeypatch):
    """As in a fresh clone: outcomes are there, weights are not. Reading trains nothing; training makes new outcomes."""
    runs, aside = done / "runs/smoke/digits/hybrid", done / "aside"
    os.rename(runs, aside)
    with monkeypatch.context() as patch:
        patch.setattr(methods, "train", lambda *_, **__: pytest.fail("trained to read"))
        committed = Experiment("smoke").metrics()
        Experiment("smoke").figure(3)
    experiment = Experiment("smoke")
    experiment.model()
    judged = []
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: judged.append(1) or {**committed, "seconds": 0.0})
    experiment.metrics()
    assert judged == [1]
