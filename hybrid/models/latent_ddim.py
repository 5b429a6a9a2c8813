"""The hybrid's second stage: diffusion models of the frozen z (paper, section 3; Song et al. 2020).

`LatentDDIM` is the paper's: one DDIM on all of z. `SemanticPrior` and `TexturePrior` are Hybrid+: p(y), then p(w | y).
Training uses each image and, unless `flip` is 0, its mirror image; both are encoded once, before training.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybrid.machine.precision import autocast, float32
from hybrid.models.autoencoder import LATENT_CHANNELS, LATENT_SIZE
from hybrid.models.base import Trainable, stream
from hybrid.models.diffusion import Diffusion
from hybrid.models.mixture import Mixture
from hybrid.models.unet import CodeUNet, ResidualMLP, UNet
from hybrid.profiles import schema


def in_float32(method: Callable) -> Callable:
    """Decorate a method of tensors to compute in float32 even under autocast: bfloat16 would round codes to two digits."""

    @wraps(method)
    def computed(self, *tensors: Tensor):
        with float32(tensors[0].device):
            return method(self, *(x.float() for x in tensors))

    return computed


class CodeSpace(nn.Module):
    """z = [y, w] in the coordinates of the priors: y at its own resolution and whitened, w standardised per channel.

    The encoder's pixel shuffle brings y to 16 x 16. This class undoes it: y is (N, C, S, S) with S = 16 / `factor`, with mean 0
    and covariance 1 over the train set (whitened by the symmetric root, so each value keeps its place). For white Gaussian
    codes v = 0 is the best prediction, so a net has to learn only what is not Gaussian. Only the `components` largest principal
    components of y are kept; None keeps all.
    """

    def __init__(self, autoencoder: schema.Autoencoder, components: int | None = None):
        super().__init__()
        self.y_channels, self.factor = autoencoder.y_channels, 2 ** (len(autoencoder.widths) - 1)
        self.y_shape = (self.y_channels * self.factor**2, LATENT_SIZE // self.factor, LATENT_SIZE // self.factor)
        self.w_shape = (LATENT_CHANNELS - self.y_channels, LATENT_SIZE, LATENT_SIZE)
        size = self.y_channels * LATENT_SIZE**2
        kept = min(components or size, size)
        self.register_buffer("y_mean", torch.zeros(size))
        self.register_buffer("y_basis", torch.eye(size, kept))  # principal components, in columns
        self.register_buffer("y_std", torch.ones(kept))  # their standard deviations
        self.register_buffer("w_mean", torch.zeros(self.w_shape[0], 1, 1))
        self.register_buffer("w_std", torch.ones(self.w_shape[0], 1, 1))
        self.register_buffer("w_variances", torch.ones(self.w_shape[0] * LATENT_SIZE**2))  # of the standardised w's components

    @torch.no_grad()
    def fit(self, latents: Tensor) -> None:
        """Compute mean and covariance of latents (N, 2, 6, 16, 16), or (N, 1, 6, 16, 16) without mirror images."""
        latents = latents.flatten(0, 1)
        y = F.pixel_unshuffle(latents[:, : self.y_channels], self.factor).flatten(1)
        self.y_mean.copy_(y.mean(0))
        variances, basis = principal_components(y)
        kept = len(self.y_std)
        self.y_basis.copy_(basis[:, -kept:])
        self.y_std.copy_(variances.clamp_min(1e-6 * variances[-1]).sqrt()[-kept:])
        w = latents[:, self.y_channels :]
        std, mean = torch.std_mean(w, dim=(0, 2, 3))
        self.w_mean.copy_(mean[:, None, None])
        self.w_std.copy_(std[:, None, None])
        self.w_variances.copy_(principal_components(((w - self.w_mean) / self.w_std).flatten(1))[0])

    @in_float32
    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z (N, 6, 16, 16) -> whitened y (N, C, S, S) and standardised w (N, C', 16, 16)."""
        w = (z[:, self.y_channels :] - self.w_mean) / self.w_std
        return self.whiten(z), w.contiguous(memory_format=torch.channels_last)

    @in_float32
    def components(self, z: Tensor) -> Tensor:
        """z or y at 16 x 16 -> y's principal components with deviation 1, as a map (N, K, 1, 1)."""
        y = F.pixel_unshuffle(z[:, : self.y_channels], self.factor).flatten(1) - self.y_mean
        return (y @ self.y_basis / self.y_std)[:, :, None, None]

    @in_float32
    def laid_out(self, components: Tensor) -> Tensor:
        """Components (N, K, 1, 1) -> whitened y (N, C, S, S)."""
        return (components.flatten(1) @ self.y_basis.T).unflatten(1, self.y_shape)

    def whiten(self, z: Tensor) -> Tensor:
        """z or y at 16 x 16 -> whitened y (N, C, S, S)."""
        return self.laid_out(self.components(z))

    @in_float32
    def join(self, y: Tensor, w: Tensor) -> Tensor:
        """Invert `split`: y and w -> z. Components of y that were not kept get their mean."""
        y = y.flatten(1) @ self.y_basis * self.y_std @ self.y_basis.T + self.y_mean
        y = F.pixel_shuffle(y.unflatten(1, self.y_shape), self.factor)
        return torch.cat([y, w * self.w_std + self.w_mean], dim=1)


