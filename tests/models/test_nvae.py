"""NVAE: likelihood, KL and penalty against independent implementations; training, sampling and resuming."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Normal, SigmoidTransform, TransformedDistribution, Uniform, kl_divergence

from hybrid.models import nvae
from hybrid.models.nvae import NVAE, SpectralPenalty, kl_weights, logistic_log_likelihood, residual_kl
from hybrid.profiles import schema
from hybrid.profiles.schema import Training
from hybrid.training.history import read_history
from hybrid.training.loop import train

TINY = schema.NVAE(training=Training(epochs=20, batch=16, lr=5e-3), channels=8, groups=(1, 2), latents=2)
LEVELS = torch.arange(256) / 255


def tiny(config=TINY, seed=0):
    torch.manual_seed(seed)
    return NVAE(config).to(memory_format=torch.channels_last).eval()


def structured(count):
    """Images of one colour at the top and another below, uint8: a few numbers say all."""
    generator = torch.Generator().manual_seed(0)
    top, bottom = torch.randint(0, 256, (2, count, 3, 1, 1), generator=generator)
    edge = torch.randint(8, 24, (count, 1, 1, 1), generator=generator)
    return torch.where(torch.arange(32)[:, None] < edge, top, bottom).expand(count, 3, 32, 32).to(torch.uint8)


def logistic(mean, scale):
    """As torch's documentation makes it of a uniform distribution."""
    base = TransformedDistribution(Uniform(torch.zeros_like(mean), torch.ones_like(mean)), [SigmoidTransform().inv])
    return TransformedDistribution(base, [torch.distributions.AffineTransform(mean, scale)])


@pytest.mark.parametrize("mean", [-0.5, 0.0, 0.3, 0.997, 2.0])
@pytest.mark.parametrize("log_scale", [-7.9, -3.0, 1.9])
def test_likelihood_is_a_distribution_over_256_levels(mean, log_scale):
    log_p = logistic_log_likelihood(LEVELS, torch.tensor(mean), torch.tensor(log_scale))
    torch.testing.assert_close(log_p.exp().sum(), torch.tensor(1.0), atol=1e-5, rtol=0)


def test_likelihood_is_a_difference_of_the_logistics_cdf():
    mean, scale = torch.tensor(0.4, dtype=torch.float64), torch.tensor(0.05, dtype=torch.float64)
    cdf = logistic(mean, scale).cdf((torch.arange(255, dtype=torch.float64) + 0.5) / 255)
    edges = torch.cat([torch.zeros(1), cdf, torch.ones(1)])
    torch.testing.assert_close(logistic_log_likelihood(LEVELS.double(), mean, scale.log()).exp(), edges.diff())


def test_likelihood_and_its_gradients_are_finite_far_from_the_mean():
    mean = torch.tensor([-100.0, 0.5, 100.0])[:, None].requires_grad_()
    log_scale = torch.tensor(-8.0, requires_grad=True)
    log_p = logistic_log_likelihood(LEVELS, mean, log_scale)
    assert log_p.isfinite().all()
    log_p.sum().backward()
    assert mean.grad.isfinite().all()
    assert log_scale.grad.isfinite()


def test_kl_is_that_of_torch():
    log_sigma, delta_mean, delta_log_sigma = 2 * torch.randn(3, 1000, generator=torch.Generator().manual_seed(0)).double()
    q = Normal(0.7 + delta_mean, (log_sigma + delta_log_sigma).exp())
    expected = kl_divergence(q, Normal(0.7, log_sigma.exp()))
    torch.testing.assert_close(residual_kl(log_sigma, delta_mean, delta_log_sigma), expected)


