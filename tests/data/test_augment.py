"""Augmentation against torchvision, which transforms one image at a time."""

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from hybrid.data.augment import Draw, apply, augment, draw
from hybrid.errors import HybridError
from hybrid.profiles.schema import Augmentation

SIZES = [(32, 32), (20, 45)]


def random_images(n: int, size: tuple[int, int] = (32, 32), seed: int = 0) -> torch.Tensor:
    """uint8 noise in which the channels differ in range, so that clamping and every sector of the hue occur."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (n, 3, *size), generator=generator)
    return (noise * torch.rand(n, 3, 1, 1, generator=generator)).to(torch.uint8)


def torchvision_view(image: torch.Tensor, one: Draw, size: int) -> torch.Tensor:
    """What `one` describes, applied to one float image by torchvision."""
    box = [int(side) for side in (one.top, one.left, one.height, one.width)]
    image = tv.resized_crop(image, *box, size=[size, size], antialias=size >= max(image.shape))
    image = tv.horizontal_flip(image) if one.flip else image
    image = tv.adjust_brightness(image, one.brightness)
    image = tv.adjust_contrast(image, one.contrast)
    image = tv.adjust_saturation(image, one.saturation)
    image = tv.adjust_hue(image, one.hue)
    return tv.rgb_to_grayscale(image, 3) if one.grey else image


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "config",
    [
        Augmentation(),
        Augmentation(crop=0.01, jitter=1.0, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.5),
        Augmentation(jitter=0.0, grey=0.0),
        Augmentation(size=24),
    ],
    ids=["default", "extreme", "crop and flip", "smaller"],
)
def test_views_are_those_of_torchvision(size, config):
    torch.manual_seed(1)
    images = random_images(48, size)
    drawn = draw(len(images), size, config, "cpu")
    each = [Draw(*(value[i].item() for value in drawn)) for i in range(len(images))]
    expected = torch.stack([torchvision_view(image, one, config.size) for image, one in zip(images / 255, each, strict=True)])
    # At a width of 45 both lie 3e-6 from a resampling in float64, and three factors of up to 2 magnify that.
    torch.testing.assert_close(apply(images, drawn, config.size), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("crop", [0.05, 0.5, 0.9])
def test_boxes_are_distributed_as_those_of_random_resized_crop(size, crop):
    torch.manual_seed(2)
    n = 3000
    ours = torch.stack(draw(n, size, Augmentation(crop=crop), "cpu")[:4]).double().numpy()
    image = torch.empty(3, *size)
    theirs = np.array([RandomResizedCrop.get_params(image, (crop, 1.0), (3 / 4, 4 / 3)) for _ in range(n)]).T
    for name, feature in {
        "top": lambda top, left, height, width: top,
        "left": lambda top, left, height, width: left,
        "area": lambda top, left, height, width: height * width,
        "aspect": lambda top, left, height, width: width / height,
    }.items():
        assert ks_2samp(feature(*ours), feature(*theirs), method="asymp").statistic < 0.05, name


@pytest.mark.parametrize("size", [(32, 32), (8, 41), (41, 8)])
def test_where_no_box_fits_the_crop_is_central_as_in_torchvision(size):
    expected = RandomResizedCrop.get_params(torch.empty(3, *size), (1.0, 1.0), (3 / 4, 4 / 3))
    torch.manual_seed(3)
    # A square that has all of the image's area fits at no other aspect than 1, which has probability 0.
    boxes = torch.stack(draw(100, size, Augmentation(crop=1.0), "cpu")[:4], 1)
    assert (boxes == torch.tensor(expected)).all()


def test_probabilities_and_ranges_are_honoured():
    torch.manual_seed(4)
    n = 20000
    config = Augmentation(flip=0.3, jitter=0.7, brightness=0.4, contrast=0.2, saturation=1.5, hue=0.1, grey=0.1)
    drawn = draw(n, (32, 32), config, "cpu")
    jittered = drawn.brightness != 1
    for happened, probability in ((drawn.flip, 0.3), (jittered, 0.7), (drawn.grey, 0.1)):
        assert abs(happened.float().mean() - probability) < 4 * (probability * (1 - probability) / n) ** 0.5
    ranges = {"brightness": (0.6, 1.4, 1), "contrast": (0.8, 1.2, 1), "saturation": (0, 2.5, 1), "hue": (-0.1, 0.1, 0)}
    for name, (low, high, neutral) in ranges.items():
        values = getattr(drawn, name)
        assert (values[~jittered] == neutral).all(), name
        uniform = (values[jittered] - low) / (high - low)
        assert -1e-6 <= uniform.min() < 0.01 and 0.99 < uniform.max() <= 1 + 1e-6, name
        assert abs(uniform.mean() - 0.5) < 0.01 and abs(uniform.var() - 1 / 12) < 0.005, name


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_probabilities_zero_and_one_are_certain(probability):
    drawn = draw(1000, (32, 32), Augmentation(flip=probability, jitter=probability, grey=probability), "cpu")
    for happened in (drawn.flip, drawn.brightness != 1, drawn.grey):
        assert happened.float().mean() == probability


def test_each_image_has_its_own_independent_draw():
    torch.manual_seed(5)
    one = random_images(1).expand(64, -1, -1, -1)
    assert len(augment(one, Augmentation(jitter=1.0)).flatten(1).unique(dim=0)) == 64
    top, left, height, width, *rest = draw(20000, (32, 32), Augmentation(jitter=1.0), "cpu")
    place = ((top + 0.5) / (33 - height), (left + 0.5) / (33 - width))
    features = torch.stack([*place, height * width, (height / width).log(), *(value.float() for value in rest)])
    torch.testing.assert_close(torch.corrcoef(features), torch.eye(len(features)), atol=0.03, rtol=0)


def test_nothing_drawn_leaves_images_as_they_are():
    images = random_images(8)
    views = augment(images, Augmentation(crop=1.0, flip=0.0, jitter=0.0, grey=0.0))
    torch.testing.assert_close(views, images / 255, atol=1e-6, rtol=0)


def test_the_seed_decides_and_the_input_survives():
    images = random_images(32) / 255
    before = images.clone()
    views = []
    for seed in (6, 6, 7):
        torch.manual_seed(seed)
        views.append(augment(images, Augmentation()))
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])
    assert torch.equal(images, before)


def test_types_and_memory_formats_agree():
    images = random_images(32)
    torch.manual_seed(8)
    drawn = draw(32, (32, 32), Augmentation(), "cpu")
    expected = apply(images, drawn, 32)
    assert expected.dtype == torch.float32
    for same in (images / 255, images.double() / 255, images.contiguous(memory_format=torch.channels_last)):
        views = apply(same, drawn, 32)
        torch.testing.assert_close(views, expected, atol=1e-6, rtol=0)
        assert views.is_contiguous()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(apply(images, drawn, 32), expected)


def test_views_lie_in_the_unit_interval_and_grey_stays_grey():
    torch.manual_seed(9)
    config = Augmentation(jitter=1.0, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.5)
    colourful = augment((torch.rand(256, 3, 32, 32) > 0.5).float(), config)
    assert colourful.min() >= 0 and colourful.max() <= 1
    levels = torch.tensor([0, 1, 127, 128, 254, 255], dtype=torch.uint8).repeat(20).view(-1, 1, 1, 1)
    flat = augment(levels.expand(-1, 3, 32, 32), config)
    assert flat.min() >= 0 and flat.max() <= 1  # false for NaN
    assert (flat.amax((1, 2, 3)) - flat.amin((1, 2, 3))).max() < 1e-5


def test_nothing_waits_for_the_device():
    """On the meta device there are no values, so that whatever asked for one would fail."""
    views = augment(torch.empty(4, 3, 32, 32, dtype=torch.uint8, device="meta"), Augmentation())
    assert views.device.type == "meta" and views.shape == (4, 3, 32, 32) and views.dtype == torch.float32


@pytest.mark.parametrize("images", [torch.zeros(3, 32, 32), torch.zeros(2, 1, 32, 32), torch.zeros(2, 3, 8, 8).long()])
def test_other_input_is_refused(images):
    with pytest.raises(HybridError, match="expected"):
        augment(images, Augmentation())
