"""`hybrid bounds`: its seconds' part computed anew, and what is committed of the rest."""

import json

import pandas as pd
import pytest

from hybrid import paths
from hybrid.data import known
from hybrid.errors import HybridError
from hybrid.judging.known import ceiling, claims
from hybrid.machine import files
from hybrid.workflows import bounds

COMMITTED = json.loads((paths.REPOSITORY / "results" / "bounds" / "bounds.json").read_text())
ROWS, CONSISTENCY = pd.DataFrame(COMMITTED["rows"]), pd.DataFrame(COMMITTED["consistency"])


def test_the_best_critic_anew():
    """Another seed: the cap, the plateau, nine tenths below, and I_BA exact."""
    rows = pd.DataFrame(bounds.best_critics(1, (1.0, 2.0, 4.0, 14.0), (64, 1024)))
    found = claims(rows)
    assert len(found) == 5 and all(found.values())


def test_a_training_anew(home, monkeypatch):
    """A short one: the critic and the hybrid find some of what is there, and no more than that."""
    monkeypatch.setattr(bounds, "PAIRS", 2**15)
    rows = pd.DataFrame(bounds.vectors(1, ("spiral-multinormal-sparse-3-3-2-2.0",)))
    assert all(claims(rows).values())
    assert rows.set_index("by").loc[["trained critic", "trained both"], "estimate"].min() > 0.2


def test_another_home_reads_the_committed_estimates(home):
    """Else the notebook could not run with HYBRID_HOME set; its own estimates come first."""
    pd.testing.assert_frame_equal(bounds.read()[0], pd.DataFrame(COMMITTED["rows"]))
    files.write_json(paths.bounds() / "bounds.json", {"rows": COMMITTED["rows"][:1], "consistency": []})
    assert len(bounds.read()[0]) == 1


def test_nothing_kept_is_told(home, tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "BENCHMARK", tmp_path / "benchmark.npz")
    with pytest.raises(HybridError, match="hybrid bounds"):
        bounds.read()


def test_all_claims_have_estimates():
    assert len(claims(ROWS)) == 6


@pytest.mark.parametrize("words", claims(ROWS))
def test_claims_hold_of_the_committed_estimates(words):
    assert claims(ROWS)[words]


def test_all_cases_are_committed():
    assert set(known.BENCHMARK) < set(ROWS["case"])
    swept = ROWS[ROWS["case"].str.startswith("correlated Gaussians, 20") & (ROWS["bound"] == "cpc")]
    found = {(round(row.truth, 6), int(row.m)) for row in swept.itertuples()}
    assert found == {(truth, m) for truth in bounds.TRUTHS for m in bounds.SIZES}
    trained = ROWS[ROWS["by"].str.startswith("trained")]
    assert (trained.groupby(["case", "by", "m"], dropna=False)["seed"].nunique() == bounds.TRAININGS).all()
    assert not COMMITTED["provenance"]["dirty"]


def test_where_the_hybrid_sees_what_the_contrast_alone_cannot():
    """Ten nats, 256 candidates: half of the truth is beyond the contrast, and the decoder has it."""
    ten = ROWS[ROWS["case"] == "correlated Gaussians, 10 nats"].groupby("by")["estimate"]
    assert ten.max()["best critic"] < 5.6 < ten.min()["trained both"] and ten.max()["trained both"] < 10
    assert ten.min()["trained decoder"] > 9


def test_digits_find_most_of_what_their_classes_tell():
    digits = ROWS[(ROWS["family"] == "digits") & ~ROWS["m"].isin([16, 64]) & (ROWS["bound"] != "hybrid")]
    least = digits["bound"].map({"cpc": 0.5, "ba": 0.75})
    assert set(digits["bound"]) == {"cpc", "ba"} and (digits["estimate"] > least * ceiling(digits)).all()
    critics = ROWS[(ROWS["case"] == "2 digits, class kept 100%") & (ROWS["by"] == "trained critic")]
    two = critics.pivot(index="seed", columns="m", values="estimate")
    assert ((two[16] < two[64]) & (two[64] < two[256])).all()  # the cap hides some of the truth, 4.6 nats


@pytest.mark.parametrize("seed", range(bounds.TRAININGS))
def test_self_consistency(seed):
    rows = CONSISTENCY[CONSISTENCY["seed"] == seed]
    by, masked = rows.set_index("what"), rows[rows["test"] == "masked"]
    assert masked["estimate"].iloc[0] == pytest.approx(0, abs=0.01)  # of any critic: it checks that the masking works
    assert (masked["estimate"].diff().iloc[1:] > 0).all()
    assert masked["estimate"].iloc[-1] > 0.5 * masked["expected"].iloc[-1]
    known_rows = rows.dropna(subset="expected")
    assert (known_rows["estimate"] <= known_rows["expected"] + 3 * known_rows["error"]).all()
    one = by.loc["z", "estimate"]
    assert by.loc["z and its upper half", "estimate"] == pytest.approx(one, rel=0.1)
    assert by.loc["two pairs", "estimate"] == pytest.approx(2 * one, rel=0.15)
