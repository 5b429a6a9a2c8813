"""BigGAN (Brock et al. 2018) at 32 x 32, the GAN baseline.

The generator G draws images from noise but cannot turn an image into noise, so there is no reconstruction and no error. The
linear probe reads the pooled features of the discriminator D.

Changes for CPUs: no wide layer runs at 32 x 32. D first folds 2 x 2 pixels into channels; G unfolds them at its end instead of
using a third upsampling block. As in the authors' CIFAR-10 code, there is no attention, blocks get no noise, weights start from
N(0, .02), and D sums its features over the image. DiffAugment (Zhao et al. 2020) augments what D sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hybrid.data.augment import mirrored
from hybrid.data.pixels import as_float
from hybrid.machine.precision import float32
from hybrid.models.base import Trainable, in_batches
from hybrid.models.batchnorm import BatchNorm
from hybrid.models.diffaugment import diffaugment
from hybrid.profiles import schema


class SpectralNorm(nn.Module):
    """W -> W / its largest singular value, with one power iteration per step of its player (Miyato et al. 2018).

    torch's own version stores both singular vectors and uses them as they are in eval mode. After weight averaging (EMA) they
    are shorter than 1 and do not belong to the averaged weights. So eval mode iterates again here, and stores nothing.
    """

    def __init__(self, weight: Tensor):
        super().__init__()
        self.register_buffer("u", torch.randn(len(weight)))
        self.u.copy_(self._iterate(weight.detach().flatten(1), 15)[0])

    def forward(self, weight: Tensor) -> Tensor:
        matrix = weight.flatten(1)
        with float32(weight.device):
            u, v = self._iterate(matrix.detach(), 1 if self.training else 15)
            if self.training and weight.requires_grad and torch.is_grad_enabled():
                self.u.copy_(u)
            return weight / torch.dot(u, torch.mv(matrix, v))

    def _iterate(self, matrix: Tensor, times: int) -> tuple[Tensor, Tensor]:
        u = self.u
        for _ in range(times):
            v = F.normalize(torch.mv(matrix.t(), u), dim=0)
            u = F.normalize(torch.mv(matrix, v), dim=0)
        return u, v


def spectral(layer: nn.Module) -> nn.Module:
    """Reinitialise a convolution, linear layer or embedding, and add spectral norm to it."""
    nn.init.normal_(layer.weight, std=0.02)
    if getattr(layer, "bias", None) is not None:
        nn.init.zeros_(layer.bias)
    parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))
    return layer


def conv(channels_in: int, channels_out: int, kernel: int) -> nn.Module:
    return spectral(nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2))


class Norm(BatchNorm):
    """Batch norm; with `classes` > 0, each class has its own gain and offset."""

    def __init__(self, channels: int, classes: int):
        super().__init__(channels, affine=not classes)
        self.styles = nn.Embedding(classes, 2 * channels) if classes else None
        if self.styles is not None:
            nn.init.zeros_(self.styles.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        """x (N, C, H, W), labels (N,) -> the shape of x."""
        x = super().forward(x)
        if self.styles is None:
            return x
        gain, offset = self.styles(labels)[:, :, None, None].to(x.dtype).chunk(2, dim=1)
        return x * (1 + gain) + offset


class UpBlock(nn.Module):
    """(N, C, H, W) -> (N, C', 2H, 2W): two times norm, ReLU, 3x3, upsampled before the first 3x3; a 1x1 skip connection."""

    def __init__(self, channels_in: int, channels_out: int, classes: int):
        super().__init__()
        self.norm1, self.norm2 = Norm(channels_in, classes), Norm(channels_out, classes)
        self.conv1, self.conv2 = conv(channels_in, channels_out, 3), conv(channels_out, channels_out, 3)
        self.skip = conv(channels_in, channels_out, 1)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        h = self.conv1(_larger(F.relu(self.norm1(x, labels))))
        # A 1x1 convolution commutes with nearest-neighbour upsampling (and with D's average): a quarter of the work.
        return self.conv2(F.relu(self.norm2(h, labels))) + _larger(self.skip(x))


class DownBlock(nn.Module):
    """(N, C, H, W) -> (N, C', H/2, W/2), or (N, C', H, W) without `shrink`: two times ReLU, 3x3; a 1x1 skip connection."""

    def __init__(self, channels_in: int, channels_out: int, first: bool = False, shrink: bool = True):
        super().__init__()
        self.first, self.shrink = first, shrink
        self.conv1, self.conv2 = conv(channels_in, channels_out, 3), conv(channels_out, channels_out, 3)
        self.skip = conv(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = x if self.first else F.relu(x)  # the input of the first block is an image
        h = self.conv2(F.relu(self.conv1(h)))
        if self.shrink:
            h, x = F.avg_pool2d(h, 2), F.avg_pool2d(x, 2)
        return h + self.skip(x)


class Generator(nn.Module):
    def __init__(self, noise: int, channels: int, classes: int):
        super().__init__()
        self.first = spectral(nn.Linear(noise, 4 * channels * 4 * 4))
        self.blocks = nn.ModuleList([UpBlock(4 * channels, 2 * channels, classes), UpBlock(2 * channels, channels, classes)])
        self.norm = BatchNorm(channels)
        self.last = conv(channels, 3 * 2 * 2, 3)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """noise (N, D), labels (N,) -> images (N, 3, 32, 32) in [-1, 1]. An unconditional G ignores the labels."""
        x = self.first(noise).unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            x = block(x, labels)
        x = self.last(F.relu(self.norm(x)))  # (N, 12, 16, 16)
        return torch.tanh(F.pixel_shuffle(x, 2))


class Discriminator(nn.Module):
    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.blocks = nn.Sequential(
            DownBlock(3 * 2 * 2, channels, first=True),
            DownBlock(channels, 2 * channels),
            DownBlock(2 * channels, 4 * channels, shrink=False),
        )
        self.linear = spectral(nn.Linear(4 * channels, 1))
        self.classes = spectral(nn.Embedding(classes, 4 * channels)) if classes else None

    def features(self, images: Tensor) -> Tensor:
        """images (N, 3, 32, 32) in [-1, 1] -> the input of the last layer, (N, 4 channels)."""
        x = F.pixel_unshuffle(images.contiguous(memory_format=torch.channels_last), 2)  # (N, 12, 16, 16)
        return F.relu(self.blocks(x)).float().sum((2, 3))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return scores (N,), high for images that look real. An unconditional D ignores the labels (N,)."""
        h = self.features(images)
        scores = self.linear(h).float().squeeze(1)
        return scores if self.classes is None else scores + (self.classes(labels) * h).sum(1)  # Miyato & Koyama 2018


class BigGAN(Trainable):
    """Generator and discriminator. The networks work on [-1, 1]; the public methods take uint8 and return [0, 1]."""

    def __init__(self, config: schema.BigGAN, classes: int):
        super().__init__()
        self.config, self.classes = config, classes
        self.players = ("discriminator",) * config.discriminator_steps + ("generator",)
        self.turn = 0  # discriminator steps since the last generator step
        conditions = classes if config.conditional else 0
        self.generator = Generator(config.noise, config.generator_channels, conditions)
        self.discriminator = Discriminator(config.discriminator_channels, conditions)

    @property
    def device(self) -> torch.device:
        return self.generator.norm.weight.device

    def player(self, name: str) -> nn.Module:
        return getattr(self, name)

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the player's hinge loss. The discriminator's steps divide the images (N, 3, 32, 32) uint8 among them."""
        steps, strength = self.config.discriminator_steps, self.config.diffaugment
        if player == "generator":
            self.turn = 0
            fake, fake_labels = self._fake(-(-len(batch) // steps), batch.device)
            with frozen(self.discriminator):
                loss = hinge_generator(self.discriminator(diffaugment(fake, strength), fake_labels))
            return loss, {"loss_g": loss}

        images, labels = batch.tensor_split(steps)[self.turn], labels.tensor_split(steps)[self.turn]
        self.turn += 1
        real = _signed(mirrored(images, self.config.flip))
        with torch.no_grad():
            fake, fake_labels = self._fake(len(real), real.device)
        both = diffaugment(torch.cat([real, fake]), strength)
        scores = self.discriminator(both, torch.cat([labels, fake_labels]))
        loss = hinge_discriminator(*scores.chunk(2))
        real_score, fake_score = scores.detach().view(2, -1).mean(1)
        return loss, {"loss_d": loss, "real_score": real_score, "fake_score": fake_score}

    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Return the features for the linear probe: D's last ones, summed over the image, (N, 4 channels)."""
        name = "discriminator_told_the_labels" if self.config.conditional else "discriminator"
        return {name: in_batches(lambda x: self.discriminator.features(_signed(x)), self.device, images)}

    def sample(self, count: int, steps: int = 1, eta: float = 0.0, seed: int = 0, order: int = 1) -> Tensor:
        """Draw `count` images, (N, 3, 32, 32) in [0, 1], with uniform classes. `steps`, `eta` and `order` have no effect."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(count, self.config.noise, generator=generator)
        labels = torch.randint(self.classes, (count,), generator=generator)
        return (in_batches(self.generator, self.device, noise, labels) + 1) / 2

    def _fake(self, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
        labels = torch.randint(self.classes, (count,), device=device)
        return self.generator(torch.randn(count, self.config.noise, device=device), labels), labels


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E max(0, 1 - D(x)) + E max(0, 1 + D(G(z))), from scores (N,)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """-E D(G(z)), from scores (N,)."""
    return -fake.mean()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside this context gradients pass through the module; those of its weights are not computed."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def _signed(images: Tensor) -> Tensor:
    return 2 * as_float(images) - 1  # in [-1, 1]


def _larger(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")
