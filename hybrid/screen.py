"""Screening: what a change of the hybrid's first stage is worth in a short training, with the test set unseen.

It is trained on nine tenths of the train set and judged on the tenth, so values can be chosen by it. Every run leaves a line
in a log, with where it comes from.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hybrid import checkpoint, distributed, paths
from hybrid.data import ImageSet, split
from hybrid.evaluate import squared_error
from hybrid.experiment import Experiment
from hybrid.methods import Run, train_representation
from hybrid.model import HybridModel
from hybrid.probe import linear_probe
from hybrid.train import append

HELD_OUT = 0.1  # share of the train set that is judged on


def screen(experiment: Experiment, log: Path) -> dict:
    """Train the first stage of the experiment's profile, append to `log` (.jsonl) how it fares, and return that line.

    `acc_y`: linear accuracy on y in percent; `mse`: in 1e-3 per dimension on [0, 1]; both of the images held out, the latter
    where there is a decoder. `seconds`: of training. Raises TimeUp when the experiment's clock runs out.
    """
    images, profile = held_out(experiment.images), experiment.profile
    folder = paths.runs(profile.name, images.name) / "screen" / f"seed{experiment.seed}"
    run = Run(profile, images, experiment.seed, folder, experiment.clock)
    model = train_representation(run, profile.hybrid.representation)
    y, held_y = model.features(images.train_images)["y"], model.features(images.test_images)["y"]
    labels, held_labels = images.train_labels, images.test_labels
    sources, seed = images.train_sources, experiment.seed
    probe = distributed.from_first(lambda: linear_probe(y, labels, held_y, held_labels, seed=seed, sources=sources))
    found = {"acc_y": round(probe.accuracy, 2)}
    if isinstance(model, HybridModel):
        found["mse"] = round(squared_error(model.reconstruct(images.test_images), images.test_images), 3)
    state = checkpoint.load(folder / "representation" / "checkpoint.pt")
    line = {
        "profile": profile.name,
        "dataset": experiment.slug,
        "seed": experiment.seed,
        **found,
        "seconds": round(state["seconds"]),
        "provenance": state["provenance"],
    }
    if distributed.rank() == 0:
        append(log, line)
    return line


def held_out(images: ImageSet) -> ImageSet:
    """The train set in two parts, the same for every seed, the smaller of them in the place of the test set."""
    sources, device = images.train_sources, images.train_images.device
    held, kept = (part.to(device) for part in split(len(images.train_images), HELD_OUT, seed=0, sources=sources))
    return replace(
        images,
        name=f"{images.name}-held-out",
        train_images=images.train_images[kept],
        train_labels=images.train_labels[kept],
        test_images=images.train_images[held],
        test_labels=images.train_labels[held],
        train_sources=None if sources is None else sources[kept.cpu()],
    )
