"""Which data set it is: what is in it, whatever it is called, and without reading it again."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hybrid.data import datasets, identity
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment


def write(path, seed, count=8):
    draw = np.random.default_rng(seed)
    images, labels = draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), np.arange(count) % 2
    path.parent.mkdir(exist_ok=True)
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    os.utime(path, (1e9 + seed, 1e9 + seed))
    return path


def test_a_data_set_is_read_once(tmp_path, monkeypatch):
    path = write(tmp_path / "a.npz", 1)
    first = identity.identify(str(path), tmp_path, tmp_path / "cache")
    assert first == datasets.load(str(path), tmp_path).sha256
    monkeypatch.setattr(datasets, "load", lambda *_: pytest.fail("read again"))
    assert identity.identify(str(path), tmp_path, tmp_path / "cache") == first
    monkeypatch.undo()
    write(path, 2)
    assert identity.identify(str(path), tmp_path, tmp_path / "cache") != first


def test_what_changed_just_now_is_not_remembered(tmp_path):
    """Another change in the same instant would have the same time."""
    path = write(tmp_path / "a.npz", 1)
    os.utime(path)
    identity.identify(str(path), tmp_path, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_published_name_with_other_images_is_another_data_set(tmp_path, home, caplog):
    assert Experiment("laptop").slug == "cifar10"  # not here: as published
    assert Experiment("laptop").sha256 == identity.SHA256["cifar10"]
    write(home / "data" / "cifar10.npz", 1, 90)
    experiment = Experiment("laptop")
    assert experiment.slug == f"cifar10-{experiment.sha256[:8]}" and experiment.kept_outcome("hybrid") is None
    assert "is not the published one" in caplog.text
    assert experiment.key("hybrid").values["sha256"] == experiment.images.sha256


def test_data_that_changes_under_an_experiment_is_told(home):
    path = write(home / "mine" / "a.npz", 1)
    experiment = Experiment("smoke", str(path))
    write(path, 2)
    del experiment.images  # as if they were asked for now
    with pytest.raises(HybridError, match="holds other images"):
        experiment.images  # noqa: B018


def test_a_set_of_ones_own_called_like_a_published_one_is_apart(home):
    own, published = Experiment("smoke", str(write(home / "mine" / "digits.npz", 1))), Experiment("smoke")
    assert own.results != published.results and own.runs != published.runs
    assert own.key("mocov2").difference(published.key("mocov2").values) == "dataset"


def test_digits_are_what_they_are_known_as(home):
    assert Experiment("demo").images.sha256 == identity.SHA256["digits"]


def test_the_order_of_a_published_set_is_no_matter(monkeypatch, images):
    """torchvision's CIFAR-10 is in an order of chance, others' sorts by class."""
    labels = torch.arange(8) % 2
    one = datasets.ImageSet("cifar10", images, labels, images, labels, ("a", "b"))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    other = replace(one, train_images=images[order], train_labels=labels[order])
    swapped = replace(one, train_labels=1 - labels)
    monkeypatch.setitem(identity.SHA256, "cifar10", one.sha256)
    monkeypatch.setitem(identity.CONTENT, "cifar10", identity.content(one))
    assert other.sha256 != one.sha256 and identity.of(other) == one.sha256
    assert identity.of(swapped) == swapped.sha256


def test_a_folder_called_like_a_named_data_set_is_not_taken_for_it(tmp_path, monkeypatch, images):
    """Neither for one that is known by its SHA-256, nor for one that a function makes."""
    labels = torch.arange(8) % 2
    one = datasets.ImageSet("stripes", images, labels, images, labels, ("a", "b"))
    monkeypatch.setitem(datasets.NAMED, "stripes", lambda root: one)
    monkeypatch.chdir(tmp_path)
    for name in datasets.NAMED:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
        assert not list(identity._sources(name, tmp_path / "data"))
        known = one.sha256 if name == "stripes" else identity.SHA256[name]
        assert identity.identify(name, tmp_path / "data", tmp_path / "cache") == known
    assert identity.slug("stripes", one.sha256) == "stripes"


def test_links_that_circle_or_lead_nowhere_are_no_trouble(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "round").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "nowhere.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "set" / "a.png").touch()
    assert [path.name for path, _ in identity._sources(str(tmp_path / "set"), Path())] == ["a.png"]
