"""The linear probe against scikit-learn's logistic regression, and on data with known answers."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from hybrid.data.datasets import split
from hybrid.errors import HybridError
from hybrid.judging import probe
from hybrid.judging.probe import linear_probe

CLASSES = 5


def draw(count: int, seed: int = 0, dimensions: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Correlated features (N, D), as those of images are, and labels (N,) that a linear layer reads off them in part."""
    fixed = torch.Generator().manual_seed(99)
    layer = torch.randn(dimensions, CLASSES, generator=fixed)
    mix = torch.randn(dimensions, dimensions, generator=fixed) * torch.logspace(0, -2, dimensions)[:, None]
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, dimensions, generator=generator)
    logits = 0.4 * hidden @ layer + torch.randn(count, CLASSES, generator=generator)
    return hidden @ mix + 3, logits.argmax(1)


def objective(weights: torch.Tensor, biases: torch.Tensor, x: torch.Tensor, y: torch.Tensor, penalty: float) -> float:
    value = F.cross_entropy(x.double() @ weights.double().T + biases.double(), y)
    return (value + 0.5 * penalty * weights.double().square().sum()).item()


@pytest.mark.parametrize("penalty", [1e-1, 1e-2, 1e-3])
def test_fit_reaches_the_optimum_of_scikit_learn(penalty):
    (x, y), (t, u) = draw(600), draw(400, seed=1)
    x, t = probe.standardise(x, t)
    weights, gradient, _ = probe.fit(x, y, CLASSES, penalty, probe.second_moments(x), probe.TOLERANCE)
    other = LogisticRegression(C=1 / (penalty * len(y)), tol=1e-8, max_iter=10_000).fit(x.double().numpy(), y.numpy())
    coefficients, intercepts = torch.from_numpy(other.coef_), torch.from_numpy(other.intercept_)
    best = objective(coefficients, intercepts, x, y, penalty)
    assert gradient < 2 * probe.TOLERANCE
    assert objective(weights[:, :-1], weights[:, -1], x, y, penalty) == pytest.approx(best, abs=1e-6)
    torch.testing.assert_close(weights[:, :-1].double(), coefficients, atol=2e-3, rtol=1e-2)
    assert probe.accuracy(t, u, weights) == pytest.approx(100 * other.score(t.numpy(), u.numpy()), abs=0.3)


def test_preconditioning_saves_steps():
    x, y = draw(600)
    x, _ = probe.standardise(x, x)
    plain = (torch.ones(x.shape[1]), torch.eye(x.shape[1]))  # coordinates left as they are
    fits = [probe.fit(x, y, CLASSES, 1e-3, moments, 1e-4) for moments in (plain, probe.second_moments(x))]
    assert fits[1][2] < fits[0][2] / 2


def test_accuracy_is_that_of_scikit_learn_at_the_chosen_penalty():
    (x, y), (t, u) = draw(600), draw(400, seed=1)
    result = linear_probe(x, y, t, u)
    scaled, judged = probe.standardise(x, t)
    other = LogisticRegression(C=1 / (result.penalty * len(y)), tol=1e-8, max_iter=10_000).fit(scaled.numpy(), y.numpy())
    assert result.penalty in probe.PENALTIES
    assert result.converged
    assert result.iterations > 0
    assert result.accuracy == pytest.approx(100 * other.score(judged.numpy(), u.numpy()), abs=0.3)
    assert result.train_accuracy == pytest.approx(100 * other.score(scaled.numpy(), y.numpy()), abs=0.3)


def test_separable_classes_sorted_by_class():
    y = torch.arange(4).repeat_interleave(50)  # as CIFAR lies on the disk here
    x = 10 * F.one_hot(y, 4) + 0.1 * torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    result = linear_probe(x, y, x, y)
    assert (result.accuracy, result.train_accuracy, result.validation_accuracy) == (100, 100, 100)


def test_labels_that_features_say_nothing_of():
    generator = torch.Generator().manual_seed(0)
    x, t = torch.randn(500, 10, generator=generator), torch.randn(2000, 10, generator=generator)
    y, u = torch.randint(4, (500,), generator=generator), torch.randint(4, (2000,), generator=generator)
    assert linear_probe(x, y, t, u).accuracy == pytest.approx(25, abs=4)  # chance, sd 1


def test_labels_of_the_test_set_influence_nothing_but_the_accuracy():
    (x, y), (t, u) = draw(300), draw(200, seed=1)
    one, other = linear_probe(x, y, t, u), linear_probe(x, y, t, (u + 1) % CLASSES)
    assert one.accuracy > other.accuracy
    assert {**vars(one), "accuracy": None} == {**vars(other), "accuracy": None}


def test_scale_and_offset_of_features_do_not_matter():
    (x, y), (t, u) = draw(300), draw(200, seed=1)
    scale = torch.logspace(-3, 3, x.shape[1])
    one, other = linear_probe(x, y, t, u), linear_probe(x * scale + scale, y, t * scale + scale, u)
    assert other.penalty == one.penalty
    assert other.accuracy == pytest.approx(one.accuracy, abs=0.5)


