"""The hybrid's second stage: a DDIM on the whole of the frozen z (paper, section 3; Song et al. 2020).

z is standardised channel by channel with the train set's mean and deviation. Images are seen as they are and flipped,
so each is encoded both ways once, before training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hybrid import configs
from hybrid.autoencoder import LATENT_CHANNELS, LATENT_SIZE
from hybrid.diffusion import Diffusion
from hybrid.train import Trainable, autocast
from hybrid.unet import UNet


class LatentDDIM(Trainable):
    """A model of z. Trained on latents (N, 2, 6, 16, 16), those of an image and of its mirror image."""

    def __init__(self, config: configs.Diffusion):
        super().__init__()
        self.net = UNet.of(config, LATENT_CHANNELS, LATENT_SIZE)
        self.flip, self.clip = config.flip, config.clip
        self.diffusion = Diffusion(config.steps, config.beta_min, config.beta_max, config.predict)
        self.register_buffer("mean", torch.zeros(LATENT_CHANNELS, 1, 1))
        self.register_buffer("std", torch.ones(LATENT_CHANNELS, 1, 1))

    def standardise(self, latents: Tensor) -> None:
        """Take the mean and deviation of each channel from latents (N, 2, 6, 16, 16)."""
        std, mean = torch.std_mean(latents, dim=(0, 1, 3, 4))
        self.mean.copy_(mean[:, None, None])
        self.std.copy_(std[:, None, None])

    def networks(self) -> list[nn.Module]:
        return [self.net]

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The squared error of what the net predicts, per dimension, on one of the two mirror images."""
        mirrored = (torch.rand(len(batch), device=batch.device) < self.flip).long()
        z = batch[torch.arange(len(batch), device=batch.device), mirrored]  # (N, 6, 16, 16)
        z = ((z - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        loss = self.diffusion.loss(self.net, z)
        return loss, {"loss": loss}

    @torch.no_grad()
    def sample(self, noise: Tensor, steps: int, eta: float, seed: int) -> Tensor:
        """Noise (N, 6, 16, 16) -> z of the same shape, in the autoencoder's own units."""
        noise = noise.contiguous(memory_format=torch.channels_last)
        with autocast(noise.device):
            z = self.diffusion.sample(self.net, noise, steps, eta, clip=self.clip, seed=seed)
        return z * self.std + self.mean
