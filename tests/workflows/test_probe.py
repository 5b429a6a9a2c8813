"""What a frozen hybrid tells of other images: numbers against ones counted by hand, and files that are written."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hybrid.data.datasets import UNLABELLED, ImageSet
from hybrid.errors import HybridError
from hybrid.machine.provenance import provenance
from hybrid.workflows import explain, probe


@pytest.fixture
def images():
    """Three classes that differ in colour; some test images are labelled wrong, so that something is confused."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    pixels = torch.randint(0, 60, (90, 3, 32, 32), generator=generator)
    pixels[torch.arange(90), labels] += 150
    pixels = pixels.to(torch.uint8)
    wrong = labels[60:].clone()
    wrong[:6] = (wrong[:6] + 1) % 3
    return ImageSet("colours", pixels[:60], labels[:60], pixels[60:], wrong, ("red", "green", "blue"))


def test_numbers_and_pictures(model, images, tmp_path):
    found = probe.probe(model, images, "z")
    assert list(found.accuracies.index) == ["y", "w", "z"]
    assert found.accuracies.loc["z", "linear acc., %"] == pytest.approx(100 * 24 / 30)
    assert found.accuracies.loc["z", "20-NN acc., %"] == pytest.approx(100 * 24 / 30)
    said = (torch.arange(60, 90) % 3).numpy()  # the colours, which are read off without an error
    by_hand = np.zeros((3, 3), int)
    for truth, guess in zip(images.test_labels.tolist(), said, strict=True):
        by_hand[truth, guess] += 1
    np.testing.assert_array_equal(found.confusion, by_hand)
    assert found.chance == pytest.approx(100 * by_hand.sum(1).max() / 30)
    assert found.queries.shape == (8, 3, 32, 32) and found.neighbours.shape == (8, 6, 3, 32, 32)
    assert (found.neighbours.mean((3, 4)).argmax(2) == found.queries.mean((2, 3)).argmax(1)[:, None]).all()  # of its colour
    assert (np.diff(found.similarities, axis=1) <= 0).all()

    folder = probe.write(found, tmp_path / "out", provenance(seed=0, run="cifar10"))
    assert {path.name for path in folder.iterdir()} == {
        "probe.json",
        "probe.txt",
        *(f"{stem}.{suffix}" for stem in ("confusion", "neighbours") for suffix in ("png", "pdf")),
    }
    kept = json.loads((folder / "probe.json").read_text())
    assert kept["confusion"]["counts"] == by_hand.tolist() and kept["confusion"]["part"] == "z"
    assert kept["provenance"]["run"] == "cifar10" and "probe.json" in explain.explain(folder / "confusion.png")
    assert "red" in (folder / "probe.txt").read_text() and "80.0" in str(found)


def test_what_cannot_be_probed_is_told(model, images, tmp_path):
    labels = {f"{split}_labels": 0 * getattr(images, f"{split}_labels") for split in ("train", "test")}
    none = replace(images, name="flat", class_names=UNLABELLED, **labels)
    with pytest.raises(HybridError, match="flat has no classes: a probe needs two or more"):
        probe.probe(model, none)
    with pytest.raises(HybridError, match="part 'v' is unknown: choose one of y, w, z"):
        probe.probe(model, images, "v")
    (tmp_path / "file").write_text("")
    with pytest.raises(HybridError, match="is a file: expected a folder"):
        probe.write(probe.probe(model, images), tmp_path / "file", provenance())
