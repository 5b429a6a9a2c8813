"""Profiles for few images: no batch is larger than the train set, and nothing else changes."""

from dataclasses import asdict

import pytest

from hybrid.errors import HybridError
from hybrid.experiments import few
from hybrid.profiles.overrides import PROFILES, profile


def batches(values, path=()):
    """Every batch of a profile's plain values, by its place."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from batches(value, (*path, name))
        elif name == "batch":
            yield (*path, name), value


def test_a_set_that_fills_the_batches_changes_nothing(caplog):
    for made in PROFILES.values():
        assert few.clipped(made, 50_000) == made
    assert not caplog.records


@pytest.mark.parametrize("images", [2, 3, 7, 128, 160, 511])
def test_batches_fit_and_a_line_says_so(caplog, images):
    before = dict(batches(asdict(profile("smoke"))))
    after = dict(batches(asdict(few.clipped(profile("smoke"), images))))
    assert before.keys() == after.keys()
    for place, batch in after.items():
        assert batch == (max(images // 4, 2) if before[place] > images else before[place])
    assert len(caplog.records) == 1
    assert caplog.messages[0].endswith(f"instead of 512, because the train set has only {images}")


def test_one_image_is_refused():
    with pytest.raises(HybridError, match="1 train image: expected 2 or more"):
        few.clipped(profile("smoke"), 1)


@pytest.mark.parametrize(("images", "gaussians"), [(20, 1), (300, 4), (5000, 30)])
def test_a_mixture_has_images_for_each_gaussian(caplog, images, gaussians):
    assert few.clipped(profile("demo"), images).plus.y.mixture == gaussians
    said = [line for line in caplog.messages if line.startswith(f"the mixture for y has {gaussians} Gaussian")]
    assert len(said) == (gaussians < 30)
