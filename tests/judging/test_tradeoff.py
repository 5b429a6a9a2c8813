"""Claims on sweeps: each can fail, and a spread over seeds that crosses it makes it fail."""

import pandas as pd
import pytest

from hybrid.judging.tradeoff import claims, own


def rows(**changes):
    """Two seeds of a sweep in which all claims hold; `changes`: a column's value at a setting, in the second seed only."""
    at = {
        ("alpha", 0.0): {"acc_y": 80.0},
        ("alpha", 1e-6): {"acc_y": 80.0, "acc_w": 40.0, "mse": 9.0},
        ("alpha", 1e-4): {"acc_y": 79.0, "acc_w": 40.0, "mse": 2.0},
        ("alpha", 1.0): {"acc_y": 50.0, "acc_w": 40.0, "mse": 1.0},
        ("y_channels", 3): {"acc_y": 79.0, "acc_w": 40.0, "mse": 2.0},
        ("y_channels", 6): {"acc_y": 78.0, "mse": 4.0},
    }
    found = []
    for seed in (0, 1):
        for (sweep, value), metrics in at.items():
            setting = {"alpha": 1e-4, "y_channels": 3} | {sweep: value}
            changed = changes.get(f"{sweep}_{value:g}".replace("-", "_"), {}) if seed else {}
            found.append({"sweep": sweep, **setting, "seed": seed, "acc_w": None} | metrics | changed)
    return pd.DataFrame(found)


def test_they_hold_where_every_seed_agrees():
    assert own(rows()) == (1e-4, 3)
    assert all(claims(rows()).values()) and len(claims(rows())) == 6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alpha_1": {"acc_y": 81.0}}, "the autoencoder alone classifies worse"),
        ({"alpha_0": {"acc_y": 82.0}}, "at most 2 points worse"),
        ({"alpha_0.0001": {"acc_w": 85.0}}, "y classifies better than its w"),
        ({"alpha_1e_06": {"mse": 1.9}}, "a hundredth"),
        ({"y_channels_6": {"mse": 1.9}}, "on all of z"),
    ],
)
def test_one_seed_that_disagrees_is_enough(changes, words):
    failed = [claim for claim, holds in claims(rows(**changes)).items() if not holds]
    assert any(words in claim for claim in failed)


def test_fewer_than_two_seeds_with_both_sides_are_no_claim():
    found = rows()
    assert len(claims(found[found["alpha"] != 0.0])) == 4  # without MoCo-v2
    assert len(claims(found[(found["alpha"] != 0.0) | (found["seed"] == 0)])) == 4  # MoCo-v2 with one seed
    assert claims(found[found["seed"] == 0]) == {}
