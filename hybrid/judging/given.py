"""Same y with different w, and same w with different y: figure 6 shows which information y holds.

The first set keeps a test image's y and samples w given y: what the images have in common is the content of y. The second set
keeps w and takes y from other images.
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

IMAGES, DRAWS = 64, 8  # test images for the numbers, and generated images for each
ROWS = 6  # test images in the figure


Predict = Callable[[Tensor], Tensor]  # images (N, 3, 32, 32) -> classes (N,)


def same_y(model: HybridModel, images: Tensor, draws: int, steps: int, eta: float, seed: int, order: int = 1) -> Tensor:
    """Decode the y of images (N, 3, 32, 32) with `draws` sampled w each: (N, draws, 3, 32, 32), in [0, 1].

    Raises HybridError if the model's prior cannot sample w given y.
    """
    y, _ = model.split(model.encode(images))
    return model.sample_given(y.repeat_interleave(draws, 0), steps, eta, seed, order).unflatten(0, (len(images), draws))


def same_w(model: HybridModel, images: Tensor, draws: int) -> Tensor:
    """Decode the w of images (N, 3, 32, 32), each with the y of the next `draws` images: (N, draws, 3, 32, 32)."""
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
    order: int = 1,
) -> dict[str, np.ndarray]:
    """Return the images and numbers of figure 6.

    `start`: test images (ROWS, 32, 32, 3), uint8. `y`, `w`: images with the same y, and with the same w,
    (ROWS, draws, 32, 32, 3). The rest are scalars. For each of the `judges`, in percent: `<judge>_images` and
    `<judge>_reconstructions`, its accuracy on test images and their reconstructions; `<judge>_y`, how often an image with the
    same y gets the class of the image that y comes from; `<judge>_w` and `<judge>_other_y`, how often an image with the same w
    gets the class of the image that w comes from, and of the one that y comes from. `colour_y`, `layout_y`, `colour_w`,
    `layout_w`: the `variation` of images with one y, and with one w.
    """
    some = torch.randperm(len(images.test_images), generator=torch.Generator().manual_seed(seed))[:count]
    chosen, labels = images.test_images[some], images.test_labels[some]
    draws_w = min(draws, len(chosen) - 1)  # there are no more other images to take y from
    pictures = {"y": same_y(model, chosen, draws, steps, eta, seed, order), "w": same_w(model, chosen, draws_w)}
    shown = {name: pixels.to_uint8(x[:ROWS]).permute(0, 1, 3, 4, 2).cpu().numpy() for name, x in pictures.items()}
    shown["start"] = chosen[:ROWS].permute(0, 2, 3, 1).cpu().numpy()
    others = torch.stack(
        [labels.roll(-shift, 0) for shift in range(1, draws_w + 1)], dim=1
    )  # classes of the images that y is taken from
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
    """Compare the variance within rows of images (N, draws, 3, 32, 32) to that of real images (M, 3, 32, 32), in [0, 1].

    `colour`: variance of the mean colour. `layout`: variance of the mean brightness of 4 x 4 squares, minus that of the whole
    image. Both are variances within a row, averaged over rows, divided by the variance among real images: 0 if all images of a
    row are equal in this respect, 1 if they differ as much as real images.
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
