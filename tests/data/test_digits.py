import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

from hybrid.data import digits

SHA256 = {
    "train": "948cff41366de684a419afa7f7bb9a7c19e81d1b370a2f0c996cb4771c8af571",
    "test": "68188be5836ec4cfd5ecdaf46bd32818abdf6920a35946e87b2a75498567b10f",
}


def generator(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


@pytest.fixture(scope="module")
def drawn():
    return digits.load_digits_rgb()


@pytest.fixture(scope="module")
def ink_and_paper():
    """The same 2,000 draws with ink everywhere and nowhere: float (N, 3, 32, 32) in [0, 1]."""
    covered = np.ones((2000, 32, 32))
    return digits.paint(covered, generator()) / 255, digits.paint(0 * covered, generator()) / 255


def linear_accuracy(train, train_labels, test, test_labels):
    """Of a logistic regression on standardised features (N, D): 20 steps, more do not help on new images."""
    mean, deviation = train.mean(0), train.std(0) + 1e-2
    train, test = (train - mean) / deviation, (test - mean) / deviation
    weight, bias = torch.zeros(train.shape[1], 10, requires_grad=True), torch.zeros(10, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=20, line_search_fn="strong_wolfe")

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(train @ weight + bias, train_labels) + 0.01 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(step)
    return ((test @ weight + bias).argmax(1) == test_labels).float().mean().item()


def test_types_and_shapes(drawn):
    train, train_labels, test, test_labels = drawn
    assert train.shape == (4 * 1438, 3, 32, 32) and test.shape == (4 * 359, 3, 32, 32)
    assert train.dtype == test.dtype == torch.uint8
    assert train_labels.dtype == test_labels.dtype == torch.int64
    assert train_labels.shape == (4 * 1438,) and test_labels.shape == (4 * 359,)


def test_images_are_the_same_on_any_machine(drawn):
    """Other results depend on them. A digest that changes means another data set: say so where figures are reported."""
    for split, images in (("train", drawn[0]), ("test", drawn[2])):
        assert hashlib.sha256(images.numpy()).hexdigest() == SHA256[split]


def test_splits_share_no_glyph_and_lose_none(drawn):
    train, train_labels, test, test_labels = digits.split_glyphs(generator(digits.SEED))
    rows = [{glyph.tobytes() for glyph in glyphs} for glyphs in (train, test)]
    assert not rows[0] & rows[1]
    assert rows[0] | rows[1] == {glyph.tobytes() for glyph in load_digits().images / 16}
    np.testing.assert_array_equal(drawn[1], np.tile(train_labels, 4))
    np.testing.assert_array_equal(drawn[3], np.tile(test_labels, 4))
    per_class = np.bincount(load_digits().target)
    assert np.abs(np.bincount(test_labels) - per_class / 5).max() <= 0.5


def test_drawings_of_a_glyph_differ(drawn):
    first, second = drawn[0][:1438].float(), drawn[0][1438:2876].float()
    assert (first - second).abs().mean((1, 2, 3)).min() > 5


def test_strokes_lie_where_the_glyph_has_ink(monkeypatch):
    monkeypatch.setattr(digits, "GLYPH_SHIFT", 0.0)
    monkeypatch.setattr(digits, "GLYPH_SIZE", (32.0, 32.0))
    glyphs = load_digits().images / 16
    masks = digits.stroke_masks(glyphs, generator())
    assert masks.min() >= 0 and masks.max() <= 1
    coverage = masks.reshape(-1, 8, 4, 8, 4).mean((2, 4))  # back to the 8x8 counts that the glyph was made of
    assert np.corrcoef(coverage.ravel(), glyphs.ravel())[0, 1] > 0.95
    assert ((masks > 0.02) & (masks < 0.98)).mean() < 0.25  # a stroke with a soft edge, not a blur


def test_ink_stands_out_from_paper_either_way(ink_and_paper):
    ink, paper = ((images * digits.LUMA[:, None, None]).sum(1) for images in ink_and_paper)  # (N, 32, 32)
    contrast = ink.mean((1, 2)) - paper.mean((1, 2))
    assert np.abs(contrast).min() > 0.2
    assert abs((contrast > 0).mean() - 0.5) < 0.04


def test_textures_are_smooth(ink_and_paper):
    """Hardly any power in waves shorter than four pixels: a small latent can keep them."""
    window = np.hanning(32)[:, None] * np.hanning(32)  # edges would count as short waves
    spectrum = np.abs(np.fft.fft2(window * (ink_and_paper[1] - ink_and_paper[1].mean((2, 3), keepdims=True)))) ** 2
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32))
    assert spectrum[..., frequency > 1 / 4].sum() / spectrum.sum() < 0.02
    assert ink_and_paper[1].std((2, 3)).mean() > 0.02  # and there are textures


def test_neither_pixels_nor_colour_give_the_class_away_but_the_strokes_do(drawn):
    train, train_labels, test, test_labels = drawn
    assert linear_accuracy(train.flatten(1) / 255, train_labels, test.flatten(1) / 255, test_labels) < 0.35
    colour = [images.float().mean((2, 3)) / 255 for images in (train, test)]
    assert linear_accuracy(colour[0], train_labels, colour[1], test_labels) < 0.15

    rng = generator(digits.SEED)
    train_glyphs, _, test_glyphs, _ = digits.split_glyphs(rng)
    masks = [digits.stroke_masks(np.tile(g, (4, 1, 1)), rng).reshape(-1, 1024) for g in (train_glyphs, test_glyphs)]
    masks = [torch.from_numpy(mask).float() for mask in masks]
    assert linear_accuracy(masks[0], train_labels, masks[1], test_labels) > 0.93


@pytest.fixture(scope="module")
def known():
    return digits.load_digit_factors()


def test_factors_are_what_the_images_were_drawn_from(drawn, known):
    for images, labels, factors in ((*drawn[:2], known[0]), (*drawn[2:], known[1])):
        assert torch.equal(factors["labels"], labels)
        assert {name: tuple(value.shape[1:]) for name, value in factors.items()} == {
            "labels": (), "scale": (1,), "shift": (2,), "ink": (3,), "paper": (3,), "texture": (), "strength": (1,)
        }  # fmt: skip
        left = images[:, :, :, :3].double().mean((2, 3)) / 255  # no stroke reaches there
        assert (left - factors["paper"]).abs().max() < 0.15
        roughness = (images[:, :, :, :3].double() / 255).std((2, 3)).mean(1)
        assert torch.corrcoef(torch.stack([roughness, factors["strength"][:, 0]]))[0, 1] > 0.4


def test_a_glyph_lies_where_its_shift_says(known):
    """Two drawings of one glyph: the strokes' centres differ as their shifts do."""
    rng = generator(digits.SEED)
    glyphs = digits.split_glyphs(rng)[0]
    masks = torch.from_numpy(digits.stroke_masks(np.tile(glyphs, (4, 1, 1)), rng))
    at = torch.arange(32.0, dtype=torch.float64)
    total = masks.sum((1, 2))
    centre = torch.stack([(masks.sum(2) * at).sum(1) / total, (masks.sum(1) * at).sum(1) / total], dim=1)
    moved, shifted = (value[:1438] - value[1438:2876] for value in (centre, known[0]["shift"]))
    assert (moved - shifted).abs().mean() < 0.25
