"""Images as people have them: every kind gives the same tensor, or a line that says what to change."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from hybrid.data.pixels import as_float, as_images, to_uint8
from hybrid.errors import HybridError


@pytest.mark.filterwarnings("error")
def test_every_kind_of_the_same_images_gives_the_same(images):
    last = images.permute(0, 2, 3, 1)
    kinds = [
        images,
        last,
        images.numpy(),
        last.numpy(),
        last.numpy()[:, :, ::-1].copy()[:, :, ::-1],  # strides below 0
        np.frombuffer(images.numpy().tobytes(), np.uint8).reshape(images.shape),  # read-only
        [Image.fromarray(array) for array in last.numpy()],
        tuple(Image.fromarray(array) for array in last.numpy()),
    ]
    for kind in kinds:
        found = as_images(kind)
        assert found.dtype == torch.uint8 and torch.equal(found, images)
    for kind in (images / 255, images.numpy() / 255, (last / 255).double(), (last / 255).numpy().astype(">f4")):
        found = as_images(kind)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, images / 255)
    assert torch.equal(as_images(Image.fromarray(last[0].numpy())), images[:1])
    torch.testing.assert_close(as_images((images / 255).half()), images / 255, atol=1e-3, rtol=0)


def test_pillow_images_of_any_size_and_mode_become_32(images):
    kinds = [Image.new("L", (100, 20), 7), Image.new("RGBA", (20, 90), (0, 0, 0, 0)), Image.new("P", (32, 32), 0)]
    found = as_images(kinds)
    assert found.shape == (3, 3, 32, 32)
    assert found[0].unique().tolist() == [7] and found[1].unique().tolist() == [255]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((2, 3, 32, 32)) + 255.0, r"floats from 255 to 255: expected 0 to 1; divide by 255, or give them as uint8"),
        (torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32), r"from -1 to 1: expected 0 to 1; .*\(images \+ 1\) / 2"),
        (torch.full((1, 3, 32, 32), -2.1), "undo their normalisation"),
        (torch.full((1, 3, 32, 32), torch.nan), "from nan to nan"),
        (torch.full((1, 3, 32, 32), torch.inf), "to inf"),
        (np.zeros((1, 3, 32, 32), np.int64), "images are torch.int64: expected uint8, .*give 0 to 255 as uint8"),
        (np.zeros((1, 3, 32, 32), bool), "numpy type bool: expected uint8"),
        (np.array([["a"]]), "numpy type <U1: expected uint8"),
        (np.zeros((3, 32, 32), np.uint8), r"shape \(3, 32, 32\): .* of a single image give images\[None\]"),
        (np.zeros((32, 32, 3), np.uint8), r"of a single image give images\[None\]"),
        (np.zeros((4, 1, 32, 32), np.uint8), "make grey images RGB"),
        (np.zeros((4, 28, 28, 1), np.uint8), "make grey images RGB"),
        (np.zeros((4, 64, 64, 3), np.uint8), r"expected \(N, 3, 32, 32\) or \(N, 32, 32, 3\); resize them, or give Pillow"),
        (np.zeros((4, 3, 64, 64), np.uint8), "resize them"),
        (np.zeros((0, 3, 32, 32), np.uint8), "expected at least one"),
        (np.zeros(5, np.uint8), r"shape \(5,\): expected"),
        ([], "images are a list: expected a tensor"),
        ("a.png", "images are a str: .*hybrid.read_image"),
        (None, "images are a NoneType"),
    ],
)
def test_what_is_no_image_is_refused_with_the_fix(wrong, says):
    with pytest.raises(HybridError, match=says) as caught:
        as_images(wrong)
    assert "\n" not in str(caught.value)


def test_black_is_0_and_white_is_1():
    levels = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(1, 3, 1, 3)
    assert as_float(levels)[0, 0, 0].tolist() == pytest.approx([0, 0.2, 1], abs=1e-7)
    assert torch.equal(as_float(levels / 255), levels / 255)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_images_that_are_not_finite_are_not_drawn_as_black(broken):
    with pytest.raises(HybridError, match="not finite"):
        to_uint8(torch.full((1, 3, 2, 2), broken))
