"""Weights' gradients of convolutions of small maps as matrix products, for CPUs with AMX.

oneDNN's kernel for these gradients takes up to eight times as long as the convolution itself where a map has only a few places
(results/bench/step.md). The products sum the same terms.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALL = 6**2  # places of an output map, about; above, copying the inputs costs more than the products save


def take_products(networks: list[nn.Module], device: torch.device) -> None:
    """From now on, convolutions of the networks that autocast runs in bfloat16 take this way, on a CPU with AMX."""
    if device.type == "cpu" and torch.cpu._is_amx_tile_supported():
        for module in _convolutions(networks):
            module._conv_forward = partial(_forward, module)


def leave_products(networks: list[nn.Module]) -> None:
    """Undo `take_products`."""
    for module in _convolutions(networks):
        vars(module).pop("_conv_forward", None)


def _convolutions(networks: list[nn.Module]) -> list[nn.Conv2d]:
    return [m for network in networks for m in network.modules() if isinstance(m, nn.Conv2d) and is_plain(m)]


def is_plain(module: nn.Conv2d) -> bool:
    """Return whether a convolution has one group, no dilation, and a number of zeros as padding."""
    zeros = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return zeros and module.groups == 1 and module.dilation == (1, 1)


def _forward(module: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    (height, width), (down, right) = x.shape[-2:], module.stride
    trains = weight.requires_grad and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")
    small = (height // down) * (width // right) <= SMALL and x.is_contiguous(memory_format=torch.channels_last)
    if not (trains and small):
        return F.conv2d(x, weight, bias, module.stride, module.padding)
    low = torch.get_autocast_dtype("cpu")
    bias = None if bias is None else bias.to(low)
    return Convolution.apply(x.to(low), weight.to(low), bias, module.stride, module.padding)


class Convolution(torch.autograd.Function):
    """F.conv2d with the weights' gradient as a product: (N, C, H, W), (O, C, K, L), (O,) or None -> (N, O, P, Q)."""

    @staticmethod
    def forward(ctx, x, weight, bias, stride, padding):
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx, gradient):
        (x, weight), wanted = ctx.saved_tensors, ctx.needs_input_grad
        of_x = of_bias = None
        if wanted[0]:
            of_x = torch.nn.grad.conv2d_input(x.shape, weight, gradient, ctx.stride, ctx.padding)
        if wanted[2]:  # by the convolution's own backward pass, oneDNN would compute the weights' gradient as well
            of_bias = gradient.sum((0, 2, 3))
        return of_x, weights_gradient(gradient, x, weight.shape[-2:], ctx.stride, ctx.padding), of_bias, None, None


def weights_gradient(
    gradient: Tensor, x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Return the gradient of the weights, (O, C, K, L), from that of the outputs, (N, O, P, Q), and the inputs (N, C, H, W).

    It is a product for each row of the kernel. Images come after rows, so the inputs of such a product lie in one block.
    """
    (above, beside), (height, width), (down, right) = padding, kernel, stride
    x = F.pad(x.permute(2, 0, 3, 1), (0, 0, beside, beside, 0, 0, above, above))
    gradient = gradient.permute(2, 0, 3, 1)  # (P, N, Q, O)
    below, last = down * (gradient.shape[0] - 1) + 1, right * (gradient.shape[2] - 1) + 1
    x = torch.stack([x[:, :, place : place + last : right] for place in range(width)], dim=3)  # (H, N, Q, L, C)
    gradient = gradient.flatten(0, 2).T
    rows = [x[row : row + below : down].flatten(3).flatten(0, 2) for row in range(height)]
    return torch.stack([(gradient @ row).unflatten(1, (width, -1)) for row in rows], dim=1).permute(0, 3, 1, 2)
