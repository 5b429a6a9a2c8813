"""Convert images between the usual formats, uint8 and floats, and arrange them in a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hybrid.data.pictures import SIDE, from_pil
from hybrid.errors import HybridError

Images: TypeAlias = Tensor | np.ndarray | Image.Image | Sequence[Image.Image]  # what `as_images` takes
OVER = 1e-3  # tolerance for floats outside [0, 1], because interpolation and half precision may overshoot


def as_images(images: Images) -> Tensor:
    """Convert images in the usual formats to (N, 3, 32, 32), uint8 or float in [0, 1].

    Arrays of numpy or torch are (N, 3, 32, 32) or (N, 32, 32, 3), uint8 or float in [0, 1]; their shape distinguishes them.
    Pillow images, one or a list, may have any size and mode; they become 32 x 32 in the same way as files. For any other
    input, HybridError says what to change.
    """
    if isinstance(images, Image.Image):
        images = [images]
    if isinstance(images, list | tuple):
        if not images:
            raise HybridError("images are an empty list: expected at least one image")
        if all(isinstance(image, Image.Image) for image in images):
            images = np.stack([from_pil(image) for image in images])
        elif all(isinstance(image, np.ndarray | Tensor) for image in images):
            stack = "torch.stack(images)" if isinstance(images[0], Tensor) else "numpy.stack(images)"
            raise HybridError(f"images are a list of arrays: expected one array; of images of one shape give {stack}")
    if not isinstance(images, Tensor):
        if not isinstance(images, np.ndarray):
            raise HybridError(
                f"images are a {type(images).__name__}: expected a tensor, a numpy array or Pillow images; "
                "read files with hybrid.read_image"
            )
        if images.dtype.kind not in "uif":
            raise HybridError(f"images are of numpy type {images.dtype}: expected uint8, or floats from 0 to 1")
        images = torch.from_numpy(np.require(images, images.dtype.newbyteorder("="), ["C", "W"]))
    shape = tuple(images.shape)
    if shape[1:] == (SIDE, SIDE, 3):
        images = images.movedim(3, 1)
    elif shape[1:] != (3, SIDE, SIDE):
        raise HybridError(f"images of shape {shape}: expected (N, 3, 32, 32) or (N, 32, 32, 3); {_shape_help(shape)}")
    if not len(images):
        raise HybridError(f"images of shape {shape}: expected at least one")
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point():
        raise HybridError(f"images are {images.dtype}: expected uint8, or floats from 0 to 1; give 0 to 255 as uint8")
    low, high = (value.item() for value in images.detach().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise HybridError(
            "images have values that are not finite (NaN or infinity): expected 0 to 1; mend or leave out those images"
        )
    if not (low >= -OVER and high <= 1 + OVER):
        raise HybridError(f"images are floats from {low:.4g} to {high:.4g}: expected 0 to 1; {_range_help(low, high)}")
    return images if images.dtype == torch.float32 else images.float()


def _shape_help(shape: tuple[int, ...]) -> str:
    if shape in ((3, SIDE, SIDE), (SIDE, SIDE, 3)):
        return "of a single image give images[None]"
    if len(shape) == 4 and 1 in (shape[1], shape[3]):
        return "make grey images RGB, as by repeating the channel three times"
    if len(shape) == 4 and 3 in (shape[1], shape[3]):
        return "resize them, or give Pillow images, which are resized here"
    return "or Pillow images"


def _range_help(low: float, high: float) -> str:
    if low >= 0 and 1 < high <= 255:
        return "divide by 255, or give them as uint8"
    if low < 0 and low >= -1 - OVER and high <= 1 + OVER:
        return "if they are -1 to 1, give (images + 1) / 2"
    return "undo their normalisation first"


def as_float(images: Tensor) -> Tensor:
    """Convert uint8 images to float in [0, 1], channels_last. Values of float images do not change."""
    images = images / 255 if images.dtype == torch.uint8 else images
    return images.contiguous(memory_format=torch.channels_last)


def to_uint8(images: Tensor) -> Tensor:
    """Round float images in [0, 1] to uint8. Raises HybridError for NaN and infinity, which would become black."""
    if not torch.isfinite(images).all():
        raise HybridError("the images hold values that are not finite: the model that drew them is broken, train it again")
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def tile(images: np.ndarray | Tensor, columns: int) -> np.ndarray:
    """Arrange images (N, 3, H, W) uint8 in a grid (rows * H, columns * W, 3). The rest of the last row is white.

    With fewer images than `columns`, the grid has fewer columns.
    """
    images = torch.as_tensor(images).cpu().numpy()
    columns = min(columns, len(images))
    rows, (height, width) = -(-len(images) // columns), images.shape[2:]
    cells = np.full((rows * columns, 3, height, width), 255, np.uint8)
    cells[: len(images)] = images
    cells = cells.reshape(rows, columns, 3, height, width).transpose(0, 3, 1, 4, 2)
    return cells.reshape(rows * height, columns * width, 3)
