"""The embedded data set: handwritten digits, each drawn with its own two colours and textures, 32x32 RGB.

It has the 1,797 8x8 digits of scikit-learn (Alpaydin & Kaynak, *Optical Recognition of Handwritten Digits*, 1998), enlarged to
smooth strokes, moved and scaled a little, and painted with a random ink on a random paper, both textured, light on dark as
often as dark on light. Colour, texture and polarity do not depend on the class, so only the shape distinguishes the digits, and
a linear classifier of the raw pixels gets only 22 % right. It needs no download, and a small network learns it within a minute.

It is not a benchmark. No paper has results on it. Results on it show that the code works and how the methods differ on an easy
problem, but nothing about CIFAR-10. Four drawings of a digit are not four digits: the test split has 359 glyphs.

Everything is computed in float64 from raw PCG64 doubles and rounded once, so the images are the same on any machine.
"""

import numpy as np
import torch
from torch import Tensor

SEED = 2021
SIDE = 32  # pixels
TEST_SHARE = 0.2  # share of the glyphs of each class in the test split
RENDERINGS = 4  # drawings of each glyph, in both splits
GLYPH_SIZE = (26.0, 29.0)  # size of a glyph's 8 cells together, in pixels
GLYPH_SHIFT = 1.0  # largest shift in each direction, in pixels
DARK, LIGHT = (0.12, 0.36), (0.64, 0.88)  # luma of the two colours, [0, 1]; either is the ink with probability 1/2
COLOURFULNESS = (0.3, 0.9)  # chroma, relative to the largest possible for the colour's luma
WAVES = 5  # plane waves in a cloud
PERIOD = (6.0, 14.0)  # period of gratings and checks, in pixels
CLOUD_PERIOD = (12.0, 40.0)  # pixels
PAPER_AMPLITUDE, INK_AMPLITUDE = (0.03, 0.11), (0.0, 0.06)  # amplitude of the texture, in the units of the colours
LUMA = np.array([0.299, 0.587, 0.114])


def load_digits_rgb() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return train images, train labels, test images, test labels: uint8 (N, 3, 32, 32) and int64 (N,).

    No glyph is in both splits. Each split has all its glyphs once, then all of them again, `RENDERINGS` times. So the first
    images all have different glyphs.
    """
    train, test = _drawn()
    return train["images"], train["labels"], test["images"], test["labels"]


def load_digit_factors() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the factors that the train and test images were drawn from: float (N, D), or int64 (N,) for kinds.

    `labels`; `ink` and `paper`, colours on [0, 1] (N, 3); `shift`, down and right in pixels (N, 2); `scale`, pixels per cell of
    the glyph (N, 1); `texture`, that of the paper (N,): 0 a grating, 1 checks, 2 clouds; `strength`, its amplitude (N, 1). An
    image with dark ink has light paper, and vice versa.
    """
    train, test = ({name: value for name, value in split.items() if name != "images"} for split in _drawn())
    return train, test


def _drawn() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Draw the images of both splits; return them with their factors."""
    rng = np.random.Generator(np.random.PCG64(SEED))
    train_glyphs, train_labels, test_glyphs, test_labels = split_glyphs(rng)
    splits = []
    for glyphs, labels in ((train_glyphs, train_labels), (test_glyphs, test_labels)):
        factors = {"labels": np.tile(labels, RENDERINGS)}
        masks = stroke_masks(np.tile(glyphs, (RENDERINGS, 1, 1)), rng, factors)
        factors["images"] = paint(masks, rng, factors)
        splits.append({name: torch.from_numpy(value) for name, value in factors.items()})
    return splits[0], splits[1]


def split_glyphs(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return train glyphs, train labels, test glyphs, test labels: (N, 8, 8) in [0, 1] and int64 (N,), split by class."""
    from sklearn.datasets import load_digits  # slow to import

    source = load_digits()
    labels = source.target.astype(np.int64)
    ticket = rng.random(len(labels))
    test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        members = np.flatnonzero(labels == label)
        test[members[np.argsort(ticket[members])[: round(TEST_SHARE * len(members))]]] = True
    glyphs = source.images / 16.0
    return glyphs[~test], labels[~test], glyphs[test], labels[test]


