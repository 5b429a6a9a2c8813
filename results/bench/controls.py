"""Controls of what the documentation says about the released CIFAR-10 hybrid: `python results/bench/controls.py`.

It writes controls.json beside this file, an hour on one core (Xeon with AMX, bf16). Nothing was chosen by these numbers.

- `error`: of reconstructions of the test set from the code itself, and with y or w replaced by its mean over the train set.
- `samples`: 5,000 samples without and with guidance, from the same y, and without guidance but w further from its mean.
- `copies`: distances of 2,000 samples, and of as many test images, to their nearest train image.
- `one_y`: figure 6 for 256 test images, without and with guidance.
- `probes`: a linear probe and a vote of 20 neighbours on pixels and on the y of an encoder that was not trained.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import hybrid
from hybrid import released
from hybrid.data.datasets import spread
from hybrid.data.pixels import to_uint8
from hybrid.experiments.experiment import Experiment
from hybrid.judging import frechet, given, knn, nearest
from hybrid.judging.evaluate import squared_error
from hybrid.judging.probe import linear_probe
from hybrid.machine.files import write_json
from hybrid.machine.provenance import machine, provenance
from hybrid.model import EncoderModel, HybridModel
from hybrid.models.base import stream
from hybrid.models.hybrid import Representation

OUT = Path(__file__).with_suffix(".json")
STEPS, SAMPLES, COPIES, IMAGES = 50, 5000, 2000, 256
SCALES = (1.0, 1.1, 1.2, 1.3)  # of w's distance from its mean


@contextmanager
def guided(model: HybridModel, guidance: float) -> Iterator[None]:
    """Inside this context, the model samples w with this guidance; 1 is none."""
    texture = model.prior.texture
    kept, texture.config = texture.config, replace(texture.config, guidance=guidance)
    try:
        yield
    finally:
        texture.config = kept


def error(model: HybridModel, images: hybrid.ImageSet) -> dict[str, float]:
    """Return errors in 1e-3 per dimension of the test set."""
    z = model.encode(images.test_images)
    means = model.encode(images.train_images).mean(0, keepdim=True).expand_as(z)
    codes = {"z": z}
    for part, mixed in (("mean y", (means, z)), ("mean w", (z, means))):
        codes[part] = torch.cat([model.split(mixed[0])[0], model.split(mixed[1])[1]], dim=1)
    return {name: squared_error(model.decode(code), images.test_images) for name, code in codes.items()}


def references(images: hybrid.ImageSet) -> list[tuple[frechet.Reference, Tensor]]:
    """Return the reference of each network, as `frechet.reference` makes it, and the features of all train images."""
    found = []
    for name in frechet.STAND_INS:
        network = frechet.load_network(name, images.train_images.device)
        features = network(images.train_images)
        some = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))[: frechet.MANIFOLD_IMAGES]
        found.append((frechet.Reference(network, frechet.Statistics.of(features), features[some]), features))
    return found


def samples(model: HybridModel, compared: list[frechet.Reference]) -> tuple[list[dict], Tensor]:
    """Return a row per set of samples, and the guided samples, uint8 (SAMPLES, 3, 32, 32)."""
    codes, own = model.prior.texture.codes, model.prior.texture.config.guidance
    rows, sets = [], []
    for guidance in (1.0, own):
        with guided(model, guidance):
            z = model.sample_codes(SAMPLES, STEPS)
        y, w = model.split(z)
        deviations = ((w - codes.w_mean) / codes.w_std).std((0, 2, 3))  # of each channel, 1 for train images
        scales = {f"{scale:g}": scale for scale in SCALES} if guidance == 1 else {"1": 1.0}
        scales["to the train set's spread"] = 1 / deviations[:, None, None]
        for name, scale in scales.items():
            pictures = to_uint8(model.decode(torch.cat([y, codes.w_mean + scale * (w - codes.w_mean)], dim=1)))
            reached = (scale * deviations[:, None, None]).mean().item()
            about = {"guidance": guidance, "w scaled by": name, "spread of w": reached}
            if guidance == own and name == "1":
                sets.append(pictures)
            rows.append(about | {key: value for each in compared for key, value in each.compare(pictures).items()})
            print(rows[-1], flush=True)
    return rows, sets[0]


def copies(pictures: Tensor, images: hybrid.ImageSet, network: frechet.FeatureNetwork, known: Tensor) -> dict[str, dict]:
    """Return smallest value, 1 % quantile and mean of the distances to the nearest train image, by features and by pixels."""
    found: dict[str, dict] = {}
    for by, features, kept in (("features", network, known), ("pixels", nearest.as_vectors, None)):
        for name, queries in (("samples", pictures[:COPIES]), ("test images", spread(images.test_images, COPIES))):
            distances = nearest.nearest(queries, images.train_images, features, 1, kept)[0][:, 0].double()
            values = {"smallest": distances.min(), "1 % quantile": distances.quantile(0.01), "mean": distances.mean()}
            found.setdefault(by, {})[name] = {what: value.item() for what, value in values.items()}
    return found


def one_y(model: HybridModel, images: hybrid.ImageSet) -> list[dict]:
    """Return the numbers of figure 6, judged by the released probe on y."""
    read, places = released.class_reader("cifar10", model), {name: i for i, name in enumerate(images.class_names)}
    rows = []
    for guidance in (1.0, model.prior.texture.config.guidance):
        with guided(model, guidance):
            judges = {"probe": lambda pictures: torch.tensor([places[name] for name in read(pictures)])}
            found = given.study(model, images, judges, STEPS, 0.0, 0, IMAGES)
        rows.append({"guidance": guidance} | {key: value.item() for key, value in found.items() if value.ndim == 0})
        print(rows[-1], flush=True)
    return rows


def probes(images: hybrid.ImageSet) -> dict[str, dict[str, float]]:
    """Return accuracies in percent of the test set, as `hybrid probe` measures them."""
    torch.manual_seed(stream(0, "representation"))
    untrained = EncoderModel(Representation(Experiment("laptop").profile.hybrid.representation).encoder)
    of = {
        "pixels": nearest.as_vectors,
        "y, untrained": lambda pictures: untrained.features(pictures)["y"],
    }
    found = {}
    for name, features in of.items():
        train, test = features(images.train_images), features(images.test_images)
        labels, truth = images.train_labels, images.test_labels
        votes = knn.vote(train, labels, test, images.classes)
        linear = linear_probe(train, labels, test, truth)
        found[name] = {"linear acc., %": linear.accuracy, "20-NN acc., %": 100 * (votes == truth).float().mean().item()}
        print(name, found[name], linear.converged, flush=True)
    return found


def main() -> None:
    """Measure all of it and write the file."""
    started, model, images = time.monotonic(), hybrid.pretrained("cifar10"), hybrid.load_dataset("cifar10")
    weights = released.sha256(released.FOLDER / "cifar10.safetensors")
    about = provenance(**machine(model.device), seed=0, dataset="cifar10", weights=weights)
    measured: dict = {"error": error(model, images)}
    print(measured, flush=True)
    networks = references(images)
    measured["samples"], pictures = samples(model, [each for each, _ in networks])
    (reference, known), _ = networks
    measured["copies"] = copies(pictures, images, reference.network, known)
    print(json.dumps(measured["copies"]), flush=True)
    measured["one_y"] = one_y(model, images)
    measured["probes"] = probes(images)
    about["seconds"] = round(time.monotonic() - started, 1)
    write_json(OUT, measured | {"provenance": about})


if __name__ == "__main__":
    main()
