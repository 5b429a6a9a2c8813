"""Profiles by name, with fields changed, and as plain values."""

import json
from dataclasses import FrozenInstanceError

import pytest

from hybrid.configs import Diffusion, Hybrid, Representation, describe, restore
from hybrid.errors import HybridError
from hybrid.profiles import PROFILES, profile


def test_a_field_changes_and_the_name_says_so():
    changed = profile("laptop,hybrid.representation.training.epochs=6,evaluation.eta=1,hybrid.prior.multipliers=1-2-4")
    assert changed.hybrid.representation.training.epochs == 6
    assert changed.evaluation.eta == 1.0
    assert changed.hybrid.prior.multipliers == (1, 2, 4)
    assert changed.name.startswith("laptop,")
    assert profile("laptop,hybrid.representation.noise=none").hybrid.representation.noise is None
    assert profile("smoke,ddim.attention=8").ddim.attention == (8,)
    assert profile("demo,ddim.attention=").ddim.attention == ()
    assert profile("laptop").hybrid.representation.training.epochs != 6
    assert changed.hybrid.representation.autoencoder == profile("laptop").hybrid.representation.autoencoder


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("desktop", "'desktop' is unknown: choose one of smoke, demo, laptop, paper"),
        ("demo,hybrid.alpha=1", "choose one of representation, prior"),
        ("demo,hybrid.prior=1", "is a group"),
        ("demo,hybrid.prior.channels.x=1", "is a value"),
        ("demo,epochs", "write it as field=value"),
        ("demo,hybrid.prior.channels=many", "expected int, as in hybrid.prior.channels=48"),
        ("demo,evaluation.inception=perhaps", "expected bool"),
        ("demo,hybrid.representation.noise=soon", "expected float or none"),
        ("demo,hybrid.prior.multipliers=1-x", "expected numbers joined by '-', as in hybrid.prior.multipliers=1-2"),
        ("demo,biggan.training.betas=1", "expected 2 numbers joined by '-', as in biggan.training.betas=0.0-0.999"),
        ("demo,hybrid.representation.contrast.on=x", "on = 'x': give y or z"),
        ("demo,hybrid.representation.noise=-0.1", "noise = -0.1: give a deviation above 0, or none"),
        ("demo,hybrid.representation.augmentation.crop=0", "crop = 0.0: give a share of the image's area"),
        ("demo,nvae.training.epochs=0", "epochs = 0: give a number above 0"),
        ("demo,nvae.training.batch=0", "batch = 0: give a number above 0"),
        ("demo,nvae.training.optimiser=sgd", "optimiser = 'sgd': give adamw or muon"),
        ("demo,evaluation.samples=1", "samples = 1: give 2 or more"),
        ("demo,evaluation.eta=2", "eta = 2.0: give a value from 0"),
        ("demo,name=x", "choose one of hybrid, nvae, ddim, biggan, evaluation"),
        ("", "'' is unknown"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_right(spec, says):
    with pytest.raises(HybridError, match=says.replace("(", r"\(")) as error:
        profile(spec)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", PROFILES)
def test_values_survive_json(name):
    values = json.loads(json.dumps(describe(PROFILES[name].hybrid)))
    assert restore(Hybrid, values) == PROFILES[name].hybrid
    assert restore(Diffusion, values["prior"]) == PROFILES[name].hybrid.prior


def test_a_field_that_is_not_used_is_not_described():
    """So that outcomes and checkpoints from before there was such a field are still of their profile."""
    plain, noisy = (profile(f"laptop,hybrid.representation.noise={noise}").hybrid.representation for noise in ("none", 0.2))
    assert "noise" not in describe(plain)
    assert describe(noisy)["noise"] == 0.2
    assert restore(Representation, describe(noisy)) == noisy


def test_profiles_are_frozen():
    with pytest.raises(FrozenInstanceError):
        PROFILES["demo"].name = "other"
