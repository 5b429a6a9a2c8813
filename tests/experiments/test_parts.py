"""Judging in parts: what a stop leaves is not measured again, and the outcome is that of one pass."""

from types import SimpleNamespace

import pytest
import torch

from hybrid.errors import HybridError, TimeUp
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import method
from hybrid.experiments.parts import NAME, judge_in_parts
from hybrid.experiments.store import as_json
from hybrid.judging import evaluate
from hybrid.machine import files
from hybrid.training.loop import Clock

EVERYTHING = SimpleNamespace(name="each", metrics=("mse", "fid", "acc"), own_metrics=lambda *_: {})
KEY = {"training": "one"}


class Judge:
    """Stands for `evaluate`: notes what it was asked for, and is stopped at one part."""

    def __init__(self, stops_at=None):
        self.asked, self.stops_at = [], stops_at

    def __call__(self, having, own_metrics):
        asked = having or ("own",)
        if self.stops_at in asked:
            raise KeyboardInterrupt
        self.asked += asked
        rows = [{"images": "samples", "count": 2}] if "fid" in having else []
        metrics = {name: float(len(name)) for name in asked}
        return {"metrics": metrics, "calibration": rows, "details": {asked[0]: 1}, "seconds": 1.5}


@pytest.mark.parametrize(
    ("stops_at", "again"), [("acc", ["acc", "mse", "fid", "own"]), ("fid", ["mse", "fid", "own"]), ("own", ["own"])]
)
def test_a_kill_loses_the_part_that_it_stops(tmp_path, stops_at, again):
    with pytest.raises(KeyboardInterrupt):
        judge_in_parts(Judge(stops_at), EVERYTHING, tmp_path, KEY, Clock())
    second = Judge()
    found = judge_in_parts(second, EVERYTHING, tmp_path, KEY, Clock())
    assert second.asked == again
    assert found == judge_in_parts(Judge(), EVERYTHING, tmp_path / "at once", KEY, Clock())
    assert list(found["metrics"]) == ["mse", "acc", "fid", "own"] and found["seconds"] == 4.5
    assert found["calibration"] == [{"images": "samples", "count": 2}] and set(found["details"]) == {"acc", "mse", "own"}


def test_parts_of_another_training_or_damaged_ones_are_judged_again(tmp_path):
    path = tmp_path / NAME
    for key, spoil in [(KEY, False), ({"training": "two"}, False), ({"training": "two"}, True)]:
        if spoil:
            path.write_text(path.read_text().replace("1.5", "2.5"))
        judge = Judge()
        judge_in_parts(judge, EVERYTHING, tmp_path, key, Clock())
        assert judge.asked == ["acc", "mse", "fid", "own"]


def test_time_that_is_up_stops_before_a_part_and_never_after_the_last(tmp_path):
    judge = Judge()
    with pytest.raises(TimeUp, match="each is trained but not judged yet"):
        judge_in_parts(judge, EVERYTHING, tmp_path, KEY, Clock(0.0))
    assert not judge.asked
    judge_in_parts(judge, EVERYTHING, tmp_path, KEY, Clock())
    judge_in_parts(judge, EVERYTHING, tmp_path, KEY, Clock(0.0))


def test_parts_that_cannot_be_written_are_told_and_judging_goes_on(tmp_path, caplog):
    (tmp_path / "file").touch()
    found = judge_in_parts(Judge(), EVERYTHING, tmp_path / "file", KEY, Clock())
    assert list(found["metrics"]) == ["mse", "acc", "fid", "own"]
    assert "finished parts of judging are not kept" in caplog.text


def test_another_number_of_threads_continues(done):
    """As a method that a worker began, and the command itself goes on with."""
    experiment, before = Experiment("smoke"), torch.get_num_threads()
    key = experiment._parts_key("ddim")
    torch.set_num_threads(before + 1)
    try:
        assert experiment._parts_key("ddim") == key
    finally:
        torch.set_num_threads(before)


def test_parts_beside_a_saved_outcome_are_removed(done):
    """Two commands judged the method, and one of them was killed: later a new measurement would have taken its parts."""
    experiment = Experiment("smoke")
    left = experiment.run_folder("mocov2") / NAME
    left.write_text("{}")
    experiment.outcome("mocov2")
    assert not left.exists()


def test_an_outcome_of_parts_has_the_numbers_of_one_pass(done):
    path, left = done / "results/smoke/digits/seed0/ddim.json", done / "runs/smoke/digits/ddim/seed0/judged.json"
    before = path.read_bytes()
    path.unlink()

    def broken(*_):
        raise HybridError("stopped")

    with pytest.MonkeyPatch.context() as patch, pytest.raises(HybridError, match="stopped"):
        patch.setattr(evaluate, "squared_error", broken)
        Experiment("smoke").outcome("ddim")
    assert list(files.read_json(left)["parts"]) == ["accuracy"]
    experiment, judged = Experiment("smoke"), method("ddim")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "accuracy", broken)  # it is not measured again
        found = experiment.outcome("ddim")
    assert not left.exists()
    path.write_bytes(before)
    whole = evaluate.evaluate(
        experiment.model("ddim"),
        judged.metrics,
        experiment.images,
        experiment.profile.evaluation,
        seed=0,
        calibrate=False,
        own_metrics=judged.own_metrics,
    )
    for part in ("metrics", "calibration", "details"):
        assert as_json(found[part]) == as_json(whole[part])
    assert found["metrics"] == files.read_json(path)["metrics"]