def test_constant_features_count_for_nothing():
    (x, y), (t, u) = draw(300), draw(200, seed=1)
    constant = torch.full((300, 2), 0.1)
    with_constant = linear_probe(torch.cat([x, constant], 1), y, torch.cat([t, 50 + torch.zeros(200, 2)], 1), u)
    assert with_constant.accuracy == pytest.approx(linear_probe(x, y, t, u).accuracy, abs=0.5)


def test_more_features_than_images():
    (x, y), (t, u) = draw(60, dimensions=100), draw(100, seed=1, dimensions=100)
    result = linear_probe(x, y, t, u)
    assert result.converged
    assert result.accuracy > 100 / CLASSES


def test_same_seed_same_probe():
    (x, y), (t, u) = draw(300), draw(200, seed=1)
    before = torch.random.get_rng_state()
    assert linear_probe(x, y, t, u, seed=3) == linear_probe(x, y, t, u, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())  # training's draws stay as they are


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite(split, value):
    x, y = draw(20)
    broken = x.clone()
    broken[3, 4] = value
    with pytest.raises(HybridError, match=f"the {split} features hold NaN or infinite"):
        linear_probe(broken if split == "train" else x, y, broken if split == "test" else x, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, torch.zeros_like(y)), "one class"),
        (lambda x, y: (x, torch.full_like(y, 3)), "one class"),
        (lambda x, y: (x[1:], y), "expected"),
        (lambda x, y: (x[:, :0], y), "expected"),
        (lambda x, y: (x[:0], y[:0]), "expected"),
        (lambda x, y: (x[:, :, None], y), "expected"),
    ],
)
def test_wrong_inputs(change, message):
    x, y = draw(20)
    with pytest.raises(HybridError, match=message):
        linear_probe(*change(x, y), x, y)


def test_examples_of_one_source_are_held_out_together():
    held, kept = split(120, 0.1, seed=0, sources=torch.arange(120) % 30 + 7)
    assert len(held) == 12 and torch.equal(torch.cat([held, kept]).sort().values, torch.arange(120))
    assert not set((held % 30).tolist()) & set((kept % 30).tolist())
    alone, _ = split(120, 0.1, seed=0)
    assert len(alone) == 12 and len((alone % 30).unique()) > 3


def test_a_probe_told_of_sources_is_not_deceived_by_copies():
    """Labels of chance, each example there four times: what was fitted says nothing of what was not."""
    torch.manual_seed(0)
    features, labels = torch.randn(100, 200).repeat(4, 1), torch.randint(0, 2, (100,)).repeat(4)
    told = linear_probe(features, labels, features, labels, sources=torch.arange(400) % 100)
    assert told.validation_accuracy < 90 < linear_probe(features, labels, features, labels).validation_accuracy


def test_test_features_of_another_width():
    x, y = draw(20)
    with pytest.raises(HybridError, match="39"):
        linear_probe(x, y, x[:, 1:], y)


def test_negative_labels():
    x, y = draw(20)
    with pytest.raises(HybridError, match="-1"):
        linear_probe(x, y - 1, x, y)


def test_a_single_penalty_is_taken_and_gives_what_choosing_it_gives():
    torch.manual_seed(0)
    labels = torch.arange(300) % 3
    features = torch.randn(300, 5) + F.one_hot(labels, 5)
    chosen = linear_probe(features[:200], labels[:200], features[200:], labels[200:])
    told = linear_probe(features[:200], labels[:200], features[200:], labels[200:], penalties=(chosen.penalty,))
    assert told.penalty == chosen.penalty and math.isnan(told.validation_accuracy) and told.converged
    assert (told.accuracy, told.train_accuracy) == pytest.approx((chosen.accuracy, chosen.train_accuracy), abs=0.6)


def test_a_stronger_penalty_than_the_strongest_is_found_where_it_is_better():
    generator = torch.Generator().manual_seed(0)
    means = 0.05 * torch.randn(CLASSES, 1000, generator=generator)  # faint, among many dimensions
    y, u = torch.arange(3000) % CLASSES, torch.arange(4000) % CLASSES
    x, t = (means[labels] + torch.randn(len(labels), 1000, generator=generator) for labels in (y, u))
    found = linear_probe(x, y, t, u)
    strongest = linear_probe(x, y, t, u, penalties=(max(probe.PENALTIES),))
    assert found.penalty > strongest.penalty and found.converged
    assert found.accuracy > strongest.accuracy + 1  # 56.4 and 54.0 %


def test_few_examples_have_the_same_probe_as_in_all_dimensions(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    labels, others = torch.arange(60) % 3, torch.arange(300) % 3
    features = torch.randn(60, 90, generator=generator) + 0.4 * torch.nn.functional.one_hot(labels, 90)
    test = torch.randn(300, 90, generator=generator) + 0.4 * torch.nn.functional.one_hot(others, 90)
    found = [linear_probe(features, labels, test, others, penalties=which) for which in ((1.0,), (1e-2,), (1.0, 1e-2))]
    monkeypatch.setattr(probe, "_in_span", lambda *both: both)
    whole = [linear_probe(features, labels, test, others, penalties=which) for which in ((1.0,), (1e-2,), (1.0, 1e-2))]
    assert [one.penalty for one in found] == [one.penalty for one in whole]
    assert [one.accuracy for one in found] == pytest.approx([one.accuracy for one in whole], abs=0.5)
