"""The train images nearest to samples, drawn beside them: whether a model makes new images or shows its train set again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hybrid.data.datasets import ImageSet
from hybrid.judging import frechet

SAMPLES, COUNT = 8, 4  # samples that are looked at, and train images that each gets
NAMES = ("nearest_by_features", "nearest_by_pixels")

BLOCK = 5000  # train images at once


def beside(
    samples: np.ndarray, images: ImageSet, network: Callable[[Tensor], Tensor] | None = None, known: Tensor | None = None
) -> dict[str, np.ndarray]:
    """For the first SAMPLES of samples (N, 3, 32, 32), uint8, the COUNT nearest train images, the nearest first.

    `nearest_by_features` (on the `network`'s, EfficientNet-lite0's where it is left out) and `nearest_by_pixels`: uint8
    (n, COUNT, 3, 32, 32), from n samples. `known`: the network's features of the train images, where they are at hand.
    `copying_by_features` and `copying_by_pixels`: scalars, the samples' mean distance to the nearest over that of as many test
    images: near 0 where a model copies. It may be below 1 for blurred or empty samples too, which are near to everything, so
    look at the pictures.
    """
    train = images.train_images
    network = network or frechet.load_network("efficientnet_lite0", train.device)
    # Few enough that they cost next to nothing beside the train set, and enough for a mean.
    looked_at, real = torch.as_tensor(samples).to(train.device), images.test_images[: len(samples)]
    found = {}
    for name, features, kept in zip(NAMES, (network, as_vectors), (known, None), strict=True):
        distances, indices = nearest(torch.cat([looked_at, real]), train, features, known=kept)
        found[name] = train[indices[: min(SAMPLES, len(looked_at))]].cpu().numpy()
        own, reals = distances[: len(looked_at), 0].mean(), distances[len(looked_at) :, 0].mean()
        found[name.replace("nearest", "copying")] = np.array((own / reals).item())
    return found


def nearest(
    queries: Tensor,
    train: Tensor,
    features: Callable[[Tensor], Tensor],
    count: int = COUNT,
    known: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Distances and places (N, count) of the train images (M, 3, H, W) nearest to queries (N, 3, H, W), both uint8.

    A query is as near to a train image as it or its mirror image is: models see train images both ways. With fewer than `count`
    train images, all of them. `known`: the train images' features (M, D), which are computed where they are left out.
    """
    both = torch.stack([features(queries), features(queries.flip(3))])  # (2, N, D)
    found = []
    for first in range(0, len(train), BLOCK):
        some = features(train[first : first + BLOCK]) if known is None else known[first : first + BLOCK]
        distances = torch.cdist(both, some[None].expand(2, -1, -1)).amin(0)
        best = distances.topk(min(count, distances.shape[1]), dim=1, largest=False)
        found.append((best.values, best.indices + first))
    distances, places = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
    order = distances.argsort(1)[:, :count]
    return distances.gather(1, order), places.gather(1, order)


def as_vectors(images: Tensor) -> Tensor:
    """uint8 images (N, 3, H, W) as vectors on [0, 1]."""
    return images.flatten(1).float() / 255
