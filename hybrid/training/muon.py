"""timm's Muon (Jordan et al. 2024) with its iteration in the device's precision."""

from __future__ import annotations

import torch
from timm.optim import muon
from torch import Tensor

from hybrid.machine import precision

TIMM_ITERATION = muon.zeropower_via_newtonschulz


class Muon(muon.Muon):
    """timm's Muon iterates in bfloat16 on all devices; without bfloat16 units that takes ten times as long as float32."""

    def step(self, closure=None):
        before = muon.zeropower_via_newtonschulz
        muon.zeropower_via_newtonschulz = orthogonalised  # timm has no option for the precision
        try:
            return super().step(closure)
        finally:
            muon.zeropower_via_newtonschulz = before


def orthogonalised(
    matrix: Tensor,
    steps: int,
    coefficients: list[tuple[float, float, float]],
    eps: float,
    safety_factor: float,
    scale_eps: bool,
) -> Tensor:
    """Move the singular values of a matrix (m, n) close to 1 by `steps` Newton-Schulz steps. The arguments are timm's.

    In bfloat16 this is timm's iteration. In float32, for m < n, it computes polynomials of the small A = X X^T and multiplies X
    once: X_k = Q_k X_0 with Q_k+1 = P_k Q_k, P = a + b A + c A^2 and A_k+1 = P_k A_k P_k, as all of these commute. It needs two
    products of m x m by m x n in total, timm's two per step. Forming A squares the condition number, too much for bfloat16.
    """
    if precision.dtype(matrix.device) == torch.bfloat16 or scale_eps or matrix.ndim > 2:
        return TIMM_ITERATION(matrix, steps, coefficients, eps=eps, safety_factor=safety_factor, scale_eps=scale_eps)
    x = matrix.float()
    x = x.T if len(x) > x.shape[1] else x
    if 2 * x.shape[1] < 3 * len(x):  # nearly square: this would not be faster
        return TIMM_ITERATION(matrix, steps, coefficients, eps=eps, safety_factor=safety_factor, dtype=torch.float32)
    x = x / (x.norm() * safety_factor).clamp_min(eps)
    gram, q = x @ x.T, None
    for k in range(steps):
        a, b, c = coefficients[min(k, len(coefficients) - 1)]
        p = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        p.diagonal().add_(a)
        q = p if q is None else p @ q
        if k < steps - 1:
            gram = p @ gram @ p
    x = q @ x
    return x.T if len(matrix) > matrix.shape[1] else x
