"""The linear probe: how much of the class a linear layer reads off frozen features.

Multinomial logistic regression with an L2 penalty on standardised features, trained to convergence by L-BFGS on all
examples at once. The penalty is chosen on a part of the train set; the test labels serve for the final accuracy alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid.errors import HybridError

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)  # from strong to weak, so that each fit starts from the one before
VALIDATION = 0.1  # share of the train set that the penalty is chosen on
ITERATIONS = 500
TOLERANCE = 1e-4  # largest entry of the gradient at convergence; ten times that is enough to choose the penalty


@dataclass(frozen=True)
class Probe:
    accuracy: float  # percent, test set
    train_accuracy: float  # percent
    validation_accuracy: float  # percent, of the penalty chosen
    penalty: float  # weight of half the squared weights against the mean cross-entropy
    converged: bool  # the final fit's gradient fell below the tolerance


def linear_probe(
    train_features: Tensor, train_labels: Tensor, test_features: Tensor, test_labels: Tensor, seed: int = 0
) -> Probe:
    """Fit on train features (N, D) and labels (N,) of 0..C-1, judge on test features (M, D) and labels (M,).

    `seed` draws the validation part. Raises HybridError for features that are not finite, lengths that differ, or less
    than two classes.
    """
    _check(train_features, train_labels, "train")
    _check(test_features, test_labels, "test")
    classes = int(train_labels.max()) + 1
    if classes < 2 or train_labels.unique().numel() < 2:
        raise HybridError("the train labels are all of one class: a probe needs two or more")
    device = train_features.device
    labels, test_labels = train_labels.to(device), test_labels.to(device)

    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(device)
    held, kept = order.tensor_split([max(round(VALIDATION * len(labels)), 1)])
    fit_features, held_features = _standardised(train_features[kept], train_features[held])
    weights, scores = None, {}
    for penalty in PENALTIES:
        weights, _ = _fit(fit_features, labels[kept], classes, penalty, 10 * TOLERANCE, weights)
        scores[penalty] = _accuracy(held_features, labels[held], weights)
    best = max(PENALTIES, key=lambda penalty: (scores[penalty], penalty))

    train_features, test_features = _standardised(train_features, test_features.to(device))
    weights, gradient = _fit(train_features, labels, classes, best, TOLERANCE)
    return Probe(
        accuracy=_accuracy(test_features, test_labels, weights),
        train_accuracy=_accuracy(train_features, labels, weights),
        validation_accuracy=scores[best],
        penalty=best,
        converged=gradient < 2 * TOLERANCE,
    )


def _fit(
    features: Tensor, labels: Tensor, classes: int, penalty: float, tolerance: float, start: Tensor | None = None
) -> tuple[Tensor, float]:
    """Weights (D + 1, C), the last row the biases, that minimise the penalised loss, and the largest entry of its gradient."""
    weights = features.new_zeros(features.shape[1] + 1, classes) if start is None else start.clone()
    weights.requires_grad_()
    optimiser = torch.optim.LBFGS(
        [weights],
        max_iter=ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=1e-9,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(_logits(features, weights), labels) + 0.5 * penalty * weights[:-1].square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    loss()
    return weights.detach(), weights.grad.abs().max().item()


def _logits(features: Tensor, weights: Tensor) -> Tensor:
    return torch.addmm(weights[-1], features, weights[:-1])  # (N, C)


def _accuracy(features: Tensor, labels: Tensor, weights: Tensor) -> float:
    return 100 * (_logits(features, weights).argmax(1) == labels).float().mean().item()


def _standardised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the train features' mean and deviation taken out; a feature that is constant becomes 0."""
    std, mean = torch.std_mean(train.float(), dim=0)
    std = torch.where(std > 1e-6 * mean.abs().clamp_min(1e-12), std, torch.inf)
    return (train.float() - mean) / std, (test.float() - mean) / std


def _check(features: Tensor, labels: Tensor, split: str) -> None:
    if features.ndim != 2 or features.shape[1] == 0 or len(features) != len(labels) or len(labels) == 0:
        raise HybridError(
            f"{split} features {tuple(features.shape)} and labels {tuple(labels.shape)}: expected (N, D) and (N,), N and D from 1"
        )
    if not torch.isfinite(features).all():
        raise HybridError(f"the {split} features hold NaN or infinite values: the model that made them is broken")
