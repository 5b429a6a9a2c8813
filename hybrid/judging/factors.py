"""The information that y, w and z keep about an image: linear probes for its class, brightness, colours, texture and position.

For the embedded digits these factors are known exactly, because the digits were drawn from them. For other images, statistics
of the pixels replace them.
"""

from __future__ import annotations

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import rgb_to_grayscale

from hybrid.data.datasets import ImageSet, split, spread
from hybrid.data.digits import load_digit_factors
from hybrid.data.pixels import as_float
from hybrid.judging.probe import VALIDATION, linear_probe, second_moments, standardise
from hybrid.machine.precision import float64_device
from hybrid.model import EncoderModel, HybridModel

PENALTIES = tuple(10.0**power for power in range(2, -6, -1))  # of ridge regression on features of variance 1
KINDS_PENALTIES = (1e-1, 1e-2, 1e-3)  # of `linear_probe`
MOST = 10_000  # largest number of train images for fitting probes
CONSTANT = 1e-4  # largest deviation of a factor that is left out; rounding gives grey images a chroma of 1e-5
PARTS = ("y", "w", "z", "pixels", "y of MoCo-v2", "y, untrained")


def study(model: HybridModel, others: dict[str, EncoderModel], images: ImageSet, seed: int) -> pd.DataFrame:
    """Return a row per factor and part: `factor`, `part` (of `PARTS`), `score` and, for kinds, `accuracy` in percent.

    Besides the code's parts, the probes see the pixels themselves and the y of `others`, such as that of the same network with
    random weights, by their names in `PARTS`.

    `score`, on test images, is 1 if a linear function of the part predicts the factor perfectly, and 0 if none is better than a
    constant. For continuous factors it is R^2 of ridge regression, averaged over coordinates. For kinds (classes) it is
    (accuracy - g) / (100 - g), with g the accuracy of always guessing the most frequent kind. Factors that all images share
    are left out.
    """
    train_factors, test_factors = factors(images)
    some = torch.randperm(len(images.train_images), generator=torch.Generator().manual_seed(seed))[:MOST].sort().values
    sources = None if images.train_sources is None else images.train_sources[some]
    chosen = images.train_images[some.to(images.train_images.device)]
    train, test = (_inputs(model, others, x) for x in (chosen, images.test_images))
    smooth = [name for name, wanted in test_factors.items() if wanted.is_floating_point()]
    smooth = [name for name in smooth if train_factors[name].std(0).max() > CONSTANT]  # not the chroma of grey images
    kinds = [name for name, wanted in test_factors.items() if not wanted.is_floating_point()]
    fitted, wanted = (torch.cat([known[name].double() for name in smooth], dim=1) for known in (train_factors, test_factors))
    widths = [test_factors[name].shape[1] for name in smooth]
    rows = []
    for part in train:
        found = explained(train[part], fitted[some], test[part], wanted, seed, sources).split(widths)
        scores = {name: {"score": of_name.mean().item()} for name, of_name in zip(smooth, found, strict=True)}
        for name in kinds:
            labels = train_factors[name][some], test_factors[name]
            on_device = [values.to(train[part].device) for values in labels]
            probe = linear_probe(train[part], on_device[0], test[part], on_device[1], seed, KINDS_PENALTIES, sources)
            guessed = 100 * (labels[1] == labels[0].bincount().argmax()).float().mean().item()
            scores[name] = {"score": (probe.accuracy - guessed) / (100 - guessed), "accuracy": probe.accuracy}
        rows += [{"factor": name, "part": part, **scores[name]} for name in test_factors if name in scores]
    return pd.DataFrame(rows)


def _inputs(model: HybridModel, others: dict[str, EncoderModel], images: Tensor) -> dict[str, Tensor]:
    """Return what each probe sees, (N, D) by the names of `PARTS`."""
    pixels = torch.cat([as_float(some).flatten(1) for some in images.split(1000)])
    of_others = {name: other.features(images)["y"] for name, other in others.items()}
    return {**model.features(images), "pixels": pixels, **of_others}


