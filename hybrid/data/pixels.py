"""Images as uint8 and as floats, and many of them on one sheet."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def as_float(images: Tensor) -> Tensor:
    """uint8 images to float in [0, 1], channels_last; float ones as they are."""
    images = images / 255 if images.dtype == torch.uint8 else images
    return images.contiguous(memory_format=torch.channels_last)


def to_uint8(images: Tensor) -> Tensor:
    """Float images in [0, 1] to uint8, rounded."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def tile(images: np.ndarray | Tensor, columns: int) -> np.ndarray:
    """Images (N, 3, H, W) uint8 as one sheet (rows * H, columns * W, 3), the last row filled up with white.

    Fewer than a row of them make a row as short.
    """
    images = torch.as_tensor(images).cpu().numpy()
    columns = min(columns, len(images))
    rows, (height, width) = -(-len(images) // columns), images.shape[2:]
    cells = np.full((rows * columns, 3, height, width), 255, np.uint8)
    cells[: len(images)] = images
    cells = cells.reshape(rows, columns, 3, height, width).transpose(0, 3, 1, 4, 2)
    return cells.reshape(rows * height, columns * width, 3)
