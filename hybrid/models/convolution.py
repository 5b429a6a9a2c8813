"""3x3 convolutions of small maps with a fifth to a third of the multiplications, for CPUs.

Winograd, *Arithmetic Complexity of Computations*, 1980; Lavin & Gray, *Fast Algorithms for Convolutional Neural Networks*,
2016. Here a tile is the whole map, so its padding costs nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

POINTS = (0, 1, -1, 1 / 2, -2, -1 / 2, 2)  # where polynomials are evaluated; infinity is added
SIDES = range(2, 7)  # with more points, rounding errors grow
ENOUGH = 2**20  # images times inputs times outputs; below, the transforms cost more than they save


def _matrices(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return A (side^2, P), G (P, 9) and B (P, side^2).

    The convolution of a map x (side^2,) with a kernel k (9,) is A ((G k) * (B x)), with P products instead of 9 side^2.
    """

    def values(coefficients: int) -> Tensor:  # of a polynomial: (coefficients,) -> (side + 2,)
        finite = torch.tensor(POINTS[: side + 1], dtype=torch.float64)
        return torch.cat([torch.vander(finite, coefficients, increasing=True), torch.eye(coefficients).double()[-1:]])

    if side == 2:  # no place is far from both borders, so three products do, instead of four
        a, g, b = ([1, 1, 0], [1, 0, 1]), ([0, 1, 0], [0, -1, 1], [1, -1, 0]), ([1, 1], [0, 1], [1, 0])
        of_line = [torch.tensor(m, dtype=torch.float64) for m in (a, g, b)]
    else:
        of_line = [values(side).T, values(3), torch.linalg.inv(values(side + 2)).T[:, 1:-1]]  # without the padding
    return tuple(torch.kron(m, m).float() for m in of_line)


MATRICES = {side: _matrices(side) for side in SIDES}


class Conv3x3(nn.Conv2d):
    """nn.Conv2d with a 3x3 kernel, padding 1 and no bias: (N, C, H, W) -> (N, O, H, W).

    In float32 on a CPU, small square maps take fewer multiplications, with the same result up to rounding
    (results/bench/step.md).
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        float32 = x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        small = x.shape[-2] == x.shape[-1] in SIDES and len(x) * self.in_channels * self.out_channels >= ENOUGH
        if float32 and small and not torch.compiler.is_compiling():
            return self._with_fewer_products(x)
        return super().forward(x)

    def _with_fewer_products(self, x: Tensor) -> Tensor:
        side = x.shape[-1]
        a, g, b = MATRICES[side]
        inputs = _each(b, x.permute(0, 2, 3, 1).flatten(1, 2))  # (N, P, C)
        kernels = self.weight.permute(2, 3, 1, 0).flatten(0, 1)  # (9, C, O)
        kernels = (g @ kernels.flatten(1)).unflatten(1, kernels.shape[1:])  # (P, C, O)
        products = inputs.transpose(0, 1) @ kernels  # (P, N, O)
        y = _each(a, products.transpose(0, 1))  # (N, side^2, O)
        return y.unflatten(1, (side, side)).permute(0, 3, 1, 2)


def _each(matrix: Tensor, x: Tensor) -> Tensor:
    """(P, S), (N, S, C) -> (N, P, C)."""
    return matrix.expand(len(x), -1, -1) @ x
