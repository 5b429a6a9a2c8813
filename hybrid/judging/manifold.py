"""Precision and recall of a set of images (Kynkäänniemi et al. 2019): how many look real, how much of the real they cover.

A distance mixes the two: images of higher contrast may lower it, and so may fewer kinds of images. Each set's manifold is the
union of balls around its own images, each as large as the distance to the k-th nearest of the others.

    >>> precision_recall(features_of_samples, features_of_train_images)  # {"precision": .6, "recall": .3}
"""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 3  # k, as the paper has it
BLOCK = 1000  # rows of a matrix of distances that are in memory at once


def precision_recall(samples: Tensor, real: Tensor, neighbours: int = NEIGHBOURS) -> dict[str, float]:
    """`precision`: the share of samples (N, D) in the manifold of real (M, D); `recall`: of real in the samples' manifold.

    Both on [0, 1], by equations (1) to (3), on the tensors' device. They depend on N and M, which should be equal. Sets that
    have fewer than `neighbours` + 1 members take the farthest of them.
    """
    centre = real.mean(0)  # near the origin, float32 loses less of a difference of squares
    samples, real = samples - centre, real - centre
    sample_radii, real_radii = radii(samples, neighbours), radii(real, neighbours)
    inside, covered = [], torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for part, own in zip(samples.split(BLOCK), sample_radii.split(BLOCK), strict=True):
        distances = torch.cdist(part, real)
        inside.append((distances <= real_radii).any(1))
        covered |= (distances <= own[:, None]).any(0)
    return {"precision": _share(torch.cat(inside)), "recall": _share(covered)}


def radii(points: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """(N,): the distance from each of points (N, D) to its k-th nearest other."""
    k, found = min(neighbours, len(points) - 1), []
    for first in range(0, len(points), BLOCK):
        distances = torch.cdist(points[first : first + BLOCK], points)
        distances.diagonal(first).fill_(torch.inf)  # rounding hides that a point is at 0 from itself
        found.append(distances.topk(k, dim=1, largest=False).values[:, -1])
    return torch.cat(found)


def _share(flags: Tensor) -> float:
    return int(flags.sum()) / len(flags)
