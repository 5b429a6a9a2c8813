"""The trained hybrid: encode images to z = [y, w], decode, sample new images, interpolate between images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from hybrid.data.pixels import Images, as_float, as_images
from hybrid.errors import HybridError, counted
from hybrid.models.autoencoder import LATENT_CHANNELS, LATENT_SIZE, Decoder, Encoder
from hybrid.models.base import batch_seeds, in_batches
from hybrid.models.latent_ddim import LatentDDIM, PlusPrior
from hybrid.profiles.checked import SEEDS

PARTS = ("z", "y", "w")
PLACES = tuple(1 - i / 8 for i in range(9))  # on a path, from its start to its end


class EncoderModel(nn.Module):
    """A frozen encoder, the result of MoCo-v2.

    The methods take all images that `pixels.as_images` takes: tensors, numpy arrays, Pillow images. They return images as float
    (N, 3, 32, 32) in [0, 1] and codes as float (N, 6, 16, 16), on the CPU or the device. For any other input they raise
    HybridError with a line that says what was expected.
    """

    abilities: tuple[str, ...] = ("features",)

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> EncoderModel:
        """Do nothing: the model stays in evaluation mode, also as a part of a module that trains, because it is frozen."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def __repr__(self) -> str:
        y, w = self.encoder.y_channels, LATENT_CHANNELS - self.encoder.y_channels
        size = f"{sum(p.numel() for p in self.parameters()) / 1e6:.3g} M parameters on {self.device}"
        return f"{type(self).__name__}: {size}, z = [y, w] with {y} + {w} channels of 16 x 16{self._more()}"

    def _more(self) -> str:
        """Return the end of the model's one-line description."""
        return ""

    def forward(self, *_, **__) -> NoReturn:
        raise HybridError(f"{type(self).__name__} is not called by itself: call one of {', '.join(self.abilities)}")

    def features(self, images: Images) -> dict[str, Tensor]:
        """Return the features for the linear probe: y, (N, D)."""
        return {"y": in_batches(lambda x: self.encoder.y(as_float(x)), self.device, as_images(images)).flatten(1)}


