"""Spectra of codes and images: is their variance in coarse structure, or in fine detail that a diffusion can hardly predict?"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

SIZES = (2, 4, 8)  # sides of the blocks
BANDS = ((0, 1), (2, 3), (4, 7), (8, 15), (16, 30))  # of the 16 x 16 modes (i, j) of the DCT: first and last i + j


def block_shares(x: Tensor, sizes: Iterable[int] = SIZES) -> Tensor:
    """Return the share of variance in the means of k x k blocks: x (N, C, H, W) -> (sizes, C), in [0, 1].

    The variance is over images and positions, around each channel's mean. White noise has 1 / k^2; natural images much more.
    """
    x = x - x.mean((0, 2, 3), keepdim=True)
    power = x.square().mean((0, 2, 3))
    return torch.stack([F.avg_pool2d(x, size).square().mean((0, 2, 3)) / power for size in sizes])


def dct(size: int) -> Tensor:
    """Return the matrix of the orthonormal DCT-II: (size, size), one frequency per row."""
    place = torch.arange(size, dtype=torch.float64)
    matrix = torch.cos(torch.pi * (place + 0.5) * place[:, None] / size) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix.float()


def modes(x: Tensor) -> Tensor:
    """Return the DCT coefficients of x (N, C, S, S): the same shape, with frequencies instead of positions."""
    basis = dct(x.shape[-1]).to(x)
    return basis @ x @ basis.T


def in_band(first: int, last: int, size: int) -> Tensor:
    """Return the mask of the modes (i, j) with first <= i + j <= last: bool (size, size)."""
    total = torch.arange(size) + torch.arange(size)[:, None]
    return (first <= total) & (total <= last)


def band_powers(x: Tensor, bands: Iterable[tuple[int, int]] = BANDS) -> Tensor:
    """Return the mean variance of the modes in each band: x (N, C, S, S) -> (bands,). White noise of variance 1 has 1."""
    variances = modes(x).var(0).mean(0)  # (S, S)
    return torch.stack([variances[in_band(*band, x.shape[-1]).to(x.device)].mean() for band in bands])


def mixed(coarse: Tensor, fine: Tensor, border: int) -> Tensor:
    """Combine the modes of `coarse` with i + j < border and those of `fine` with i + j >= border: (N, C, S, S) each."""
    size = coarse.shape[-1]
    basis, low = dct(size).to(coarse), in_band(0, border - 1, size).to(coarse.device)
    return basis.T @ torch.where(low, modes(coarse), modes(fine)) @ basis
