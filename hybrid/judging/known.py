"""The bounds on distributions with known mutual information: estimates with standard errors, and the claims to test."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Generator, Tensor

from hybrid.data.known import DigitPairs, Known
from hybrid.errors import HybridError, counted
from hybrid.objectives import i_ba, i_cpc

QUERIES = 1024  # largest number of terms to compute in a batch of m pairs: more are not needed
ERRORS = 3  # standard errors by which the estimate of a lower bound may exceed the truth


@dataclass(frozen=True)
class Estimate:
    """An estimate in nats."""

    value: float
    error: float  # standard error


@torch.no_grad()
def contrastive(scores: Callable[[Tensor, Tensor], Tensor], x: Tensor, z: Tensor, m: int) -> Estimate:
    """Estimate I_CPC, equation (3), of pairs (N, D_x), (N, D_z) in batches of m; log g: (n, D_x), (m, D_z) -> (n, m).

    The error is that of the mean over independent batches. Raises HybridError if there are fewer than two.
    """
    if len(x) < 2 * m:
        raise HybridError(f"{counted(len(x), 'pair is', 'pairs are')} fewer than two batches of m = {m}: give {2 * m} or more")
    batches = zip(x[: len(x) // m * m].split(m), z[: len(x) // m * m].split(m), strict=True)
    own = torch.arange(min(m, QUERIES))
    return _mean(torch.stack([i_cpc(scores(some[:QUERIES], others), own) for some, others in batches]))


def contrastive_at_best(known: Known, m: int, batches: int, generator: Generator) -> Estimate:
    """Estimate I_CPC with the optimal critic, on this many new batches of m pairs."""
    found = [contrastive(known.log_ratio, *known.sample(2 * m, generator), m) for _ in range(batches // 2)]
    return Estimate(sum(one.value for one in found) / len(found), math.hypot(*(one.error for one in found)) / len(found))


@torch.no_grad()
def barber_agakov(
    log_likelihood: Callable[[Tensor, Tensor], Tensor], known: Known | DigitPairs, x: Tensor, z: Tensor
) -> Estimate:
    """Estimate I_BA, equation (2), of pairs, with the known density of x and log q(x|z): (N, D_x), (N, D_z) -> (N,)."""
    likelihood, density = log_likelihood(x, z).double(), known.log_density(x).double()
    return Estimate(i_ba(likelihood, -density.mean().item()).item(), _mean(likelihood - density).error)


def weighted(ba: Estimate, cpc: Estimate, alpha: float) -> Estimate:
    """Combine both by equation (4). The error is an upper bound, the weighted sum of theirs."""
    return Estimate(alpha * ba.value + (1 - alpha) * cpc.value, alpha * ba.error + (1 - alpha) * cpc.error)


def ceiling(rows: pd.DataFrame) -> pd.Series:
    """Return the limit that estimates exceed only by their error: the truth and, for equation (3) alone, log m."""
    cap = rows["m"].map(math.log).where(rows["bound"] == "cpc", math.inf)
    return rows["truth"].clip(upper=cap)


def claims(rows: pd.DataFrame) -> dict[str, bool]:
    """Return the claims about the bounds that the rows can decide, in words, and whether these estimates support them.

    `rows`: `family` of the distribution, `bound` (cpc, ba, hybrid), `by` (the critic or decoder), `m`, `truth`, `estimate`
    and its standard `error`, in nats; no error where the variance is infinite.
    """
    cap = rows["m"].map(math.log)
    cpc, ba, hybrid = (rows["bound"] == bound for bound in ("cpc", "ba", "hybrid"))
    normal, best, linear = rows["family"] == "multinormal", rows["by"] == "best critic", rows["by"] == "linear Gaussian"
    far_below, far_above = rows["truth"] < cap - 2, rows["truth"] > cap + 4
    error = rows["error"].fillna(0)
    below = rows["estimate"] <= ceiling(rows) + ERRORS * error
    exact = (rows["estimate"] - rows["truth"]).abs() <= ERRORS * error
    enough = rows["estimate"] + ERRORS * error >= 0.9 * rows["truth"]
    full = rows["estimate"] > 0.97 * cap
    found = {
        "I_CPC is at most the truth and log m": below[cpc],
        "I_CPC has 90 % of a multinormal's truth below log m - 2": enough[cpc & normal & best & far_below],
        "I_CPC stays at log m where the truth is far above": full[cpc & best & far_above],
        "I_BA with a linear Gaussian is exact on multinormals": exact[ba & normal & linear],
        "I_BA is at most the truth everywhere": below[ba],
        "the hybrid is at most the truth": below[hybrid],
    }
    return {claim: bool(held.all()) for claim, held in found.items() if len(held)}


def _mean(values: Tensor) -> Estimate:
    return Estimate(values.mean().item(), (values.std() / len(values) ** 0.5).item())
