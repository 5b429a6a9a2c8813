"""Check the paper's claims about its trade-off on the rows of `workflows.tradeoff.read`."""

from __future__ import annotations

import pandas as pd

from hybrid.models.autoencoder import LATENT_CHANNELS

LOSS = 2  # points of accuracy that the hybrid may lose against MoCo-v2
SEEDS = 2  # fewest that decide a claim


def own(rows: pd.DataFrame) -> tuple[float, int]:
    """Return the profile's own alpha and number of y's channels, which both sweeps have."""
    by_sweep = rows.set_index("sweep")
    return float(by_sweep.loc[["y_channels"], "alpha"].iloc[0]), int(by_sweep.loc[["alpha"], "y_channels"].iloc[0])


def claims(rows: pd.DataFrame) -> dict[str, bool]:
    """Return the paper's claims that the rows can decide, and whether each holds for every seed that has both its sides.

    A claim with fewer than `SEEDS` such seeds is left out.
    """
    alpha, _ = own(rows)
    by = rows.set_index(["sweep", "seed"])

    def at(sweep: str, value: float, metric: str) -> pd.Series:
        swept = by.loc[sweep]
        return swept.loc[swept[sweep] == value, metric]

    mocov2, both, autoencoder = (at("alpha", value, "acc_y") for value in (0.0, alpha, 1.0))
    errors = at("y_channels", LATENT_CHANNELS, "mse") - at("alpha", alpha, "mse")
    less = rows.loc[(rows["sweep"] == "alpha") & (rows["alpha"] > 0) & (rows["alpha"] < alpha), "alpha"].min()
    differences = {
        "the autoencoder alone classifies worse than MoCo-v2": mocov2 - autoencoder,
        "the hybrid classifies better than the autoencoder": both - autoencoder,
        f"the hybrid classifies at most {LOSS} points worse than MoCo-v2": both - mocov2 + LOSS,
        "the hybrid's y classifies better than its w": both - at("alpha", alpha, "acc_w"),
        "a hundredth of the hybrid's alpha reconstructs worse": at("alpha", less, "mse") - at("alpha", alpha, "mse"),
        "the contrast on all of z reconstructs worse": errors,
    }
    return {claim: bool((known > 0).all()) for claim, each in differences.items() if len(known := each.dropna()) >= SEEDS}
