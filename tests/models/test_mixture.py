"""The mixture of Gaussians: its fit, and its prediction of v against numerical integration."""

from __future__ import annotations

import pytest
import torch

from hybrid.errors import HybridError
from hybrid.models.diffusion import Diffusion
from hybrid.models.latent_ddim import SemanticPrior
from hybrid.models.mixture import Mixture
from hybrid.profiles import schema
from hybrid.profiles.schema import Autoencoder, Training


def two_gaussians() -> Mixture:
    """A mixture in one dimension, of unequal Gaussians."""
    mixture = Mixture(2, 1)
    mixture.weights.copy_(torch.tensor([0.3, 0.7]))
    mixture.means.copy_(torch.tensor([[-2.0], [1.0]]))
    mixture.variances.copy_(torch.tensor([[0.25], [0.04]]))
    return mixture


@pytest.mark.parametrize("t", [1, 30, 300, 700, 1000])
def test_its_v_is_the_mean_of_v_given_x_t(t):
    mixture, diffusion = two_gaussians(), Diffusion(predict="v")
    scale, spread = diffusion.scale[t].double(), diffusion.spread[t].double()
    found = torch.tensor([-2.3, -0.7, 0.2, 1.4], dtype=torch.float64)  # x_t
    x0 = torch.linspace(-6, 6, 200_001, dtype=torch.float64)
    density = sum(
        weight * torch.distributions.Normal(mean, variance.sqrt()).log_prob(x0).exp()
        for weight, mean, variance in zip(
            mixture.weights.double(), mixture.means[:, 0].double(), mixture.variances[:, 0].double(), strict=True
        )
    )
    given = density * torch.exp(-((found[:, None] - scale * x0) ** 2) / (2 * spread**2))
    v = (scale * found[:, None] - x0) / spread  # from x_t = scale x_0 + spread noise
    mean = (given * v).sum(1) / given.sum(1)
    factors = [torch.full((4, 1), float(factor)) for factor in (scale, spread)]
    assert torch.allclose(mixture.v(found.float()[:, None], *factors)[:, 0].double(), mean, rtol=2e-3, atol=2e-3)


def test_one_white_gaussian_predicts_zero():
    mixture, x = Mixture(1, 5), torch.randn(7, 5)
    assert mixture.v(x, torch.full((7, 1), 0.6), torch.full((7, 1), 0.8)).abs().max() < 1e-6


def test_it_fits_the_gaussians_that_points_come_from():
    torch.manual_seed(0)
    shape = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.3, 0.0], [0.2, -0.5, 0.7]])  # correlated
    points = torch.cat([torch.randn(3000, 3) @ shape.T + 6, torch.randn(1000, 3) * 0.5 - 6])
    mixture = Mixture(2, 3)
    mixture.fit(points)
    first = mixture.weights.argmax()
    covariance = mixture.bases[first] * mixture.variances[first] @ mixture.bases[first].T
    assert mixture.weights[first] == pytest.approx(0.75, abs=0.01)
    assert torch.allclose(mixture.means[first], torch.full((3,), 6.0), atol=0.1)
    assert torch.allclose(covariance, shape @ shape.T + 0.01 * points.var(0).mean() * torch.eye(3), atol=0.1)


def test_more_gaussians_than_points_are_refused():
    with pytest.raises(HybridError, match="a mixture of 9 Gaussians for 5 codes"):
        Mixture(9, 2).fit(torch.randn(5, 2))


@pytest.fixture
def two_kinds_of_y():
    """A prior of y and latents (N, 2, 6, 16, 16) whose y is one of two patterns, and a little noise."""
    torch.manual_seed(0)
    patterns = torch.randn(2, 3, 16, 16)[torch.randint(2, (4000,))]
    latents = torch.cat([patterns + 0.1 * torch.randn(4000, 3, 16, 16), torch.randn(4000, 3, 16, 16)], dim=1)[:, None]
    autoencoder = Autoencoder(widths=(8, 8, 16), cells=(1, 1, 1), decoder_width=8, decoder_cells=1)
    config = schema.Semantic(Training(epochs=1, batch=4), components=1, width=16, blocks=1, flip=0.0, mixture=2)
    return SemanticPrior(config, autoencoder), latents.repeat(1, 2, 1, 1, 1)


def test_an_untrained_prior_of_y_with_a_mixture_samples_what_it_was_fitted_to(two_kinds_of_y):
    prior, latents = two_kinds_of_y
    prior.prepare(latents)
    real = prior.codes.components(latents[:, 0]).flatten(1)[:, 0]  # it says which pattern it is
    sampled = (prior.sample(torch.randn(1000, *prior.shape), 50, 0.0, 0).flatten(1) @ prior.codes.y_basis)[:, 0]
    for sign in (-1, 1):
        here, there = real[real * sign > 0], sampled[sampled * sign > 0]
        assert len(there) / len(sampled) == pytest.approx(len(here) / len(real), abs=0.06)
        assert there.mean() == pytest.approx(here.mean().item(), abs=0.05) and there.std() < 0.3
    assert prior.loss("model", latents, None)[1]["loss"].item() < 0.9  # a Gaussian's is 1


def test_a_prior_without_a_mixture_begins_at_a_gaussian(two_kinds_of_y):
    prior, latents = two_kinds_of_y
    prior.mixture = None
    prior.prepare(latents)
    assert prior.loss("model", latents, None)[1]["loss"].item() == pytest.approx(1, abs=0.03)
