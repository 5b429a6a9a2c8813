"""Precision and recall of a set of images (Kynkäänniemi et al. 2019): how many look real, and how many real ones they cover.

A Fréchet distance mixes both: sharper images lower it, and so may a smaller variety. The manifold of a set is the union of
balls around its images; the radius of each ball is the distance to the k-th nearest other image of the set.

    >>> precision_recall(features_of_samples, features_of_train_images)  # {"precision": .6, "recall": .3}
"""

from __future__ import annotations

import torch
from torch import Tensor

NEIGHBOURS = 3  # k, as in their paper
BLOCK = 1000  # rows of the distance matrix in memory at once


def precision_recall(samples: Tensor, real: Tensor, neighbours: int = NEIGHBOURS) -> dict[str, float]:
    """Return `precision`, the share of samples (N, D) in the manifold of real (M, D), and `recall`, the reverse.

    Both are in [0, 1], by equations (1) to (3), computed on the tensors' device. They depend on N and M, which should be equal.
    In a set with fewer than `neighbours` + 1 members, the radius is the distance to the farthest.
    """
    centre = real.mean(0)  # near the origin float32 is more accurate for differences of squares
    samples, real = samples - centre, real - centre
    sample_radii, real_radii = radii(samples, neighbours), radii(real, neighbours)
    inside, covered = [], torch.zeros(len(real), dtype=torch.bool, device=real.device)
    for part, own in zip(samples.split(BLOCK), sample_radii.split(BLOCK), strict=True):
        distances = torch.cdist(part, real)
        inside.append((distances <= real_radii).any(1))
        covered |= (distances <= own[:, None]).any(0)
    return {"precision": _share(torch.cat(inside)), "recall": _share(covered)}


def radii(points: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """Return the distances (N,) of points (N, D) to their k-th nearest other points."""
    k, found = min(neighbours, len(points) - 1), []
    for first in range(0, len(points), BLOCK):
        distances = torch.cdist(points[first : first + BLOCK], points)
        distances.diagonal(first).fill_(torch.inf)  # exclude the point itself; rounding may give it a distance above 0
        found.append(distances.topk(k, dim=1, largest=False).values[:, -1])
    return torch.cat(found)


def _share(flags: Tensor) -> float:
    return int(flags.sum()) / len(flags)
