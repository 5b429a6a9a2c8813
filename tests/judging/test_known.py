"""Estimates with their errors, and the claims: that each can fail."""

import math

import pandas as pd
import pytest
import torch

from hybrid.data import known
from hybrid.errors import HybridError
from hybrid.judging.known import Estimate, claims, contrastive, contrastive_at_best, weighted
from hybrid.objectives import i_cpc


def test_contrastive_is_the_mean_of_equation_3_over_batches():
    x, z = torch.randn(12, 2), torch.randn(12, 2)
    found = contrastive(lambda x, z: x @ z.T, x, z, 5)  # the last two pairs make no batch
    own = torch.stack([i_cpc(x[i : i + 5] @ z[i : i + 5].T, torch.arange(5)) for i in (0, 5)])
    assert found.value == pytest.approx(own.mean().item(), rel=1e-5)
    assert found.error == pytest.approx(own.std().item() / math.sqrt(2), rel=1e-5)
    with pytest.raises(HybridError, match="m = 7"):
        contrastive(lambda x, z: x @ z.T, x, z, 7)


def test_the_error_is_that_of_repetitions():
    pairs = known.correlated(1.0, 2)
    found = [contrastive_at_best(pairs, 64, 16, torch.Generator().manual_seed(seed)) for seed in range(40)]
    spread = torch.tensor([one.value for one in found]).std().item()
    assert sum(one.error for one in found) / 40 == pytest.approx(spread, rel=0.4)


def test_weighed_is_equation_4():
    found = weighted(Estimate(10.0, 0.4), Estimate(2.0, 0.2), 0.25)
    assert (found.value, found.error) == pytest.approx((4.0, 0.25))


def row(bound, by, truth, estimate, m=None, family="multinormal", error: float | None = 0.01):
    return {"family": family, "bound": bound, "by": by, "m": m, "truth": truth, "estimate": estimate, "error": error}


RIGHT = (
    row("cpc", "best critic", 2.0, 1.95, 256),
    row("cpc", "best critic", 14.0, 4.15, 64),
    row("ba", "linear Gaussian", 2.0, 2.0),
    row("ba", "linear Gaussian", 1.0, 0.2, family="spiral"),
    row("hybrid", "trained both", 1.0, 0.7, 64, "spiral"),
)
WRONG = {
    "I_CPC is at most": (row("cpc", "trained critic", 1.0, 1.04, 64), row("cpc", "trained critic", 9.0, 4.3, 64)),
    "I_CPC has 90 %": (row("cpc", "best critic", 2.0, 1.7, 256),),
    "I_CPC stays at log m": (row("cpc", "best critic", 14.0, 3.9, 64),),
    "I_BA with a linear Gaussian is exact": (row("ba", "linear Gaussian", 2.0, 1.9),),
    "I_BA is at most": (row("ba", "linear Gaussian", 1.0, 1.01, family="student", error=None),),
    "the hybrid": (row("hybrid", "trained both", 1.0, 1.1, 64, "spiral"),),
}


@pytest.mark.parametrize("words", WRONG)
def test_claims_hold_of_right_rows_and_fail_of_wrong_ones(words):
    assert all(claims(pd.DataFrame(RIGHT)).values())
    for wrong in WRONG[words]:
        found = claims(pd.DataFrame([*RIGHT, wrong]))
        assert [name.startswith(words) for name, holds in found.items() if not holds] == [True]
