"""What y, w and z keep: made once, read afterwards, refused of another profile; and what is committed."""

import checkout
import pandas as pd
import pytest

from hybrid import released
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.judging.factors import PARTS
from hybrid.machine import files
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
    with pytest.raises(HybridError, match="on this digits with seed 1: give"):
        workflow._origin(Experiment("smoke", seed=1), folder)


def test_released_weights_of_another_profile_are_refused_before_anything_is_measured(home, monkeypatch):
    monkeypatch.setattr(workflow, "study", lambda *_: pytest.fail("measured"))
    with pytest.raises(HybridError, match="was not trained by profile smoke on digits"):
        workflow.factors(Experiment("smoke"), "cifar10")


def test_a_file_of_released_weights_is_what_its_name_is():
    experiment, path = Experiment("laptop", "cifar10"), released.FOLDER / "cifar10.safetensors"
    by_path, by_name = (workflow._origin(experiment, run) for run in (path, "cifar10"))
    assert by_path == by_name | {"released": str(path)}


def test_they_are_no_methods_outcome(home):
    """Notebooks are executed anew when a method's outcome is newer than they are: these lie elsewhere."""
    experiment = Experiment("smoke")
    assert experiment.folder not in [workflow.folder(experiment), *workflow.folder(experiment).parents]
    with pytest.raises(HybridError, match="restore it"):
        workflow.committed("smoke", "digits")


COMMITTED = checkout.committed("results/*/*/factors/seed*.json")
PLAIN = [path for path in COMMITTED if "jitter=0" in str(path)]  # with views that keep their colours


def opened(path, monkeypatch):
    """The table of a committed file, which is of the profile as it stands."""
    profile, dataset, _, name = path.with_suffix("").parts[-4:]
    assert not files.read_json(path)["provenance"]["dirty"]
    monkeypatch.setattr(workflow, "study", lambda *_: pytest.fail("it is not committed"))
    monkeypatch.setattr(workflow, "_model", lambda *_: pytest.fail("it is not committed"))
    return showing.table(workflow.factors(Experiment(profile, dataset, int(name.removeprefix("seed")))))


@pytest.fixture(
    params=[path for path in COMMITTED if path not in PLAIN], ids=lambda path: "-".join((*path.parts[-4:-2], path.stem))
)
def committed(request, monkeypatch):
    return opened(request.param, monkeypatch)


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.stem)
def test_a_contrast_of_views_that_keep_their_colours_keeps_chroma_in_y(path, monkeypatch):
    chroma = opened(path, monkeypatch).loc["ink's chroma"]
    assert by_the_contrast(chroma.to_frame().T).min(axis=None) > 0.9 * chroma["y, untrained"]


def test_y_has_the_class_and_training_brings_it(committed):
    others = committed.loc["class", ["w", "pixels", "y, untrained"]]
    assert committed.loc["class", "y"] > others.max() + 0.25


def by_the_contrast(committed):
    """The y that the hybrid trains and, where it was measured, the y that the contrast trains alone."""
    return committed[[part for part in ("y", "y of MoCo-v2") if part in committed]]


def test_the_contrast_drops_chroma_from_y_and_w_has_it(committed):
    chroma = committed[committed.index.str.contains("chroma")]
    assert (chroma["w"] > 0.9).all() and (chroma["w"] > chroma["y"]).all()
    assert by_the_contrast(chroma).lt(chroma["y, untrained"], axis=0).all(axis=None)


def test_the_contrast_brings_texture_place_and_size_to_y(committed):
    shapes = committed[committed.index.str.contains("texture|fineness|direction|place|size")]
    assert by_the_contrast(shapes).gt(shapes["y, untrained"] + 0.1, axis=0).all(axis=None)


def test_a_linear_probe_finds_as_little_texture_in_w_as_in_pixels(committed):
    textures = committed[committed.index.str.contains("texture|fineness|direction|contrast")]
    assert (textures["w"] - textures["pixels"]).abs().max() < 0.1
