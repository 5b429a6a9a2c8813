"""Differentiable augmentation of what a discriminator sees, real and fake (Zhao et al. 2020), with a draw for each image."""

from __future__ import annotations

import torch
from torch import Tensor


def diffaugment(images: Tensor, strength: float = 1.0) -> Tensor:
    """Zhao et al.'s colour, translation and cutout of images (N, 3, H, W) in [-1, 1]: differentiable, each with its own draws.

    Unlike `augment` nothing is clamped or overwritten. What comes in from outside the image and what is cut out is 0, grey.
    """

    def uniform(spread: float) -> Tensor:
        return strength * spread * (2 * torch.rand(len(images), 1, 1, 1, device=images.device) - 1)

    x = images + uniform(0.5)  # brightness
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (1 + uniform(1.0))  # saturation
    mean = x.mean((1, 2, 3), keepdim=True)
    x = mean + (x - mean) * (1 + uniform(0.5))  # contrast
    (rows, cut_rows), (columns, cut_columns) = (_shift_and_cut(x, axis, strength) for axis in (2, 3))
    x = rows @ x @ columns.mT
    return x * ~(cut_rows[..., None] & cut_columns[..., None, :])


def _shift_and_cut(x: Tensor, axis: int, strength: float) -> tuple[Tensor, Tensor]:
    """Along one axis of S pixels: shifts by up to S / 8 as matrices of 0 and 1 (N, 1, S, S), and S / 2 to cut, (N, 1, S)."""
    n, size = len(x), x.shape[axis]
    place = torch.arange(size, device=x.device)
    reach, side = round(strength * size / 8), round(strength * size / 2)
    shift = torch.randint(-reach, reach + 1, (n, 1, 1, 1), device=x.device)
    # A product with a permutation has a quick backward pass on CPUs, a gather has a slow one.
    matrix = (place[:, None] + shift == place).to(x.dtype)
    start = torch.randint(size + 1 - side % 2, (n, 1, 1), device=x.device) - side // 2
    return matrix, (place >= start) & (place < start + side)
