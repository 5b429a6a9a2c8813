"""The baseline DDIM on pixels (Song, Meng & Ermon 2020). It uses the same diffusion and U-Net as the hybrid's prior.

Its representation is x_T, to which the ODE maps an image; to reconstruct, the ODE runs to x_T and back (paper, Table 1).
Pixels are scaled to [-1, 1] as in DDPM. The caller sets evaluation mode; `train` returns the model in it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hybrid.data.augment import mirrored
from hybrid.data.pixels import as_float
from hybrid.errors import HybridError
from hybrid.models.base import Trainable, batch_seeds, in_batches
from hybrid.models.diffusion import Diffusion
from hybrid.models.unet import UNet
from hybrid.profiles import schema

SHAPE = (3, 32, 32)
ERROR_IMAGES = 32  # images for the error at several S, unless the profile sets another number
ERROR_STEPS = (10, 20, 50, 100)
CLIP = 1.0  # bound on each estimate of x_0 while sampling, the same as that of the data


class PixelDDIM(Trainable):
    """A DDIM of images. It does not use `config.clip`, which is a bound for latents."""

    repeats = True

    def __init__(self, config: schema.PixelDiffusion):
        super().__init__()
        self.net = UNet.of(config, SHAPE[0], SHAPE[1])
        self.diffusion = Diffusion(config.steps, config.beta_min, config.beta_max, config.predict)
        self.flip, self.encoding_steps, self.ode_steps = config.flip, config.encoding_steps, config.ode_steps
        self.error_images = config.error_images or ERROR_IMAGES
        self.error_steps = config.error_steps or ERROR_STEPS
        for steps in (self.encoding_steps, self.ode_steps):
            self.diffusion.timesteps(steps)  # raises if the diffusion has fewer

    @property
    def device(self) -> torch.device:
        return self.diffusion.scale.device

    def networks(self) -> list[nn.Module]:
        return [self.net]

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the net's squared error per dimension on uint8 images (N, 3, 32, 32), each randomly flipped."""
        x = 2 * as_float(mirrored(batch, self.flip)) - 1
        loss = self.diffusion.loss(self.net, x)
        return loss, {"loss": loss}

    def encode(self, images: Tensor, steps: int) -> Tensor:
        """Images (N, 3, 32, 32), uint8 or float in [0, 1] -> x_T by the ODE in `steps` steps: the same shape, float32."""
        if images.shape[1:] != SHAPE:
            raise HybridError(f"images of shape {tuple(images.shape)} cannot be encoded: expected (N, 3, 32, 32)")
        return in_batches(lambda x: self.diffusion.encode(self.net, 2 * as_float(x) - 1, steps), self.device, images)

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Return the features for the linear probe: x_T (N, 3072), in `config.encoding_steps` steps."""
        return {"x_T": self.encode(images, self.encoding_steps).flatten(1)}

    def reconstruct(self, images: Tensor, steps: int | None = None) -> Tensor:
        """Encode images to x_T and decode them, in `steps` steps each (default: config.ode_steps): float, in [0, 1]."""
        steps = steps or self.ode_steps
        x_T = self.encode(images, steps)
        # No clipping on the way back: encoding does not clip either, and decoding inverts it.
        x0 = in_batches(lambda x: self.diffusion.decode(self.net, x, steps), self.device, x_T)
        return ((x0 + 1) / 2).clamp(0, 1)

    def sample(self, count: int, steps: int = 50, eta: float = 0.0, seed: int = 0, order: int = 1) -> Tensor:
        """Draw `count` images: float (count, 3, 32, 32) in [0, 1]."""
        noise = torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))

        def draw(noise: Tensor, seeds: Tensor) -> Tensor:
            return self.diffusion.sample(self.net, noise, steps, eta, CLIP, int(seeds[0]), order)

        x0 = in_batches(draw, self.device, noise, batch_seeds(count, seed))
        return ((x0 + 1) / 2).clamp(0, 1)

    def errors_by_steps(self, images: Tensor, steps: tuple[int, ...] | None = None) -> dict[str, float]:
        """Measure the squared error of reconstruction in S steps, in 1e-3 per dimension on [0, 1], as in DDIM's Table 2.

        mse_s<S> is the mean over images; median_s<S> is the median, which a few failed images do not change. Only a few images,
        spread over the set, are used: S = 100 needs 200 passes of the net for each.
        """
        chosen = torch.linspace(0, len(images) - 1, min(self.error_images, len(images))).long()
        images = as_float(images[chosen.to(images.device)].to(self.device))
        known = [s for s in steps or self.error_steps if s <= self.diffusion.steps]
        errors = {s: 1e3 * (self.reconstruct(images, s) - images).square().mean((1, 2, 3)) for s in known}
        means = {f"mse_s{s}": error.mean().item() for s, error in errors.items()}
        return means | {f"median_s{s}": error.median().item() for s, error in errors.items()}
