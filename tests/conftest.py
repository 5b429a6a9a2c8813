"""Shared by all tests: a separate home folder, and small models and data to train."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import matplotlib
import pytest
import torch
from filelock import FileLock

from hybrid.cli import main
from hybrid.errors import tell
from hybrid.machine import fingerprint
from hybrid.model import HybridModel
from hybrid.models.autoencoder import Decoder, Encoder
from hybrid.profiles.overrides import profile

matplotlib.use("Agg")
os.environ.setdefault("HYBRID_DEVICE", "cpu")  # bits are equal on CPUs only


def pytest_collection_modifyitems(items):
    """Order the files so that pytest-xdist's workers rarely wait: first the one that makes `smoke_home`, then slow ones without
    it, then slow ones with it, and the short ones last."""
    for item in items:
        if "smoke_home" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    waits = {item.path for item in items if "smoke_home" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: (item.path.name != "test_reproduce.py", item.path not in slow, item.path in waits))


@pytest.fixture(autouse=True)
def untold():
    """Lines that appear once per process appear once per test. Numbers drawn without a seed do not depend on earlier tests."""
    tell.cache_clear()
    torch.manual_seed(0)


@pytest.fixture
def strictly():
    """A context in which a difference of code or precision is refused, as by --strict."""

    @contextmanager
    def within():
        token = fingerprint.strict.set(True)
        try:
            yield
        finally:
            fingerprint.strict.reset(token)

    return within


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home: nothing that a test writes or reads lies in the repository."""
    monkeypatch.setenv("HYBRID_HOME", str(tmp_path))
    monkeypatch.delenv("HYBRID_DATA", raising=False)
    return tmp_path


@pytest.fixture(scope="session")
def smoke_home(tmp_path_factory):
    """A home in which `smoke` was reproduced, without notebooks. A test that changes something there mends it again.

    pytest-xdist's workers have a copy each of what the first of them made.
    """
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return reproduced(tmp_path_factory.mktemp("home"))
    made, own = tmp_path_factory.getbasetemp().parent / "smoke", tmp_path_factory.mktemp("home") / "own"
    with FileLock(made.with_suffix(".lock")):
        if not made.exists():
            reproduced(made.with_suffix(".new")).rename(made)
    shutil.copytree(made, own)
    return own


def reproduced(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYBRID_HOME", str(home))
        patch.delenv("HYBRID_DATA", raising=False)
        assert main(["reproduce", "--profile", "smoke", "--no-notebooks"]) == 0
    return home


@pytest.fixture
def done(smoke_home, monkeypatch):
    """That home, as one's own."""
    monkeypatch.setenv("HYBRID_HOME", str(smoke_home))
    monkeypatch.delenv("HYBRID_DATA", raising=False)
    return smoke_home


@pytest.fixture
def images():
    """Eight random images, uint8 (8, 3, 32, 32)."""
    return torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    """An untrained hybrid with the networks of profile `smoke` and without a prior."""
    config = profile("smoke").hybrid.representation.autoencoder
    torch.manual_seed(0)
    return HybridModel(Encoder(config), Decoder(config))
