"""How a method is judged: reconstruction, linear classification and generation, in the same way for all methods."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hybrid import paths
from hybrid.data import pixels
from hybrid.data.datasets import ImageSet
from hybrid.data.pixels import as_float
from hybrid.judging import frechet
from hybrid.judging.probe import PENALTIES, Probe, linear_probe
from hybrid.machine import distributed
from hybrid.models.base import BATCH
from hybrid.models.pixel_ddim import PixelDDIM
from hybrid.profiles.schema import Evaluation

FINE_STEPS, FINE_IMAGES = 50, 256  # of `finer`: the ODE's steps, and images of each split
FINE_PENALTY = 1e-1  # of its probes: so few images choose none

OwnMetrics = Callable[[nn.Module, ImageSet, int], dict[str, float]]  # model, images, seed -> metrics


def evaluate(
    model: nn.Module,
    having: tuple[str, ...],
    images: ImageSet,
    config: Evaluation,
    seed: int,
    calibrate: bool = True,
    known: dict[str, float] | None = None,
    own_metrics: OwnMetrics | None = None,
) -> dict:
    """Measure one trained method: those of mse, acc and fid that are in `having`, and its `own_metrics`.

    `known` passes an error and accuracies measured before. The result has these entries:
    `metrics`: mse (test set, clipped, 1e-3 per dimension on [0, 1]); acc (percent, test set) of the representation that the
    table judges, and acc_<name> of each; for samples against the train set, fid and kid, or fd_<network> and kd_<network>;
    precision and recall on EfficientNet-lite0's features, precision_<network> and recall_<network> on others; then the method's
    own metrics. Older outcomes lack the metrics that were added later.
    `calibration`: the same distances for its reconstructions and, with `calibrate`, for real and degraded images, which are the
    same for all methods. `details`: how the probes were fitted, and which networks were used. `seconds`: the time it took.
    """
    started = time.monotonic()
    metrics, calibration, details, reconstructions = dict(known or {}), [], {}, None
    if "mse" in having and not known:
        reconstructions = model.reconstruct(images.test_images)
        metrics["mse"] = squared_error(reconstructions, images.test_images)
    if "acc" in having and not known and images.labelled:
        accuracies, details["probes"] = accuracy(model, images, seed, config.penalties or PENALTIES)
        metrics |= accuracies
    if "fid" in having:
        distances, calibration, details["networks"] = generation(model, reconstructions, images, config, seed, calibrate)
        metrics |= distances
    if own_metrics is not None:
        metrics |= own_metrics(model, images, seed)
    return {
        "metrics": metrics,
        "calibration": calibration,
        "details": details,
        "seconds": round(time.monotonic() - started, 1),
    }


def squared_error(reconstructions: Tensor, images: Tensor) -> float:
    """Return the mean squared error, in 1e-3 per dimension on [0, 1], of reconstructions (N, 3, 32, 32) of uint8 images."""
    pairs = zip(reconstructions.split(BATCH), images.split(BATCH), strict=True)
    return 1e3 * torch.cat([(x - as_float(y)).square().mean((1, 2, 3)) for x, y in pairs]).mean().item()


def accuracy(
    model: nn.Module, images: ImageSet, seed: int, penalties: tuple[float, ...] = PENALTIES
) -> tuple[dict[str, float], dict]:
    """Return each representation's linear accuracy on the test set, in percent, with `acc` of the first; and the probes."""
    train, test = model.features(images.train_images), model.features(images.test_images)

    def fit() -> dict[str, Probe]:
        labels = images.train_labels, images.test_labels
        return {
            name: linear_probe(train[name], labels[0], test[name], labels[1], seed, penalties, images.train_sources)
            for name in train
        }

    probes = distributed.on_rank_zero(fit)
    accuracies = {f"acc_{name}": probe.accuracy for name, probe in probes.items()}
    return {"acc": next(iter(accuracies.values())), **accuracies}, {name: vars(probe) for name, probe in probes.items()}


def finer(model: PixelDDIM, images: ImageSet, seed: int) -> dict[str, float]:
    """Probe the DDIM's x_T on a part of the images, as the table has it and in FINE_STEPS steps of the ODE.

    Returns acc_x_T_coarse and acc_x_T_fine, percent of the test part. It is empty where there is nothing to compare.
    """
    if not images.labelled or model.encoding_steps >= FINE_STEPS or model.diffusion.steps < FINE_STEPS:
        return {}
    some = {}
    for split in ("train", "test"):
        pictures, labels = (getattr(images, f"{split}_{what}") for what in ("images", "labels"))
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))[:FINE_IMAGES].to(labels.device)
        some[split] = pictures[order], labels[order]
    found = {}
    for name, steps in (("coarse", model.encoding_steps), ("fine", FINE_STEPS)):
        train, test = (model.encode(pictures, steps).flatten(1) for pictures, _ in some.values())

        def accuracy(train: Tensor = train, test: Tensor = test) -> float:
            return linear_probe(train, some["train"][1], test, some["test"][1], seed, (FINE_PENALTY,)).accuracy

        found[f"acc_x_T_{name}"] = distributed.on_rank_zero(accuracy)
    return found


def generation(
    model: nn.Module,
    reconstructions: Tensor | None,
    images: ImageSet,
    config: Evaluation,
    seed: int,
    calibrate: bool,
) -> tuple[dict[str, float], list[dict], dict]:
    """Return the distances of samples to the train set, rows for reconstructions and images of known quality, and each
    network's status.

    The rows use all images there are, up to the number of samples.
    """
    sets = {"samples": pixels.to_uint8(model.sample(config.samples, config.sampler_steps, config.eta, seed, **config.solver))}
    chosen = torch.randperm(len(images.test_images), generator=torch.Generator().manual_seed(seed))[: config.samples]
    if calibrate:
        real = images.test_images[chosen]
        sets |= {"real, test set": real, **frechet.degraded(real, seed)}
    if reconstructions is not None:
        sets["reconstructions of the test set"] = pixels.to_uint8(reconstructions[chosen])
    return distributed.on_rank_zero(lambda: distances(sets, images, config))


def distances(sets: dict[str, Tensor], images: ImageSet, config: Evaluation) -> tuple[dict, list[dict], dict]:
    """Return the result of `generation` for named sets of uint8 images (N, 3, 32, 32), one of them "samples"."""
    sets = {name: batch for name, batch in sets.items() if len(batch) > 1}  # a single image has no covariance
    metrics, rows, status = {}, {name: {"images": name, "count": len(batch)} for name, batch in sets.items()}, {}
    stand_ins = frechet.STAND_INS[:1] if config.witness is False else frechet.STAND_INS
    for name in ("inception", *stand_ins) if config.inception else stand_ins:
        try:
            network = frechet.load_network(name, images.train_images.device)
        except frechet.Unavailable as reason:
            status[name] = str(reason)
            continue
        status[name] = network.key
        reference = frechet.reference(network, images.train_images, f"{images.sha256} train", paths.cache())
        compared = {key: reference.compare(batch) for key, batch in sets.items()}
        rows = {key: row | compared[key] for key, row in rows.items()}
        metrics |= compared["samples"]
    return metrics, list(rows.values()), status
