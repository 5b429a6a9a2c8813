"""Comparison with committed numbers: ranges against scipy's, and outcomes with made-up values."""

import json

import numpy as np
import pytest
from scipy import stats

from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.machine.files import write_json
from hybrid.workflows import expected
from hybrid.workflows.expected import add, compare, expected_range, formatted, verdict


@pytest.fixture
def outcomes(home, tmp_path, monkeypatch):
    """Writes made-up outcomes of smoke's MoCo-v2; the repository is a folder of the test's."""
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "pyproject.toml").touch()
    monkeypatch.setattr(expected.paths, "REPOSITORY", repository)

    def write(seed, acc, device="2 cores of A", precision="float32"):
        experiment = Experiment("smoke", seed=seed)
        origin = {"seed": seed, "device": device, "precision": precision, "commit": "abc"}
        metrics = {"acc": acc, "acc_y": acc, "moved_y": 1.0}
        kept = {"key": experiment.key("mocov2").values, "metrics": metrics, "calibration": [], "provenance": origin}
        write_json(experiment.folder / "mocov2.json", kept)
        return experiment

    return write


def test_the_range_is_students():
    values = [9.0, 10.0, 12.0, 11.0, 10.5, 9.5]
    low, high = expected_range(values, "mse")
    n, mean, s = len(values), np.mean(values), np.std(values, ddof=1)
    assert (low, high) == pytest.approx(stats.t.interval(0.99, n - 1, mean, s * np.sqrt(1 + 1 / n)))


def test_of_further_draws_so_many_lie_inside():
    draws = np.random.default_rng(0).normal(50, 2, (4000, 7))
    inside = [low <= row[-1] <= high for row in draws for low, high in [expected_range(list(row[:-1]), "mse")]]
    assert np.mean(inside) == pytest.approx(0.99, abs=0.005)


def test_ranges_end_where_the_metric_does():
    assert expected_range([0.1, 5.0, 0.2], "mse")[0] == 0
    assert expected_range([99.0, 90.0, 95.0], "acc")[1] == 100
    assert expected_range([0.1, 5.0, 0.2], "kd_net")[0] < 0
    assert expected_range([1.0, 2.0], "mse") == (None, None)


def test_runs_are_added_and_compared(outcomes):
    for seed, acc in enumerate((90.0, 91.0, 92.0)):
        path = add(outcomes(seed, acc))
    assert path.name == "expected.json" and "repository" in path.parts
    (one,) = compare(outcomes(1, 70.0))
    assert (one.method, one.metric, one.yours, one.committed) == ("mocov2", "acc", 70.0, 91.0)
    assert one.low < 90 < 92 < one.high and one.outside
    assert (
        verdict([one]) == f"1 of 1 numbers lie outside the expected range: MoCo-v2, linear acc., %: 70.0, expected {one.range}."
    )
    assert "outside" in str(formatted([one]))
    (one,) = compare(outcomes(7, 91.5))
    assert one.committed == 90.0 and not one.outside  # no seed 7 among them: the first's
    assert verdict([one]) == "All 1 numbers lie in the expected range."
    add(outcomes(0, 90.5, "2 cores of B"))
    assert compare(outcomes(0, 70.0))[0].committed == 90.5  # the newest of this seed


def test_a_run_takes_the_place_of_its_own_alone(outcomes):
    add(outcomes(0, 90.0))
    add(outcomes(0, 91.0, device="2 cores of B"))
    add(outcomes(0, 92.0, precision="bfloat16"))
    path = add(outcomes(0, 93.0))
    assert sorted(run["metrics"]["acc"] for run in json.loads(path.read_text())) == [91.0, 92.0, 93.0]


def test_runs_of_another_recipe_do_not_count(outcomes):
    path = add(outcomes(0, 90.0))
    runs = json.loads(path.read_text())
    write_json(path, [run | {"recipe": "another"} for run in runs])
    assert compare(outcomes(0, 90.0)) == []


def test_two_runs_make_no_range(outcomes):
    add(outcomes(0, 90.0))
    add(outcomes(1, 91.0))
    (one,) = compare(outcomes(0, 10.0))
    assert one.range == "–" and not one.outside and "too few committed runs" in verdict([one])


def test_nothing_judged_is_told(home):
    with pytest.raises(HybridError, match="run hybrid reproduce first"):
        add(Experiment("smoke"))


def test_an_installed_package_is_not_written_to(outcomes):
    experiment = outcomes(0, 10.0)
    (expected.paths.REPOSITORY / "pyproject.toml").unlink()
    with pytest.raises(HybridError, match="works in a clone"):
        add(experiment)