class HybridModel(EncoderModel):
    """Frozen encoder, decoder and model of z: the paper's DDIM on z, or that of Hybrid+. `sampler` and `repr` say which."""

    def __init__(self, encoder: Encoder, decoder: Decoder, prior: LatentDDIM | PlusPrior | None = None):
        super().__init__(encoder)
        self.decoder, self.prior = decoder, prior
        self.eval().requires_grad_(False)

    abilities = ("encode", "decode", "reconstruct", "sample", "interpolate", "split", "features")

    @property
    def sampler(self) -> str:
        """What `sample` samples by, in words; empty without a model of z."""
        return {PlusPrior: "Hybrid+, y and then w given y", LatentDDIM: "a DDIM on z"}.get(type(self.prior), "")

    def _more(self) -> str:
        return f"; samples by {self.sampler}" if self.sampler else "; cannot sample, its second stage is not there"

    def encode(self, images: Images) -> Tensor:
        """Return z = f(x)."""
        return in_batches(lambda x: self.encoder(as_float(x)), self.device, as_images(images))

    def decode(self, z: Tensor) -> Tensor:
        """Return the mean of q(x|z), clipped to [0, 1]."""
        return in_batches(self.decoder, self.device, _codes(z, "z", LATENT_CHANNELS)).clamp(0, 1)

    def split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Split z into y and w."""
        z = _codes(z, "z", LATENT_CHANNELS)
        return z[:, : self.encoder.y_channels], z[:, self.encoder.y_channels :]

    def reconstruct(self, images: Images) -> Tensor:
        """Encode and decode images."""
        return self.decode(self.encode(images))

    def features(self, images: Images) -> dict[str, Tensor]:
        """Return the features for the linear probe, (N, D): y, whose accuracy the table has, then w and z."""
        z = self.encode(images)
        y, w = self.split(z)
        return {"y": y.flatten(1), "w": w.flatten(1), "z": z.flatten(1)}

    def sample(
        self, count: int, steps: int = 50, eta: float = 0.0, seed: int = 0, order: int = 1, guidance: float | None = None
    ) -> Tensor:
        """Sample new images (count, 3, 32, 32): the decoded `sample_codes`. `sampler` names the model of z."""
        return self.decode(self.sample_codes(count, steps, eta, seed, order, guidance))

    def sample_codes(
        self, count: int, steps: int = 50, eta: float = 0.0, seed: int = 0, order: int = 1, guidance: float | None = None
    ) -> Tensor:
        """Sample z (count, 6, 16, 16) in `steps` steps.

        `eta`: 0 for the deterministic sampler, 1 for the ancestral one. `order` of the deterministic sampler: 1 is DDIM; 2 has
        a smaller error in fewer steps, such as 25. `guidance`: how much w follows y, if Hybrid+ samples: 0 not at all, 1 as
        trained, more exaggerates it; by default that of the model's profile. The same `seed`, 0 by default, gives the same
        images in each call; for others give another.
        """
        count, steps, seed = _whole(count, "count", 1), _whole(steps, "steps", 1), _whole(seed, "seed", 0, SEEDS)
        prior = self.prior
        if prior is None:
            raise HybridError(
                "this model has no model of z to sample from: train its second stage (method hybrid), or load Hybrid+, "
                "such as runs/demo/digits/hybridplus/seed0"
            )
        guided = _guided(prior, guidance)
        noise = torch.randn(count, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE, generator=torch.Generator().manual_seed(seed))

        def draw(noise: Tensor, seeds: Tensor) -> Tensor:
            return prior.sample(noise, steps, eta, int(seeds[0]), order, **guided)

        return in_batches(draw, self.device, noise, batch_seeds(count, seed))

    def sample_given(
        self, y: Tensor, steps: int = 50, eta: float = 0.0, seed: int = 0, order: int = 1, guidance: float | None = None
    ) -> Tensor:
        """Sample an image (N, 3, 32, 32) for each y (N, 3, 16, 16), with w sampled given y. It needs Hybrid+'s model of z.

        The other arguments are those of `sample_codes`: the same y and seed give the same images in each call.
        """
        y = _codes(y, "y", self.encoder.y_channels)
        steps, seed = _whole(steps, "steps", 1), _whole(seed, "seed", 0, SEEDS)
        prior = self.prior
        if not isinstance(prior, PlusPrior):
            raise HybridError(
                "this model cannot draw w given y: train Hybrid+ for it (method hybridplus) and load its folder, "
                "such as runs/demo/digits/hybridplus/seed0"
            )
        guided = _guided(prior, guidance)
        shape = (len(y), LATENT_CHANNELS - y.shape[1], LATENT_SIZE, LATENT_SIZE)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))

        def draw(y: Tensor, noise: Tensor, seeds: Tensor) -> Tensor:
            return self.decoder(prior.sample_given(y, noise, steps, eta, int(seeds[0]), order, **guided))

        return in_batches(draw, self.device, y, noise, batch_seeds(len(y), seed)).clamp(0, 1)

    def interpolate(self, x0: Images, x1: Images, t: Tensor | Sequence[float] = PLACES, part: str = "z") -> Tensor:
        """Decode paths from x0 (t = 1) to x1 (t = 0), section 4 of the paper: N pairs of images -> (N, T, 3, 32, 32) in [0, 1].

        `t` (T,): the places on each path, by default nine from 1 to 0. `part` z: z_t = t z0 + (1 - t) z1. y or w: that part
        alone moves so, the other stays x0's.
        """
        if part not in PARTS:
            raise HybridError(f"part {part!r} is unknown: choose one of {', '.join(PARTS)}")
        t = _places(t)
        z0, z1 = self.encode(x0), self.encode(x1)
        if len(z0) != len(z1):
            raise HybridError(
                f"{counted(len(z0), 'image')} at the start and {len(z1)} at the end: expected the same number of each"
            )
        if part != "z":
            (y0, w0), (y1, w1) = self.split(z0), self.split(z1)
            z1 = torch.cat([y1, w0] if part == "y" else [y0, w1], dim=1)
        t = t.to(z0)[None, :, None, None, None]
        path = t * z0[:, None] + (1 - t) * z1[:, None]  # (N, T, 6, 16, 16)
        return self.decode(path.flatten(0, 1)).unflatten(0, path.shape[:2])


def _codes(codes: Tensor | np.ndarray, name: str, channels: int) -> Tensor:
    """Return codes (N, channels, 16, 16) as a float tensor. Raises HybridError for anything else."""
    expected = f"expected floats (N, {channels}, {LATENT_SIZE}, {LATENT_SIZE})"
    if not isinstance(codes, Tensor | np.ndarray):
        raise HybridError(f"{name} is a {type(codes).__name__}: {expected}, as encode and split give it")
    try:
        codes = _tensor(codes)
    except TypeError:
        raise HybridError(f"{name} is of numpy type {codes.dtype}: {expected}") from None
    if codes.shape[1:] != (channels, LATENT_SIZE, LATENT_SIZE) or not len(codes) or not codes.is_floating_point():
        half = name == "z" and codes.ndim == 4 and codes.shape[1] < channels
        more = "; y or w alone is half a code, torch.cat([y, w], dim=1) the whole" if half else ""
        raise HybridError(f"{name} is {codes.dtype} {tuple(codes.shape)}: {expected}{more}")
    if not codes.isfinite().all():
        raise HybridError(f"{name} has values that are not finite: {expected}, as encode and split give it")
    return codes.float()


def _guided(prior: LatentDDIM | PlusPrior, guidance: float | None) -> dict[str, float]:
    """Return the argument of the prior's `sample` for a guidance, if one is asked for. Raises HybridError if it cannot be."""
    if guidance is None:
        return {}
    if not isinstance(prior, PlusPrior):
        raise HybridError(f"guidance = {guidance!r}: the DDIM on z has none; only Hybrid+ samples w given y")
    number = isinstance(guidance, int | float | np.number) and not isinstance(guidance, bool)
    if not number or not 0 <= guidance < float("inf"):
        raise HybridError(f"guidance = {guidance!r}: expected a number, 0 or more")
    if guidance != 1 and not prior.texture.config.drop:
        raise HybridError(f"guidance = {guidance!r}: the model of w always saw y in training (drop = 0), so only 1 is possible")
    return {"guidance": float(guidance)}


def _places(t: Tensor | Sequence[float]) -> Tensor:
    """Return t (T,) as a float tensor. Raises HybridError for anything else."""
    try:
        places = _tensor(t).float()
    except (TypeError, ValueError, RuntimeError):
        places = torch.empty(0)
    if places.ndim != 1 or not len(places) or not places.isfinite().all():
        given = " ".join(repr(t).split())
        raise HybridError(f"t = {given}: expected places on the path, (T,), such as [0.5] or torch.linspace(1, 0, 9)")
    return places


def _tensor(values: Tensor | np.ndarray | Sequence[float]) -> Tensor:
    """Return a tensor. Unlike torch.as_tensor, it takes arrays in any order of places and bytes."""
    if isinstance(values, np.ndarray):
        values = np.require(values, values.dtype.newbyteorder("="), ["C", "W"])
    return torch.as_tensor(values)


def _whole(value: int, name: str, least: int, below: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value < (below or 2**63):
        expected = f"{least} or more" if below is None else f"from {least} to {below - 1}"
        raise HybridError(f"{name} = {value!r}: expected a whole number, {expected}")
    return int(value)