def test_the_models_kl_and_latents_belong_to_its_posteriors():
    model, features = tiny(), torch.randn(3, 8, 16, 16)
    group, h = model.down[2], torch.randn(3, 8, 16, 16)
    noise = torch.randn(3, 512)
    _, z, kl = group(h, noise, features)
    (mean, log_sigma), (shift, log_ratio) = nvae.gaussian(group.prior(h)), nvae.gaussian(group.posterior(features + h))
    p, q = Normal(mean, log_sigma.exp()), Normal(mean + shift, (log_sigma + log_ratio).exp())
    torch.testing.assert_close(z, (q.mean + q.stddev * noise.unflatten(1, (2, 16, 16))).flatten(1))
    torch.testing.assert_close(kl, kl_divergence(q, p).flatten(1).sum(1))
    torch.testing.assert_close(group(h, noise, None)[1], (p.mean + p.stddev * noise.unflatten(1, (2, 16, 16))).flatten(1))


def test_penalty_finds_the_largest_singular_values():
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(*shape, generator=generator) for shape in ((6, 4, 3, 3), (8, 5, 1, 1), (6, 4, 3, 3), (8, 1, 3, 3))]
    weights.append(torch.zeros(8, 5, 1, 1))  # as the last weight of a cell starts
    penalty = SpectralPenalty(weights)
    for _ in range(200):
        sigmas = penalty.sigmas(weights)
    exact = torch.stack([torch.linalg.svdvals(w.flatten(1))[0] for w in weights])
    torch.testing.assert_close(sigmas.sort().values, exact.sort().values)
    torch.testing.assert_close(penalty(weights), exact.sum())
    weights[-1] = torch.randn(8, 5, 1, 1, generator=generator)
    for _ in range(200):
        penalty(weights)
    torch.testing.assert_close(penalty(weights), exact.sum() + torch.linalg.svdvals(weights[-1].flatten(1))[0])


def test_penalty_rests_outside_training_and_pulls_the_weights():
    weight = torch.randn(6, 4, 3, 3, requires_grad=True)
    penalty = SpectralPenalty([weight])
    before = penalty.u0.clone()
    penalty.eval()([weight]).backward()
    assert torch.equal(penalty.u0, before)
    torch.testing.assert_close(weight.grad.flatten(1), torch.outer(penalty.u0[0], penalty.v0[0]))


def test_kl_weights_in_closed_form():
    kl, dims = torch.tensor([30.0, 10.0]), [10, 10]
    torch.testing.assert_close(kl_weights(kl, dims, 0.15, 0.3), 0.5 * torch.tensor([1.5, 0.5]), rtol=1e-5, atol=0)
    torch.testing.assert_close(kl_weights(kl, [30, 10], 0.15, 0.3), torch.tensor([0.5, 0.5]), rtol=1e-5, atol=0)
    assert kl_weights(kl, dims, 0.0, 0.3).tolist() == [0, 0]
    assert kl_weights(kl, dims, 0.3, 0.3).tolist() == kl_weights(kl, dims, 0.0, 0.0).tolist() == [1, 1]
    assert kl_weights(torch.zeros(2), [10, 40], 0.15, 0.3).tolist() == [0.5, 0.5]


def test_loss_is_minus_the_elbo_once_the_warm_up_is_over(images):
    model = tiny(replace(TINY, spectral=0.0)).train()
    model.progress = 0.5
    loss, scalars = model.loss("model", images, None)
    torch.testing.assert_close(loss / math.log(2), scalars["bits_per_dim"])


def test_the_kl_is_summed_in_float32(images):
    model = tiny(replace(TINY, spectral=0.0)).train()
    model.progress = 0.5
    with torch.autocast("cpu", torch.bfloat16):
        loss, scalars = model.loss("model", images, None)
    torch.testing.assert_close(loss / math.log(2), scalars["bits_per_dim"], rtol=1e-6, atol=0)


def test_the_penalty_is_a_part_of_the_loss(images):
    found = []
    for weight in (0.0, 10.0):
        model = tiny(replace(TINY, spectral=weight)).train()
        model.progress = 0.5
        torch.manual_seed(1)
        found.append(model.loss("model", images, None))
    (plain, _), (penalised, scalars) = found
    torch.testing.assert_close(penalised - plain, 10 * scalars["penalty"] / nvae.DIMENSIONS, rtol=1e-3, atol=0)


