"""The sweeps: which they are, and that what is kept is not trained again."""

import json

import numpy as np
import pandas as pd
import pytest
from checkout import committed

from hybrid import paths
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.store import Store, as_json
from hybrid.judging.tradeoff import claims
from hybrid.machine import files
from hybrid.profiles.overrides import profile
from hybrid.profiles.schema import describe
from hybrid.showing.tradeoff import draw_lengths
from hybrid.workflows import tradeoff

NOT_BORNE_OUT = {  # by the committed file's name
    "laptop-cifar10": {"the hybrid classifies at most 2 points worse than MoCo-v2"},  # in seed 0 slightly more
}


def test_variants_change_one_value_each():
    own = Experiment("demo").profile.hybrid.representation
    found = tradeoff.variants(own)
    alphas = [value for sweep, value in found if sweep == "alpha"]
    assert alphas == sorted(alphas) and alphas[0] == 0 and alphas[-1] == 1
    assert found["alpha", own.alpha] == found["y_channels", 3] == own
    assert [value for sweep, value in found if sweep == "y_channels"] == [1, 2, 3, 4, 5, 6]
    assert found["y_channels", 6].contrast.on == "z" and found["y_channels", 6].autoencoder == own.autoencoder
    assert list(tradeoff.variants(own, "ends")) == [
        *(("alpha", x) for x in (0.0, own.alpha, 1.0)),
        *(("y_channels", x) for x in (3, 6)),
    ]
    assert list(tradeoff.variants(own, "contrast")) == [("alpha", own.alpha), ("y_channels", 3), ("y_channels", 6)]


@pytest.mark.slow
def test_kept_rows_are_not_made_again(home, monkeypatch):
    experiment = Experiment("smoke")
    with pytest.raises(HybridError, match="run hybrid tradeoff first"):
        tradeoff.read("smoke-digits")
    own = experiment.profile.hybrid.representation
    chosen = {key: config for key, config in tradeoff.variants(own).items() if key[1] in (0.0, own.alpha, 3)}
    monkeypatch.setattr(tradeoff, "variants", lambda *_: chosen)
    tradeoff.tradeoff(experiment)
    rows = tradeoff.read("smoke-digits").set_index(["sweep", "alpha", "y_channels"])
    assert len(rows) == 3
    assert rows.loc["alpha", 0.0, 3][["mse", "i_ba"]].isna().all()  # MoCo-v2 decodes nothing
    assert rows.loc["alpha", own.alpha, 3].equals(rows.loc["y_channels", own.alpha, 3])
    assert rows.loc["alpha", own.alpha, 3]["mse"] > 0
    monkeypatch.setattr(tradeoff, "_judged", lambda *_: pytest.fail("it is kept"))
    tradeoff.tradeoff(experiment)
    with pytest.raises(HybridError, match="of profile demo"):
        tradeoff.read("smoke-digits", "demo")


def test_rows_of_an_earlier_version_of_a_profile_are_left_out(home, monkeypatch, caplog):
    monkeypatch.setattr(tradeoff, "_judged", lambda *_: {"alpha": 0.5, "mse": 1.0})
    path = tradeoff.tradeoff(Experiment("smoke"), "ends")
    rows = files.read_json(path)
    rows[0]["config"]["training"]["epochs"] += 1
    files.write_json(path, rows)
    assert len(tradeoff.read("smoke-digits")) == 4
    assert "1 row of the trade-off" in caplog.text
    for row in rows:
        row["config"]["training"]["epochs"] = 77
    files.write_json(path, rows)
    with pytest.raises(HybridError, match="only rows of an earlier version"):
        tradeoff.read("smoke-digits")


@pytest.mark.parametrize("change", ["alpha=0", "alpha=1", "contrast.on=z"])
def test_a_profile_that_is_an_end_itself_is_refused(home, change):
    with pytest.raises(HybridError, match="the trade-off varies them itself"):
        tradeoff.tradeoff(Experiment(f"smoke,hybrid.representation.{change}"), "contrast")


