"""What is y and what is w, in the networks, the loss, the model and its priors, and in which coordinates."""

import math

import pytest
import torch
from torch import nn

from hybrid.data.pixels import to_uint8
from hybrid.judging import interpolations
from hybrid.machine.precision import autocast
from hybrid.model import HybridModel
from hybrid.models import hybrid as stage
from hybrid.models import nvae
from hybrid.models.autoencoder import Decoder, Encoder
from hybrid.models.base import stream
from hybrid.models.hybrid import Representation
from hybrid.models.latent_ddim import CodeSpace, LatentDDIM, PlusPrior, SemanticPrior, TexturePrior
from hybrid.profiles import schema
from hybrid.profiles.schema import Autoencoder, Contrast, Training

AUTOENCODER = Autoencoder(widths=(8, 8, 16), cells=(1, 1, 1), decoder_width=8, decoder_cells=1, y_channels=2)
TRAINING = Training(epochs=1, batch=4)
CONTRAST = Contrast(queue=8, hidden=16, dim=8)
CONFIG = schema.Representation(training=TRAINING, autoencoder=AUTOENCODER, contrast=CONTRAST, alpha=0.25)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def views(monkeypatch):
    """Augmentation gives images of one level: 0.2 for the first call, which is the query's, then 0.4, 0.6 ..."""
    calls = []

    def augment(batch, config):
        calls.append(config)
        return torch.full((len(batch), 3, 32, 32), 0.2 * len(calls))

    monkeypatch.setattr(stage, "augment", augment)
    return calls


BATCH = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)


def test_the_contrast_sees_y_alone_or_all_of_z():
    z = torch.randn(3, 6, 16, 16)
    for on, moved in (("y", False), ("z", True)):
        network = Representation(
            schema.Representation(TRAINING, AUTOENCODER, Contrast(8, hidden=16, dim=8, on=on))
        ).query_network
        other_w = torch.cat([z[:, :2], torch.randn(3, 4, 16, 16)], dim=1)
        other_y = torch.cat([torch.randn(3, 2, 16, 16), z[:, 2:]], dim=1)
        assert torch.equal(network.project(z), network.project(other_w)) != moved
        assert not torch.equal(network.project(z), network.project(other_y))


