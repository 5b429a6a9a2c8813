"""The examples of examples/, as they stand."""

import runpy

import pytest

from hybrid.paths import REPOSITORY

EXAMPLES = REPOSITORY / "examples"


def test_the_encoder_in_a_pipeline_of_scikit_learn():
    assert runpy.run_path(str(EXAMPLES / "sklearn_pipeline.py"))["accuracy"] > 0.7  # chance is 0.1


def test_the_encoder_beside_a_network_of_timm():
    found = runpy.run_path(str(EXAMPLES / "beside_timm.py"))["accuracies"]
    assert set(found) == {"hybrid, y", "timm, EfficientNet-lite0"}
    assert found["hybrid, y"] > 70 and found["timm, EfficientNet-lite0"] > 30  # chance is 10


def test_a_scheduler_of_diffusers(home, monkeypatch, capsys):
    from hybrid.experiments.experiment import Experiment

    experiment = Experiment("smoke")
    experiment.model()
    monkeypatch.setattr("sys.argv", ["example", str(experiment.run("hybrid").folder)])
    runpy.run_path(str(EXAMPLES / "diffusers_scheduler.py"))
    assert "(16, 3, 32, 32)" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_each_is_short(path):
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith(("import", "from", '"""'))]
    assert len(lines) <= 12
