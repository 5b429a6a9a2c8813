"""The linear probe as people usually fit it, with scikit-learn; see `hybrid.benchmark.contenders`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from hybrid.benchmark.contenders import Pair, Setting, Workload
from hybrid.data.digits import load_digits_rgb
from hybrid.judging.probe import PENALTIES, VALIDATION, linear_probe


@contextmanager
def sklearn_probe(how: str, setting: Setting) -> Iterator[Workload]:
    """scikit-learn's LogisticRegression (L-BFGS, its own tolerance) on the same standardised features.

    It minimises C times the sum of the losses plus half the squared weights: the same as ours with C = 1 / (penalty N).
    "same job" chooses the penalty as ours does, and each fit starts from the previous one; "one fit" gives both the penalty.
    """
    x, labels, test, test_labels = _features(setting.counts.features)
    on_device = [array.to(setting.device) for array in (x, labels, test, test_labels)]
    penalty, held = linear_probe(*on_device).penalty, round(VALIDATION * len(x))
    x, labels, test, test_labels = (array.numpy() for array in (x, labels, test, test_labels))

    def peer() -> float:
        model, best = LogisticRegression(max_iter=1000, warm_start=True), penalty
        if how == "same job":
            scores = {}
            for candidate in PENALTIES:
                model.set_params(C=1 / (candidate * (len(x) - held))).fit(x[held:], labels[held:])
                scores[candidate] = model.score(x[:held], labels[:held])
            best = max(PENALTIES, key=lambda candidate: (scores[candidate], candidate))
        model.set_params(C=1 / (best * len(x))).fit(x, labels)
        return 100 * model.score(test, test_labels)

    jobs = {
        "same job": f"both choose among {len(PENALTIES)} penalties",
        "one fit": "both get the same penalty",
    }
    note = f"{len(x):,} x {x.shape[1]} features, penalty {penalty:g}; {jobs[how]}"
    penalties = (penalty,) if how == "one fit" else PENALTIES
    yield Workload(lambda: linear_probe(*on_device, penalties=penalties).accuracy, peer, len(x), note, returns="accuracy")


@torch.no_grad()
def _features(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return standardised features (N, 768) of digits from a random convolutional net; they are as correlated as real ones."""
    train, labels, test, test_labels = load_digits_rgb()
    train, labels = torch.cat([train, train.flip(3)]), labels.repeat(2)
    chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))[:count]
    first, second = (nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in ((3, 32), (32, 48)))
    net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.AvgPool2d(2), nn.Flatten())  # 48 x 4 x 4
    features, test_features = (torch.cat([net(part / 255) for part in x.split(1000)]) for x in (train[chosen], test))
    std, mean = torch.std_mean(features, dim=0)
    std = std.clamp_min(1e-6)
    return (features - mean) / std, labels[chosen], (test_features - mean) / std, test_labels


PAIRS = tuple(
    Pair("linear_probe", f"scikit-learn, {how}", "scikit-learn>=1.5", partial(sklearn_probe, how))
    for how in ("same job", "one fit")
)
