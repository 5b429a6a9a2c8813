"""Distributions of known mutual information against the public benchmark's truths and samples, and against sums by hand."""

import math

import pytest
import torch

from hybrid.data import known
from hybrid.data.known import DigitPairs
from hybrid.errors import HybridError
from hybrid.judging.known import contrastive
from hybrid.workflows.bounds import benchmark_samples

SAMPLES, TRUTHS = benchmark_samples()
OWN = {
    **known.BENCHMARK,
    "correlated": known.correlated(3.0, 5),
    "cubed": known.Mapped(known.correlated(2.0, 3), known.SAME, known.CUBE),
    "cubed x": known.Mapped(known.correlated(2.0, 3), known.CUBE, known.SAME),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", known.BENCHMARK)
def test_truths_are_the_benchmarks(name):
    """bmi's own values, by another library's linear algebra and special functions."""
    assert known.BENCHMARK[name].truth == pytest.approx(TRUTHS[name], abs=1e-6)


@pytest.mark.parametrize("name", known.BENCHMARK)
def test_samples_are_like_the_benchmarks(name):
    """The best critic of ours does on bmi's samples what it does on our own, and so does the density of x."""
    pairs, (theirs, their_z) = known.BENCHMARK[name], SAMPLES[name]
    own, own_z = pairs.sample(2**14, generator())
    found, expected = contrastive(pairs.log_ratio, theirs, their_z, 64), contrastive(pairs.log_ratio, own, own_z, 64)
    assert abs(found.value - expected.value) < 4 * math.hypot(found.error, expected.error)
    density, expected = pairs.log_density(theirs), pairs.log_density(own)
    error = math.hypot(density.std() / len(density) ** 0.5, expected.std() / len(expected) ** 0.5)
    assert abs(density.mean() - expected.mean()) < 4 * error


@pytest.mark.parametrize("name", OWN)
def test_the_mean_log_ratio_is_the_truth(name):
    """I(X; Z) by its definition, equation (1)."""
    pairs = OWN[name]
    x, z = pairs.sample(20_000, generator(1))
    ratios = torch.cat([pairs.log_ratio(*some).diagonal() for some in zip(x.split(500), z.split(500), strict=True)])
    assert abs(ratios.mean().item() - pairs.truth) < 4 * ratios.std().item() / len(ratios) ** 0.5


@pytest.mark.parametrize("name", ["student-identity-3-3-3", "asinh-student-identity-3-3-2", "cubed x"])
def test_densities_are_torchs(name):
    """In one dimension: an integral of 1, and the mean of a function as samples have it."""
    one = {
        "student-identity-3-3-3": known.uncorrelated_student(1, 3),
        "asinh-student-identity-3-3-2": known.Mapped(known.uncorrelated_student(1, 2), known.ASINH, known.ASINH),
        "cubed x": known.Mapped(known.paired([0.5]), known.CUBE, known.SAME),
    }[name]
    at = torch.linspace(-60, 60, 400_001)[:, None] + 1e-4
    density = one.log_density(at).exp()
    step = (at[1] - at[0]).item()
    assert density.sum().item() * step == pytest.approx(1, abs=0.02)
    x, _ = one.sample(50_000, generator(2))
    weighed = (density * torch.tanh(at[:, 0]).square()).sum().item() * step
    assert weighed == pytest.approx(torch.tanh(x).square().mean().item(), abs=0.01)


@pytest.mark.parametrize("name", ["spiral-multinormal-sparse-3-3-2-2.0", "asinh-student-identity-3-3-2", "cubed"])
def test_bijections_come_back_with_the_right_slope(name):
    pairs = OWN[name]
    for part, values in zip((pairs.x, pairs.z), pairs.base.sample(20, generator()), strict=True):
        there = part.forward(values)
        torch.testing.assert_close(part.inverse(there), values, rtol=1e-3, atol=1e-4)
        slopes = [torch.autograd.functional.jacobian(lambda v: part.inverse(v[None])[0], row) for row in there]  # noqa: B023
        expected = torch.stack([slope.det().abs().log() for slope in slopes])
        torch.testing.assert_close(part.log_slope(there), expected, rtol=1e-3, atol=1e-3)


def test_negative_correlations_count_as_much():
    assert known.paired([-0.8, 0.5]).truth == pytest.approx(known.paired([0.8, 0.5]).truth)


def test_a_multinormal_needs_both_parts():
    with pytest.raises(HybridError, match="dim_x = 4"):
        known.Multinormal(torch.eye(4), 4)


@pytest.mark.parametrize(("kept", "copies", "truth"), [(1.0, 1, math.log(10)), (1.0, 2, math.log(100)), (0.1, 3, 0.0)])
def test_digit_pairs_of_a_clean_and_of_a_useless_channel(kept, copies, truth):
    assert DigitPairs(torch.arange(10), kept, copies).truth == pytest.approx(truth, abs=1e-9)


def test_digit_pairs_truth_is_that_of_their_classes():
    """The mutual information of the table of classes, counted."""
    labels = torch.randint(10, (200,), generator=generator())
    pairs = DigitPairs(labels, 0.7, 2)
    x, z = pairs.sample(200_000, generator(1))
    assert x.shape == z.shape == (200_000, 2) and x.max() < 200
    counts = torch.zeros(10, 10, dtype=torch.float64)
    counts.index_put_((labels[x[:, 0]], labels[z[:, 0]]), torch.ones(len(x), dtype=torch.float64), accumulate=True)
    joint = counts / counts.sum()
    ratio = joint / (joint.sum(0) * joint.sum(1)[:, None])
    assert 2 * (joint * ratio.log()).sum().item() == pytest.approx(pairs.truth, abs=0.01)
    assert len(x.unique()) == 200  # every image comes
