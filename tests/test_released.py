"""Weights written from a run and read again."""

import pytest
import torch

import hybrid
from hybrid import released
from hybrid.cli import main
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.judging.evaluate import squared_error
from hybrid.workflows.release import release


@pytest.fixture
def trained(done, monkeypatch):
    """The smoke run, whose weights were released into its home."""
    experiment, folder = Experiment("smoke"), done / "weights"
    if not folder.exists():
        release(experiment, folder)
    monkeypatch.setattr(released, "FOLDER", folder)
    return experiment


def test_what_is_released_is_the_trained_model(trained):
    model, images = hybrid.pretrained("digits"), trained.images.test_images[:8]
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model.encode(images), trained.model().encode(images), rtol=0.05, atol=0.05)
    torch.testing.assert_close(model.sample(2, steps=2), trained.model("hybridplus").sample(2, steps=2), rtol=0.05, atol=0.05)


def test_releasing_leaves_the_model_as_it_was(trained):
    again = hybrid.load(trained.runs / "hybrid" / "seed0")
    for key, value in again.state_dict().items():
        assert torch.equal(value, trained.model("hybridplus").state_dict()[key]), key


def test_the_file_says_what_it_is(trained):
    about = released.about("digits")
    assert about["metrics"] == trained.metrics("hybridplus")["metrics"]
    assert set(about["provenance"]["trained"]) == {"representation", "semantic", "texture"}
    assert about["provenance"]["seed"] == 0
    shown = released.examples("digits")
    assert shown.shape == (16, 3, 32, 32) and shown.dtype == torch.uint8
    reconstructions = hybrid.pretrained("digits").reconstruct(shown)
    assert squared_error(reconstructions, shown) == pytest.approx(about["examples_mse"], rel=1e-3)


def test_the_model_card_has_the_numbers(trained):
    card = (released.FOLDER / "digits.md").read_text()
    assert f"{trained.metrics()['metrics']['acc_y']:.1f} %" in card
    assert "MIT" in card and "{{" not in card and "smoke" in card


def test_the_command_line_takes_a_released_name(trained, tmp_path):
    assert main(["sample", "--run", "digits", "--out", str(tmp_path / "new.png"), "--count", "2", "--steps", "2"]) == 0
    assert (tmp_path / "new.png").stat().st_size > 0


def test_wrong_names_and_damaged_files_are_told(trained, tmp_path, monkeypatch):
    with pytest.raises(HybridError, match=r"no weights of 'mnist' are released: choose among digits"):
        hybrid.pretrained("mnist")
    with pytest.raises(HybridError, match=r"'mnist' is neither a run's folder nor released: choose among digits"):
        released.open_model("mnist")
    monkeypatch.setattr(released, "FOLDER", tmp_path)
    (tmp_path / "digits.safetensors").write_bytes((trained.runs.parents[2] / "weights/digits.safetensors").read_bytes()[:1000])
    with pytest.raises(HybridError, match="is damaged"):
        hybrid.pretrained("digits")
