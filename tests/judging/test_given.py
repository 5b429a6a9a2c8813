"""Same y, different w: the kept part stays the same, and the numbers are right for images with known answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hybrid.data.datasets import ImageSet
from hybrid.errors import HybridError
from hybrid.judging import given
from hybrid.judging.classifier import Classifier, Judge
from hybrid.judging.probe import fitted
from hybrid.model import HybridModel
from hybrid.models.autoencoder import Decoder, Encoder
from hybrid.models.latent_ddim import PlusPrior, SemanticPrior, TexturePrior
from hybrid.profiles.overrides import profile
from hybrid.profiles.schema import Training
from hybrid.showing import figure6
from hybrid.training.loop import train

SMOKE = profile("smoke")
QUARTERS = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat_interleave(16, 0).repeat_interleave(16, 1)
CONFIG = SMOKE.hybrid.representation.autoencoder


@pytest.fixture
def model():
    torch.manual_seed(0)
    prior = PlusPrior(SemanticPrior(SMOKE.plus.y, CONFIG), TexturePrior(SMOKE.plus.w, CONFIG))
    return HybridModel(Encoder(CONFIG), Decoder(CONFIG), prior)


class Swapped:
    """A hybrid of no network: y is an image's brightness, w its pattern; a drawn w is noise."""

    def encode(self, images):
        x = images / 255 if images.dtype == torch.uint8 else images
        return torch.stack([x.mean((1, 2, 3)), x[:, 0, 0, 0] - x.mean((1, 2, 3))], 1)[:, :, None, None]

    def split(self, z):
        return z[:, :1], z[:, 1:]

    def decode(self, z):
        y, w = self.split(z)
        return (y + w * QUARTERS).expand(-1, 3, -1, -1)

    def reconstruct(self, images):
        return self.decode(self.encode(images))

    def sample_given(self, y, steps, eta, seed, order):
        return self.decode(torch.cat([y, 0.1 * torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))], 1))


def bright_and_dark():
    """Images of one grey each, two quarters of them lighter, which two by turns."""
    brightness = torch.linspace(60, 190, 40)[:, None, None, None]
    signs = torch.where(torch.arange(40) % 2 == 0, 1.0, -1.0)[:, None, None, None]
    images = (brightness + 20 * signs * QUARTERS).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    labels = torch.arange(40) // 20  # dark, bright: y's business
    return ImageSet("greys", images, labels, images, labels, ("dark", "bright"))


def test_a_y_that_holds_the_class_gives_it_and_w_does_not():
    images = replace(bright_and_dark(), train_images=torch.zeros(40, 3, 32, 32, dtype=torch.uint8))
    border = images.test_images[19:21].float().mean() / 255

    def judge(pictures):
        x = pictures / 255 if pictures.dtype == torch.uint8 else pictures
        return (x.mean((1, 2, 3)) > border).long()

    found = given.study(Swapped(), images, {"judge": judge}, 2, 0.0, seed=0, count=40, draws=4)
    for name in ("images", "reconstructions", "y", "other_y"):
        assert found[f"judge_{name}"] == 100
    assert found["judge_w"] < 70  # other images' y: right by chance
    assert found["colour_y"] < 1e-6 and found["layout_y"] > 0.5
    assert 0.8 < found["colour_w"] < 1.2 and found["layout_w"] < 1e-6
    shown = figure6.numbers(found | {"key": np.array("{}")})
    assert shown.loc["same y, other w", "judge: class of its image, %"] == 100
    assert shown.loc["same w, other y", "judge: class of the other y's, %"] == 100
    assert shown.notna().sum(axis=1).tolist() == [1, 1, 3, 4]
    assert found["y"].shape == found["w"].shape == (6, 4, 32, 32, 3) and found["y"].dtype == np.uint8


def test_same_y_and_same_w_keep_what_they_say(model, images):
    asked = {}
    model.sample_given = lambda y, *rest: asked.update(y=y) or torch.zeros(len(y), 3, 32, 32)
    assert given.same_y(model, images[:3], 2, 2, 0.0, 0).shape == (3, 2, 3, 32, 32)
    y, w = model.split(model.encode(images[:3]))
    torch.testing.assert_close(asked["y"], y[[0, 0, 1, 1, 2, 2]])
    pictures = given.same_w(model, images[:3], 2)
    for i, j, k in ((0, 0, 1), (0, 1, 2), (2, 0, 0)):
        by_hand = model.decode(torch.cat([y[[k]], w[[i]]], dim=1))
        torch.testing.assert_close(pictures[i, j], by_hand[0], atol=1e-3, rtol=0)


def test_hybrid_plus_draws_other_pictures_of_one_y(model, images):
    pictures = given.same_y(model, images[:2], 3, 2, 0.0, 0)
    assert pictures.shape == (2, 3, 3, 32, 32)
    assert not torch.equal(pictures[0, 0], pictures[0, 1])
    with pytest.raises(HybridError, match=r"train Hybrid\+"):
        given.same_y(HybridModel(model.encoder, model.decoder), images[:2], 3, 2, 0.0, 0)


def test_variation_of_real_images_is_1_and_of_copies_0():
    generator = torch.Generator().manual_seed(0)
    squares = torch.rand(2000, 1, 4, 4, generator=generator).repeat_interleave(8, 2).repeat_interleave(8, 3)
    reals = torch.rand(2000, 3, 1, 1, generator=generator) + squares
    assert given.variation(reals.unflatten(0, (250, 8)), reals) == pytest.approx({"colour": 1, "layout": 1}, abs=0.05)
    copies = reals[:50, None].expand(-1, 8, -1, -1, -1)
    assert given.variation(copies, reals) == pytest.approx({"colour": 0, "layout": 0}, abs=1e-6)
    tinted = copies + torch.rand(50, 8, 3, 1, 1, generator=generator)
    found = given.variation(tinted, reals)
    assert found["colour"] > 0.5 and found["layout"] == pytest.approx(0, abs=1e-6)


def test_it_is_drawn():
    images = bright_and_dark()
    found = given.study(Swapped(), images, {}, 2, 0.0, seed=0, count=40, draws=4)
    left, right = figure6.draw(found).axes
    sheet = left.images[0].get_array()
    assert sheet.shape == (6 * 32, 5 * 32 + figure6.GAP, 3)
    first = slice(32 + figure6.GAP, 64 + figure6.GAP)
    assert np.array_equal(sheet[32:64, :32], found["start"][1]) and np.array_equal(sheet[32:64, first], found["y"][1, 0])
    assert right.images[0].get_array().shape == sheet.shape


def test_the_classifier_learns_what_pixels_tell(tmp_path):
    images = bright_and_dark()
    many = images.train_images.repeat(8, 1, 1, 1)
    labels = images.train_labels.repeat(8)
    judge = Judge(Training(epochs=4, batch=32), width=8)
    torch.manual_seed(0)
    classifier = train(Classifier(2, judge), many, labels, judge.training, tmp_path, seed=0, about={})
    assert (classifier.predict(images.test_images) == images.test_labels).float().mean() > 0.9
    as_floats = classifier.predict(images.test_images / 255)
    assert torch.equal(as_floats, classifier.predict(images.test_images))


def test_the_fitted_probe_reads_classes_off():
    features = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    labels = (features[:, 0] > 0).long()
    read = fitted(100 * features + 5, labels, 1e-3)
    assert (read(100 * features[:50] + 5) == labels[:50]).float().mean() > 0.95
    with pytest.raises(HybridError, match="hold NaN"):
        fitted(features / 0, labels, 1e-3)
