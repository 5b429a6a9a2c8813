"""Same y, other w; same w, other y: what the contrast knows of a picture, made visible (figure 6).

y of a test image is kept and w drawn given it: what all these pictures share is what y holds. The other way round, w is kept
and y is another image's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid.data import pixels
from hybrid.data.datasets import ImageSet
from hybrid.model import HybridModel

IMAGES, DRAWS = 64, 8  # test images that the numbers are of, and pictures of each
ROWS = 6  # of them in the figure


Predict = Callable[[Tensor], Tensor]  # pictures (N, 3, 32, 32) -> classes (N,)


def same_y(model: HybridModel, images: Tensor, draws: int, steps: int, eta: float, seed: int) -> Tensor:
    """Pictures of the y of images (N, 3, 32, 32), each with `draws` other w: (N, draws, 3, 32, 32), in [0, 1].

    Raises HybridError where the model's prior cannot draw w given y.
    """
    y, _ = model.split(model.encode(images))
    return model.sample_given(y.repeat_interleave(draws, 0), steps, eta, seed).unflatten(0, (len(images), draws))


def same_w(model: HybridModel, images: Tensor, draws: int) -> Tensor:
    """Pictures of the w of images (N, 3, 32, 32), each with the y of the next `draws` of the N: (N, draws, 3, 32, 32)."""
    y, w = model.split(model.encode(images))
    ys = torch.stack([y.roll(-shift, 0) for shift in range(1, draws + 1)], dim=1)  # (N, draws, C, 16, 16)
    z = torch.cat([ys, w[:, None].expand(-1, draws, -1, -1, -1)], dim=2)
    return model.decode(z.flatten(0, 1)).unflatten(0, (len(images), draws))


def study(
    model: HybridModel,
    images: ImageSet,
    judges: dict[str, Predict],
    steps: int,
    eta: float,
    seed: int,
    count: int = IMAGES,
    draws: int = DRAWS,
) -> dict[str, np.ndarray]:
    """The figure's pictures and its numbers.

    `start`: test images (ROWS, 32, 32, 3), uint8. `y`, `w`: pictures of the same y and of the same w, (ROWS, draws, 32, 32, 3).
    Then scalars. In percent, by each of the `judges`: `<judge>_images`, how often it is right on the test images themselves,
    and `<judge>_reconstructions`; `<judge>_y`: how often a picture of the same y has the class of the y's image; `<judge>_w`
    and `<judge>_other_y`: how often one of the same w has the class of the w's image and of the y's. `colour_y`, `layout_y`,
    `colour_w`, `layout_w`: `variation` of the pictures of one y, of one w.
    """
    order = torch.randperm(len(images.test_images), generator=torch.Generator().manual_seed(seed))[:count]
    chosen, labels = images.test_images[order], images.test_labels[order]
    draws_w = min(draws, len(chosen) - 1)  # other images to take y from
    pictures = {"y": same_y(model, chosen, draws, steps, eta, seed), "w": same_w(model, chosen, draws_w)}
    shown = {name: pixels.to_uint8(x[:ROWS]).permute(0, 1, 3, 4, 2).cpu().numpy() for name, x in pictures.items()}
    shown["start"] = chosen[:ROWS].permute(0, 2, 3, 1).cpu().numpy()
    others = torch.stack([labels.roll(-shift, 0) for shift in range(1, draws_w + 1)], dim=1)  # whose y the pictures of w have
    numbers = {}
    for name, predict in judges.items():

        def right(batch: Tensor, wanted: Tensor, predict: Predict = predict) -> float:
            return 100 * (predict(batch).to(wanted.device) == wanted).float().mean().item()

        of_y, of_w = pictures["y"].flatten(0, 1), pictures["w"].flatten(0, 1)
        numbers |= {
            f"{name}_images": right(chosen, labels),
            f"{name}_reconstructions": right(model.reconstruct(chosen), labels),
            f"{name}_y": right(of_y, labels.repeat_interleave(draws)),
            f"{name}_w": right(of_w, labels.repeat_interleave(draws_w)),
            f"{name}_other_y": right(of_w, others.flatten()),
        }
    reals = images.test_images.float() / 255
    for name, x in pictures.items():
        numbers |= {f"{what}_{name}": value for what, value in variation(x, reals).items()}
    return shown | {name: np.array(value) for name, value in numbers.items()}


def variation(pictures: Tensor, reals: Tensor) -> dict[str, float]:
    """How far the pictures of one row differ, against any two real images: (N, draws, 3, 32, 32) and (M, 3, 32, 32) in [0, 1].

    `colour`: the variance of a picture's mean colour. `layout`: that of the means of its 4 x 4 squares' brightness, the whole
    picture's taken out. Both over the pictures of a row, averaged over rows, over the variance among real images: 0 where all
    pictures of a row are alike in it, 1 where they differ as any two images do.
    """

    def colour(x: Tensor) -> Tensor:
        return x.mean((2, 3))  # (N, 3)

    def layout(x: Tensor) -> Tensor:
        means = F.adaptive_avg_pool2d(x.mean(1, keepdim=True), 4).flatten(1)  # (N, 16)
        return means - means.mean(1, keepdim=True)

    def within(f: Callable[[Tensor], Tensor]) -> float:
        found = f(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])
        return (found.var(1).sum(1).mean() / f(reals).var(0).sum()).item()

    return {"colour": within(colour), "layout": within(layout)}
