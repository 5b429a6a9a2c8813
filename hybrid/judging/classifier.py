"""A small image classifier. It judges generated images and was trained on neither codes nor samples."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn

from hybrid.data.augment import mirrored
from hybrid.data.pixels import as_float
from hybrid.models.base import Trainable, in_batches
from hybrid.models.cells import EncoderCell
from hybrid.profiles.schema import Profile, Training


@dataclass(frozen=True)
class Judge:
    """The classifier's size and training. It trains for minutes only, because being right in most cases is enough."""

    training: Training = field(default_factory=lambda: Training(epochs=3, batch=128))
    flip: float = 0.5  # probability of mirroring an image
    width: int = 48  # channels at 16 x 16, twice as many at 8 x 8

    @classmethod
    def of(cls, profile: Profile) -> Judge:
        """Return a classifier as wide as the profile's encoder, trained in a small part of its time."""
        first = profile.hybrid.representation
        training = Training(epochs=min(3, first.training.epochs), batch=128)
        return cls(training, profile.hybrid.prior.flip, first.autoencoder.widths[0])


class Classifier(Trainable):
    """Images (N, 3, 32, 32) -> logits (N, classes)."""

    def __init__(self, classes: int, config: Judge):
        super().__init__()
        self.flip, width = config.flip, config.width
        self.net = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(12, width, 3, padding=1),
            EncoderCell(width),
            EncoderCell(width),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            EncoderCell(2 * width),
            EncoderCell(2 * width),
            nn.BatchNorm2d(2 * width),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * width, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, 32, 32), uint8 or float in [0, 1] -> logits (N, classes)."""
        return self.net(as_float(images) * 2 - 1)

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the cross-entropy on randomly mirrored images."""
        logits = self(mirrored(batch, self.flip))
        loss = F.cross_entropy(logits, labels)
        return loss, {"loss": loss, "accuracy": 100 * (logits.argmax(1) == labels).float().mean()}

    def predict(self, images: Tensor) -> Tensor:
        """Return the most likely classes (N,) of images (N, 3, 32, 32)."""
        return in_batches(self, next(self.parameters()).device, images).argmax(1)
