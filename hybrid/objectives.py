"""The paper's lower bounds on the mutual information I(X; Y), equations (2), (3) and (4), in nats.

Each is an estimate from one batch. `i_cpc` never exceeds log m; `i_ba` has no such cap, but holds only up to the entropy
of the data, a constant that no training changes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gaussian_log_likelihood(x: Tensor, mean: Tensor, sigma: float) -> Tensor:
    """log q(x|z) of a Gaussian decoder with the given mean and standard deviation: (N, ...) -> (N,) nats."""
    squares = (x - mean).float().square().flatten(1)  # (N, D)
    constant = squares.shape[1] * (math.log(sigma) + 0.5 * math.log(2 * math.pi))
    return -squares.sum(1) / (2 * sigma**2) - constant


def i_ba(log_likelihood: Tensor, data_entropy: float = 0.0) -> Tensor:
    """Equation (2), Barber & Agakov 2003: E[log q(x|y) - log p(x)].

    `data_entropy` is the differential entropy h(X) = E[-log p(x)] in nats where it is known. Left at 0 it is omitted: the
    value is then the bound minus h(X), which moves with the bound.
    """
    return log_likelihood.mean() + data_entropy


def i_cpc(scores: Tensor, positive: Tensor) -> Tensor:
    """Equation (3), van den Oord et al. 2018: the mean of log [m g+ / (g+ + sum of the m - 1 g-)].

    `scores` (n, m) are log g, the critic's, of each x with m candidates; `positive` (n,) int64 says which is its own y.
    At most log m, whatever the critic.
    """
    scores = scores.float()
    own = scores.gather(1, positive[:, None]).squeeze(1)
    return math.log(scores.shape[1]) + (own - scores.logsumexp(1)).mean()


def hybrid_bound(ba: Tensor, cpc: Tensor, alpha: float) -> Tensor:
    """Equation (4): alpha * I_BA(x; z) + (1 - alpha) * I_CPC(x; y), itself a bound on I(X; Z) as I(X; Y) <= I(X; Z)."""
    return alpha * ba + (1 - alpha) * cpc


def gaussian_entropy(samples: Tensor) -> float:
    """The entropy in nats of a Gaussian with the samples' covariance (N, ...): an upper bound on their h(X).

    Images on [0, 1] have a strongly negative h(X). This estimate exceeds it, so I_BA with it is no longer sure to be a
    lower bound: use it to place the value, not to claim it. Needs more samples than dimensions.
    """
    rows = samples.flatten(1).double()
    return 0.5 * (torch.linalg.slogdet(torch.cov(rows.T)).logabsdet.item() + rows.shape[1] * math.log(2 * math.pi * math.e))
