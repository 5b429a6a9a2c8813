"""Images of a method for the galleries: samples, and test images with their reconstructions."""

from __future__ import annotations

import torch
from torch import nn

from hybrid.data.datasets import ImageSet
from hybrid.data.pixels import to_uint8


def gallery(
    model: nn.Module, metrics: tuple[str, ...], images: ImageSet, steps: int, eta: float, seed: int, **solver: int
) -> dict:
    """Return 64 samples if the method has fid, and 32 test images with reconstructions if it has mse.

    All are uint8 (N, 3, 32, 32). `solver`: further arguments of the model's `sample`, such as `order`.
    """
    shown = {}
    if "fid" in metrics:
        shown["samples"] = to_uint8(model.sample(64, steps, eta, seed, **solver)).cpu().numpy()
    if "mse" in metrics:
        places = torch.randperm(len(images.test_images), generator=torch.Generator().manual_seed(seed))
        originals = images.test_images[places[torch.arange(32) % len(places)]]
        shown["originals"] = originals.cpu().numpy()
        shown["reconstructions"] = to_uint8(model.reconstruct(originals)).cpu().numpy()
    return shown
