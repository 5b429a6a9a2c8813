"""Impossible settings are refused before any training starts."""

from types import SimpleNamespace

import pytest

from hybrid.errors import HybridError
from hybrid.experiments import methods
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import check
from hybrid.models.latent_ddim import LatentDDIM
from hybrid.profiles.overrides import profile


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("hybrid.representation.augmentation.size=25", "size = 25: give a multiple of the encoder's stride, 8 pixels"),
        ("hybrid.representation.early_size=12", "early_size = 12: give a multiple of the encoder's stride, 8 pixels"),
        ("hybrid.representation.early=.5", r"early = 0\.5 without early_size: give that too, or leave out both"),
        ("hybrid.representation.decode_every=0", "decode_every = 0: give a number above 0"),
        ("hybrid.representation.decode_every=513", "decode_every = 513: give 1 to the 512 images of a batch"),
        ("hybrid.representation.contrast.queue=511", "contrast.queue = 511: give at least the batch's 512 images"),
        ("hybrid.prior.channels=7", "hybrid.prior: channels is 7; the time embedding needs an even number"),
        ("hybrid.prior.predict=x", "hybrid.prior.predict = 'x': give noise or v"),
        ("plus.w.predict=x", "plus.w.predict = 'x': give noise or v"),
        ("plus.y.components=769,plus.w.components=769", "plus.y.components = 769: give at most y's 768 dimensions"),
        ("ddim.ode_steps=101", "ddim: 101 sampling steps; this diffusion has 100"),
        ("evaluation.sampler_steps=101", "101 sampling steps; this diffusion has 100"),
    ],
)
def test_networks_that_cannot_be_are_refused(change, says):
    with pytest.raises(HybridError, match=says):
        check(profile(f"smoke,{change}"))


def test_values_that_go_together_are_taken_in_any_order():
    wider = "smoke,hybrid.representation.autoencoder.{}=8-8-8-16,hybrid.representation.autoencoder.{}=1-1-1-1"
    fitting = ",hybrid.representation.augmentation.size=48,plus.w.multipliers=1-1-1-2"  # y at 2 x 2, and the net that sees it
    check(profile(wider.format("widths", "cells") + fitting))
    check(profile("smoke,ddim.steps=5,ddim.ode_steps=5,ddim.encoding_steps=5"))


def test_what_does_not_fit_is_told_before_anything_is_trained(home, monkeypatch):
    monkeypatch.setattr(methods, "train", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setenv("HYBRID_INCEPTION", "nowhere.pth")
    Experiment("smoke")  # needs none
    with pytest.raises(HybridError, match=r"HYBRID_INCEPTION = 'nowhere\.pth' is not there"):
        Experiment("smoke,evaluation.inception=true")
    with pytest.raises(HybridError, match=r"1 to 5 of z's six channels"):
        Experiment("smoke,hybrid.representation.autoencoder.y_channels=6")
    with pytest.raises(HybridError, match="a hybrid needs a weight above 0"):
        Experiment("smoke,hybrid.representation.alpha=0").model()


def test_a_prior_depends_on_the_weights_of_its_encoder(model):
    run = SimpleNamespace(seed=0, stage=lambda *_, **about: about["encoder"])
    config = profile("smoke").hybrid.prior
    encoders = [methods.on_latents(run, model, "prior", LatentDDIM, config, {}) for _ in range(2)]
    next(model.encoder.parameters()).data += 1
    assert encoders[0] == encoders[1] != methods.on_latents(run, model, "prior", LatentDDIM, config, {})


def test_own_metrics_are_of_the_test_images():
    asked, images = [], SimpleNamespace(train_images="train", test_images="test", labelled=False)
    nvae = SimpleNamespace(bits_per_dim=lambda x, seed: asked.append(x))
    ddim = SimpleNamespace(errors_by_steps=lambda x: asked.append(x) or {})
    methods.METHODS["nvae"].own_metrics(nvae, images, 0)
    methods.METHODS["ddim"].own_metrics(ddim, images, 0)
    assert asked == ["test", "test"]
