"""The bounds against correlated Gaussians with known mutual information, and against torch's losses."""

import math

import pytest
import torch
import torch.nn.functional as F

from hybrid.errors import HybridError
from hybrid.objectives import gaussian_entropy, gaussian_log_likelihood, hybrid_bound, i_ba, i_cpc


def correlated(rho: float, count: int, dims: int, seed: int = 0):
    """x, y ~ N(0, 1) in `dims` dimensions, correlated by rho in each; and their mutual information in nats."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, dims, generator=generator)
    y = rho * x + math.sqrt(1 - rho**2) * torch.randn(count, dims, generator=generator)
    return x, y, -0.5 * dims * math.log(1 - rho**2)


def log_density_ratio(x, y, rho):
    """log p(x|y) / p(x) for all pairs: (n, D), (m, D) -> (n, m). The best critic there is."""
    variance = 1 - rho**2
    residual = (x[:, None] - rho * y[None]).square().sum(-1) / (2 * variance)
    return 0.5 * x.square().sum(-1)[:, None] - residual - 0.5 * x.shape[1] * math.log(variance)


def test_gaussian_log_likelihood_is_torchs():
    x, mean = torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    expected = torch.distributions.Normal(mean, 0.3).log_prob(x).sum((1, 2, 3))
    torch.testing.assert_close(gaussian_log_likelihood(x, mean, 0.3), expected)


@pytest.mark.parametrize("rho", [0.3, 0.9])
def test_i_ba_is_tight_with_the_true_conditional_and_below_with_another(rho):
    x, y, truth = correlated(rho, 100_000, 3)
    entropy = 3 * 0.5 * math.log(2 * math.pi * math.e)
    tight = i_ba(gaussian_log_likelihood(x, rho * y, math.sqrt(1 - rho**2)), entropy).item()
    assert tight == pytest.approx(truth, abs=0.03)
    for mean, sigma in ((0.5 * rho * y, math.sqrt(1 - rho**2)), (rho * y, 1.5), (0 * y, 1.0)):
        assert i_ba(gaussian_log_likelihood(x, mean, sigma), entropy).item() < truth - 0.01
    assert i_ba(gaussian_log_likelihood(x, 0 * y, 1.0), entropy).item() == pytest.approx(0, abs=0.03)


def test_leaving_the_entropy_out_shifts_i_ba_by_it():
    likelihood = torch.randn(7)
    assert i_ba(likelihood, 2.5) == i_ba(likelihood) + 2.5


@pytest.mark.parametrize("m", [16, 256])
def test_i_cpc_with_the_best_critic_is_below_the_truth_and_tight_when_m_is_large(m):
    rho, dims = 0.7, 2
    values = []
    for seed in range(40):
        x, y, truth = correlated(rho, m, dims, seed)
        scores = log_density_ratio(x, y, rho)
        values.append(i_cpc(scores, torch.arange(m)))
    mean = torch.stack(values).mean().item()
    error = torch.stack(values).std().item() / math.sqrt(40)
    assert mean < truth + 2 * error
    if m == 256:
        assert mean == pytest.approx(truth, abs=0.05)


@pytest.mark.parametrize("m", [2, 64, 4097])
def test_i_cpc_never_exceeds_log_m(m):
    positive = torch.tensor([0, 1, 1, m - 1])
    perfect = i_cpc(1e4 * F.one_hot(positive, m), positive)
    assert perfect.item() == pytest.approx(math.log(m), rel=1e-6)
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        scores = 30 * torch.randn(4, m, generator=generator)
        assert i_cpc(scores, positive).item() <= math.log(m) + 1e-5


def test_i_cpc_falls_short_where_the_truth_exceeds_log_m():
    x, y, truth = correlated(0.999, 32, 4)
    scores = log_density_ratio(x, y, 0.999)
    bound = i_cpc(scores, torch.arange(32)).item()
    assert truth > 12
    assert bound <= math.log(32) + 1e-6


def test_i_cpc_is_log_m_minus_cross_entropy():
    scores, positive = torch.randn(6, 10), torch.randint(10, (6,))
    torch.testing.assert_close(i_cpc(scores, positive), math.log(10) - F.cross_entropy(scores, positive))


def test_i_cpc_is_equation_3_letter_by_letter():
    g = torch.rand(5, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    positive = [2, 0, 1, 3, 3]
    by_hand = sum(math.log(4 * row[own] / sum(row)) for row, own in zip(g.tolist(), positive, strict=True)) / 5
    assert i_cpc(g.log(), torch.tensor(positive)).item() == pytest.approx(by_hand, rel=1e-5, abs=1e-6)


def test_hybrid_bound_weighs():
    assert hybrid_bound(torch.tensor(10.0), torch.tensor(2.0), 0.25).item() == pytest.approx(4.0)


def test_gaussian_entropy_is_that_of_the_gaussian_and_an_upper_bound():
    generator = torch.Generator().manual_seed(0)
    covariance_root = torch.tensor([[1.0, 0.0], [0.8, 0.2]])
    samples = torch.randn(200_000, 2, generator=generator) @ covariance_root.T
    true = torch.distributions.MultivariateNormal(torch.zeros(2), covariance_root @ covariance_root.T).entropy().item()
    assert gaussian_entropy(samples) == pytest.approx(true, abs=0.01)
    uniform = torch.rand(200_000, 2, generator=generator)  # its entropy is 0
    assert gaussian_entropy(uniform) > 0.3


def test_gaussian_entropy_needs_more_samples_than_dimensions():
    with pytest.raises(HybridError, match="3 samples of 3 dimensions: give more samples than dimensions"):
        gaussian_entropy(torch.rand(3, 3))
