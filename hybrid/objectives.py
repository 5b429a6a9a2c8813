"""The paper's lower bounds on the mutual information I(X; Y), equations (2), (3) and (4), in nats.

Each function estimates its bound from one batch. `i_cpc` never exceeds log m. `i_ba` has no such limit, but it omits the
entropy of the data unless you give it; training does not change that constant.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hybrid.errors import HybridError


def gaussian_log_likelihood(x: Tensor, mean: Tensor, sigma: float) -> Tensor:
    """Return log q(x|z) in nats, for a Gaussian decoder with this mean and standard deviation: (N, ...) -> (N,)."""
    squares = (x - mean).float().square().flatten(1)  # (N, D)
    constant = squares.shape[1] * (math.log(sigma) + 0.5 * math.log(2 * math.pi))
    return -squares.sum(1) / (2 * sigma**2) - constant


def i_ba(log_likelihood: Tensor, data_entropy: float = 0.0) -> Tensor:
    """Equation (2), Barber & Agakov 2003: E[log q(x|y) - log p(x)].

    `data_entropy` is the differential entropy h(X) = E[-log p(x)] in nats. If it is unknown, leave it at 0: the value is
    then the bound minus h(X), and differs from the bound by a constant.
    """
    return log_likelihood.mean() + data_entropy


def i_cpc(scores: Tensor, positive: Tensor) -> Tensor:
    """Equation (3), van den Oord et al. 2018: the mean of log [m g+ / (g+ + sum of the m - 1 g-)].

    `scores` (n, m) holds the critic's log g of each x with m candidates; `positive` (n,) int64 is the index of its own y.
    The value is at most log m, for any critic.
    """
    scores = scores.float()
    own = scores.gather(1, positive[:, None]).squeeze(1)
    return math.log(scores.shape[1]) + (own - scores.logsumexp(1)).mean()


def hybrid_bound(ba: Tensor, cpc: Tensor, alpha: float) -> Tensor:
    """Equation (4): alpha * I_BA(x; z) + (1 - alpha) * I_CPC(x; y). It bounds I(X; Z) from below, since I(X; Y) <= I(X; Z)."""
    return alpha * ba + (1 - alpha) * cpc


def gaussian_entropy(samples: Tensor) -> float:
    """Return the entropy in nats of a Gaussian with the covariance of samples (N, ...), an upper bound on h(X).

    Images on [0, 1] have a strongly negative h(X). This estimate is larger, so I_BA computed with it may exceed the mutual
    information: use it to judge the order of magnitude. Raises HybridError unless there are more samples than dimensions.
    """
    rows = samples.flatten(1).double()
    if len(rows) <= rows.shape[1]:
        raise HybridError(f"{len(rows)} samples of {rows.shape[1]} dimensions: give more samples than dimensions")
    return 0.5 * (torch.linalg.slogdet(torch.cov(rows.T)).logabsdet.item() + rows.shape[1] * math.log(2 * math.pi * math.e))
