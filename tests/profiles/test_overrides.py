"""Profiles by name, with fields changed, and as plain values."""

import json
import re
from dataclasses import FrozenInstanceError

import pytest

from hybrid.errors import HybridError
from hybrid.profiles.overrides import PROFILES, profile
from hybrid.profiles.schema import Hybrid, LatentDiffusion, Representation, describe, restore, updated


def test_a_field_changes_and_the_name_says_so():
    changed = profile("laptop,hybrid.representation.training.epochs=6,evaluation.eta=1,hybrid.prior.multipliers=1-2-4")
    assert changed.hybrid.representation.training.epochs == 6
    assert changed.evaluation.eta == 1.0
    assert changed.hybrid.prior.multipliers == (1, 2, 4)
    assert changed.name.startswith("laptop,")
    assert profile("laptop,hybrid.representation.noise=none").hybrid.representation.noise is None
    assert profile("smoke,ddim.attention=8").ddim.attention == (8,)
    assert profile("demo,ddim.attention=").ddim.attention == profile("demo,ddim.attention=none").ddim.attention == ()
    assert profile("laptop").hybrid.representation.training.epochs != 6
    assert changed.hybrid.representation.autoencoder == profile("laptop").hybrid.representation.autoencoder


@pytest.mark.parametrize("changes", ["plus.y.components=16,plus.w.components=16", "plus.w.components=16,plus.y.components=16"])
def test_fields_that_must_agree_change_together(changes):
    changed = profile(f"demo,{changes}").plus
    assert changed.y.components == changed.w.components == 16