def stroke_masks(glyphs: np.ndarray, rng: np.random.Generator, factors: dict[str, np.ndarray] | None = None) -> np.ndarray:
    """Move and scale glyphs (N, 8, 8) in [0, 1] a little; return their coverage by ink, (N, 32, 32) in [0, 1].

    The random values are added to `factors`, here and in `paint`.

    The cells of a glyph are counts of ink in blocks of 4x4 pixels. Smooth interpolation, followed by a threshold with the width
    of a pixel, restores the strokes.
    """
    scale = _between(GLYPH_SIZE, rng.random((len(glyphs), 1))) / 8  # pixels per cell
    shift = _between((-GLYPH_SHIFT, GLYPH_SHIFT), rng.random((len(glyphs), 2)))
    if factors is not None:
        factors |= {"scale": scale, "shift": shift}
    pixel = np.arange(SIDE) - (SIDE - 1) / 2
    cell = (pixel - shift[:, :, None]) / scale[:, :, None] + 3.5  # (N, 2, 32), in cells of the glyph
    weight = _cubic(cell[..., None] - np.arange(8))  # (N, 2, 32, 8)
    smooth = weight[:, 0] @ glyphs @ weight[:, 1].transpose(0, 2, 1)  # (N, 32, 32)
    ramp = np.clip((smooth - 0.55) * scale[:, :, None] / 1.3 + 0.5, 0.0, 1.0)
    return ramp * ramp * (3 - 2 * ramp)


def paint(masks: np.ndarray, rng: np.random.Generator, factors: dict[str, np.ndarray] | None = None) -> np.ndarray:
    """Paint masks (N, 32, 32) in [0, 1] as ink on paper with random colours and textures: uint8 (N, 3, 32, 32)."""
    count = len(masks)
    dark, light = _colours(DARK, rng.random((count, 3))), _colours(LIGHT, rng.random((count, 3)))  # (N, 3)
    dark_ink = rng.random((count, 1)) < 0.5
    ink, paper = np.where(dark_ink, dark, light), np.where(dark_ink, light, dark)
    ink_texture = _textures(rng, count)[0] * _between(INK_AMPLITUDE, rng.random((count, 1, 1)))  # (N, 32, 32)
    texture, kind = _textures(rng, count)
    strength = _between(PAPER_AMPLITUDE, rng.random((count, 1, 1)))
    paper_texture = texture * strength
    if factors is not None:
        factors |= {"ink": ink, "paper": paper, "texture": kind, "strength": strength[:, :, 0]}
    images = np.empty((count, 3, SIDE, SIDE), dtype=np.uint8)
    for channel in range(3):
        on_ink = ink[:, channel, None, None] + ink_texture
        on_paper = paper[:, channel, None, None] + paper_texture
        value = on_paper + masks * (on_ink - on_paper)
        images[:, channel] = np.rint(255 * np.clip(value, 0.0, 1.0))
    return images


def _between(limits: tuple[float, float], unit: np.ndarray) -> np.ndarray:
    """Map numbers in [0, 1) to the interval `limits`."""
    return limits[0] + (limits[1] - limits[0]) * unit


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Return Keys's cubic interpolation kernel (a = -1/2), also called Catmull-Rom, at distances in cells."""
    x = np.abs(distance)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _colours(luma: tuple[float, float], unit: np.ndarray) -> np.ndarray:
    """Return colours (N, 3) of any hue with luma in the interval, from random numbers (N, 3) in [0, 1): luma, hue, chroma."""
    grey = _between(luma, unit[:, :1])
    hue = np.cos(2 * np.pi * (unit[:, 1:2] + np.arange(3) / 3))
    hue = hue - (hue @ LUMA)[:, None]  # chroma must not change the luma, and thus the contrast
    room = np.where(hue > 0, (1 - grey) / hue, -grey / hue).min(1, keepdims=True)
    return grey + hue * room * _between(COLOURFULNESS, unit[:, 2:])


def _textures(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return smooth patterns (N, 32, 32) in [-1, 1] and their kinds: gratings, checks or clouds (0, 1, 2), a third each."""
    draws = rng.random((count, 3))
    angle, period = np.pi * draws[:, 0], _between(PERIOD, draws[:, 1])
    grating = _wave(angle, period, rng.random(count))
    checks = grating * _wave(angle + np.pi / 2, period, rng.random(count))
    clouds = np.zeros_like(grating)
    for _ in range(WAVES):
        wave = rng.random((count, 3))
        clouds += _wave(2 * np.pi * wave[:, 0], _between(CLOUD_PERIOD, wave[:, 1]), wave[:, 2]) / WAVES
    kind = np.digitize(draws[:, 2], (1 / 3, 2 / 3))  # (N,), int64
    return np.where(kind[:, None, None] == 0, grating, np.where(kind[:, None, None] == 1, checks, clouds)), kind


def _wave(angle: np.ndarray, period: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """Return plane waves (N, 32, 32) in [-1, 1], from angles in radians, periods in pixels and phases in turns, each (N,)."""
    pixel = np.arange(SIDE)
    step = 2 * np.pi / period  # radians per pixel along the wave
    down = (step * np.sin(angle))[:, None] * pixel + 2 * np.pi * phase[:, None]  # (N, 32)
    along = (step * np.cos(angle))[:, None] * pixel
    # With the addition theorem for sin(a + b), an image takes 64 sines instead of 1,024.
    wave = np.sin(down)[:, :, None] * np.cos(along)[:, None, :]
    wave += np.cos(down)[:, :, None] * np.sin(along)[:, None, :]
    return wave
