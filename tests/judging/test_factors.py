"""Factors of images and probes for them: constructed images, and scikit-learn's ridge regression."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import Ridge

from hybrid.data import datasets
from hybrid.data.datasets import ImageSet
from hybrid.judging import factors
from hybrid.judging.factors import explained, statistics


def test_statistics_of_constructed_images():
    images = torch.full((4, 3, 32, 32), 51, dtype=torch.uint8)
    images[1, 0] = 255  # redder
    images[2, :, 20:24, 6:10] = 255  # a spot
    images[3, :, :, ::4] = 255  # upright stripes
    found = statistics(images)
    torch.testing.assert_close(found["brightness"][:2], torch.tensor([[0.2], [0.2 + 0.8 * 0.299]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(found["chroma"][:2], torch.tensor([[0.0, 0.0], [0.8 * 0.701, -0.8 * 0.299]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(found["place"][2], torch.tensor([21.5, 7.5]), atol=0.6, rtol=0)
    assert found["direction"][3] > 5 and abs(found["direction"][2]) < 0.1
    assert found["contrast"][3] > found["contrast"][2] > 0.01 > found["contrast"][0]
    assert found["fineness"][3] > found["fineness"][2]


def test_explained_is_all_of_what_is_linear_and_nothing_of_noise():
    chance = torch.Generator().manual_seed(0)
    train, test = torch.randn(600, 20, generator=chance), torch.randn(300, 20, generator=chance)
    matrix = torch.randn(20, 2, generator=chance)
    wanted, held = (torch.cat([x @ matrix, torch.randn(len(x), 1, generator=chance)], dim=1) for x in (train, test))
    found = explained(train, wanted, test, held)
    assert found[:2].min() > 0.999 and abs(found[2]) < 0.05


def test_explained_is_scikit_learns_ridge():
    chance = torch.Generator().manual_seed(1)
    train, test = torch.randn(200, 50, generator=chance), torch.randn(100, 50, generator=chance)
    wanted, held = (x[:, :1] + 2 * torch.randn(len(x), 1, generator=chance) for x in (train, test))
    x, y = factors.standardise(train, test)
    theirs = [
        Ridge(alpha=penalty * len(x)).fit(x.numpy(), wanted.numpy()).score(y.numpy(), held.numpy())
        for penalty in factors.PENALTIES
    ]
    found = factors._ridge(train, wanted.double(), test, held.double())[:, 0].tolist()
    assert found == pytest.approx(theirs, abs=2e-3)
    assert max(theirs) - min(theirs) > 0.1
    assert explained(train, wanted, test, held).item() in found


def test_a_study_finds_what_a_code_was_given():
    chance = torch.Generator().manual_seed(0)

    class Model:
        def features(self, images):
            grey = images.float().mean(1, keepdim=True) / 255
            colour, layout = images.float().mean((2, 3)) / 255, torch.nn.functional.avg_pool2d(grey, 8).flatten(1)
            return {"y": layout, "w": colour, "z": torch.cat([layout, colour], dim=1)}

    def draw(count):
        labels = torch.randint(2, (count,), generator=chance)
        images = torch.randint(60, 120, (count, 3, 1, 1), generator=chance).expand(-1, -1, 32, 32).clone()
        images[labels == 1, :, 8:16, 8:16] += 100  # class 1 has a light square
        return images.to(torch.uint8), labels

    images = ImageSet("own", *draw(600), *draw(300), class_names=("a", "b"))

    class Untrained:
        def features(self, images):
            return {"y": torch.randn(len(images), 5, generator=chance)}

    found = factors.study(Model(), {"y, untrained": Untrained()}, images, seed=0).set_index(["factor", "part"])["score"]
    assert found["class", "y"] > 0.95 > 0.5 > found["class", "w"]
    assert found["chroma", "w"] > 0.99 and found["chroma", "y"] < 0.6
    assert min(found["class", "z"], found["chroma", "z"]) > 0.95
    assert found["chroma", "pixels"] > 0.99 and found.xs("y, untrained", level="part").max() < 0.2

    grey = (part[:, :1].expand(-1, 3, -1, -1).contiguous() for part in (images.train_images, images.test_images))
    shades = replace(images, **dict(zip(("train_images", "test_images"), grey, strict=True)))
    named = set(factors.study(Model(), {}, shades, seed=0)["factor"])
    assert "brightness" in named and "chroma" not in named  # it would be the rounding of the brightness


def test_factors_of_digits_are_those_that_they_were_drawn_from():
    images = datasets.load("digits", Path())
    train, test = factors.factors(images)
    assert torch.equal(train["class"], images.train_labels) and len(test["ink's chroma"]) == len(images.test_images)
    few = images.spread(50)
    some = factors.factors(few)
    assert torch.equal(some[0]["class"], few.train_labels) and torch.equal(some[1]["class"], few.test_labels)
    assert len(some[1]["place"]) == 50


def test_images_of_ones_own_named_digits_have_statistics():
    few = datasets.load("digits", Path()).spread(50)
    own = ImageSet("digits", few.train_images, few.train_labels, few.test_images, few.test_labels, few.class_names)
    assert factors.factors(own)[0].keys() == {"class", *statistics(few.train_images)}
