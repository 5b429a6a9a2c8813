"""3x3 convolutions of 2x2 maps as matrix products, which takes a CPU a quarter of the time of torch's convolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST = (2, 2)  # a map on which every place of the output sees every place of the input
# The tap of the kernel between each place (i, j) of the output and each place (k, m) of the input.
TAPS = [3 * (k - i + 1) + m - j + 1 for i in (0, 1) for j in (0, 1) for k in (0, 1) for m in (0, 1)]


class Conv3x3(nn.Conv2d):
    """nn.Conv2d with a 3x3 kernel, padding 1 and no bias: (N, C, H, W) -> (N, O, H, W).

    In float32 on a CPU, 2x2 maps take one matrix product instead, with the same result up to rounding. Five of nine taps of
    the convolution meet only padding there (results/bench/step.md).
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        float32 = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        if float32 and x.shape[-2:] == SMALLEST and not torch.compiler.is_compiling():
            return self._product(x)
        return super().forward(x)

    def _product(self, x: Tensor) -> Tensor:
        taps = self.weight.permute(0, 2, 3, 1).flatten(1, 2)  # (O, 9, C)
        taps = taps.index_select(1, torch.tensor(TAPS)).unflatten(1, (4, 4))  # (O, to, from, C)
        matrix = taps.transpose(0, 1).flatten(2).flatten(0, 1)  # (to O, from C)
        y = F.linear(x.permute(0, 2, 3, 1).flatten(1), matrix)
        return y.unflatten(1, (*SMALLEST, -1)).permute(0, 3, 1, 2)
