"""How a method is judged: reconstruction, linear classification, generation, each on the same terms for all."""

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
from hybrid.profiles.schema import Evaluation

OwnMetrics = Callable[[nn.Module, ImageSet, int], dict[str, float]]  # of a model, on images, with a seed


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
    """The numbers of one trained method: those of mse, acc and fid that it is `having`, and its `own_metrics`.

    `metrics`: mse (test set, clipped, 1e-3 per dimension on [0, 1]); acc (percent, test set) of the representation that the
    table judges, and acc_<name> of each; for samples against the train set fid and kid, or fd_ and kd_<network>, precision and
    recall on EfficientNet-lite0's features, precision_ and recall_<network> on another's; then the method's own. Older outcomes
    lack what was not measured then. `calibration`: the same for its reconstructions and, if `calibrate`, for real images and
    worse ones, which are the same for all methods. `known`: error and accuracies, where they were measured before. `details`:
    how the probes were fitted. `seconds`: the time it took.
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
    """Mean squared error, in 1e-3 per dimension on [0, 1], of reconstructions (N, 3, 32, 32) and their images, uint8."""
    pairs = zip(reconstructions.split(BATCH), images.split(BATCH), strict=True)
    return 1e3 * torch.cat([(x - as_float(y)).square().mean((1, 2, 3)) for x, y in pairs]).mean().item()


def accuracy(
    model: nn.Module, images: ImageSet, seed: int, penalties: tuple[float, ...] = PENALTIES
) -> tuple[dict[str, float], dict]:
    """Linear accuracy on the test set, in percent, of each of the model's representations; `acc` is that of the first."""
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


def generation(
    model: nn.Module,
    reconstructions: Tensor | None,
    images: ImageSet,
    config: Evaluation,
    seed: int,
    calibrate: bool,
) -> tuple[dict[str, float], list[dict], dict]:
    """Distances of samples to the train set; of reconstructions and images of known quality; what became of each network.

    These rows are measured with as many images as there are, up to the number of samples.
    """
    sets = {"samples": pixels.to_uint8(model.sample(config.samples, config.sampler_steps, config.eta, seed))}
    chosen = torch.randperm(len(images.test_images), generator=torch.Generator().manual_seed(seed))[: config.samples]
    if calibrate:
        real = images.test_images[chosen]
        sets |= {"real, test set": real, **frechet.degraded(real, seed)}
    if reconstructions is not None:
        sets["reconstructions of the test set"] = pixels.to_uint8(reconstructions[chosen])
    return distributed.on_rank_zero(lambda: distances(sets, images, config))


def distances(sets: dict[str, Tensor], images: ImageSet, config: Evaluation) -> tuple[dict, list[dict], dict]:
    """What `generation` returns, of named sets of images, uint8 (N, 3, 32, 32), the samples among them."""
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
