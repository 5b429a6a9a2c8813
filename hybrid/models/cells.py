"""NVAE's residual cells (Vahdat & Kautz 2020, section 3.1). Encoder and decoder consist of them.

NVAE multiplies each branch by 0.1 to keep thirty groups of latents stable. With the few cells here the plain sum learns
faster, so the last weight of each branch starts at zero instead.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hybrid.models.batchnorm import BatchNorm
from hybrid.models.convolution import Conv3x3


class Cell(nn.Module):
    """x + branch(x): (N, C, H, W) -> (N, C, H, W)."""

    branch: nn.Sequential

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class EncoderCell(Cell):
    """Two times BN, swish, 3x3, then squeeze-excite (NVAE, figure 3b)."""

    def __init__(self, channels: int):
        super().__init__()
        self.branch = nn.Sequential(
            BatchNorm(channels),
            nn.SiLU(),
            Conv3x3(channels, channels),
            BatchNorm(channels),
            nn.SiLU(),
            Conv3x3(channels, channels),
            SqueezeExcite(channels),
        )
        nn.init.zeros_(self.branch[-2].weight)


class DecoderCell(Cell):
    """BN, widening 1x1, BN, swish, depthwise, BN, swish, narrowing 1x1, BN, squeeze-excite (NVAE, figure 3a)."""

    def __init__(self, channels: int, expansion: int, kernel: int):
        super().__init__()
        wide = channels * expansion
        self.branch = nn.Sequential(
            BatchNorm(channels),
            nn.Conv2d(channels, wide, 1, bias=False),
            BatchNorm(wide),
            nn.SiLU(),
            nn.Conv2d(wide, wide, kernel, padding=kernel // 2, groups=wide, bias=False),
            BatchNorm(wide),
            nn.SiLU(),
            nn.Conv2d(wide, channels, 1, bias=False),
            BatchNorm(channels),
            SqueezeExcite(channels),
        )
        nn.init.zeros_(self.branch[-2].weight)


class SqueezeExcite(nn.Module):
    """x times a gate for each channel, which depends on the means of all channels, through NVAE's max(C / 16, 4) channels.

    The means are those of average pooling, whose gradient is in channels_last. The gradient of `x.mean` is not, and on CPUs
    adding it to one in channels_last takes ten times as long.
    """

    def __init__(self, channels: int):
        super().__init__()
        narrow = max(channels // 16, 4)
        self.fc1, self.fc2 = nn.Conv2d(channels, narrow, 1), nn.Conv2d(narrow, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape."""
        means = F.avg_pool2d(x, x.shape[-2:])
        return x * self.fc2(self.fc1(means).relu()).sigmoid()


def norm_swish(channels: int) -> nn.Sequential:
    """Return BN and swish, to end a chain of pre-activation cells."""
    return nn.Sequential(BatchNorm(channels), nn.SiLU())
