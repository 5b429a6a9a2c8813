"""The hybrid's first stage: an autoencoder and a contrast share one encoder and train together on equation (4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybrid.data.augment import augment
from hybrid.errors import HybridError
from hybrid.machine import distributed
from hybrid.models.autoencoder import LATENT_CHANNELS, Decoder, Encoder
from hybrid.models.base import Trainable
from hybrid.models.batchnorm import moments
from hybrid.models.moco import MoCo, head
from hybrid.objectives import gaussian_log_likelihood, hybrid_bound, i_ba
from hybrid.profiles import schema


class QueryNetwork(nn.Module):
    """Views (N, 3, S, S) -> inputs of the critic (N, dim): the encoder's y (z in the ablation), then a projection head."""

    def __init__(self, encoder: Encoder, config: schema.Representation):
        super().__init__()
        self.encoder = encoder
        self.channels = encoder.y_channels if config.contrast.on == "y" else LATENT_CHANNELS
        self.side = config.augmentation.size // 2  # of the codes that the head sees
        self.head = head(self.channels * self.side**2, config.contrast)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.encoder(x) if self.channels > self.encoder.y_channels else self.encoder.y(x))

    def project(self, z: Tensor) -> Tensor:
        """Codes (N, 6, s, s), or only their y -> (N, dim). Codes of another side than the head's are interpolated first."""
        z = z[:, : self.channels]
        return self.head(z if z.shape[-1] == self.side else self._resized(z))

    def _resized(self, z: Tensor) -> Tensor:
        """Interpolate y at its own resolution, and w at its own."""
        y_channels, scale = self.encoder.y_channels, self.encoder.scale
        y = F.pixel_unshuffle(z[:, :y_channels], scale)
        y = F.pixel_shuffle(F.interpolate(y, (self.side // scale,) * 2, mode="bilinear"), scale)
        if self.channels == y_channels:
            return y
        return torch.cat([y, F.interpolate(z[:, y_channels:], (self.side,) * 2, mode="bilinear")], dim=1)


class Representation(Trainable):
    """Encoder, decoder and MoCo's key side. With alpha = 0 there is no decoder, and this is MoCo-v2."""

    draws_for_all = repeats = True

    def __init__(self, config: schema.Representation):
        super().__init__()
        stride = 2 ** len(config.autoencoder.widths)
        for name, size in (("augmentation.size", config.augmentation.size), ("early_size", config.early_size)):
            if size is not None and (size < stride or size % stride):
                raise HybridError(f"{name} = {size}: give a multiple of the encoder's stride, {stride} pixels")
        if config.early is not None and config.early_size is None:
            raise HybridError(f"early = {config.early} without early_size: give that too, or leave out both")
        self.config = config
        self.early, self.early_views = 0.0, config.augmentation
        if config.early_size is not None:
            self.early = 0.5 if config.early is None else config.early
            self.early_views = replace(config.augmentation, size=config.early_size)
        self.query_network = QueryNetwork(Encoder(config.autoencoder), config)
        self.decoder = Decoder(config.autoencoder) if config.alpha else None
        self.moco = MoCo(self.query_network, config.contrast)

    @property
    def encoder(self) -> Encoder:
        return self.query_network.encoder

    @property
    def phases(self) -> Sequence[tuple[float, float]]:
        return [(start, end) for start, end in ((0.0, self.early), (self.early, 1.0)) if start < end]

    def time_share(self, progress: float) -> float:
        pace = (self.early_views.size / self.config.augmentation.size) ** 2  # time of an early step, if that of a late one is 1
        return (pace * min(progress, self.early) + max(progress - self.early, 0)) / (pace * self.early + 1 - self.early)

    def networks(self) -> list[nn.Module]:
        return [net for net in (self.encoder, self.decoder, self.moco.key_network) if net is not None]

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return minus equation (4) for images (N, 3, 32, 32) uint8. The decoder reconstructs query views, not key views."""
        views = self.early_views if self.progress < self.early else self.config.augmentation
        query_view, key_view = augment(batch, views), augment(batch, views)
        z = self.encoder(query_view)
        places = self.moco.enqueue(self.moco.keys(key_view))
        cpc = self.moco.bound(self.query_network.project(z), places)
        if self.decoder is None:
            return -cpc, {"loss": -cpc, "i_cpc": cpc}
        seen = query_view[:: self.config.decode_every]
        code = z[:: self.config.decode_every]
        if self.config.noise is not None:
            code = add_noise(code, self.config.noise)
        decoded = self.decoder(code)
        ba = i_ba(gaussian_log_likelihood(seen, decoded, self.config.sigma))
        mse = (seen - decoded).detach().float().square().mean()
        loss = -hybrid_bound(ba, cpc, self.config.alpha)
        return loss, {"loss": loss, "i_ba": ba, "i_cpc": cpc, "mse": 1e3 * mse}

    def after_step(self) -> None:
        self.moco.momentum_update(self.query_network)


def add_noise(z: Tensor, noise: float) -> Tensor:
    """Add Gaussian noise to z (N, C, H, W), with `noise` times each channel's standard deviation over the batch.

    The noise grows with z, so the encoder cannot escape it by enlarging z. Several processes use the deviation over all their
    codes, draw the noise for all of them and use their shards.
    """
    _, variance = moments(z)
    drawn = torch.randn(len(z) * distributed.world(), *z.shape[1:], device=z.device)
    return z + noise * variance.sqrt() * distributed.shard(drawn)
