"""The sweeps: which they are, and that what is kept is not trained again."""

import pytest

from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.workflows import tradeoff


def test_variants_change_one_value_each():
    own = Experiment("demo").profile.hybrid.representation
    found = tradeoff.variants(own)
    alphas = [value for sweep, value in found if sweep == "alpha"]
    assert alphas == sorted(alphas) and alphas[0] == 0 and alphas[-1] == 1
    assert found["alpha", own.alpha] == found["y_channels", 3] == own
    assert [value for sweep, value in found if sweep == "y_channels"] == [1, 2, 3, 4, 5, 6]
    assert found["y_channels", 6].contrast.on == "z" and found["y_channels", 6].autoencoder == own.autoencoder


@pytest.mark.slow
def test_kept_rows_are_not_made_again(home, monkeypatch):
    experiment = Experiment("smoke")
    with pytest.raises(HybridError, match="run hybrid tradeoff --profile smoke"):
        tradeoff.read(experiment)
    own = experiment.profile.hybrid.representation
    chosen = {key: config for key, config in tradeoff.variants(own).items() if key[1] in (0.0, own.alpha, 3)}
    monkeypatch.setattr(tradeoff, "variants", lambda _: chosen)
    tradeoff.tradeoff(experiment)
    rows = tradeoff.read(experiment).set_index(["sweep", "alpha", "y_channels"])
    assert len(rows) == 3
    assert rows.loc["alpha", 0.0, 3][["mse", "i_ba"]].isna().all()  # MoCo-v2 decodes nothing
    assert rows.loc["alpha", own.alpha, 3].equals(rows.loc["y_channels", own.alpha, 3])
    assert rows.loc["alpha", own.alpha, 3]["mse"] > 0
    monkeypatch.setattr(tradeoff, "_judged", lambda *_: pytest.fail("it is kept"))
    tradeoff.tradeoff(experiment)