def factors(images: ImageSet) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the factors of train and test images on the CPU: float (N, D), or int64 (N,) for kinds."""
    if images.train_sources is not None:  # the embedded digits, under whatever name
        counts = len(images.train_images), len(images.test_images)  # fewer if the profile uses only some
        known = zip(load_digit_factors(), counts, strict=True)
        train, test = ({name: spread(of, count) for name, of in _of_digits(drawn).items()} for drawn, count in known)
        return train, test
    train, test = (
        {"class": labels.cpu(), **statistics(x)}
        for labels, x in ((images.train_labels, images.train_images), (images.test_labels, images.test_images))
    )
    return train, test


def _of_digits(drawn: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {"class": drawn["labels"]}
    for name in ("ink", "paper"):
        light, chroma = _light_and_chroma(drawn[name])
        found |= {f"{name}'s brightness": light, f"{name}'s chroma": chroma}
    names = {"texture": "kind of texture", "strength": "strength of texture", "shift": "place", "scale": "size"}
    return found | {name: drawn[key] for key, name in names.items()}


def _light_and_chroma(colours: Tensor) -> tuple[Tensor, Tensor]:
    """Split RGB (N, 3) into the luma (N, 1), which greyscale views keep, and the chroma (N, 2): red and blue minus the luma."""
    light = rgb_to_grayscale(colours[:, :, None, None])[:, :, 0, 0]
    return light, colours[:, [0, 2]] - light


def statistics(images: Tensor) -> dict[str, Tensor]:
    """Return statistics of uint8 images (N, 3, H, W): float (N, D) each, on the CPU.

    `brightness` and `chroma`: those of the mean colour, on [0, 1]. The others are of the luma. `contrast`: its standard
    deviation. `fineness`: log of the squared differences between neighbouring pixels, relative to its variance. `direction`:
    log ratio of the squared differences along rows to those along columns. `place`: centre of the squared differences, (down,
    right), in pixels.
    """
    parts = []
    for some in images.split(1000):
        x = as_float(some)
        mean_light, chroma = _light_and_chroma(x.mean((2, 3)))
        light = rgb_to_grayscale(x)[:, 0]  # (N, H, W)
        down, right = (F.pad(light.diff(dim=1), (0, 0, 0, 1)), F.pad(light.diff(dim=2), (0, 1)))
        slopes = down.square() + right.square() + 1e-8
        weight = slopes / slopes.sum((1, 2), keepdim=True)
        at = torch.arange(light.shape[1], device=x.device).float()
        variance = light.var((1, 2)) + 1e-6
        parts.append(
            {
                "brightness": mean_light,
                "chroma": chroma,
                "contrast": variance.sqrt()[:, None],
                "fineness": (slopes.mean((1, 2)) / variance).log()[:, None],
                "direction": ((right.square().mean((1, 2)) + 1e-6) / (down.square().mean((1, 2)) + 1e-6)).log()[:, None],
                "place": torch.stack([(weight.sum(2) * at).sum(1), (weight.sum(1) * at).sum(1)], dim=1),
            }
        )
    return {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}


def explained(
    train: Tensor, wanted: Tensor, test: Tensor, test_wanted: Tensor, seed: int = 0, sources: Tensor | None = None
) -> Tensor:
    """Fit ridge regression on train features (N, D), targets (N, K); return R^2 (K,) on test features (M, D), targets (M, K).

    Each target's penalty is chosen on a part of the train examples. Examples with the same value in `sources` stay together.
    """
    device = float64_device(train.device)
    train, test = train.to(device), test.to(device)
    wanted, test_wanted = wanted.double().to(device), test_wanted.double().to(device)
    held, kept = (part.to(device) for part in split(len(train), VALIDATION, seed, sources))
    best = _ridge(train[kept], wanted[kept], train[held], wanted[held]).argmax(0)  # (K,)
    return _ridge(train, wanted, test, test_wanted).gather(0, best[None])[0].cpu()


def _ridge(train: Tensor, wanted: Tensor, test: Tensor, test_wanted: Tensor) -> Tensor:
    """Return R^2 for each of the `PENALTIES`: (P, K)."""
    train, test = standardise(train, test)
    mean = wanted.mean(0)
    values, vectors = (of.double() for of in second_moments(train))
    along = vectors.T @ (train.T.double() @ (wanted - mean)) / len(train)  # (D, K)
    seen, total = test.double() @ vectors, (test_wanted - test_wanted.mean(0)).square().sum(0)
    found = []
    for penalty in PENALTIES:
        errors = test_wanted - mean - seen @ (along / (values + penalty)[:, None])
        found.append(1 - errors.square().sum(0) / total)
    return torch.stack(found)
