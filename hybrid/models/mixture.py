"""A mixture of Gaussians as a diffusion's starting point: given x_t, it predicts v in closed form."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from hybrid.errors import HybridError

FITTED = 20_000  # largest number of points for EM, which takes a second per component for so many on a CPU core


class Mixture(nn.Module):
    """K Gaussians in D dimensions, with full covariances."""

    def __init__(self, count: int, dimensions: int):
        super().__init__()
        self.register_buffer("weights", torch.full((count,), 1 / count))
        self.register_buffer("means", torch.zeros(count, dimensions))
        self.register_buffer("bases", torch.eye(dimensions).repeat(count, 1, 1))  # (K, D, D), components in columns
        self.register_buffer("variances", torch.ones(count, dimensions))  # along them

    @torch.no_grad()
    def fit(self, points: Tensor) -> None:
        """Fit the mixture to points (N, D) by scikit-learn's EM; of more than `FITTED`, to a random choice.

        Raises HybridError if there are fewer points than Gaussians.
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture  # slow to import

        if len(points) < len(self.weights):
            raise HybridError(f"a mixture of {len(self.weights)} Gaussians for {len(points)} codes: give at most one for each")
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:FITTED]
        chosen = points[order.to(points.device)].cpu().numpy()
        # The smallest variance is 1 % of the mean one, so that no Gaussian shrinks to a single point.
        floor = 0.01 * chosen.var(0).mean()
        fitted = GaussianMixture(len(self.weights), reg_covar=floor, init_params="k-means++", max_iter=30, random_state=0)
        with warnings.catch_warnings(category=ConvergenceWarning, action="ignore"):  # 30 steps suffice for a start
            fitted.fit(chosen)
        variances, bases = torch.linalg.eigh(torch.from_numpy(fitted.covariances_).double())
        for buffer, value in (
            (self.weights, torch.from_numpy(fitted.weights_)),
            (self.means, torch.from_numpy(fitted.means_)),
            (self.bases, bases),
            (self.variances, variances),
        ):
            buffer.copy_(value)

    def v(self, x: Tensor, scale: Tensor, spread: Tensor) -> Tensor:
        """Return the best prediction of v: x_t (N, D), sqrt(alpha) and sqrt(1 - alpha) (N, 1) -> (N, D).

        This is E[v | x_t], the mean of the Gaussians' predictions, weighted by their probabilities given x_t.
        """
        scale, spread = scale[:, None], spread[:, None]  # (N, 1, 1)
        along = torch.einsum("nkd,kde->nke", x[:, None] - scale * self.means, self.bases)
        variances = scale**2 * self.variances + spread**2  # of x_t, (N, K, D)
        fits = self.weights.log() - (along.square() / variances + variances.log()).sum(2) / 2
        shares = fits.softmax(1)[:, :, None]  # (N, K, 1)
        along = shares * along * scale * spread * (1 - self.variances) / variances
        return torch.einsum("nke,kde->nd", along, self.bases) - (shares * spread * self.means).sum(1)