@pytest.mark.parametrize("on", ["y", "z"])
def test_codes_of_smaller_views_are_interpolated_for_the_head(on):
    """What does not vary over a code's positions is the same on any side, and each side gives y its own place."""
    contrast = Contrast(8, hidden=16, dim=8, on=on)
    network = Representation(schema.Representation(TRAINING, AUTOENCODER, contrast)).query_network
    y, w = torch.randn(3, 2 * 16, 1, 1), torch.randn(3, 4, 1, 1)

    def code(side):
        y_there = torch.pixel_shuffle(y.expand(-1, -1, side // 4, side // 4), 4)
        return torch.cat([y_there, w.expand(-1, -1, side, side)], dim=1)

    for side in (8, 12, 20):
        torch.testing.assert_close(network.project(code(side)), network.project(code(16)))
    left, right = code(8), code(8)
    left[:, :2, :, :4] += 1
    right[:, :2, :, 4:] += 1
    assert not torch.allclose(network.project(left), network.project(right))


def test_the_loss_is_minus_equation_4_of_the_querys_view(views, monkeypatch):
    model = Representation(CONFIG)
    keys, real = [], model.moco.keys
    monkeypatch.setattr(model.moco, "keys", lambda *x: keys.extend(x) or real(*x))
    model.decoder = nn.Module()
    model.decoder.forward = lambda z: torch.full((len(z), 3, 32, 32), 0.25)
    loss, found = model.loss("model", BATCH, torch.zeros(4, dtype=torch.int64))
    assert [x[0, 0, 0, 0].item() for x in keys] == pytest.approx([0.4])  # another view than the query's
    assert found["mse"].item() == pytest.approx(1e3 * 0.05**2, rel=1e-4)  # of the view that was encoded, in 1e-3
    dimensions = 3 * 32 * 32
    constant = dimensions * (math.log(CONFIG.sigma) + 0.5 * math.log(2 * math.pi))
    assert found["i_ba"].item() == pytest.approx(-dimensions * 0.05**2 / (2 * CONFIG.sigma**2) - constant, rel=1e-4)
    assert loss.item() == pytest.approx(-(0.25 * found["i_ba"] + 0.75 * found["i_cpc"]).item(), rel=1e-5)


def test_mocos_loss_is_minus_equation_3(views):
    loss, found = Representation(schema.Representation(TRAINING, AUTOENCODER, CONTRAST, alpha=0.0)).loss("model", BATCH, None)
    assert loss.item() == -found["i_cpc"].item()


def test_keys_follow_after_a_step(views):
    model = Representation(CONFIG)
    weight = next(model.query_network.parameters())
    weight.data += 1
    followed = next(model.moco.key_network.parameters())
    before = followed.clone()
    model.after_step()
    torch.testing.assert_close(followed - before, torch.full_like(before, 1 - CONTRAST.momentum), rtol=1e-3, atol=1e-5)


def test_networks_work_on_centred_images():
    encoder, decoder, seen = Encoder(AUTOENCODER), Decoder(AUTOENCODER), []
    encoder.stem.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    encoder(torch.tensor([0.0, 0.5, 1.0])[:, None, None, None].expand(-1, 3, 32, 32))
    assert seen[0][:, 0, 0, 0].tolist() == [-1, 0, 1]
    nn.init.zeros_(decoder.net[-2].weight), nn.init.zeros_(decoder.net[-2].bias)
    assert (decoder(torch.randn(2, 6, 16, 16)) == 0.5).all()


@pytest.fixture
def model():
    """A hybrid whose prior notes the seeds that it is given."""
    made = HybridModel(Encoder(AUTOENCODER), Decoder(AUTOENCODER))
    made.seeds = []
    prior = nn.Module()
    prior.sample = lambda noise, steps, eta, seed, order: made.seeds.append(seed) or noise
    made.prior = prior
    return made


def test_the_model_splits_and_moves_parts(model, images):
    z = model.encode(images)
    y, w = model.split(z)
    assert torch.equal(y, z[:, :2]) and torch.equal(w, z[:, 2:])
    with autocast(model.device):
        own = model.encoder.y(images / 255)
    torch.testing.assert_close(y, own.float(), rtol=1e-4, atol=1e-5)
    found = model.features(images)
    assert list(found) == ["y", "w", "z"]
    assert all(torch.equal(found[name], part.flatten(1)) for name, part in (("y", y), ("w", w), ("z", z)))
    model.decode = lambda codes: codes
    for part in ("z", "y", "w"):
        path = model.interpolate(images[:4], images[4:], [1.0, 0.25], part)
        torch.testing.assert_close(path[:, 0], z[:4])
        for name, place in (("y", slice(0, 2)), ("w", slice(2, 6))):
            moved = 0.25 * z[:4, place] + 0.75 * z[4:, place]
            torch.testing.assert_close(path[:, 1, place], moved if part in (name, "z") else z[:4, place])


def test_a_figures_rows_go_from_the_start_to_the_end(model, images):
    found = interpolations.between(model, images[:2], images[2:4], 3, ("z",))
    assert found["t"].tolist() == [1, 0.5, 0]
    ends = (to_uint8(model.reconstruct(images[place])).permute(0, 2, 3, 1).numpy() for place in (slice(0, 2), slice(2, 4)))
    for frame, expected in zip((0, 2), ends, strict=True):
        assert abs(found["z"][:, frame].astype(int) - expected).max() <= 1


def test_the_model_clips_and_each_seed_is_another(model):
    model.decoder.net[-2].bias.data.fill_(9)
    assert model.decode(torch.zeros(1, 6, 16, 16)).max() == 1
    model.sample(2, seed=3), model.sample(2, seed=4)
    assert model.seeds == [stream(3, "batch", 0), stream(4, "batch", 0)]


@pytest.fixture
def latents():
    """Codes (N, 2, 6, 16, 16) of unequal means and deviations, correlated over y."""
    z = torch.randn(1500, 2, 6, 16, 16) * torch.tensor([1.0, 2.0, 0.5, 3.0, 1.0, 4.0])[:, None, None]
    z[:, :, :2] += torch.randn(1500, 2, 2, 1, 1)
    return z + torch.arange(6.0)[:, None, None]


def test_codes_are_whitened_and_come_back(latents):
    codes = CodeSpace(AUTOENCODER)
    codes.fit(latents)
    z = latents.flatten(0, 1)
    y, w = codes.split(z)
    torch.testing.assert_close(codes.join(y, w), z, rtol=1e-3, atol=1e-3)
    covariance = torch.cov(codes.components(z).flatten(1).T)
    torch.testing.assert_close(covariance, torch.eye(len(covariance)), rtol=0, atol=0.02)
    torch.testing.assert_close(y.flatten(1).var(0), torch.ones(y[0].numel()), rtol=0.02, atol=0.02)
    assert w.mean((0, 2, 3)).abs().max() < 1e-3 and (w.std((0, 2, 3)) - 1).abs().max() < 1e-3


def latent_ddim(unshuffle):
    config = schema.LatentDiffusion(TRAINING, channels=8, multipliers=(1, 1, 2), attention=(), unshuffle=unshuffle)
    return LatentDDIM(config, AUTOENCODER)


def test_a_prior_gives_codes_in_the_encoders_units(latents):
    """Whatever the net's own coordinates are: what it would call noise has the train set's mean and deviation."""
    for prior in (latent_ddim(None), latent_ddim(True)):
        prior.prepare(latents)
        z = prior.to_codes(torch.randn(3000, 6, 16, 16))
        expected = latents.flatten(0, 1)
        torch.testing.assert_close(z.mean((0, 2, 3)), expected.mean((0, 2, 3)), rtol=0, atol=0.06)
        torch.testing.assert_close(z.std((0, 2, 3)), expected.std((0, 2, 3)), rtol=0.05, atol=0)


def test_the_priors_loss_is_the_mean_over_all_dimensions_of_z(latents):
    prior = latent_ddim(True)
    prior.prepare(latents)
    _, found = prior.loss("model", latents[:8], None)
    assert found["loss"].item() == pytest.approx((found["loss_y"] * 2 / 6 + found["loss_w"] * 4 / 6).item(), rel=1e-5)


@pytest.fixture
def texture(latents):
    """p(w | y) whose net predicts 1 where it is told y, and 0 where it is not."""

    def make(**options):
        config = schema.Texture(TRAINING, channels=8, multipliers=(1, 1, 2), attention=(), components=16, **options)
        prior = TexturePrior(config, AUTOENCODER)
        prior.prepare(latents)
        told = lambda w, t, y, t_y: (torch.ones_like(w) * (t_y < prior.diffusion.steps)[:, None, None, None], None)  # noqa: E731
        prior.net = nn.Module()
        prior.net.forward = told
        return prior

    return make


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.5])
def test_guidance_goes_from_without_y_to_with_y_and_beyond(texture, guidance):
    prior, found = texture(guidance=guidance), []

    def walk(net, noise, steps, eta, clip, seed, order):
        assert clip == prior.config.clip
        found.append(net(noise, torch.full((len(noise),), 3)))
        return noise

    prior.diffusion.sample = walk
    prior.sample(torch.randn(2, 4, 16, 16), torch.randn(2, *prior.codes.y_shape), 2, 0.0, 0)
    prior.sample(torch.randn(2, 4, 16, 16), torch.randn(2, *prior.codes.y_shape), 2, 0.0, 0, guidance=4.0)
    assert [each.unique().tolist() for each in found] == [[guidance], [4.0]]


