"""Classify other images from a frozen hybrid's y, w and z: a linear probe, nearest neighbours, and the confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import confusion_matrix
from torch import Tensor

from hybrid.data.datasets import ImageSet
from hybrid.errors import HybridError
from hybrid.judging import knn
from hybrid.judging.probe import fitted, linear_probe
from hybrid.machine.files import write_json, write_text
from hybrid.machine.provenance import summary
from hybrid.model import HybridModel
from hybrid.showing import figures, probed

SHOWN, NEIGHBOURS = 8, 6  # number of test images in the figure, and of train images beside each


@dataclass(frozen=True)
class Probed:
    """The result of `probe`. Accuracies are in percent of the test set."""

    accuracies: pd.DataFrame  # a row per part of z: linear probe and k nearest neighbours
    chance: float  # accuracy of always guessing the most frequent class of the test set
    part: str  # the part of z that the confusion and the neighbours are computed from
    confusion: np.ndarray  # int64 (C, C): counts of test images by true class and predicted class
    class_names: tuple[str, ...]
    queries: np.ndarray  # uint8 (n, 3, 32, 32), test images
    neighbours: np.ndarray  # uint8 (n, k, 3, 32, 32), the train images nearest to each query
    similarities: np.ndarray  # (n, k), cosine similarities

    def as_json(self) -> dict:
        """Return everything except the images, as plain values."""
        return {
            "accuracies": {part: row.to_dict() for part, row in self.accuracies.iterrows()},
            "chance": self.chance,
            "confusion": {"part": self.part, "classes": list(self.class_names), "counts": self.confusion.tolist()},
        }

    def __str__(self) -> str:
        confused = pd.DataFrame(self.confusion, self.class_names, self.class_names)
        lines = [self.accuracies.round(1).to_string(), f"always guessing the most frequent class: {self.chance:.1f} %"]
        if len(self.class_names) <= 20:
            lines += ["", f"test images by class (rows) and by prediction of the probe on {self.part}:", confused.to_string()]
        return "\n".join(lines)


def probe(model: HybridModel, images: ImageSet, part: str = "y", seed: int = 0) -> Probed:
    """Fit a probe on the train images and test it on the test images.

    `seed` selects the train images for choosing the probe's penalty. Raises HybridError if the images have no classes.
    """
    images.demand_classes()
    train, test = model.features(images.train_images), model.features(images.test_images)
    if part not in train:
        raise HybridError(f"part {part!r} is unknown: choose one of {', '.join(train)}")
    labels, truth = (each.to(model.device) for each in (images.train_labels, images.test_labels))
    rows, penalties = {}, {}
    for name in train:
        found = linear_probe(train[name], labels, test[name], truth, seed, sources=images.train_sources)
        penalties[name] = found.penalty
        votes = knn.vote(train[name], labels, test[name], images.classes)
        rows[name] = {"linear acc., %": found.accuracy, f"{knn.NEIGHBOURS}-NN acc., %": _percent(votes.cpu() == truth.cpu())}
    predicted = fitted(train[part], labels, penalties[part])(test[part]).cpu()
    confusion = confusion_matrix(truth.cpu(), predicted, labels=range(images.classes))
    shown = torch.randperm(len(truth), generator=torch.Generator().manual_seed(seed))[:SHOWN]
    similarities, places = knn.nearest(train[part], test[part][shown.to(test[part].device)], NEIGHBOURS)
    return Probed(
        accuracies=pd.DataFrame.from_dict(rows, orient="index"),
        chance=100 * (truth.bincount().max() / len(truth)).item(),
        part=part,
        confusion=confusion,
        class_names=images.class_names,
        queries=images.test_images[shown.to(images.test_images.device)].cpu().numpy(),
        neighbours=images.train_images[places.to(images.train_images.device)].cpu().numpy(),
        similarities=similarities.cpu().numpy(),
    )


def check(out: Path) -> None:
    """Raise HybridError if `out` cannot be the folder of the results."""
    if out.exists() and not out.is_dir():
        raise HybridError(f"out = {str(out)!r} is a file: expected a folder")


def write(found: Probed, out: Path, origin: dict) -> Path:
    """Write probe.json, probe.txt and two figures (.png and .pdf), `confusion` and `neighbours`, into the folder `out`.

    All but the text contain the `origin` (see `provenance`). Returns the folder.
    """
    check(out)
    write_json(out / "probe.json", found.as_json() | {"provenance": origin})
    write_text(out / "probe.txt", f"{found}\n")
    about = summary(origin, {}, "probe.json") | {"again": origin.get("command")}
    figures.save_figure(probed.confusion(found.confusion, found.class_names), out / "confusion", about)
    titles = [[f"{s:.2f}" for s in row] for row in found.similarities]
    figures.save_figure(probed.neighbours(found.queries, found.neighbours, titles, "test image"), out / "neighbours", about)
    return out


def _percent(right: Tensor) -> float:
    return 100 * right.float().mean().item()