def test_lists_take_numbers_with_exponents():
    assert profile("demo,evaluation.penalties=1e-3-1E-2-1").evaluation.penalties == (1e-3, 1e-2, 1.0)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("desktop", "'desktop' is unknown: choose one of smoke, demo, laptop, gpu, paper"),
        ("demo,hybrid.alpha=1", "choose one of representation, prior"),
        ("demo,hybrid.prior=1", "is a group"),
        ("demo,hybrid.prior.channels.x=1", "is a value"),
        ("demo,epochs", "write it as field=value"),
        ("demo,hybrid.prior.channels=many", "expected int, as in hybrid.prior.channels=32"),
        ("demo,evaluation.inception=perhaps", "expected bool"),
        ("demo,hybrid.representation.noise=soon", "expected float or none"),
        ("demo,hybrid.prior.multipliers=1-x", "expected numbers joined by '-', as in hybrid.prior.multipliers=1-2"),
        ("demo,biggan.training.betas=1", "expected 2 numbers joined by '-', as in biggan.training.betas=0.0-0.999"),
        ("demo,hybrid.representation.contrast.on=x", "on = 'x': give y or z"),
        ("demo,hybrid.representation.noise=-0.1", "noise = -0.1: give a deviation above 0, or none"),
        ("demo,hybrid.representation.augmentation.crop=0", "crop = 0.0: give a share above 0"),
        ("demo,nvae.training.epochs=0", "epochs = 0: give a number above 0"),
        ("demo,nvae.training.batch=0", "batch = 0: give a number above 0"),
        ("demo,nvae.training.optimiser=sgd", "optimiser = 'sgd': give adamw or muon"),
        ("demo,evaluation.samples=1", "samples = 1: give 2 or more"),
        ("demo,evaluation.eta=2", "eta = 2.0: give a value from 0"),
        ("demo,evaluation.order=3", "order = 3: give 1 (DDIM) or 2"),
        ("demo,evaluation.order=2,evaluation.eta=0.5", "order = 2: give 1, or eta = 0"),
        ("demo,hybrid.representation.augmentation.hue=2", "hue = 2.0: give turns from 0 to 0.5"),
        ("demo,hybrid.representation.augmentation.brightness=-1", "brightness = -1.0: give 0 or more"),
        ("demo,hybrid.representation.autoencoder.kernel=4", "kernel = 4: give an odd number"),
        ("demo,hybrid.representation.autoencoder.widths=8-0", "widths = (8, 0): give one or more numbers above 0"),
        ("demo,hybrid.representation.training.betas=2-2", "betas = (2.0, 2.0): give two values of at least 0 and below 1"),
        ("demo,hybrid.representation.training.weight_decay=-1", "weight_decay = -1.0: give 0 or more"),
        ("demo,hybrid.prior.dropout=1.5", "dropout = 1.5: give a share of at least 0 and below 1"),
        ("demo,hybrid.prior.beta_min=0.5", "beta_min = 0.5: give no more than beta_max, 0.02"),
        ("demo,plus.w.components=3", "w.components = 3: give 32, as y.components"),
        ("demo,hybrid.prior.attention=x", "expected numbers joined by '-' or none, as in hybrid.prior.attention="),
        ("demo,hybrid.prior.multipliers=none", "expected numbers joined by '-', as in hybrid.prior.multipliers=1-2"),
        ("demo,evaluation.penalties=x", "expected numbers joined by '-' or none"),
        ("demo,nvae.groups=", "groups = (): give one or more numbers above 0"),
        ("demo,nvae.kl_warmup=2", "kl_warmup = 2.0: give a share from 0 to 1"),
        ("demo,nvae.temperature=-1", "temperature = -1.0: give 0 or more"),
        ("demo,biggan.discriminator_steps=0", "discriminator_steps = 0: give a number above 0"),
        ("demo,hybrid.representation.noise=0." + 250 * "2", "is too long for a folder's name"),
        ("demo,name=x", "choose one of hybrid, plus, nvae, ddim, biggan, evaluation"),
        ("", "'' is unknown"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_right(spec, says):
    with pytest.raises(HybridError, match=re.escape(says)) as error:
        profile(spec)
    assert "\n" not in str(error.value)
    if " = " in says:  # the field in full
        assert str(error.value).startswith(f"{spec.partition(',')[2].partition('=')[0]} = ")


@pytest.mark.parametrize("name", PROFILES)
def test_values_survive_json(name):
    values = json.loads(json.dumps(describe(PROFILES[name].hybrid)))
    assert restore(Hybrid, values) == PROFILES[name].hybrid
    assert restore(LatentDiffusion, values["prior"]) == PROFILES[name].hybrid.prior


def test_values_of_another_version_are_told():
    values = describe(PROFILES["demo"].hybrid.representation)
    values["augmentation"]["swirl"] = 1.0
    with pytest.raises(HybridError, match="Augmentation has no 'swirl': this comes from another version"):
        restore(Representation, values)


def test_a_field_that_is_not_used_is_not_described():
    """So that outcomes and checkpoints from before there was such a field are still of their profile."""
    plain, noisy = (profile(f"laptop,hybrid.representation.noise={noise}").hybrid.representation for noise in ("none", 0.2))
    assert "noise" not in describe(plain)
    assert describe(noisy)["noise"] == 0.2
    assert restore(Representation, describe(noisy)) == noisy


def test_profiles_are_frozen():
    with pytest.raises(FrozenInstanceError):
        PROFILES["demo"].name = "other"


def test_descriptions_of_earlier_versions_are_known():
    """A latent DDIM once had the pixel DDIM's fields too; what no version had is left as it is, and told apart."""
    prior = PROFILES["laptop"].hybrid.prior
    before = describe(prior) | {"encoding_steps": 50, "ode_steps": 50}
    assert updated(LatentDiffusion, before) == describe(prior)
    assert updated(LatentDiffusion, before | {"never": 1}) == before | {"never": 1}
    assert updated(LatentDiffusion, before | {"clip": 3.0}) != describe(prior)


def test_a_field_that_is_given_twice_is_refused():
    with pytest.raises(HybridError, match=r"'biggan\.noise' is given twice"):
        profile("smoke,biggan.noise=4,biggan.noise=5")
