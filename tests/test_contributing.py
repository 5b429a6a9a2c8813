"""The Python code in the documentation runs as printed, all blocks of a page in order."""

import re
from functools import partialmethod

import pytest
import torch
from PIL import Image

from hybrid import paths
from hybrid.data import datasets
from hybrid.experiments import methods
from hybrid.model import HybridModel

ROOT = paths.REPOSITORY


@pytest.fixture
def registries(monkeypatch):
    """What an example registers is gone after the test."""
    for registry in (methods.METHODS, datasets.NAMED):
        for name in ("linear", "stripes"):
            monkeypatch.setitem(registry, name, None)
            monkeypatch.delitem(registry, name)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/tutorials/your-images.md"])
def test_its_python_runs(page, home, images, registries, monkeypatch):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    for sampler in ("sample", "sample_given"):  # in fewer steps, which say as much here
        monkeypatch.setattr(HybridModel, sampler, partialmethod(getattr(HybridModel, sampler), steps=2))
    monkeypatch.chdir(home)
    for name in ("a", "b"):
        Image.fromarray(torch.randint(0, 256, (40, 50, 3), dtype=torch.uint8).numpy()).save(f"{name}.png")
    names = {"images": images, "__name__": "page"}
    exec(compile("\n".join(blocks), page, "exec"), names)
    if page == "CONTRIBUTING.md":
        assert 0 < names["judged"]["mse"] < 300
        assert names["experiment"].outcome("linear")["metrics"]["acc"] == 100.0  # stripes are easy
        assert names["sharpness"](names["experiment"].model("linear"), names["experiment"].images, 0)["sharpness"] > 0
    elif page == "README.md":
        assert names["again"].shape == names["images"].shape and names["new"].shape == (16, 3, 32, 32)
    else:
        assert Image.open("paths.png").size == (9 * 128, 3 * 128)  # enlarged
