"""The neighbours' vote against scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from hybrid.errors import HybridError
from hybrid.judging import knn


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 5
    x = torch.randn(300, 12, generator=generator) + 3 * torch.eye(5, 12)[labels] + 40
    return x[:200], labels[:200], x[200:], labels[200:]


@pytest.mark.parametrize("count", [1, 7, 20])
def test_the_vote_is_scikit_learns(features, count):
    train, labels, test, _ = features
    scaler = StandardScaler().fit(train)
    theirs = KNeighborsClassifier(count, metric="cosine", weights=lambda d: np.exp((1 - d) / knn.TEMPERATURE))
    theirs.fit(scaler.transform(train), labels)
    assert knn.vote(train, labels, test, 5, count).tolist() == theirs.predict(scaler.transform(test)).tolist()
    distances, places = theirs.kneighbors(scaler.transform(test))
    found, ours = knn.nearest(train, test, count)
    np.testing.assert_allclose(found, 1 - distances, atol=2e-3)  # they divide by N, not by N - 1
    assert ours.tolist() == places.tolist()


def test_fewer_than_asked_for_all_vote(features):
    train, labels, test, _ = features
    assert knn.vote(train[:3], labels[:3], test, 5).shape == (100,)
    assert knn.nearest(train[:1], test, 4)[1].tolist() == [[0]] * 100
    with pytest.raises(HybridError, match="expected"):
        knn.nearest(train[:, :3], test, 4)


def test_among_few_features_an_equal_one_has_the_similarity_1(features):
    """A deviation of two equal features is 0, and standardised by two others all similarities are 1 or -1."""
    train = features[0]
    for found in (train[:1].expand(2, -1), train[:2]):
        assert knn.nearest(found, train[:1], 1)[0].item() == pytest.approx(1)
    assert abs(knn.nearest(train[1:3], train[:1], 1)[0].item()) < 1 - 1e-4
