"""The linear probe: how much of the class a linear layer reads off frozen features.

Multinomial logistic regression with an L2 penalty on standardised features, trained to convergence by L-BFGS on all
examples at once. The penalty is chosen on a part of the train set; the test labels serve for the final accuracy alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid.data.datasets import split
from hybrid.errors import HybridError
from hybrid.machine.precision import float64_device, without_tf32

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # from strong to weak, so that each fit starts from the one before
VALIDATION = 0.1  # share of the train set that the penalty is chosen on
ITERATIONS = 500
TOLERANCE = 3e-5  # largest entry of the preconditioned gradient at convergence; ten times that chooses the penalty


@dataclass(frozen=True)
class Probe:
    accuracy: float  # percent, test set
    train_accuracy: float  # percent
    validation_accuracy: float  # percent, of the penalty chosen; NaN where there was no choice
    penalty: float  # weight of half the squared weights against the mean cross-entropy
    iterations: int  # of the final fit
    converged: bool  # the final fit's gradient fell below the tolerance


@without_tf32()
def linear_probe(
    train_features: Tensor,
    train_labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    seed: int = 0,
    penalties: tuple[float, ...] = PENALTIES,
    sources: Tensor | None = None,
) -> Probe:
    """Fit on train features (N, D) and labels (N,) of 0..C-1, judge on test features (M, D) and labels (M,).

    `seed` draws the validation part that one of the `penalties` is chosen on, or a stronger one where the strongest is the
    best and a stronger one better still; a single one is taken as it is. Train examples of one of the `sources` (N,) stay
    together in that; left out, each is of its own. Raises HybridError for features that are not finite, lengths that differ,
    or less than two classes.
    """
    _check(train_features, train_labels, "train")
    _check(test_features, test_labels, "test")
    classes = int(train_labels.max()) + 1
    if classes < 2 or train_labels.unique().numel() < 2:
        raise HybridError("the train labels are all of one class: a probe needs two or more")
    if train_features.shape[1] != test_features.shape[1]:
        raise HybridError(
            f"train features have {train_features.shape[1]} dimensions, test features {test_features.shape[1]}: "
            "expected the same"
        )
    device = float64_device(train_features.device)
    train_features, labels, test_labels = (part.to(device) for part in (train_features, train_labels, test_labels))

    best, validation, start = penalties[0], math.nan, None
    moments: tuple[Tensor, Tensor] | None = None
    if len(penalties) > 1:
        held, kept = (part.to(device) for part in split(len(labels), VALIDATION, seed, sources))
        fit_features, held_features = standardise(train_features[kept], train_features[held])
        moments = of_part = second_moments(fit_features)
        found, scores = {}, {}

        def attempt(penalty: float, start: Tensor | None) -> Tensor:
            weights, _, _ = fit(fit_features, labels[kept], classes, penalty, of_part, 10 * TOLERANCE, start)
            found[penalty], scores[penalty] = weights, accuracy(held_features, labels[held], weights)
            return weights

        for penalty in penalties:
            start = attempt(penalty, start)
        best = max(penalties, key=lambda penalty: (scores[penalty], penalty))
        while best == max(scores):  # a stronger one may be better
            attempt(10 * best, found[best])
            if scores[10 * best] > scores[best]:
                best *= 10
        validation, start = scores[best], found[best]

    train_features, test_features = standardise(train_features, test_features.to(device))
    if moments is None:  # those of the part are near enough: they set the steps, not where these lead
        moments = second_moments(train_features)
    weights, gradient, iterations = fit(train_features, labels, classes, best, moments, TOLERANCE, start)
    return Probe(
        accuracy=accuracy(test_features, test_labels, weights),
        train_accuracy=accuracy(train_features, labels, weights),
        validation_accuracy=validation,
        penalty=best,
        iterations=iterations,
        converged=gradient < 2 * TOLERANCE,
    )


def fitted(train_features: Tensor, train_labels: Tensor, penalty: float = 1e-3) -> Callable[[Tensor], Tensor]:
    """A linear layer, fitted with this penalty on train features (N, D): features (M, D) -> the classes that it reads off them.

    Raises HybridError as `linear_probe`.
    """
    _check(train_features, train_labels, "train")
    device = float64_device(train_features.device)
    train_features, labels = train_features.to(device), train_labels.to(device)
    standardised = standardise(train_features, train_features)[0]
    moments = second_moments(standardised)
    weights = fit(standardised, labels, int(labels.max()) + 1, penalty, moments, TOLERANCE)[0]
    return lambda features: _logits(standardise(train_features, features.to(device))[1], weights).argmax(1)


def fit(
    features: Tensor,
    labels: Tensor,
    classes: int,
    penalty: float,
    moments: tuple[Tensor, Tensor],
    tolerance: float,
    start: Tensor | None = None,
) -> tuple[Tensor, float, int]:
    """Weights (C, D + 1), the last column the biases, that minimise the penalised loss; its largest gradient; iterations.

    L-BFGS runs in coordinates in which the Hessian at zero weights, second moments / C + penalty, is the identity: features
    of images are so correlated that it would else need ten times as many steps.
    """
    values, vectors = moments
    scale = (values / classes + penalty).sqrt()
    bias_scale = classes**-0.5
    weights = features.new_zeros(classes, features.shape[1] + 1) if start is None else start
    u = torch.cat([weights[:, :-1] @ vectors * scale, weights[:, -1:] * bias_scale], dim=1).requires_grad_()
    optimiser = torch.optim.LBFGS(
        [u],
        max_iter=ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=1e-9,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def decoded() -> Tensor:
        return torch.cat([(u[:, :-1] / scale) @ vectors.T, u[:, -1:] / bias_scale], dim=1)

    def loss() -> Tensor:
        optimiser.zero_grad()
        weights = decoded()
        # In float64 from the logits on: near the optimum float32 cannot tell two losses apart and the search would stall.
        value = F.cross_entropy(_logits(features, weights).double(), labels)
        value = value + 0.5 * penalty * weights[:, :-1].double().square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    loss()
    return decoded().detach(), u.grad.abs().max().item(), optimiser.state[u]["n_iter"]


def second_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (D,) and eigenvectors (D, D), in its columns, of the standardised features' second moments."""
    values, vectors = torch.linalg.eigh(features.T @ features / len(features))
    return values.clamp_min(0), vectors


def _logits(features: Tensor, weights: Tensor) -> Tensor:
    return F.linear(features, weights[:, :-1], weights[:, -1])  # (N, C)


def accuracy(features: Tensor, labels: Tensor, weights: Tensor) -> float:
    return 100 * (_logits(features, weights).argmax(1) == labels).float().mean().item()


def standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the train features' mean and deviation taken out; a feature that is constant becomes 0."""
    std, mean = torch.std_mean(train.float(), dim=0)
    std = torch.where(std > 1e-6 * mean.abs().clamp_min(1e-12), std, torch.inf)
    return (train.float() - mean) / std, (test.float() - mean) / std


def _check(features: Tensor, labels: Tensor, split: str) -> None:
    if features.ndim != 2 or features.shape[1] == 0 or len(features) != len(labels) or len(labels) == 0:
        raise HybridError(
            f"{split} features {tuple(features.shape)} and labels {tuple(labels.shape)}: "
            "expected (N, D) and (N,), N and D from 1"
        )
    if labels.min() < 0:
        raise HybridError(f"the {split} labels hold {int(labels.min())}: expected classes from 0 on")
    if not torch.isfinite(features).all():
        raise HybridError(f"the {split} features hold NaN or infinite values: the model that made them is broken")
