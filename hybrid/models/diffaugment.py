"""Differentiable augmentation of the discriminator's inputs, real and fake (Zhao et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor


def diffaugment(images: Tensor, strength: float = 1.0) -> Tensor:
    """Apply colour, translation and cutout to images (N, 3, H, W) in [-1, 1]. Each image has its own random parameters.

    Unlike `augment`, it does not clamp or work in place. Pixels shifted in from outside and pixels cut out are 0, grey.
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
    """Draw shifts of up to S / 8 along an axis of S pixels, as 0-1 matrices (N, 1, S, S), and S / 2 pixels to cut (N, 1, S)."""
    n, size = len(x), x.shape[axis]
    place = torch.arange(size, device=x.device)
    reach, side = round(strength * size / 8), round(strength * size / 2)
    shift = torch.randint(-reach, reach + 1, (n, 1, 1, 1), device=x.device)
    # On CPUs the backward pass of a matrix product is fast, that of a gather slow.
    matrix = (place[:, None] + shift == place).to(x.dtype)
    start = torch.randint(size + 1 - side % 2, (n, 1, 1), device=x.device) - side // 2
    return matrix, (place >= start) & (place < start + side)
