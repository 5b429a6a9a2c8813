"""What an experiment stores, under which key, and when it makes it again."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hybrid import released
from hybrid.cli import main
from hybrid.errors import HybridError
from hybrid.experiments import methods
from hybrid.experiments.experiment import Experiment
from hybrid.judging import evaluate, frechet, given
from hybrid.machine import files
from hybrid.machine.files import write_json
from hybrid.training import checkpoint
from hybrid.training.loop import Clock, TimeUp


def test_fid_is_measured_once_its_weights_are_there(done, monkeypatch):
    kept, judged = Experiment("smoke").outcome("biggan"), []
    monkeypatch.setattr(frechet, "inception_is_here", lambda: True)
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, having, **__: judged.append(having) or {"seconds": 0.0, **kept})
    Experiment("smoke").outcome("biggan")  # this profile wants none
    assert not judged
    wanting = Experiment("smoke")
    wanting.profile = replace(wanting.profile, evaluation=replace(wanting.profile.evaluation, inception=True))
    monkeypatch.setattr(wanting, "key", Experiment("smoke").key)
    path = done / "results/smoke/digits/seed0/biggan.json"
    before = path.read_bytes()
    wanting.outcome("biggan"), wanting.outcome("mocov2")
    path.write_bytes(before)
    assert judged == [("acc",), ("fid",)]  # the second has none
    monkeypatch.setattr(wanting, "runs", done / "elsewhere")
    wanting.outcome("biggan")
    assert len(judged) == 2  # a clone shows what it came with, and trains nothing


def test_the_table_averages_seeds_of_one_profile_alone(done, caplog):
    experiment = Experiment("smoke")
    kept, other = experiment.outcome("mocov2"), done / "results/smoke/digits/seed1/mocov2.json"
    other.parent.mkdir()
    shutil.copy(done / "results/smoke/digits/seed0/mocov2-representation.jsonl", other.parent)
    key = {**kept["key"], "seed": 1}
    shutil.copytree(done / "results/smoke/digits/seed0", done / "results/smoke/digits/seed0.bak")  # a user's own copy
    for changed, seeds in [({}, "0 1"), ({"method": {**key["method"], "sigma": 1.0}}, "0"), ({"evaluation": {}}, "0")]:
        write_json(other, {**kept, "key": key | changed})
        assert experiment.table().set_index(["method", "metric"]).loc[("mocov2", "acc"), "seeds"] == seeds
        assert (other in experiment.comparable_outcomes()) == (seeds == "0 1")
    write_json(other, {**kept, "key": key})
    with open(other.with_name("mocov2-representation.jsonl"), "a") as history:  # trained again since
        history.write('{"step": 1, "epoch": 1.0, "seconds": 1.0}\n')
    assert other not in experiment.comparable_outcomes()
    assert "a stage of it was trained again after it was judged" in caplog.text
    shutil.rmtree(other.parent)
    shutil.rmtree(done / "results/smoke/digits/seed0.bak")


def test_time_that_is_up_before_judging_stops_with_the_training_kept(done):
    target = done / "results/smoke/digits/seed0/mocov2.json"
    kept = target.read_bytes()
    target.unlink()
    with pytest.raises(TimeUp, match="mocov2 is trained but not judged yet"):
        Experiment("smoke", clock=Clock(0.0)).outcome("mocov2")
    target.write_bytes(kept)


def test_an_unfinished_training_is_none(done):
    experiment = Experiment("smoke")
    path = experiment.run_folder("mocov2") / "representation" / "checkpoint.pt"
    kept = path.read_bytes()
    assert experiment.is_trained("mocov2")
    state = checkpoint.load(path)
    checkpoint.save(path, state | {"step": state["steps"] - 1})
    assert not experiment.is_trained("mocov2")
    path.write_bytes(kept)


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
    assert keys[0]["dataset"].startswith("mine-") and keys[0]["sha256"] != keys[1]["sha256"]
    assert keys[0]["dataset"] != keys[1]["dataset"]
    assert Experiment("smoke").key("mocov2").values["dataset"] == "digits"


def test_a_changed_profile_is_judged_anew(done, monkeypatch):
    experiment = Experiment("smoke")
    path = experiment.folder / "hybrid.json"
    kept = path.read_text()
    path.write_text(kept.replace('"pairs": 2', '"pairs": 3'))
    with pytest.raises(pytest.fail.Exception, match="judged again"):
        monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: pytest.fail("judged again"))
        experiment.outcome("hybrid")
    path.write_text(kept)


def test_a_damaged_outcome_is_made_anew(done):
    experiment = Experiment("smoke")
    before = experiment.figure(2)
    path = experiment.folder / "figure2.npz"
    path.write_bytes(path.read_bytes()[:100])
    after = Experiment("smoke").figure(2)
    assert (after["z"] == before["z"]).all()


def test_a_history_is_of_the_profile_as_it_is(done, monkeypatch):
    """The one that was kept of another is not shown under its name: the model is asked for, and trained where it is not."""
    experiment = Experiment("smoke")
    asked = []
    monkeypatch.setattr(experiment, "model", asked.append)
    assert len(experiment.history("mocov2", "representation")) and not asked
    path = experiment.folder / "mocov2.json"
    kept, other = path.read_text(), files.read_json(path)
    other["key"]["method"]["contrast"]["temperature"] = 0.2
    write_json(path, files.sealed(other))
    experiment.history("mocov2", "representation")
    path.write_text(kept)
    assert asked == ["mocov2"]


def test_outcomes_of_another_training_are_made_anew(done, tmp_path, monkeypatch):
    """As in a fresh clone: outcomes are there, weights are not. Reading trains nothing; training makes new outcomes."""
    shutil.copytree(done / "results", tmp_path / "results")
    monkeypatch.setenv("HYBRID_HOME", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(methods, "train", lambda *_, **__: pytest.fail("trained to read"))
        committed = Experiment("smoke").outcome()
        Experiment("smoke").figure(3)
    experiment = Experiment("smoke")
    experiment.model()
    judged = []
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, having, **__: judged.append(having) or {**committed, "seconds": 0.0})
    experiment.outcome()
    assert judged == [("acc",), ("mse", "fid"), ()]


def test_evaluate_says_that_it_read_a_committed_outcome_and_how_to_measure_again(home, capsys):
    """As in a fresh clone: an outcome is there, a checkpoint is not."""
    experiment = Experiment("smoke")
    origin = {"seed": 0, "device": "a", "commit": "0123456789abcdef", "sha256": experiment.sha256}
    outcome = {"metrics": {"acc": 50.0}, "calibration": [], "provenance": origin}
    experiment.store.keep_outcome("mocov2", experiment.key("mocov2"), outcome)
    assert main(["evaluate", "--profile", "smoke", "--methods", "mocov2", "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == {"mocov2": {"acc": 50.0}}
    train = "train first (hybrid train --profile smoke --dataset digits --seed 0 --methods mocov2)"
    path = experiment.folder / "mocov2.json"
    assert told.err == f"read from {path}, measured at commit 0123456789ab; to measure again: {train}\n"
    outcome["provenance"] = origin | {"commit": None}
    experiment.store.keep_outcome("mocov2", experiment.key("mocov2"), outcome)
    assert main(["evaluate", "--profile", "smoke", "--methods", "mocov2"]) == 0
    told = capsys.readouterr()
    assert told.out == f"MoCo-v2, smoke, digits, seed 0\n  {'acc':28}     50.000  %\n"
    assert told.err == f"read from {path}, measured by code whose commit was not recorded; to measure again: {train}\n"


def test_figure_6_comes_from_released_weights_where_their_training_is_not_here(done, monkeypatch):
    experiment = Experiment("smoke")
    kept, model = experiment.outcome("hybridplus"), experiment.model("hybridplus")
    known = {"metrics": kept["metrics"], "provenance": {"trained": {"texture": "elsewhere"}}}
    monkeypatch.setattr(released, "names", lambda: ["digits"])
    monkeypatch.setattr(released, "about", lambda name: known)
    monkeypatch.setattr(released, "pretrained", lambda name, device: model)
    monkeypatch.setattr(given, "study", lambda *_, **__: {part: np.zeros(1) for part in ("start", "y", "w")})
    monkeypatch.setattr(methods.Run, "stage", lambda *_: SimpleNamespace(predict=None))
    path = done / "results/smoke/digits/seed0/figure6.npz"
    before = path.read_bytes()
    path.unlink()
    for metrics, says in ((kept["metrics"], "released digits, in half precision"), ({"mse": 1.0}, None)):
        known["metrics"], clone = metrics, Experiment("smoke")
        monkeypatch.setattr(clone, "runs", done / "elsewhere")
        monkeypatch.setattr(clone, "model", (lambda name: pytest.fail("it trains")) if says else lambda name: model)
        origin = json.loads(str(clone.figure(6)["provenance"]))
        assert origin.get("weights") == says and (origin["trained"] == known["provenance"]["trained"]) == bool(says)
        path.unlink()
    path.write_bytes(before)


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_test_images_are_too_few(home, count):
    with pytest.raises(HybridError, match=f"digits has {count} test images?: give 3 or more"):
        _ = Experiment(f"smoke,images={count}").images


def test_the_history_of_a_stage_that_does_not_exist_is_refused(home):
    with pytest.raises(HybridError, match="stage 'model' of hybrid is unknown: choose one of representation, prior"):
        Experiment("smoke").history("hybrid", "model")
