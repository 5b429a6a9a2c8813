"""What y, w and z keep: made once, read afterwards, refused of another profile; and what is committed."""

import pandas as pd
import pytest

from hybrid import paths
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.judging.factors import PARTS
from hybrid.showing import factors as showing
from hybrid.workflows import factors as workflow


def rows(score):
    return pd.DataFrame([{"factor": "class", "part": part, "score": score, "accuracy": 60.0} for part in PARTS])


def test_made_once_for_the_same_weights(home, monkeypatch):
    origin = {"date": "now"}
    monkeypatch.setattr(workflow, "_model", lambda *_: None)
    monkeypatch.setattr(workflow, "_untrained", lambda *_: None)
    monkeypatch.setattr(workflow, "_origin", lambda *_: origin)
    monkeypatch.setattr(workflow, "study", lambda *_: rows(0.5))
    made = workflow.factors(Experiment("smoke"))
    monkeypatch.setattr(workflow, "study", lambda *_: rows(0.7))
    pd.testing.assert_frame_equal(workflow.factors(Experiment("smoke")), made)
    origin = None  # no weights are here
    pd.testing.assert_frame_equal(workflow.factors(Experiment("smoke")), made)
    origin = {"date": "later"}  # trained again, or other weights
    pd.testing.assert_frame_equal(workflow.factors(Experiment("smoke")), rows(0.7))


@pytest.mark.slow
def test_weights_of_a_run_are_those_of_its_profile_and_data(home):
    experiment = Experiment("smoke")
    assert workflow._origin(experiment, None) is None
    experiment.model("hybrid")
    folder = experiment.run_folder("hybrid")
    assert workflow._origin(experiment, folder) == workflow._origin(experiment, None)
    with pytest.raises(HybridError, match="was not trained by profile demo on this digits"):
        workflow._origin(Experiment("demo"), folder)


def test_released_weights_of_another_profile_are_refused(home):
    with pytest.raises(HybridError, match="was not trained by profile smoke on digits"):
        workflow.factors(Experiment("smoke"), "cifar10")


def test_they_are_no_methods_outcome(home):
    """Notebooks are executed anew when a method's outcome is newer than they are: these lie elsewhere."""
    experiment = Experiment("smoke")
    assert experiment.folder not in [workflow.folder(experiment), *workflow.folder(experiment).parents]
    with pytest.raises(HybridError, match="restore it"):
        workflow.committed("smoke", "digits")


COMMITTED = sorted((path.parts[-4], path.parts[-3]) for path in paths.REPOSITORY.glob("results/*/*/factors/seed0.json"))


@pytest.fixture(params=COMMITTED, ids="-".join)
def committed(request, monkeypatch):
    monkeypatch.setattr(workflow, "study", lambda *_: pytest.fail("it is not committed"))
    monkeypatch.setattr(workflow, "_model", lambda *_: pytest.fail("it is not committed"))
    return showing.table(workflow.factors(Experiment(*request.param)))


def test_y_has_the_class_and_w_the_looks(committed):
    assert committed.loc["class", "y"] > committed.loc["class", "w"] + 0.3
    colours = committed.index[committed.index.str.contains("colour")]
    assert (committed.loc[colours, "w"] > 0.9).all()
    assert (committed.loc[colours, "y"] < committed.loc[colours, "w"]).all()
