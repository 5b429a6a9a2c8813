"""Shared by all tests: a home of their own, and small things to train."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home: nothing that a test writes or reads lies in the repository."""
    monkeypatch.setenv("HYBRID_HOME", str(tmp_path))
    monkeypatch.delenv("HYBRID_DATA", raising=False)
    return tmp_path


@pytest.fixture
def images():
    """Eight random images, uint8 (8, 3, 32, 32)."""
    return torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
