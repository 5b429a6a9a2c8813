"""Random views for the contrastive bound. Every image of a batch has its own random parameters, in one pass over the batch.

The recipe is that of Chen et al. (2020) without blur, as in MoCo-v2 and D2C: a random resized crop, a flip, colour jitter,
grey. Every operation is the same as torchvision's on float images. torchvision itself uses one set of random parameters for a
whole batch, which is wrong for contrastive views.

There is one difference: the jitter has a constant order (brightness, contrast, saturation, hue), while torchvision's order is
random. The order has an effect only through clamping to [0, 1] and through the effect of hue on grey: on CIFAR-10 the jitter
changes a pixel by .115 on average, and another order of the same factors by .006.

`draw` draws all random numbers, from the device's global generator, and `apply` does all arithmetic. Nothing waits for the
device.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid.errors import HybridError
from hybrid.machine import distributed
from hybrid.profiles.schema import Augmentation

ASPECT = 4 / 3  # a crop's width over its height lies in [1 / ASPECT, ASPECT]
TRIES = 10  # boxes drawn for a crop; the first one that fits into the image is used


class Draw(NamedTuple):
    """The random parameters of N images: one value each, shape (N,)."""

    top: Tensor  # the crop's box in whole pixels, kept as float32
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor  # bool
    brightness: Tensor  # factors; 1 where an image is not jittered
    contrast: Tensor
    saturation: Tensor
    hue: Tensor  # in turns of the colour wheel, [-0.5, 0.5]; 0 where an image is not jittered
    grey: Tensor  # bool


def augment(images: Tensor, config: Augmentation) -> Tensor:
    """Return a random view of each image.

    images: (N, 3, H, W), uint8 or floating point in [0, 1], on any device. Returns float32 in [0, 1], contiguous, on the same
    device, of `config.size` pixels' height and width. Raises HybridError for anything else.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise HybridError(
            f"images of shape {tuple(images.shape)} and type {images.dtype}: expected (N, 3, H, W), uint8 or floating "
            "point in [0, 1]; pass a batch of colour images"
        )
    height, width = images.shape[-2:]
    return apply(images, draw(len(images), (height, width), config, images.device), config.size)


def mirrored(images: Tensor, probability: float) -> Tensor:
    """Mirror each image (N, C, H, W) left to right with this probability, by the device's global generator."""
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < probability
    return torch.where(chosen, images.flip(3), images)


def draw(n: int, size: tuple[int, int], config: Augmentation, device: torch.device | str) -> Draw:
    """Draw the parameters of `n` views for images of `size` (height, width), from the device's global generator.

    Several processes have the same seed; each draws for the images of all, and keeps the parameters of its own images.
    """
    chance = distributed.shard(torch.rand(2 * TRIES + 9, n * distributed.world(), device=device), dim=1)
    place, (u_flip, u_jitter, u_grey), factors = chance.split((2 * TRIES + 2, 3, 4))
    jittered = u_jitter < config.jitter

    def factor(u: Tensor, spread: float) -> Tensor:
        low = max(0.0, 1 - spread)
        return torch.where(jittered, low + (1 + spread - low) * u, 1.0)

    brightness, contrast, saturation, hue = factors
    return Draw(
        *_box(place, size, config.crop),
        flip=u_flip < config.flip,
        brightness=factor(brightness, config.brightness),
        contrast=factor(contrast, config.contrast),
        saturation=factor(saturation, config.saturation),
        hue=torch.where(jittered, config.hue * (2 * hue - 1), 0.0),
        grey=u_grey < config.grey,
    )


def apply(images: Tensor, draw: Draw, size: int) -> Tensor:
    """Return the views with these parameters, for images as in `augment`, at `size` x `size`; deterministic."""
    views = _crop_and_flip(images, draw, size)
    views = _hue(_brightness_contrast_saturation(views, draw), draw.hue)
    return views.lerp_(_grey(views), _each(draw.grey.float()))


