"""Precision and recall against a double loop, scikit-learn's neighbours, and sets with known answers."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from hybrid.judging import manifold
from hybrid.judging.manifold import precision_recall


def normal(count, dims, seed, shift=0.0, scale=1.0):
    return scale * torch.randn(count, dims, generator=torch.Generator().manual_seed(seed)) + shift


def by_loop(points, others, k):
    """The share of points within some other's ball, in plain numpy."""
    points, others = points.double().numpy(), others.double().numpy()
    radius = [sorted(np.linalg.norm(others - x, axis=1))[k] for x in others]  # the first is itself
    return np.mean([any(np.linalg.norm(p - x) <= r for x, r in zip(others, radius, strict=True)) for p in points])


@pytest.mark.parametrize("k", [1, 3])
def test_it_is_the_double_loop(k, monkeypatch):
    monkeypatch.setattr(manifold, "BLOCK", 16)  # several blocks, the last one short
    samples, real = normal(50, 5, 0), normal(41, 5, 1, shift=0.7, scale=1.3)
    found = precision_recall(samples, real, k)
    assert found["precision"] == pytest.approx(by_loop(samples, real, k))
    assert found["recall"] == pytest.approx(by_loop(real, samples, k))
    assert 0.1 < found["recall"] < found["precision"] < 1


def test_it_is_scikit_learns_neighbours_in_many_dimensions():
    samples, real = normal(300, 200, 0, shift=3.0, scale=0.9), normal(300, 200, 1, shift=3.0)

    def share(points, others):
        radii = NearestNeighbors(n_neighbors=4).fit(others.numpy()).kneighbors(others.numpy())[0][:, 3]
        return np.mean((np.linalg.norm(points.numpy()[:, None] - others.numpy()[None], axis=2) <= radii).any(1))

    found = precision_recall(samples, real)
    assert found["precision"] == pytest.approx(share(samples, real), abs=0.005)
    assert found["recall"] == pytest.approx(share(real, samples), abs=0.005)


def test_fewer_kinds_cost_recall_and_wrong_ones_precision():
    real = torch.cat([normal(200, 4, 0), normal(200, 4, 1, shift=30)])
    one_kind = precision_recall(normal(400, 4, 2), real)
    assert one_kind["precision"] > 0.9 and one_kind["recall"] < 0.55
    one_more = precision_recall(torch.cat([normal(200, 4, 2), normal(200, 4, 3, shift=30), normal(400, 4, 4, shift=-30)]), real)
    assert one_more["precision"] < 0.55 and one_more["recall"] > 0.8


def test_the_same_set_is_its_own_manifold_and_two_images_are_enough():
    assert precision_recall(normal(30, 3, 0), normal(30, 3, 0)) == {"precision": 1.0, "recall": 1.0}
    assert precision_recall(normal(2, 3, 0), normal(2, 3, 0)) == {"precision": 1.0, "recall": 1.0}
