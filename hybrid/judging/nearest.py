"""The train images nearest to samples. They show whether a model makes new images or copies its train set."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hybrid.data.datasets import ImageSet, spread
from hybrid.judging import frechet

SAMPLES, COUNT = 8, 4  # samples shown, and nearest train images of each
NAMES = ("nearest_by_features", "nearest_by_pixels")

BLOCK = 5000  # train images in memory at once


def nearest_train_images(
    samples: np.ndarray, images: ImageSet, network: Callable[[Tensor], Tensor] | None = None, known: Tensor | None = None
) -> dict[str, np.ndarray]:
    """Find the COUNT nearest train images, nearest first, for the first SAMPLES of samples (N, 3, 32, 32), uint8.

    `network` computes the features (default: EfficientNet-lite0); `known` passes its features of the train images, if you have
    them. Returns `nearest_by_features` and `nearest_by_pixels`, uint8 (n, COUNT, 3, 32, 32) for n samples; and the scalars
    `copying_by_features` and `copying_by_pixels`: the samples' mean distance to their nearest train image, divided by that of
    as many test images. A value near 0 means that the model copies. Blurred or empty samples are near to everything and may
    have values below 1 too, so look at the images.
    """
    train = images.train_images
    network = network or frechet.load_network("efficientnet_lite0", train.device)
    # All samples are used: enough for a mean, and few enough to cost little compared with the train set.
    queries, real = torch.as_tensor(samples).to(train.device), spread(images.test_images, len(samples))
    found = {}
    for name, features, kept in zip(NAMES, (network, as_vectors), (known, None), strict=True):
        distances, indices = nearest(torch.cat([queries, real]), train, features, known=kept)
        found[name] = train[indices[: min(SAMPLES, len(queries))]].cpu().numpy()
        own, reals = distances[: len(queries), 0].mean(), distances[len(queries) :, 0].mean()
        found[name.replace("nearest", "copying")] = np.array((own / reals).item())
    return found


def nearest(
    queries: Tensor,
    train: Tensor,
    features: Callable[[Tensor], Tensor],
    count: int = COUNT,
    known: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return distances and indices (N, count) of the train images (M, 3, H, W) nearest to queries (N, 3, H, W), both uint8.

    The distance is the smaller one of the query and its mirror image, because models see train images both ways. With fewer
    than `count` train images, all are returned. `known`: the features of the train images (M, D); default: compute them.
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
    """Flatten uint8 images (N, 3, H, W) to vectors on [0, 1]."""
    return images.flatten(1).float() / 255
