"""The hybrid's first stage: an autoencoder and a contrast share one encoder and train together on equation (4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybrid.data.augment import augment
from hybrid.data.pixels import as_float
from hybrid.errors import HybridError
from hybrid.machine import distributed
from hybrid.models.autoencoder import LATENT_CHANNELS, Decoder, Encoder
from hybrid.models.base import Trainable
from hybrid.models.batchnorm import moments, reestimate
from hybrid.models.moco import MoCo, head, predictor
from hybrid.objectives import gaussian_log_likelihood, hybrid_bound, i_ba
from hybrid.profiles import schema

ESTIMATED_BATCH, ESTIMATED_BATCHES = 500, 20  # images per batch, and batches, for re-estimating batch norm's statistics


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
        self.predictor = predictor(config.contrast)

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
        for_keys = weak(views) if self.config.key_weak else views
        query_view = augment(batch, views)
        key_views = [augment(batch, for_keys) for _ in range(self.config.contrast.keys or 1)]
        z = self.encoder(query_view)
        places = self.moco.enqueue(self.moco.keys(*key_views))
        cpc = self.moco.bound(self.predictor(self.query_network.project(z)), places)
        if self.decoder is None:
            return -cpc, {"loss": -cpc, "i_cpc": cpc}
        seen = query_view[:: self.config.decode_every]
        code = z[:: self.config.decode_every]
        if self.config.noise is not None:
            code = add_noise(code, self.config.noise, self.config.noise_blue or 0.0)
        decoded = self.decoder(code)
        ba = i_ba(gaussian_log_likelihood(seen, decoded, self.config.sigma))
        mse = (seen - decoded).detach().float().square().mean()
        if self.config.equivariance:
            halves = F.avg_pool2d(seen, 2), self.decoder(F.avg_pool2d(z[:: self.config.decode_every], 2))
            ba = ba + self.config.equivariance * i_ba(gaussian_log_likelihood(*halves, self.config.sigma))
        loss = -hybrid_bound(ba, cpc, self.config.alpha)
        return loss, {"loss": loss, "i_ba": ba, "i_cpc": cpc, "mse": 1e3 * mse}

    def after_step(self) -> None:
        self.moco.momentum_update(self.query_network)

    def finish(self, data: Tensor) -> None:
        if self.config.reestimate:
            count = max(1, len(data) // ESTIMATED_BATCH)
            some = (data[i::count] for i in range(min(count, ESTIMATED_BATCHES)))  # each is spread over the whole data set
            reestimate(self.encoder, (as_float(images) for images in some))


def weak(config: schema.Augmentation) -> schema.Augmentation:
    """Return an augmentation with the same crops and flips and nothing else."""
    return replace(config, jitter=0.0, grey=0.0, blur=None, solarise=None, sharpness=None)


def add_noise(z: Tensor, noise: float, blue: float = 0.0) -> Tensor:
    """Add Gaussian noise to z (N, C, H, W), with `noise` times each channel's standard deviation over the batch.

    The noise grows with z, so the encoder cannot escape it by enlarging z. Several processes use the deviation over all their
    codes, draw the noise for all of them and use their shards. `blue` times the noise's mean over 3 x 3 values is subtracted;
    its power stays the same.
    """
    _, variance = moments(z)
    drawn = torch.randn(len(z) * distributed.world(), *z.shape[1:], device=z.device)
    if blue:
        drawn = (drawn - blue * F.avg_pool2d(drawn, 3, 1, 1)) / (1 - (2 * blue - blue**2) / 9) ** 0.5
    return z + noise * variance.sqrt() * distributed.shard(drawn)