def principal_components(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return rising variances (D,) and principal components (D, D), in columns, of x (N, D); in float64 on the CPU."""
    x = x - x.mean(0)
    covariance = sum((part.T @ part).cpu().double() for part in x.split(10_000)) / len(x)
    variances, basis = torch.linalg.eigh(covariance)
    return variances.clamp_min(0).float(), basis.float()


def one_of_two(batch: Tensor, flip: float) -> Tensor:
    """Latents (N, 2, 6, 16, 16) of images and mirror images -> (N, 6, 16, 16), the mirror image's with probability `flip`."""
    mirrored = (torch.rand(len(batch), device=batch.device) < flip).long()
    return batch[torch.arange(len(batch), device=batch.device), mirrored]


def seen(latents: Tensor, flip: float) -> Tensor:
    """Latents (N, 2, 6, 16, 16) without those of the mirror images if training never sees these."""
    return latents if flip else latents[:, :1]


class LatentDDIM(Trainable):
    """The paper's prior of z. It trains on latents (N, 2, 6, 16, 16) of images and their mirror images.

    With `config.unshuffle` the net sees a whitened y at y's own resolution and w at w's. Without it, the net sees z with each
    channel standardised.
    """

    repeats = True

    def __init__(self, config: schema.LatentDiffusion, autoencoder: schema.Autoencoder):
        super().__init__()
        self.config, self.flip, self.clip = config, config.flip, config.clip
        self.diffusion = Diffusion(config.steps, config.beta_min, config.beta_max, config.predict)
        self.codes, self.gaussian = None, {}
        if config.unshuffle:
            self.codes = CodeSpace(autoencoder)
            self.net = CodeUNet(config, self.codes.w_shape, self.codes.y_shape)
        else:
            self.net = UNet.of(config, LATENT_CHANNELS, LATENT_SIZE)
            self.register_buffer("mean", torch.zeros(LATENT_CHANNELS, 1, 1))
            self.register_buffer("std", torch.ones(LATENT_CHANNELS, 1, 1))

    def prepare(self, latents: Tensor) -> None:
        """Compute the statistics that standardise codes from latents (N, 2, 6, 16, 16)."""
        if self.codes is not None:
            self.codes.fit(seen(latents, self.flip))
            self.gaussian = self.gaussian_losses()
            return
        std, mean = torch.std_mean(seen(latents, self.flip), dim=(0, 1, 3, 4))
        self.mean.copy_(mean[:, None, None])
        self.std.copy_(std[:, None, None])

    def networks(self) -> list[nn.Module]:
        return [self.net]

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the net's squared error per dimension on one of the two mirror images; also for y and w separately."""
        z = one_of_two(batch, self.flip)  # (N, 6, 16, 16)
        if self.codes is None:
            z = ((z - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
            loss = self.diffusion.loss(self.net, z)
            return loss, {"loss": loss}
        y, w = self.codes.split(z)
        t = self.diffusion.draw_times(z)
        (y, y_target), (w, w_target) = self.diffusion.noised(y, t), self.diffusion.noised(w, t)
        w_found, y_found = self.net(w, t, y, t)
        loss_y, loss_w = F.mse_loss(y_found.float(), y_target), F.mse_loss(w_found.float(), w_target)
        share = y.shape[1:].numel() / z.shape[1:].numel()
        loss = share * loss_y + (1 - share) * loss_w
        found = {"loss": loss, "loss_y": loss_y, "loss_w": loss_w}
        return loss, found | {f"{name}_gaussian": torch.full_like(loss, best) for name, best in self.gaussian.items()}

    def gaussian_losses(self) -> dict[str, float]:
        """Return the `loss_y` and `loss_w` of the best predictors of y and of w alone, as Gaussians with their covariances."""
        if self.codes is None:
            return {}
        white = torch.ones(1)
        losses = {"loss_y": white, "loss_w": self.codes.w_variances}
        return {name: self.diffusion.gaussian_loss(variances) for name, variances in losses.items()}

    @torch.no_grad()
    def sample(self, noise: Tensor, steps: int, eta: float, seed: int, order: int = 1) -> Tensor:
        """Noise (N, 6, 16, 16) -> z of the same shape, in the autoencoder's own units."""
        noise = noise.contiguous(memory_format=torch.channels_last)
        with autocast(noise.device):
            return self.to_codes(self.diffusion.sample(self.predicted, noise, steps, eta, self.clip, seed, order))

    def predicted(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the net's prediction, noise or v, for x_t (N, 6, 16, 16) at t (N,) in 1..T, in the net's units."""
        if self.codes is None:
            return self.net(x, t)
        y = F.pixel_unshuffle(x[:, : self.codes.y_channels], self.codes.factor)
        w, y = self.net(x[:, self.codes.y_channels :], t, y, t)
        return torch.cat([F.pixel_shuffle(y, self.codes.factor), w], dim=1)

    def to_codes(self, x: Tensor) -> Tensor:
        """x_0 (N, 6, 16, 16) in the net's units -> z in the autoencoder's units."""
        if self.codes is None:
            return x * self.std + self.mean
        y_channels = self.codes.y_channels
        return self.codes.join(F.pixel_unshuffle(x[:, :y_channels], self.codes.factor), x[:, y_channels:])


class SemanticPrior(Trainable):
    """p(y): a diffusion of the vector of y's principal components. It trains on latents (N, 2, 6, 16, 16).

    With `config.mixture` the net learns only what a mixture of that many Gaussians, fitted before training, does not predict.
    """

    repeats = True

    def __init__(self, config: schema.Semantic, autoencoder: schema.Autoencoder):
        super().__init__()
        self.config, self.flip = config, config.flip
        self.codes = CodeSpace(autoencoder, config.components)
        self.shape = (len(self.codes.y_std), 1, 1)
        self.net = ResidualMLP(self.shape, config.width, config.blocks, config.dropout)
        self.mixture = None if config.mixture is None else Mixture(config.mixture, self.shape[0])
        self.diffusion = Diffusion(predict="v")

    def prepare(self, latents: Tensor) -> None:
        latents = seen(latents, self.flip)
        self.codes.fit(latents)
        if self.mixture is not None:
            self.mixture.fit(self.codes.components(latents.flatten(0, 1)).flatten(1))

    def networks(self) -> list[nn.Module]:
        return [self.net]

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the squared error of v per dimension. The best predictor of Gaussian codes, v = 0, would have 1."""
        y = self.codes.components(one_of_two(batch, self.flip))
        loss = self.diffusion.loss(self.predicted, y)
        return loss, {"loss": loss}

    def predicted(self, x: Tensor, t: Tensor) -> Tensor:
        """Return the predicted v for x_t (N, K, 1, 1) at t (N,) in 1..T."""
        v = self.net(x, t)
        if self.mixture is None:
            return v
        with float32(x.device):
            scale, spread = (factor.flatten(1) for factor in self.diffusion.scales(t))
            return v + self.mixture.v(x.float().flatten(1), scale, spread)[:, :, None, None]

    @torch.no_grad()
    def sample(self, noise: Tensor, steps: int, eta: float, seed: int, order: int = 1) -> Tensor:
        """Noise (N, K, 1, 1) -> whitened y (N, C, S, S)."""
        with autocast(noise.device):
            found = self.diffusion.sample(self.predicted, noise, steps, eta, None, seed, order)
        return self.codes.laid_out(found)


class TexturePrior(Trainable):
    """p(w | y): a DDIM of w conditioned on y. It trains on latents (N, 2, 6, 16, 16)."""

    repeats = True

    def __init__(self, config: schema.Texture, autoencoder: schema.Autoencoder):
        super().__init__()
        self.config = config
        self.codes = CodeSpace(autoencoder, config.components)
        self.net = CodeUNet(config, self.codes.w_shape, self.codes.y_shape, predict_y=False)
        self.diffusion = Diffusion(config.steps, config.beta_min, config.beta_max, config.predict)

    def prepare(self, latents: Tensor) -> None:
        self.codes.fit(seen(latents, self.config.flip))

    def networks(self) -> list[nn.Module]:
        return [self.net]

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the net's squared error on w per dimension, given a y that may be noisy or dropped."""
        y, w = self.codes.split(one_of_two(batch, self.config.flip))
        most = round(self.config.y_noise * self.diffusion.steps)
        t_y = torch.randint(0, most + 1, (len(y),), device=y.device)
        y, _ = self.diffusion.noised(y, t_y)
        dropped = torch.rand(len(y), device=y.device) < self.config.drop
        y, t_y = self._drop(y, t_y, dropped)
        t = self.diffusion.draw_times(w)
        w, target = self.diffusion.noised(w, t)
        loss = F.mse_loss(self.net(w, t, y, t_y)[0].float(), target)
        return loss, {"loss": loss}

    def _drop(self, y: Tensor, t_y: Tensor, dropped: Tensor) -> tuple[Tensor, Tensor]:
        """Set y to zero and its time to T where `dropped` (N,) is set."""
        return y.masked_fill(dropped[:, None, None, None], 0.0), t_y.masked_fill(dropped, self.diffusion.steps)

    @torch.no_grad()
    def sample(
        self, noise: Tensor, y: Tensor, steps: int, eta: float, seed: int, order: int = 1, guidance: float | None = None
    ) -> Tensor:
        """Noise (N, C', 16, 16) and whitened y (N, C, S, S) -> z (N, 6, 16, 16), in the autoencoder's units.

        `guidance`: instead of the config's.
        """
        guidance = self.config.guidance if guidance is None else guidance
        t_y = torch.zeros(len(y), dtype=torch.int64, device=y.device)
        no_y, no_t = self._drop(y, t_y, torch.ones_like(t_y, dtype=torch.bool))

        def net(w: Tensor, t: Tensor) -> Tensor:
            if guidance == 1:
                return self.net(w, t, y, t_y)[0]
            both, _ = self.net(torch.cat([w, w]), torch.cat([t, t]), torch.cat([y, no_y]), torch.cat([t_y, no_t]))
            with_y, without = both.float().chunk(2)
            return without + guidance * (with_y - without)

        noise = noise.contiguous(memory_format=torch.channels_last)
        with autocast(noise.device):
            w = self.diffusion.sample(net, noise, steps, eta, self.config.clip, seed, order)
        return self.codes.join(y, w)


class PlusPrior(nn.Module):
    """Hybrid+'s prior of z: y from `semantic`, then w given y from `texture`. `sample` has the interface of `LatentDDIM`."""

    def __init__(self, semantic: SemanticPrior, texture: TexturePrior):
        super().__init__()
        self.semantic, self.texture = semantic, texture

    def sample(self, noise: Tensor, steps: int, eta: float, seed: int, order: int = 1, guidance: float | None = None) -> Tensor:
        """Noise (N, 6, 16, 16) -> z of the same shape, in the autoencoder's own units."""
        channels, shape = self.texture.codes.y_channels, self.semantic.shape
        first = noise[:, :channels].flatten(1)[:, : shape[0]].unflatten(1, shape)
        y = self.semantic.sample(first, steps, eta, stream(seed, "y"), order)
        return self.texture.sample(noise[:, channels:], y, steps, eta, seed, order, guidance)

    def sample_given(
        self, y: Tensor, noise: Tensor, steps: int, eta: float, seed: int, order: int = 1, guidance: float | None = None
    ) -> Tensor:
        """The encoder's y (N, C, 16, 16) and noise (N, C', 16, 16) for w -> z with this y and a sampled w."""
        z = self.texture.sample(noise, self.texture.codes.whiten(y), steps, eta, seed, order, guidance)
        return torch.cat([y, z[:, y.shape[1] :]], dim=1)