def test_groups_open_one_by_one(images):
    found = [nvae.open_groups(4, progress, 0.4) for progress in (0.0, 0.09, 0.1, 0.2, 0.39, 0.4, 1.0)]
    assert found == [1, 1, 2, 3, 4, 4, 4]
    model = tiny()
    kl = model._elbo(images / 255, torch.randn(8, sum(model.dims)), 1)[2]
    assert kl[:, 0].all() and not kl[:, 1:].any()


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_images_are_mirrored_where_flips_are_wanted(images, flip):
    model, seen = tiny(replace(TINY, flip=flip)), []
    model.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.loss("model", images, None)
    torch.testing.assert_close(seen[0], (images.flip(3) if flip else images) / 127.5 - 1)


def test_what_the_evaluator_asks_for(images):
    model = tiny()
    features = model.features(images)
    assert list(features) == ["z", "z1"]
    assert features["z"].shape == (8, 128 + 2 * 512)
    assert torch.equal(features["z1"], features["z"][:, :128])
    means, at_zero = model._elbo(images / 255), model._elbo(images / 255, torch.zeros(8, 128 + 2 * 512))
    assert torch.equal(means[3], at_zero[3])
    again = model.reconstruct(images)
    assert again.shape == (8, 3, 32, 32)
    assert again.dtype == torch.float32
    assert 0 <= again.min() <= again.max() <= 1
    assert torch.equal(again, model.reconstruct(images / 255))
    assert model.bits_per_dim(images) == model.bits_per_dim(images / 255) > 8  # untrained: worse than no model at all
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.sample(4)
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_samples_follow_from_the_seed_whatever_the_batch(monkeypatch):
    model = tiny()
    samples = model.sample(7, steps=3, eta=0.5, seed=1)
    assert samples.shape == (7, 3, 32, 32)
    assert 0 <= samples.min() <= samples.max() <= 1
    assert torch.equal(samples, model.sample(7, steps=50, eta=0.0, seed=1))
    assert not torch.equal(samples, model.sample(7, seed=2))
    monkeypatch.setattr("hybrid.models.base.BATCH", 3)
    torch.testing.assert_close(model.sample(7, seed=1), samples, atol=0.02, rtol=0)  # bfloat16
    cold = tiny(replace(TINY, temperature=0.0)).sample(2)
    torch.testing.assert_close(cold[0], cold[1])


def test_the_same_again_from_its_state(images):
    model, other = tiny(), tiny(seed=1)
    assert not torch.equal(model.reconstruct(images), other.reconstruct(images))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.reconstruct(images), other.reconstruct(images))


@pytest.mark.parametrize("groups", [(2,), (1, 1, 2), (1, 1, 1, 1)])
def test_other_numbers_of_resolutions(groups, images):
    model = tiny(replace(TINY, groups=groups))
    assert len(model.dims) == sum(groups)
    assert model.dims[-1] == 2 * 16 * 16
    assert model.features(images)["z"].shape == (8, sum(model.dims))


def test_learns_through_the_warm_up(tmp_path):
    data = structured(64)
    torch.manual_seed(0)
    model = train(NVAE(TINY), data, torch.zeros(64, dtype=torch.int64), TINY.training, tmp_path, seed=0, about={})
    lines = read_history(tmp_path / "history.jsonl")
    assert len(lines) == 80
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert lines[-1]["bits_per_dim"] < 0.75 * lines[0]["bits_per_dim"]
    assert lines[-1]["bits_per_dim"] < 8  # what no model at all pays
    assert lines[-1]["mse"] < 0.5 * lines[0]["mse"]
    assert lines[-1]["kl"] > 1
    assert model.bits_per_dim(data) < 8