def test_the_y_that_is_told_is_as_noisy_as_asked_for(texture, latents):
    for share, most in ((0.0, 0), (0.3, 300)):
        prior, times = texture(y_noise=share, drop=0.0), []
        noised = prior.diffusion.noised
        prior.diffusion.noised = lambda x, t, noised=noised, times=times: times.append(t) or noised(x, t)
        prior.loss("model", latents[:1000], None)
        assert times[0].max() <= most and times[0].max() >= 0.9 * most  # y's are drawn first


def test_as_many_ys_are_hidden_as_asked_for(texture, latents):
    """Hidden: zeros, at time T. The others are told as they are, at time 0."""
    prior, seen = texture(drop=0.3), []
    told = prior.net.forward
    prior.net.forward = lambda w, t, y, t_y: seen.append((y, t_y)) or told(w, t, y, t_y)
    prior.loss("model", latents[:1000], None)
    ((y, t_y),) = seen
    hidden = t_y == prior.diffusion.steps
    assert set(t_y.tolist()) == {0, prior.diffusion.steps}
    assert hidden.float().mean().item() == pytest.approx(0.3, abs=0.06)
    assert not y[hidden].any() and y[~hidden].flatten(1).any(1).all()


def test_without_flips_no_prior_sees_a_mirror_image(latents):
    """Neither its statistics nor its loss."""
    latents = latents.clone()
    latents[:, 1] = math.nan
    small = {"channels": 8, "multipliers": (1, 1, 2), "attention": (), "flip": 0.0}
    for prior in (
        LatentDDIM(schema.LatentDiffusion(TRAINING, **small), AUTOENCODER),
        LatentDDIM(schema.LatentDiffusion(TRAINING, **small, unshuffle=True), AUTOENCODER),
        SemanticPrior(schema.Semantic(TRAINING, components=16, width=16, blocks=1, flip=0.0), AUTOENCODER),
        TexturePrior(schema.Texture(TRAINING, components=16, **small), AUTOENCODER),
    ):
        prior.prepare(latents)
        assert prior.loss("model", latents[:8], None)[0].isfinite()


def test_a_given_y_stays(texture, latents):
    semantic = SemanticPrior(schema.Semantic(TRAINING, components=16, width=16, blocks=1), AUTOENCODER)
    prior, y = PlusPrior(semantic, texture()), torch.randn(2, 2, 16, 16)
    z = prior.sample_given(y, torch.randn(2, 4, 16, 16), 2, 0.0, 0)
    assert torch.equal(z[:, :2], y) and z.shape == (2, 6, 16, 16)


def test_the_weights_of_nvaes_kls_are_constants(monkeypatch):
    model = nvae.NVAE(schema.NVAE(TRAINING, channels=8, groups=(1, 1), latents=2))
    seen, weights = [], nvae.kl_weights
    monkeypatch.setattr(nvae, "kl_weights", lambda kl, *rest: seen.append(kl.requires_grad) or weights(kl, *rest))
    model.progress = 0.1
    model.loss("model", BATCH, None)
    assert seen == [False]
