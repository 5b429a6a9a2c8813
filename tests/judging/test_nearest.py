"""The nearest train images: copies are found, even mirrored ones, and the order is that of a brute-force search."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hybrid.data import pixels
from hybrid.data.datasets import ImageSet
from hybrid.judging import nearest
from hybrid.showing import neighbours


@pytest.fixture
def image_set():
    generator = torch.Generator().manual_seed(0)
    train, test = (torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator) for n in (50, 20))
    return ImageSet("random", train, torch.arange(50) % 2, test, torch.arange(20) % 2, ("a", "b"))


def test_it_is_the_plain_search_over_both_mirror_images(image_set, monkeypatch):
    monkeypatch.setattr(nearest, "BLOCK", 16)
    queries = image_set.test_images[:5]
    distances, places = nearest.nearest(queries, image_set.train_images, nearest.as_vectors, 3)
    train = image_set.train_images.numpy() / 255
    for i, query in enumerate(queries.numpy() / 255):
        by_hand = [min(np.linalg.norm(x - query), np.linalg.norm(x - query[:, :, ::-1])) for x in train]
        assert places[i].tolist() == np.argsort(by_hand)[:3].tolist()
        np.testing.assert_allclose(distances[i], np.sort(by_hand)[:3], rtol=1e-3)


def test_copies_are_found_and_told_of(image_set):
    copies = image_set.train_images[[7, 3, 9]].clone()
    copies[1] = copies[1].flip(2)  # (3, 32, 32): mirrored
    found = nearest.nearest_train_images(copies.numpy(), image_set, network=nearest.as_vectors)
    for name in nearest.NAMES:
        assert found[name].shape == (3, 4, 3, 32, 32) and found[name].dtype == np.uint8
        assert np.array_equal(found[name][0, 0], image_set.train_images[7])
        assert np.array_equal(found[name][1, 0], image_set.train_images[3])
    assert found["copying_by_pixels"] < 0.05
    others = nearest.nearest_train_images(image_set.test_images[10:].numpy(), image_set, network=nearest.as_vectors)
    assert 0.9 < others["copying_by_features"] < 1.1


def test_the_test_images_compared_are_of_all_classes_of_a_sorted_set(image_set):
    order = image_set.test_labels.argsort(stable=True)
    sorted_set = replace(image_set, test_images=image_set.test_images[order], test_labels=image_set.test_labels[order])
    samples = sorted_set.test_images[::5]  # every fifth, so of both classes
    found = nearest.nearest_train_images(samples.numpy(), sorted_set, nearest.as_vectors)
    assert found["copying_by_features"] == pytest.approx(1)  # the same images


def test_few_train_images_are_all_shown(image_set):
    assert nearest.nearest(image_set.test_images, image_set.train_images[:2], nearest.as_vectors)[1].shape == (20, 2)


def test_it_is_drawn(image_set):
    samples = image_set.test_images.numpy()
    gallery = {"samples": samples} | nearest.nearest_train_images(samples, image_set, network=nearest.as_vectors)
    left, by_features, by_pixels = neighbours.draw(gallery).axes
    assert np.array_equal(left.images[0].get_array(), pixels.tile(samples[:8], 1))
    assert by_features.images[0].get_array().shape == by_pixels.images[0].get_array().shape == (8 * 32, 4 * 32, 3)
    second = by_features.images[0].get_array()[32:64, :32]
    assert np.array_equal(second, gallery["nearest_by_features"][1, 0].transpose(1, 2, 0))