def _box(chance: Tensor, size: tuple[int, int], smallest: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (top, left, height, width) by the rule of torchvision's RandomResizedCrop, from uniform numbers (2 TRIES + 2, N).

    A box has a share of the image's area in [smallest, 1] and a log-uniform aspect ratio. torchvision tries up to ten boxes
    until one fits; here all ten are drawn at once. If none fits, the result is the largest central box with an allowed aspect.
    """
    full_height, full_width = size
    area = full_height * full_width * (smallest + (1 - smallest) * chance[:TRIES])  # TRIES x N
    root = torch.exp(math.log(ASPECT) * (chance[TRIES:-2] - 0.5))  # of the aspect
    height, width = (area.sqrt() / root).round(), (area.sqrt() * root).round()
    fits = (height > 0) & (height <= full_height) & (width > 0) & (width <= full_width)
    found, first = fits.any(0), fits.int().argmax(0, keepdim=True)

    def choose(side: Tensor, full: int, other: int, u: Tensor) -> tuple[Tensor, Tensor]:
        largest = min(full, round(other * ASPECT))
        side = torch.where(found, side.gather(0, first)[0], largest)
        return torch.where(found, (u * (full - side + 1)).floor(), (full - largest) // 2), side

    top, height = choose(height, full_height, full_width, chance[-2])
    left, width = choose(width, full_width, full_height, chance[-1])
    return top, left, height, width


def _crop_and_flip(images: Tensor, draw: Draw, size: int) -> Tensor:
    """Crop, flip and resize to `size` x `size` in one bilinear resampling; uint8 becomes [0, 1].

    A crop that is larger than the view is not smoothed first, unlike torchvision's antialiasing: a view of 24 pixels has at
    least three for every four of a crop's, one of 16 at least one for every two, whose mean bilinear sampling takes.
    """
    pixels = images.to(torch.float32, memory_format=torch.contiguous_format)
    if images.dtype == torch.uint8:
        pixels = pixels.div_(255)
    n, _, height, width = images.shape

    def positions(start: Tensor, extent: Tensor, full: int) -> Tensor:
        """Return the samples' positions along an axis, N x full, in grid_sample's units: -1 and 1 are the image's edges."""
        centre, half = (2 * start + extent) / full - 1, extent / full
        unit = torch.arange(1 - size, size, 2, device=images.device) / size
        # Beyond the centres of the box's outer pixels their values are repeated, so pixels outside the box have no effect.
        return centre[:, None] + (half[:, None] * unit).clamp(-(half - 1 / full)[:, None], (half - 1 / full)[:, None])

    x = positions(draw.left, draw.width, width)
    x = torch.where(draw.flip[:, None], x.flip(1), x)
    y = positions(draw.top, draw.height, height)
    # Stored as two planes, which grid_sample reads twice as fast as pairs.
    grid = torch.stack((x[:, None].expand(n, size, size), y[:, :, None].expand(n, size, size)), 1)
    # No sample is outside the image, so the padding does not matter; MPS does not support border padding.
    return F.grid_sample(pixels, grid.permute(0, 2, 3, 1), align_corners=False)


def _brightness_contrast_saturation(views: Tensor, draw: Draw) -> Tensor:
    """Blend with black, with the mean of the grey image and with the grey image, each clamped to [0, 1]; in place."""
    views.mul_(_each(draw.brightness)).clamp_(0, 1)
    mean = _grey(views.mean((2, 3), keepdim=True))  # N x 1 x 1 x 1; grey is linear, so this is the mean of the grey
    contrast, saturation = _each(draw.contrast), _each(draw.saturation)
    views.mul_(contrast).add_(mean * (1 - contrast)).clamp_(0, 1)
    grey = _grey(views)
    return views.mul_(saturation).add_(grey.mul_(1 - saturation)).clamp_(0, 1)


def _hue(views: Tensor, turns: Tensor) -> Tensor:
    """Rotate the hue and keep value and saturation of HSV: `adjust_hue` without its case distinctions.

    Let V be a pixel's largest channel, C its chroma V - min, and h its hue in sixths of a turn, 0 at red. A channel
    whose primary lies at h0 (0, 2, 4) is a tent of the distance d between h and h0 on the circle:
    V - C clamp(d - 1, 0, 1). Whichever channel is largest, the distance to red is (V - r + g - min + b - min) / C, and
    h is on green's side of red where g > b. Overwrites `views`.
    """
    r, g, b = views.unbind(1)
    value, low = views.amax(1), views.amin(1)
    chroma = value - low
    distance = (g + b).sub_(r).add_(value).sub_(low, alpha=2).div_(chroma.clamp(min=1e-12))
    hue = torch.copysign(distance, g - b).unsqueeze(1)  # N x 1 x H x W, [-3, 3]
    primary = torch.arange(0, 6, 2, device=views.device)
    shift = torch.remainder(6 * turns[:, None] - primary + 3, 6) - 3  # N x 3, [-3, 3)
    # |hue + shift| is d or 6 - d. Its distance to 3 is 3 - d either way, and the tent's slope is where that is in [1, 2].
    rise = torch.add(hue, shift[:, :, None, None], out=views).abs_().sub_(3).abs_().clamp_(1, 2)
    return rise.mul_(chroma.unsqueeze(1)).add_(value.sub_(chroma, alpha=2).unsqueeze(1))


def _grey(images: Tensor) -> Tensor:
    """Return the luma (ITU-R 601-2) of (N, 3, H, W) as (N, 1, H, W), with torchvision's weights."""
    r, g, b = images.unbind(1)
    return (0.2989 * r).add_(g, alpha=0.587).add_(b, alpha=0.114).unsqueeze(1)


def _each(values: Tensor) -> Tensor:
    """Reshape (N,) to (N, 1, 1, 1), with a value for each image."""
    return values.view(-1, 1, 1, 1)
