"""What is kept, and what is not believed: other keys, other seeds, damage, values that are not what they should be."""

import json
import shutil

import numpy as np
import pytest

from hybrid.cli import main
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.store import Store
from hybrid.machine import files
from hybrid.training.history import read_history


@pytest.fixture
def kept(home):
    """Writes a made-up outcome of smoke's MoCo-v2, and gives the experiment and the outcome's path."""

    def write(seed=0, acc=50.0, **provenance):
        experiment = Experiment("smoke", seed=seed)
        origin = {"seed": seed, "device": "2 cores of A", "precision": "float32", "sha256": experiment.sha256}
        outcome = {"metrics": {"acc": acc}, "calibration": [], "provenance": origin | provenance}
        experiment.store.keep_outcome("mocov2", experiment.key("mocov2"), outcome)
        return experiment, experiment.folder / "mocov2.json"

    return write


def test_an_outcome_is_read_back(kept):
    experiment, _ = kept()
    assert experiment.kept_outcome("mocov2")["metrics"] == {"acc": 50.0}


def test_strict_refuses_an_outcome_of_other_code(kept):
    kept(modules={"objectives": "00000000"}, commit="abc")
    asked = ["evaluate", "--profile", "smoke", "--methods", "mocov2"]
    assert (main(asked), main([*asked, "--strict"])) == (0, 2)


def test_an_outcome_of_other_code_is_told(kept, caplog):
    experiment, path = kept(modules={"objectives": "00000000"}, commit="abc")
    assert experiment.kept_outcome("mocov2") is not None
    assert f"{path} comes from other code (objectives changed since commit abc)" in caplog.text


@pytest.mark.parametrize(
    "content",
    ["{}", "[]", "null", "1", "", "\x00", '{"key": {}}', '{"key": [], "metrics": {}, "provenance": {}, "calibration": []}'],
)
def test_what_is_no_outcome_is_set_aside(kept, content):
    experiment, path = kept()
    path.write_text(content)
    assert experiment.kept_outcome("mocov2") is None and path.with_name("mocov2.json.damaged").exists()
    assert experiment.comparable_outcomes() == {}


@pytest.mark.parametrize("change", [("50.0", "51.0"), ('"seed": 0', '"seed": 1'), ("float32", "bf16")])
def test_an_outcome_that_was_changed_is_not_believed(kept, change):
    experiment, path = kept()
    path.write_text(path.read_text().replace(*change))
    assert experiment.kept_outcome("mocov2") is None and not path.exists()


def test_an_outcome_without_metrics_or_with_broken_ones(kept):
    experiment, path = kept()
    values = json.loads(path.read_text())
    del values["digest"]
    for metrics in (None, [], {"acc": "high"}, {"acc": float("nan")}):
        files.write_json(path, values | {"metrics": metrics})
        assert experiment.kept_outcome("mocov2") is None
    with pytest.raises(HybridError, match="mocov2: acc is nan"):
        kept(acc=float("nan"))


def test_keys_of_earlier_versions_are_told_by_their_provenance(kept):
    """A published data set's digest stood in the provenance alone, and there was none of the outcome."""
    experiment, path = kept()
    values = json.loads(path.read_text())
    del values["digest"], values["key"]["sha256"]
    files.write_json(path, values)
    assert experiment.kept_outcome("mocov2") is not None
    values["provenance"]["sha256"] = "another"
    files.write_json(path, values)
    assert experiment.kept_outcome("mocov2") is None


def test_a_copied_seed_is_no_second_seed(kept, caplog):
    experiment, path = kept()
    shutil.copytree(path.parent, path.parent.with_name("seed5"))
    assert experiment.table().set_index(["method", "metric"]).loc[("mocov2", "acc"), "seeds"] == "0"
    assert "it belongs to seed 0" in caplog.text
    assert Experiment("smoke", seed=5).kept_outcome("mocov2") is None


def test_seeds_in_another_precision_than_the_first_are_left_out(kept, caplog, strictly):
    """The first is that of the lowest number; what an earlier version did not note is in none."""
    experiment, _ = kept(2, acc=50.0)
    kept(10, acc=90.0, precision="bf16")
    kept(11, acc=60.0)
    kept(12, acc=70.0, precision=None)
    row = experiment.table().set_index(["method", "metric"]).loc[("mocov2", "acc")]
    assert row["seeds"] == "2 11 12" and row["value"] == pytest.approx(60)
    assert "seed10/mocov2.json is in bf16, mocov2's first seed in float32: the table leaves it out" in caplog.text
    with strictly(), pytest.raises(HybridError, match="another precision"):
        experiment.table()


def test_seeds_of_other_code_are_told_or_refused(kept, caplog, strictly):
    experiment, _ = kept(precision=None)
    _, other = kept(1, precision=None, modules={"objectives": "00000000"}, commit="abc")
    assert other in experiment.comparable_outcomes()
    assert f"{other} comes from other code (objectives changed since commit abc)" in caplog.text
    with strictly(), pytest.raises(HybridError, match="other code"):
        experiment.table()


def test_arrays_without_a_key_or_with_other_names_are_made_anew(home):
    experiment, made = Experiment("smoke"), []

    def arrays():
        return experiment.store.arrays(
            "x", lambda: experiment.key("hybrid"), lambda: made.append(1) or {"a": np.zeros(2)}, dict, ("a",)
        )

    arrays(), arrays()
    assert made == [1]
    path = experiment.folder / "x.npz"
    for broken in ({"b": np.zeros(2)}, {"a": np.zeros(2), "key": np.array("no"), "provenance": np.array("{}")}):
        files.save_arrays(path, broken)
        assert (arrays()["a"] == 0).all()
    assert made == [1, 1, 1]


@pytest.mark.parametrize("content", [b"", b'{"step": 1}\n{"ste', b"\xff\n", b"[1]\n", None])
def test_a_runs_damaged_history_does_not_take_the_good_copys_place(tmp_path, content):
    store, run = Store(tmp_path / "seed0"), tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "model/history.jsonl").write_text('{"step": 1}\n')
    store.keep_histories("nvae", ("model",), run)
    if content is None:
        (run / "model/history.jsonl").unlink()
    else:
        (run / "model/history.jsonl").write_bytes(content)
    store.keep_histories("nvae", ("model",), run)
    assert store.history("nvae", "model") == [{"step": 1}]
    assert read_history(tmp_path / "nowhere.jsonl") == []
