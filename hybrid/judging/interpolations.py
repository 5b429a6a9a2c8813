"""The data of the paper's Figures 2-5: paths between test images, and how much the decoded image changes along them."""

from __future__ import annotations

import torch
from torch import Tensor

from hybrid.data.datasets import ImageSet
from hybrid.data.pixels import to_uint8
from hybrid.errors import HybridError, counted
from hybrid.model import PARTS as CODE_PARTS
from hybrid.model import HybridModel

PARTS = {2: ("z",), 3: ("y",), 4: ("w",), 5: ("z", "y", "w")}  # the parts that move in each of the paper's figures

MOVED_PAIRS = 512  # pairs to average the change over; fewer if the test set has fewer


def pairs(images: ImageSet, count: int, seed: int) -> Tensor:
    """Return indices (count, 2) of pairs of test images, of different classes if there are labels. No image occurs twice.

    There are fewer pairs if the test set gives no more. Raises HybridError if it gives none.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = images.test_labels.cpu()
    order = torch.randperm(len(labels), generator=generator)
    starts, ends = order.chunk(2)
    both = zip(starts.tolist(), ends.tolist(), strict=False)
    chosen = [(a, b) for a, b in both if not images.labelled or labels[a] != labels[b]]
    unlike = order[labels[order] != labels[order[:1]]]
    if not chosen and len(unlike):  # of few images, each pair can be of one class by chance
        chosen = [(order[0].item(), unlike[0].item())]
    if not chosen:
        raise HybridError(
            f"the {counted(len(labels), 'test image gives', 'test images give')} no pair to draw paths between: "
            "put more images into the test set"
        )
    return torch.tensor(chosen[:count])


def interpolations(model: HybridModel, images: ImageSet, indices: Tensor, frames: int, parts: tuple[str, ...]) -> dict:
    """Return the data of a figure: `between` for the pairs of test images with these indices (pairs, 2)."""
    x0, x1 = images.test_images[indices[:, 0]], images.test_images[indices[:, 1]]
    return between(model, x0, x1, frames, parts) | {"indices": indices.numpy()}


def between(model: HybridModel, x0: Tensor, x1: Tensor, frames: int, parts: tuple[str, ...]) -> dict:
    """Decode paths between uint8 images (pairs, 3, 32, 32), with t falling from 1 to 0.

    Returns t, start and end, and for each part the decoded path, uint8 (pairs, frames, 32, 32, 3).
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
    """Return moved_<part>: the mean squared change of the decoded image from t = 1 to t = 0, in 1e-3 per dimension."""
    indices = pairs(images, MOVED_PAIRS, seed)
    x0, x1 = images.test_images[indices[:, 0]], images.test_images[indices[:, 1]]
    ends = torch.tensor([1.0, 0.0])
    result = {}
    for part in CODE_PARTS:
        path = model.interpolate(x0, x1, ends, part)
        result[f"moved_{part}"] = 1e3 * (path[:, 0] - path[:, 1]).square().mean().item()
    return result
