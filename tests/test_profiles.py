"""Profiles by name, with fields changed, and as plain values."""

import json
from dataclasses import FrozenInstanceError

import pytest

from hybrid.configs import Augmentation, Diffusion, Hybrid, describe, restore
from hybrid.errors import HybridError
from hybrid.profiles import PROFILES, profile


def test_a_field_changes_and_the_name_says_so():
    changed = profile("laptop,hybrid.representation.training.epochs=6,evaluation.eta=1,hybrid.prior.multipliers=1-2-4")
    assert changed.hybrid.representation.training.epochs == 6
    assert changed.evaluation.eta == 1.0
    assert changed.hybrid.prior.multipliers == (1, 2, 4)
    assert changed.name.startswith("laptop,")
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
        ("demo,hybrid.representation.augmentation.crop_start=soon", "expected a number"),
        ("demo,hybrid.prior.multipliers=1-x", "numbers joined by '-'"),
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
    assert "crop_start" not in describe(Augmentation())
    moving = profile("laptop,hybrid.representation.augmentation.crop_start=0.6").hybrid.representation.augmentation
    assert describe(moving)["crop_start"] == 0.6
    assert restore(Augmentation, describe(moving)) == moving


def test_profiles_are_frozen():
    with pytest.raises(FrozenInstanceError):
        PROFILES["demo"].name = "other"
