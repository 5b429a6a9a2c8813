"""timm's Muon (Jordan et al. 2024) with its iteration in the precision that the device computes in."""

from __future__ import annotations

import torch
from timm.optim import muon
from torch import Tensor

from hybrid.machine import precision

THEIRS = muon.zeropower_via_newtonschulz


class Muon(muon.Muon):
    """timm's, which iterates in bfloat16 on every device: without units for it ten times slower than in float32."""

    def step(self, closure=None):
        theirs = muon.zeropower_via_newtonschulz
        muon.zeropower_via_newtonschulz = orthogonalised  # timm has no option for its precision
        try:
            return super().step(closure)
        finally:
            muon.zeropower_via_newtonschulz = theirs


def orthogonalised(
    matrix: Tensor,
    steps: int,
    coefficients: list[tuple[float, float, float]],
    eps: float,
    safety_factor: float,
    scale_eps: bool,
) -> Tensor:
    """A matrix (m, n) with singular values near 1 in place of its own, by `steps` Newton-Schulz steps: timm's arguments.

    In bfloat16 timm's own. In float32 for m < n the polynomials are taken of the small X X^T, and X itself is multiplied once:
    X_k = Q_k X_0 with Q_k+1 = P_k Q_k, P = a + b A + c A^2 and A_k+1 = P_k A_k P_k, as all of these commute. That is two
    products of m x m by m x n where each step has two. In bfloat16 the squared condition would be too much.
    """
    if precision.dtype(matrix.device) == torch.bfloat16 or scale_eps or matrix.ndim > 2:
        return THEIRS(matrix, steps, coefficients, eps=eps, safety_factor=safety_factor, scale_eps=scale_eps)
    x = matrix.float()
    x = x.T if len(x) > x.shape[1] else x
    if 2 * x.shape[1] < 3 * len(x):  # nearly square: nothing to gain
        return THEIRS(matrix, steps, coefficients, eps=eps, safety_factor=safety_factor, dtype=torch.float32)
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
