"""A training that is watched: pictures and scalars appear, and the training is the same bit for bit."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hybrid import paths
from hybrid.cli import main
from hybrid.data.datasets import ImageSet
from hybrid.errors import HybridError
from hybrid.models.hybrid import Representation
from hybrid.profiles.overrides import profile
from hybrid.training import checkpoint
from hybrid.training.history import read_history
from hybrid.workflows import watching
from hybrid.workflows.watching import Watch

PROFILE = "smoke,images=64,hybrid.representation.training.batch=32,hybrid.prior.training.batch=32,biggan.training.batch=32"


def test_watching_shows_and_changes_nothing(tmp_path, monkeypatch):
    weights = {}
    for kind in ("none", "tensorboard"):
        monkeypatch.setenv("HYBRID_HOME", str(tmp_path / kind))
        log = ["--log", kind] if kind != "none" else []
        assert main(["train", "--profile", PROFILE, "--methods", "hybrid", "biggan", *log]) == 0
        runs = paths.runs(PROFILE, "digits")
        for stage in ("hybrid/seed0/representation", "hybrid/seed0/prior", "biggan/seed0/model"):
            weights[kind, stage] = checkpoint.load(runs / stage / "checkpoint.pt")["weights"]
    for (kind, stage), found in weights.items():
        assert all(torch.equal(value, weights["none", stage][key]) for key, value in found.items()), (kind, stage)
    seen = {str(path.relative_to(runs)) for path in runs.rglob("*.png")}
    assert seen == {
        "hybrid/seed0/representation/watched/00000002-reconstructions.png",
        "hybrid/seed0/prior/watched/00000002-samples.png",
        "biggan/seed0/model/watched/00000002-samples.png",
    }
    folder = runs / "hybrid/seed0/representation"
    sheet = np.asarray(Image.open(folder / "watched/00000002-reconstructions.png"))
    assert sheet.shape == (4 * 64, 4 * 256, 3)  # eight test images above their reconstructions, enlarged
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert {"loss", "i_ba", "i_cpc", "mse", "knn"} <= set(events.Tags()["scalars"]) and events.Tags()["images"]
    history = read_history(folder / "history.jsonl")
    logged = [(event.step, event.value) for event in events.Scalars("loss")]
    assert logged == [(line["step"], pytest.approx(line["loss"], rel=1e-5)) for line in history]
    assert 0 <= events.Scalars("knn")[-1].value <= 100


def test_pictures_come_after_each_epoch_whatever_the_lines(tmp_path, monkeypatch):
    """Lines every 48 of 195 steps, as on CIFAR-10, fall on the end of an epoch only by chance."""
    monkeypatch.setattr(watching, "vote", lambda *_: {})
    monkeypatch.setattr(watching, "pictures", lambda *_: [("samples", (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), 1))])
    watch = Watch("pictures")
    for step in [*range(48, 780, 48), 780]:
        watch(tmp_path, torch.nn.Identity(), {"step": step, "epoch": round(step / 195, 3), "seconds": 0.0}, None)
    assert [int(path.name[:8]) for path in sorted(tmp_path.rglob("*.png"))] == [240, 432, 624, 780]


def test_a_log_of_another_kind_is_refused():
    with pytest.raises(HybridError, match="log = 'wandb': give one of pictures, tensorboard"):
        Watch("wandb")


def test_tensorboard_that_is_missing_is_told_before_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(HybridError, match="tensorboard is not installed: pip install"):
        Watch("tensorboard")


def test_voters_are_of_all_classes_of_a_sorted_set():
    def draw(count):
        labels = torch.arange(4).repeat_interleave(count)
        return (60 * labels).to(torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32).contiguous(), labels

    (train, labels), (test, truth) = draw(1000), draw(200)
    images = ImageSet("sorted", train, labels, test, truth.clamp(max=2), tuple("abcd"))
    model = Representation(profile("smoke").hybrid.representation).eval()
    # Each class is of one colour, and the last one's test images are labelled as another.
    assert watching.vote(model, images) == {"knn": pytest.approx(75)}
