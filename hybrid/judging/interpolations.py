"""The data of the paper's Figures 2-5: paths between test images, and how far they move the picture."""

from __future__ import annotations

import torch
from torch import Tensor

from hybrid.data.datasets import ImageSet
from hybrid.data.pixels import to_uint8
from hybrid.errors import HybridError
from hybrid.model import PARTS as CODE_PARTS
from hybrid.model import HybridModel

PARTS = {2: ("z",), 3: ("y",), 4: ("w",), 5: ("z", "y", "w")}  # what moves in each of the paper's figures

MOVED_PAIRS = 512  # pairs that the distances moved are averaged over, where the test set has as many


def pairs(images: ImageSet, count: int, seed: int) -> Tensor:
    """Indices (count, 2) of test images to draw paths between, of two classes each where there are some, no image twice.

    As many as the test set gives, where these are fewer. Raises HybridError where it gives none.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = images.test_labels.cpu()
    order = torch.randperm(len(labels), generator=generator)
    starts, ends = order.chunk(2)
    both = zip(starts.tolist(), ends.tolist(), strict=False)
    chosen = [(a, b) for a, b in both if not images.labelled or labels[a] != labels[b]]
    if not chosen:
        raise HybridError(
            f"the {len(labels)} test images give no pair of unlike ones to draw paths between: put more into the test set"
        )
    return torch.tensor(chosen[:count])


def interpolations(model: HybridModel, images: ImageSet, indices: Tensor, frames: int, parts: tuple[str, ...]) -> dict:
    """The data of a figure: `between` the pairs of test images with these indices (pairs, 2)."""
    x0, x1 = images.test_images[indices[:, 0]], images.test_images[indices[:, 1]]
    return between(model, x0, x1, frames, parts) | {"indices": indices.numpy()}


def between(model: HybridModel, x0: Tensor, x1: Tensor, frames: int, parts: tuple[str, ...]) -> dict:
    """Paths between uint8 images (pairs, 3, 32, 32), t falling from 1 to 0: t, start, end, and for each part what is decoded.

    The latter are uint8 (pairs, frames, 32, 32, 3).
    """
    t = torch.linspace(1, 0, frames)
    paths = {part: to_uint8(model.interpolate(x0, x1, t, part)).permute(0, 1, 3, 4, 2).cpu().numpy() for part in parts}
    return {
        "t": t.numpy(),
        "start": x0.permute(0, 2, 3, 1).cpu().numpy(),
        "end": x1.permute(0, 2, 3, 1).cpu().numpy(),
        **paths,
    }


def moved(model: HybridModel, images: ImageSet, seed: int) -> dict[str, float]:
    """How far the decoded image moves from t = 1 to t = 0, moved_<part>: mean squared change in 1e-3 per dimension."""
    indices = pairs(images, MOVED_PAIRS, seed)
    x0, x1 = images.test_images[indices[:, 0]], images.test_images[indices[:, 1]]
    ends = torch.tensor([1.0, 0.0])
    result = {}
    for part in CODE_PARTS:
        path = model.interpolate(x0, x1, ends, part)
        result[f"moved_{part}"] = 1e3 * (path[:, 0] - path[:, 1]).square().mean().item()
    return result