def test_a_set_smaller_than_a_batch_has_rows(home, monkeypatch, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(60) % 2
    parts = {"train_images": images[:40], "train_labels": labels[:40], "test_images": images[40:], "test_labels": labels[40:]}
    np.savez(tmp_path / "few.npz", **parts)
    monkeypatch.setattr(tradeoff, "_judged", lambda *_: {"alpha": 0.5, "mse": 1.0})
    experiment = Experiment("smoke", str(tmp_path / "few.npz"))
    path = tradeoff.tradeoff(experiment, "ends")
    assert len(tradeoff.read(path.stem, "smoke", experiment.profile.hybrid.representation)) == 5


def test_another_home_reads_the_committed_rows(home):
    """Else the notebook could not run with HYBRID_HOME set."""
    committed = files.read_json(paths.REPOSITORY / "results" / "tradeoff" / "demo-digits.json")
    rows = tradeoff.read("demo-digits")
    assert len(rows) == sum(row["profile"] == committed[-1]["profile"] for row in committed)
    files.write_json(paths.tradeoff() / "demo-digits.json", [row | {"profile": "another"} for row in committed])
    assert len(tradeoff.read("demo-digits", committed[-1]["profile"])) == len(rows)


def test_a_changed_profile_has_rows_of_its_own(home, monkeypatch):
    """In the same file: those of the profile with the most are read, as by the notebook, and the others by name."""
    monkeypatch.setattr(tradeoff, "_judged", lambda *_: {"alpha": 0.5, "mse": 1.0})
    names = "smoke", "smoke,hybrid.representation.training.epochs=2"
    for name, seed in ((names[0], 0), (names[0], 1), (names[1], 0)):
        tradeoff.tradeoff(Experiment(name, seed=seed), "ends")
    assert len(tradeoff.read("smoke-digits")) == 10 and len(tradeoff.read("smoke-digits", names[1])) == 5
    assert {row["profile"] for row in files.read_json(paths.tradeoff() / "smoke-digits.json")} == set(names)


def test_rows_of_several_precisions_are_told(home, monkeypatch, caplog):
    precisions = iter(["bf16", "bf16", "float32"] + ["bf16"] * 9)
    judged = lambda *_: {"alpha": 0.5, "mse": 1.0, "provenance": {"precision": next(precisions)}}  # noqa: E731
    monkeypatch.setattr(tradeoff, "_judged", judged)
    tradeoff.tradeoff(Experiment("smoke"), "ends")
    tradeoff.read("smoke-digits")
    assert "has rows in bf16 and in float32: means over seeds mix them" in caplog.text


def test_lengths_are_of_the_same_number_of_images(home, monkeypatch):
    monkeypatch.setattr(tradeoff, "_judged", lambda *_: {"mse": 1.0, "acc_y": 50.0})
    for name in ("smoke", "smoke,images=512,hybrid.representation.training.epochs=2"):
        tradeoff.tradeoff(Experiment(name), "contrast")
    own = Experiment("smoke").profile.hybrid.representation.training.epochs
    assert set(tradeoff.saved_lengths(Experiment("smoke"))["epochs"]) == {own}


def test_lengths_are_of_the_same_profile_and_have_both_contrasts(home, monkeypatch):
    monkeypatch.setattr(tradeoff, "_judged", lambda *_: {"mse": 1.0, "acc_y": 50.0})
    epochs = "smoke,hybrid.representation.training.epochs"
    for name in ("smoke", f"{epochs}=2", "smoke,hybrid.representation.training.batch=32"):
        path = tradeoff.tradeoff(Experiment(name), "contrast")
    own = Experiment("smoke").profile.hybrid.representation.training.epochs
    found = tradeoff.saved_lengths(Experiment("smoke"))
    assert {(row.epochs, row.on) for row in found.itertuples()} == {(n, on) for n in (own, 2) for on in "yz"} and len(
        found
    ) == 4
    files.write_json(
        path, [row for row in files.read_json(path) if row["config"]["contrast"]["on"] == "y" or row["profile"] == "smoke"]
    )
    assert set(tradeoff.saved_lengths(Experiment(f"{epochs}=2"))["epochs"]) == {own}  # of 2 epochs there is none on z


def test_outcomes_of_another_config_are_no_length_of_this_one(home, monkeypatch):
    origin = {"profile": describe(Experiment("smoke").profile), "seed": 0, "device": "a", "sha256": "0"}
    store = Experiment("smoke").store
    for name in tradeoff.ON:
        metrics = {"mse": 1.0, "acc_y": 50.0, "acc_z": 50.0}
        outcome = {"metrics": metrics, "calibration": [], "provenance": origin}
        store.keep_outcome(name, Experiment("smoke").key(name), outcome)
    assert len(tradeoff.saved_lengths(Experiment("smoke"))) == 2
    assert tradeoff.saved_lengths(Experiment("smoke,hybrid.representation.training.batch=32")).empty


def test_the_committed_outcomes_are_the_full_length():
    rows = json.loads((paths.REPOSITORY / "results" / "tradeoff" / "laptop-cifar10-contrast.json").read_text())
    stores = [Store(folder) for folder in (paths.REPOSITORY / "results" / "laptop" / "cifar10").glob("seed*")]
    judged = {name: [kept for store in stores if (kept := store.read(name))] for name in tradeoff.ON}
    found = tradeoff.lengths(rows, judged)
    full = profile("laptop").hybrid.representation.training.epochs
    errors = found.groupby(["epochs", "on"])["mse"].mean().unstack()
    assert full in errors.index and (errors["z"] > errors["y"]).all()
    assert [axis.get_xlabel() for axis in draw_lengths(found).axes] == ["epochs of training"] * 2


COMMITTED = {path.stem: pd.DataFrame(json.loads(path.read_text())) for path in committed("results/tradeoff/*.json")}


@pytest.mark.parametrize("name", COMMITTED)
def test_the_committed_are_of_the_profile_as_it_stands(name):
    """Each row has its setting's config, each setting of the last profile has three seeds, and the code was committed.

    The profiles before the last one may be under way.
    """
    rows = COMMITTED[name]
    for named, of_profile in rows.groupby("profile"):
        wanted = tradeoff.variants(profile(named).hybrid.representation)
        found = {(row.sweep, getattr(row, row.sweep)): row.config for row in of_profile.itertuples()}
        assert all(as_json(describe(wanted[key])) == config for key, config in found.items())
    last = rows[rows["profile"] == rows["profile"].iloc[-1]]
    own = profile(last["profile"].iloc[0]).hybrid.representation
    for sweep, value in tradeoff.variants(own, "contrast" if name.endswith("contrast") else "all"):
        assert last.loc[(last["sweep"] == sweep) & (last[sweep] == value), "seed"].nunique() >= 3
    assert not any(about["dirty"] or about["trained"]["dirty"] for about in rows["provenance"])


@pytest.mark.parametrize("name", COMMITTED)
def test_which_claims_hold_of_the_committed(name):
    rows = COMMITTED[name]
    found = claims(rows[rows["profile"] == rows["profile"].iloc[-1]])
    assert len(found) == (2 if name.endswith("contrast") else 6)
    assert {claim for claim, holds in found.items() if not holds} == NOT_BORNE_OUT.get(name, set())


def test_claims_without_their_rows_are_left_out():
    rows = COMMITTED["demo-digits"]
    some = rows[(rows["alpha"] == rows["alpha"].median()) & rows["y_channels"].isin([3, 6])]
    found = claims(some)
    assert set(found) == {"the hybrid's y classifies better than its w", "the contrast on all of z reconstructs worse"}
    worse = some.assign(mse=some["mse"].where(some["y_channels"] == 3, 0.0))
    assert not claims(worse)["the contrast on all of z reconstructs worse"]
