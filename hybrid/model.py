"""The trained hybrid as its users meet it: images to z = [y, w] and back, new images, paths between images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hybrid.data.pixels import as_float
from hybrid.errors import HybridError
from hybrid.models.autoencoder import LATENT_CHANNELS, LATENT_SIZE, Decoder, Encoder
from hybrid.models.base import batch_seeds, in_batches
from hybrid.models.latent_ddim import LatentDDIM, PlusPrior

PARTS = ("z", "y", "w")


class EncoderModel(nn.Module):
    """An encoder, frozen: all that MoCo-v2 gives. Images are float (N, 3, 32, 32) in [0, 1], codes float (N, 6, 16, 16)."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder
        self.eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """What the linear probe is given: y, (N, D)."""
        return {"y": in_batches(lambda x: self.encoder.y(as_float(x)), self.device, images).flatten(1)}


class HybridModel(EncoderModel):
    """Encoder, decoder and a model of z, frozen: the latent DDIM or Hybrid+'s."""

    def __init__(self, encoder: Encoder, decoder: Decoder, prior: LatentDDIM | PlusPrior | None = None):
        super().__init__(encoder)
        self.decoder, self.prior = decoder, prior
        self.eval().requires_grad_(False)

    def encode(self, images: Tensor) -> Tensor:
        """z = f(x). Takes uint8 images too."""
        if images.ndim != 4 or images.shape[1:] != (3, 32, 32):
            raise HybridError(f"images of shape {tuple(images.shape)} cannot be encoded: expected (N, 3, 32, 32)")
        return in_batches(lambda x: self.encoder(as_float(x)), self.device, images)

    def decode(self, z: Tensor) -> Tensor:
        """The mean of q(x|z), clipped to [0, 1]."""
        return in_batches(self.decoder, self.device, z).clamp(0, 1)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z -> y, w."""
        return z[:, : self.encoder.y_channels], z[:, self.encoder.y_channels :]

    def reconstruct(self, images: Tensor) -> Tensor:
        return self.decode(self.encode(images))

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """What the linear probe is given, the representation that the table judges first: y, then w and z, (N, D)."""
        z = self.encode(images)
        y, w = self.split(z)
        return {"y": y.flatten(1), "w": w.flatten(1), "z": z.flatten(1)}

    def sample(self, count: int, steps: int = 50, eta: float = 0.0, seed: int = 0) -> Tensor:
        """`count` new images: the model of z draws it in `steps` steps, the decoder shows it."""
        if self.prior is None:
            raise HybridError("this model has no model of z to sample from: train its second stage first")
        noise = torch.randn(count, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE, generator=torch.Generator().manual_seed(seed))

        def draw(noise: Tensor, seeds: Tensor) -> Tensor:
            return self.decoder(self.prior.sample(noise, steps, eta, int(seeds[0])))

        return in_batches(draw, self.device, noise, batch_seeds(count, seed)).clamp(0, 1)

    def sample_given(self, y: Tensor, steps: int = 50, eta: float = 0.0, seed: int = 0) -> Tensor:
        """New images of given y (N, 3, 16, 16), one each: w is drawn given y. Needs Hybrid+'s model of z."""
        if not isinstance(self.prior, PlusPrior):
            raise HybridError("this model cannot draw w given y: train Hybrid+ for it (method hybridplus)")
        shape = (len(y), LATENT_CHANNELS - y.shape[1], LATENT_SIZE, LATENT_SIZE)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))

        def draw(y: Tensor, noise: Tensor, seeds: Tensor) -> Tensor:
            return self.decoder(self.prior.sample_given(y, noise, steps, eta, int(seeds[0])))

        return in_batches(draw, self.device, y, noise, batch_seeds(len(y), seed)).clamp(0, 1)

    def interpolate(self, x0: Tensor, x1: Tensor, t: Tensor, part: str = "z") -> Tensor:
        """Decoded paths from x0 (t = 1) to x1 (t = 0), as the paper's section 4: (N, ...), (N, ...), (T,) -> (N, T, 3, 32, 32).

        `part` z: z_t = t z0 + (1 - t) z1. y or w: that part alone moves so, the other stays x0's.
        """
        if part not in PARTS:
            raise HybridError(f"part {part!r} is unknown: choose one of {', '.join(PARTS)}")
        z0, z1 = self.encode(x0), self.encode(x1)
        if part != "z":
            (y0, w0), (y1, w1) = self.split(z0), self.split(z1)
            z1 = torch.cat([y1, w0] if part == "y" else [y0, w1], dim=1)
        t = t.to(z0)[None, :, None, None, None]
        path = t * z0[:, None] + (1 - t) * z1[:, None]  # (N, T, 6, 16, 16)
        return self.decode(path.flatten(0, 1)).unflatten(0, path.shape[:2])
