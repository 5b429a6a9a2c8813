"""NVAE (Vahdat & Kautz 2020) with few groups and cells: the table's variational autoencoder.

x -> z_1, ..., z_L: groups of latents from coarse to fine. The bottom-up encoder goes from 16 x 16 to the coarsest resolution
and computes features for each group. The top-down generative path starts there and shares its state with the posteriors
(section 2). Images are float (N, 3, 32, 32) in [0, 1]; the noise of a whole model is (N, D), with D latents in all.
Written from the paper, with these differences: no flows; z is added to the state, not concatenated; the likelihood is one
logistic, not a mixture; branches of cells start at zero, instead of counting a tenth; the warm-up opens groups one by one.
"""

from __future__ import annotations

import math
from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybrid.data.augment import mirrored
from hybrid.data.pixels import as_float
from hybrid.machine.precision import float32
from hybrid.models.base import Trainable, in_batches
from hybrid.models.batchnorm import BatchNorm
from hybrid.models.cells import DecoderCell, EncoderCell, norm_swish
from hybrid.profiles import schema

DIMENSIONS = 3 * 32 * 32


class Group(nn.Module):
    """One group of latents on the top-down path: its prior, its posterior relative to the prior, and the cells below it."""

    def __init__(self, config: schema.NVAE, width: int, size: int, enter: nn.Module, top: bool):
        super().__init__()
        self.shape = (config.latents, size, size)
        self.enter = enter
        # The prior of the first group is N(0, 1).
        self.prior = None if top else nn.Sequential(norm_swish(width), nn.Conv2d(width, 2 * config.latents, 1))
        self.posterior = nn.Sequential(norm_swish(width), nn.Conv2d(width, 2 * config.latents, 3, padding=1))
        self.take = nn.Conv2d(config.latents, width, 1)
        self.cells = nn.Sequential(*(DecoderCell(width, config.expansion, config.kernel) for _ in range(config.cells)))

    def forward(self, h: Tensor, noise: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """State, noise and the image's features (None: sample from the prior) -> new state, z (N, d), KL (N,) in nats."""
        h = self.enter(h)
        noise = noise.unflatten(1, self.shape)
        mean, log_sigma = (torch.zeros_like(noise),) * 2 if self.prior is None else gaussian(self.prior(h))
        kl = torch.zeros_like(noise)
        if features is not None:
            delta_mean, delta_log_sigma = gaussian(self.posterior(features + h))
            kl = residual_kl(log_sigma, delta_mean, delta_log_sigma)
            mean, log_sigma = mean + delta_mean, log_sigma + delta_log_sigma
        z = mean + log_sigma.exp() * noise
        return self.cells(h + self.take(z)), z.flatten(1), kl.flatten(1).sum(1)


class SpectralPenalty(nn.Module):
    """The sum of the largest singular values of weights, each read as a matrix (out, rest) (section 3.2).

    In training each call makes one step of the power iteration. Weights of the same shape are processed together.
    """

    def __init__(self, weights: list[Tensor]):
        super().__init__()
        for i, w in enumerate(_by_shape(weights)):
            self.register_buffer(f"u{i}", F.normalize(torch.randn(w.shape[0], w.shape[1]), dim=1))
            self.register_buffer(f"v{i}", F.normalize(torch.randn(w.shape[0], w.shape[2]), dim=1))

    def sigmas(self, weights: list[Tensor]) -> Tensor:
        """Return estimates of the largest singular values, (len(weights),), ordered by shape."""
        estimates = []
        for i, w in enumerate(_by_shape(weights)):
            u, v = getattr(self, f"u{i}"), getattr(self, f"v{i}")
            if self.training:
                with torch.no_grad():
                    v.copy_(_direction(torch.einsum("nrc,nr->nc", w, u), v))
                    u.copy_(_direction(torch.einsum("nrc,nc->nr", w, v), u))
            # Copies, because autograd keeps them until the backward pass and the next call overwrites the buffers.
            estimates.append(torch.einsum("nr,nrc,nc->n", u.clone(), w, v.clone()))
        return torch.cat(estimates)

    def forward(self, weights: list[Tensor]) -> Tensor:
        with float32(weights[0].device):
            return self.sigmas(weights).sum()


class NVAE(Trainable):
    """A hierarchical VAE with residual normal posteriors and a discretised logistic likelihood."""

    leaves_out = True  # closed groups have no part in the loss

    def __init__(self, config: schema.NVAE):
        super().__init__()
        self.config = config
        scales = len(config.groups)
        widths = [config.channels * min(2 ** (scales - 1 - i), 4) for i in range(scales)]  # coarse to fine, like all lists here
        sizes = [16 // 2 ** (scales - 1 - i) for i in range(scales)]
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, config.channels, 3, padding=1))
        self.start = nn.Parameter(torch.zeros(1, widths[0], sizes[0], sizes[0]))
        up, down = [], []
        for scale, (count, width, size) in enumerate(zip(config.groups, widths, sizes, strict=True)):
            for group in range(count):
                enter, leave = nn.Identity(), []
                if scale > 0 and group == 0:  # from the coarser resolution
                    above = widths[scale - 1]
                    enter = nn.Sequential(norm_swish(above), nn.Conv2d(above, 4 * width, 1), nn.PixelShuffle(2))
                if scale < scales - 1 and group == count - 1:  # from the finer one
                    below = widths[scale + 1]
                    leave = [norm_swish(below), nn.Conv2d(below, width, 3, stride=2, padding=1)]
                down.append(Group(config, width, size, enter, top=not down))
                up.append(nn.Sequential(*leave, *(EncoderCell(width) for _ in range(config.cells))))
        self.up, self.down = nn.ModuleList(up), nn.ModuleList(down)
        width = config.channels
        self.tail = nn.Sequential(norm_swish(width), nn.Conv2d(width, 24, 3, padding=1), nn.PixelShuffle(2))
        self.dims = [math.prod(group.shape) for group in down]  # latents of each group
        self.spectral = SpectralPenalty(self._conv_weights())

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return minus the ELBO of images (N, 3, 32, 32) uint8, mirrored at random, plus penalties, in nats per dimension."""
        x = as_float(mirrored(batch, self.config.flip))
        opened = open_groups(len(self.dims), self.progress, self.config.kl_warmup)
        mean, log_likelihood, kl, _ = self._elbo(x, torch.randn(len(x), sum(self.dims), device=x.device), opened)
        # Penalise the largest scale of each batch norm too: scales could undo the penalty on the weights before them.
        scales = sum(m.weight.abs().max() for m in self.modules() if isinstance(m, BatchNorm))
        penalty = self.spectral(self._conv_weights()) + scales
        weights = kl_weights(kl.detach().mean(0), self.dims, self.progress, self.config.kl_warmup)
        nats = ((kl * weights).sum(1) - log_likelihood).mean()  # autocast would compute `kl @ weights` in bfloat16
        loss = (nats + self.config.spectral * penalty) / DIMENSIONS
        return loss, {
            "loss": loss,
            "bits_per_dim": _bits(log_likelihood, kl).mean(),
            "kl": kl.sum(1).mean(),
            "mse": 1e3 * (x - mean).square().mean(),
            "penalty": penalty,
        }

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Return posterior means: `z` (N, D) of all groups, which the table judges, and `z1` of the top group alone."""
        z = in_batches(lambda x: self._elbo(as_float(x))[3], self.start.device, images)
        return {"z": z, "z1": z[:, : self.dims[0]]}

    def reconstruct(self, images: Tensor) -> Tensor:
        """Decode the posterior means to images, clipped to [0, 1]."""
        return in_batches(lambda x: self._elbo(as_float(x))[0], self.start.device, images).clamp(0, 1)

    def bits_per_dim(self, images: Tensor, seed: int = 0) -> float:
        """Return minus the ELBO in bits per dimension, for images with 256 levels, from one sample of z per image."""
        noise = torch.randn(len(images), sum(self.dims), generator=torch.Generator().manual_seed(seed))

        def bits(x: Tensor, noise: Tensor) -> Tensor:
            with float32(x.device):  # a sum of thousands of terms
                return _bits(*self._elbo(as_float(x), noise)[1:3])

        return in_batches(bits, self.start.device, images, noise).mean().item()

    def sample(self, count: int, steps: int = 1, eta: float = 0.0, seed: int = 0, order: int = 1) -> Tensor:
        """Draw `count` images: the decoder's mean at samples from the prior. `steps`, `eta` and `order` have no effect."""
        noise = torch.randn(count, sum(self.dims), generator=torch.Generator().manual_seed(seed))
        noise *= self.config.temperature
        return in_batches(lambda x: self._descend(x, [])[0], self.start.device, noise).clamp(0, 1)

    def _elbo(self, x: Tensor, noise: Tensor | None = None, opened: int | None = None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images -> the decoder's mean; log p(x|z) (N,) and the groups' KLs (N, L) in nats; z (N, D).

        Without noise, z is the posterior means. Groups after the first `opened` take the means of their priors.
        """
        noise = x.new_zeros(len(x), sum(self.dims)) if noise is None else noise
        h, features = self.stem(2 * x - 1), []
        for stage in reversed(self.up):
            h = stage(h)
            features.insert(0, h)
        if opened is not None:
            features, place = features[:opened], sum(self.dims[:opened])
            noise = F.pad(noise[:, :place], (0, noise.shape[1] - place))
        mean, log_scale, kl, z = self._descend(noise, features)
        return mean, logistic_log_likelihood(x, mean, log_scale).flatten(1).sum(1), kl, z

    def _descend(self, noise: Tensor, features: list[Tensor]) -> tuple[Tensor, ...]:
        """Noise (N, D) and features of the first groups -> the logistic's mean and log scale, KLs (N, L), z (N, D)."""
        h, zs, kls = self.start.expand(len(noise), -1, -1, -1), [], []
        for group, part, seen in zip_longest(self.down, noise.split(self.dims, 1), features):
            h, z, kl = group(h, part, seen)
            zs.append(z)
            kls.append(kl)
        mean, log_scale = self.tail(h).float().chunk(2, 1)
        # Scales range from e^-8, a tenth of a level, to e^2, almost uniform on [0, 1].
        return 0.5 + 0.5 * mean, soft_clamp(log_scale) - 3, torch.stack(kls, 1), torch.cat(zs, 1)

    def _conv_weights(self) -> list[Tensor]:
        return [m.weight for m in self.modules() if isinstance(m, nn.Conv2d)]


def soft_clamp(x: Tensor) -> Tensor:
    """Map x smoothly into (-5, 5); nearly the identity around 0."""
    return 5 * torch.tanh(x / 5)


def residual_kl(log_sigma: Tensor, delta_mean: Tensor, delta_log_sigma: Tensor) -> Tensor:
    """Return KL(q || p) in nats, elementwise, for q = N(mu + delta mu, sigma delta sigma), p = N(mu, sigma) (section 3.2)."""
    return 0.5 * ((delta_mean / log_sigma.exp()).square() + torch.expm1(2 * delta_log_sigma)) - delta_log_sigma


def open_groups(groups: int, progress: float, warmup: float) -> int:
    """Return how many groups see the image: the warm-up opens them one by one, the coarsest first (Li et al. 2020).

    If all were open from the start, a short training would put all information into the finest group and none into the others.
    """
    return groups if progress >= warmup else 1 + int(progress / warmup * groups)


def kl_weights(kl: Tensor, dims: list[int], progress: float, warmup: float) -> Tensor:
    """Return the weight of each group's KL at this fraction of the training (appendix A): mean KLs (L,) -> (L,).

    The weights rise to 1 over `warmup`. Until then they are proportional to each group's KL per latent, with a mean of 1 times
    the ramp: a group that carries little information has a small penalty, so it is not switched off.
    """
    if progress >= warmup:
        return torch.ones_like(kl)
    per_latent = kl / kl.new_tensor(dims) + 1e-6  # if all KLs are 0, the weights are equal
    return progress / warmup * per_latent / per_latent.mean()


def logistic_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Return log P(x) in nats, elementwise, of x in {0, 1/255, ..., 1} under a discretised logistic distribution.

    P(x) is the mass between the midpoints around x; the lowest and highest levels include the tails (Salimans et al. 2017,
    section 2.1, with one component). With the sigmoid s, s(a) - s(b) = s(a) s(-b) (1 - e^(b - a)), so there is no cancellation
    even far from the mean.
    """
    half, scale = 0.5 / 255, log_scale.exp()
    above, below = F.logsigmoid((x - mean + half) / scale), F.logsigmoid((mean - x + half) / scale)
    inner = torch.log(-torch.expm1(-2 * half / scale))
    lowest, highest = x < half, x > 1 - half
    return torch.where(highest, 0, above) + torch.where(lowest, 0, below) + torch.where(lowest | highest, 0, inner)


def gaussian(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Split a convolution's output into means and log standard deviations, float32, both softly clamped to (-5, 5)."""
    return soft_clamp(parameters.float()).chunk(2, 1)


def _by_shape(weights: list[Tensor]) -> list[Tensor]:
    """Read weights as matrices (out, rest) and stack those of equal shape."""
    stacks = {}
    for weight in weights:
        matrix = weight.flatten(1)
        stacks.setdefault(matrix.shape, []).append(matrix)
    return [torch.stack(stack) for stack in stacks.values()]


def _direction(x: Tensor, otherwise: Tensor) -> Tensor:
    """Normalise the rows of x (n, d) to length 1; for a row of zeros (of a zero weight) take `otherwise`."""
    norm = x.norm(dim=1, keepdim=True)
    return torch.where(norm > 0, x / norm, otherwise)


def _bits(log_likelihood: Tensor, kl: Tensor) -> Tensor:
    """Return minus the ELBO in bits per dimension: (N,), (N, L) -> (N,)."""
    return (kl.sum(1) - log_likelihood) / (DIMENSIONS * math.log(2))
