"""Small estimators to test on known mutual information: a critic for equation (3), a decoder for (2), both for (4).

Their inputs are pairs, rows (x, z) of one tensor. In `Both`, as in the paper, the decoder sees all of z = [y, w] and the critic
only y.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hybrid.data.pixels import as_float
from hybrid.models.base import Trainable
from hybrid.objectives import gaussian_log_likelihood, hybrid_bound, i_ba, i_cpc

WIDTH, DIM = 128, 32  # of hidden layers, and of a critic's outputs
LOG_SIGMA = (-5.0, 5.0)  # range of a decoder's log standard deviations


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    """Return a network with two hidden layers: (N, inputs) -> (N, outputs)."""
    hidden = nn.Linear(inputs, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU()
    return nn.Sequential(*hidden, nn.Linear(WIDTH, outputs))


class Critic(Trainable):
    """log g(x, z) = u(x) . v(z), trained with equation (3). The other pairs of a batch are the m - 1 negatives."""

    def __init__(self, see_x: nn.Module, see_z: nn.Module, dim_x: int):
        super().__init__()
        self.see_x, self.see_z, self.dim_x = see_x, see_z, dim_x

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """Return the scores of all pairs: (n, D_x), (m, D_z) -> (n, m)."""
        return self.see_x(x) @ self.see_z(z).T

    def bound(self, x: Tensor, z: Tensor) -> Tensor:
        """Return I_CPC in nats of pairs (m, D_x), (m, D_z)."""
        return i_cpc(self(x, z), torch.arange(len(x), device=x.device))

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        cpc = self.bound(batch[:, : self.dim_x], batch[:, self.dim_x :])
        return -cpc, {"i_cpc": cpc}


class Both(Trainable):
    """Equation (4) of pairs (x, z). A network computes mean and deviations of the Gaussian q(x|z); the critic sees y."""

    def __init__(self, dim_x: int, dim_z: int, dim_y: int, alpha: float):
        super().__init__()
        self.dim_x, self.dim_y, self.alpha = dim_x, dim_y, alpha
        self.critic = Critic(perceptron(dim_x, DIM), perceptron(dim_y, DIM), dim_x)
        self.decoder = perceptron(dim_z, 2 * dim_x)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log q(x|z) in nats: (N, D_x), (N, D_z) -> (N,)."""
        mean, log_sigma = self.decoder(z).float().chunk(2, dim=1)
        log_sigma = log_sigma.clamp(*LOG_SIGMA)
        scale = torch.exp(-log_sigma)
        return gaussian_log_likelihood(x * scale, mean * scale, 1.0) - log_sigma.sum(1)

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return minus equation (4), without the constant alpha h(X)."""
        x, z = batch[:, : self.dim_x], batch[:, self.dim_x :]
        ba, cpc = i_ba(self.log_likelihood(x, z)), self.critic.bound(x, z[:, : self.dim_y])
        return -hybrid_bound(ba, cpc, self.alpha), {"i_ba": ba, "i_cpc": cpc}


class LinearGaussian:
    """q(x|z) = N(A z + b, covariance), fitted in closed form. If (x, z) is multinormal, it is the true conditional."""

    def __init__(self, x: Tensor, z: Tensor):
        inputs = torch.cat([z, torch.ones(len(z), 1)], dim=1).double()
        self.weights = torch.linalg.lstsq(inputs, x.double()).solution
        residual = x - inputs @ self.weights
        self.root = torch.linalg.cholesky(residual.T @ residual / len(x))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log q(x|z) in nats: (N, D_x), (N, D_z) -> (N,)."""
        residual = (x - z.double() @ self.weights[:-1] - self.weights[-1]).T
        white = torch.linalg.solve_triangular(self.root, residual, upper=False).T
        return gaussian_log_likelihood(white, torch.zeros_like(white), 1.0) - self.root.diagonal().log().sum()


def image_net() -> nn.Sequential:
    """Return a network for images (N, 3, 32, 32) in [0, 1] -> (N, WIDTH)."""
    layers, channels = [nn.PixelUnshuffle(2)], 12
    for width in (32, 64):
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.GroupNorm(8, width), nn.ReLU(inplace=True)]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * channels, WIDTH), nn.ReLU(inplace=True))


class Namer(Trainable):
    """q(x|z) of images with a class: `see_z` gives scores (N, 10 copies) of the classes of x, and every image of a class is as
    likely as in p.

    So log q(x|z) - log p(x) = log q(class of x|z) - log p(class of x), and the images' own density is not needed.
    """

    def __init__(self, see_z: SeesImages, labels: Tensor, copies: int):
        super().__init__()
        self.see_z, self.copies = see_z, copies
        self.register_buffer("labels", labels, persistent=False)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """Return log q(class of x|z), summed over copies: indices of images (N, copies), (N, copies of z) -> (N,)."""
        scores = self.see_z(z).unflatten(1, (self.copies, 10)).float().log_softmax(-1)
        return scores.gather(-1, self.labels[x][..., None]).sum((1, 2))

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return minus equation (2), without the constant entropy of the classes."""
        ba = i_ba(self.log_likelihood(batch[:, : self.copies], batch[:, self.copies :]))
        return -ba, {"i_ba": ba}


class SeesImages(nn.Module):
    """Indices of images in `bank`, int64 (N, copies) -> (N, outputs): `net` on each image, then a linear layer on all copies.

    `rows`: how many of the 32 rows of each copy are visible, from the top; None, for training: a random number.
    `bank` (M, 3, 32, 32), uint8, is not a parameter and is not saved.
    """

    def __init__(self, bank: Tensor, net: nn.Module, rows: tuple[int, ...] | None, outputs: int = DIM):
        super().__init__()
        self.register_buffer("bank", bank, persistent=False)
        self.net, self.rows = net, rows
        self.head = nn.Linear(len(rows or (32,)) * WIDTH, outputs)

    def forward(self, places: Tensor) -> Tensor:
        x = as_float(self.bank[places.flatten()])  # (N copies, 3, 32, 32)
        if self.rows is None:
            seen = torch.randint(33, places.shape, device=x.device)
        else:
            seen = torch.tensor(self.rows, device=x.device).expand(places.shape)
        x = x * (torch.arange(32, device=x.device)[:, None] < seen.flatten()[:, None, None, None])
        return self.head(self.net(x).unflatten(0, places.shape).flatten(1))
