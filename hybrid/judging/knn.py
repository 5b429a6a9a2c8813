"""k-nearest-neighbour classification on frozen features, without fitting anything.

The votes are weighted as in Wu et al. 2018 (*Unsupervised Feature Learning via Non-Parametric Instance Discrimination*): a
neighbour with cosine similarity s of standardised features has the weight exp(s / 0.07).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid.errors import HybridError
from hybrid.judging.probe import standardise
from hybrid.machine.precision import without_tf32

NEIGHBOURS, TEMPERATURE = 20, 0.07
FEW = 20  # with fewer train features, their deviations are too uncertain to standardise by them
BLOCK = 1000  # rows of the similarity matrix in memory at once


def vote(train: Tensor, labels: Tensor, test: Tensor, classes: int, neighbours: int = NEIGHBOURS) -> Tensor:
    """Classify test features (M, D) by the labels (N,) of their nearest train features (N, D): classes (M,).

    With fewer than `neighbours` train features, all of them vote.
    """
    similarities, places = nearest(train, test, neighbours)
    votes = torch.zeros(len(test), classes, device=test.device)
    votes.scatter_add_(1, labels.to(test.device)[places], (similarities / TEMPERATURE).exp())
    return votes.argmax(1)


@without_tf32()
def nearest(train: Tensor, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return cosine similarities and indices (M, count) of the train features (N, D) nearest to queries (M, D), nearest first.

    Both are first standardised with the train features' mean and deviation, if these are `FEW` or more. Raises HybridError if
    the shapes do not match.
    """
    if train.ndim != 2 or queries.ndim != 2 or train.shape[1] != queries.shape[1] or not len(train):
        raise HybridError(f"features {tuple(train.shape)} and queries {tuple(queries.shape)}: expected (N, D) and (M, D)")
    if len(train) >= FEW:
        train, queries = standardise(train, queries)
    train, queries = F.normalize(train, dim=1), F.normalize(queries, dim=1)
    found = [(part @ train.T).topk(min(count, len(train)), dim=1) for part in queries.split(BLOCK)]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])
