"""Batch norm with the statistics of the whole batch, even when several processes share it, or of equal parts of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hybrid.machine import distributed


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return each channel's mean and variance, float32 (1, C, 1, 1), over x (N, C, H, W) of all processes; differentiable."""
    dims = (0, 2, 3)
    mean = distributed.mean(x.float().mean(dims, keepdim=True))
    return mean, distributed.mean((x.float() - mean).square().mean(dims, keepdim=True))


def norms(network: nn.Module) -> list[BatchNorm]:
    return [module for module in network.modules() if isinstance(module, BatchNorm)]


def splits(network: nn.Module) -> bool:
    """Return whether all of its batch norms can normalise parts of a batch alone."""
    return all(isinstance(m, BatchNorm) for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))


class BatchNorm(nn.SyncBatchNorm):
    """nn.BatchNorm2d in one process. Several processes hold equal shards of a batch; each normalises by the whole batch.

    torch supports this on GPUs only, so on CPUs it is done here, with autograd. With `shared = False` each process normalises
    its own images alone, as MoCo does for its keys.
    """

    shared = True
    parts = 1  # split batch norm: in training each of this many equal parts is normalised alone; running statistics stay

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same shape and type."""
        if self.training and self.parts > 1:
            return self._by_parts(x)
        if not (self.training and self.shared and distributed.world() > 1):
            return nn.modules.batchnorm._BatchNorm.forward(self, x)
        if x.is_cuda:
            return super().forward(x)
        mean, variance = moments(x)
        count = distributed.world() * x.numel() // x.shape[1]
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean.detach().flatten(), self.momentum)
        self.running_var.lerp_(variance.detach().flatten() * (count / (count - 1)), self.momentum)
        return self._normalised(x.permute(0, 2, 3, 1), mean.flatten(), variance.flatten()).permute(0, 3, 1, 2)

    def _by_parts(self, x: Tensor) -> Tensor:
        parts = x.permute(0, 2, 3, 1).reshape(self.parts, -1, x.shape[1])  # (P, N / P * H * W, C)
        mean = parts.mean(1, keepdim=True, dtype=torch.float32)
        variance = (parts - mean).square().mean(1, keepdim=True)  # on a CPU a third of the time of torch.var_mean
        y = self._normalised(parts, mean, variance)
        return y.view(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)

    def _normalised(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Normalise x (..., C) by broadcastable moments, then scale and shift if affine; float32 inside, x's type outside."""
        scale, shift = (variance + self.eps).rsqrt(), 0.0
        if self.affine:
            scale, shift = scale * self.weight, self.bias
        return torch.addcmul(shift - mean * scale, x.float(), scale).to(x.dtype)
