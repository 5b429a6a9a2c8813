"""The linear probe: how well a linear layer classifies frozen features.

It is multinomial logistic regression with an L2 penalty on standardised features, trained to convergence with full-batch
L-BFGS. The penalty is chosen on a part of the train set; the test labels are used only for the final accuracy.
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

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # from strong to weak; each fit starts from the previous one
VALIDATION = 0.1  # share of the train set for choosing the penalty
ITERATIONS = 500
TOLERANCE = 3e-5  # largest entry of the preconditioned gradient at convergence; ten times this for choosing the penalty


@dataclass(frozen=True)
class Probe:
    accuracy: float  # percent, test set
    train_accuracy: float  # percent
    validation_accuracy: float  # percent, with the chosen penalty; NaN if only one was given
    penalty: float  # factor of half the squared weights, added to the mean cross-entropy
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
    """Fit on train features (N, D) and labels (N,) in 0..C-1; evaluate on test features (M, D) and labels (M,).

    One of the `penalties` is chosen on a validation part drawn with `seed`. If the strongest wins, stronger ones are tried
    until they get worse. A single penalty is used as given. Examples with the same value in `sources` (N,) stay together in the
    split; by default every example may be split from every other. Raises HybridError if features are not finite, lengths
    differ, or there are fewer than two classes.
    """
    _check(train_features, train_labels, "train")
    _check(test_features, test_labels, "test")
    classes = int(train_labels.max()) + 1
    if classes < 2 or train_labels.unique().numel() < 2:
        raise HybridError("all train labels are of one class: a probe needs two or more")
    if train_features.shape[1] != test_features.shape[1]:
        raise HybridError(
            f"train features have {train_features.shape[1]} dimensions, test features {test_features.shape[1]}: "
            "expected the same"
        )
    device = float64_device(train_features.device)
    train_features, labels, test_labels = (part.to(device) for part in (train_features, train_labels, test_labels))

    best, validation, start = penalties[0], math.nan, None
    if len(penalties) > 1:
        held, kept = (part.to(device) for part in split(len(labels), VALIDATION, seed, sources))
        fit_features, held_features = _in_span(*standardise(train_features[kept], train_features[held]))
        of_part = second_moments(fit_features)
        found, scores = {}, {}

        def attempt(penalty: float, start: Tensor | None) -> Tensor:
            weights, _, _ = fit(fit_features, labels[kept], classes, penalty, of_part, 10 * TOLERANCE, start)
            found[penalty], scores[penalty] = weights, accuracy(held_features, labels[held], weights)
            return weights

        for penalty in penalties:
            start = attempt(penalty, start)
        best = max(penalties, key=lambda penalty: (scores[penalty], penalty))
        while best == max(scores):  # a stronger penalty may be better
            attempt(10 * best, found[best])
            if scores[10 * best] > scores[best]:
                best *= 10
        validation, start = scores[best], found[best]

    train_features, test_features = _in_span(*standardise(train_features, test_features.to(device)))
    if start is not None and start.shape[1] != train_features.shape[1] + 1:  # in the span of other examples
        start = None
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
    """Return the linear `layer` fitted with this penalty as a function: features (M, D) -> classes (M,)."""
    weight, bias = layer(train_features, train_labels, penalty)
    return lambda features: F.linear(features.float().to(weight.device), weight, bias).argmax(1)


def layer(features: Tensor, labels: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Fit the linear probe on features (N, D); return weights (C, D) and biases (C,) for features that are not standardised.

    Raises HybridError for features or labels of a wrong shape, type or value.
    """
    _check(features, labels, "train")
    device = float64_device(features.device)
    features, labels = features.to(device), labels.to(device)
    zero_and_one = torch.stack([torch.zeros_like(features[0]), torch.ones_like(features[0])])
    standardised, (zero, one) = standardise(features, zero_and_one)
    weights = fit(standardised, labels, int(labels.max()) + 1, penalty, second_moments(standardised), TOLERANCE)[0]
    # Standardising is linear: (x - mean) / deviation = zero + x * (one - zero).
    return weights[:, :-1] * (one - zero), weights[:, -1] + weights[:, :-1] @ zero


def fit(
    features: Tensor,
    labels: Tensor,
    classes: int,
    penalty: float,
    moments: tuple[Tensor, Tensor],
    tolerance: float,
    start: Tensor | None = None,
) -> tuple[Tensor, float, int]:
    """Minimise the penalised loss; return weights (C, D + 1) with biases in the last column, largest gradient, iterations.

    L-BFGS runs in coordinates where the Hessian at zero weights, second moments / C + penalty, is the identity. Otherwise it
    would need ten times as many steps, because features of images are strongly correlated.
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
        # float64 from the logits on: near the optimum float32 cannot distinguish two losses, and the line search would stall.
        value = F.cross_entropy(_logits(features, weights).double(), labels)
        value = value + 0.5 * penalty * weights[:, :-1].double().square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    loss()
    return decoded().detach(), u.grad.abs().max().item(), optimiser.state[u]["n_iter"]


def second_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (D,) and eigenvectors (D, D), in columns, of the second moments of standardised features."""
    values, vectors = torch.linalg.eigh(features.T @ features / len(features))
    return values.clamp_min(0), vectors


def _logits(features: Tensor, weights: Tensor) -> Tensor:
    """Return features @ weights.T + biases, (N, C). In this order of the factors the gradient is computed five times faster."""
    return torch.addmm(weights[:, -1:], weights[:, :-1], features.T).T


def accuracy(features: Tensor, labels: Tensor, weights: Tensor) -> float:
    return 100 * (_logits(features, weights).argmax(1) == labels).float().mean().item()


def standardise(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Standardise both with the mean and deviation of the train features. Constant features become 0."""
    std, mean = torch.std_mean(train.float(), dim=0)
    std = torch.where(std > 1e-6 * mean.abs().clamp_min(1e-12), std, torch.inf)
    return (train.float() - mean) / std, (test.float() - mean) / std


def _in_span(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """If N < D, project standardised train (N, D) and test (M, D) features onto the row space of train: (N, N) and (M, N).

    The probe's weights lie there, so its optimum is the same, for less work.
    """
    if len(train) >= train.shape[1]:
        return train, test
    span = torch.linalg.svd(train, full_matrices=False).Vh.T  # (D, N)
    return train @ span, test @ span


def _check(features: Tensor, labels: Tensor, split: str) -> None:
    if features.ndim != 2 or features.shape[1] == 0 or len(features) != len(labels) or len(labels) == 0:
        raise HybridError(
            f"{split} features {tuple(features.shape)} and labels {tuple(labels.shape)}: "
            "expected (N, D) and (N,), N and D from 1"
        )
    if labels.min() < 0:
        raise HybridError(f"the {split} labels contain {int(labels.min())}: expected classes from 0 on")
    if not torch.isfinite(features).all():
        raise HybridError(f"the {split} features hold NaN or infinite values: the model that made them is broken")
