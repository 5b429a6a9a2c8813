"""What an outcome's key depends on, and what the table's methods have in common and apart."""

from dataclasses import replace

import pytest
import torch

from hybrid.data import identity
from hybrid.experiments import experiment as module
from hybrid.experiments import methods
from hybrid.experiments.experiment import Experiment
from hybrid.machine import files
from hybrid.model import HybridModel
from hybrid.models.autoencoder import Decoder, Encoder
from hybrid.profiles.overrides import profile
from hybrid.profiles.schema import describe


def test_a_key_has_all_that_an_outcome_depends_on(home, monkeypatch):
    values = Experiment("smoke", seed=3).key("hybridplus").values
    assert values["sha256"] == identity.SHA256["digits"] and values["dataset"] == "digits" and values["seed"] == 3
    assert values["judging"] == module.JUDGING
    assert values["evaluation"]["sampler_steps"] == 2 and values["method"]["y"]["components"] == 64

    def differs(name, **change):
        first, other = Experiment("smoke").key(name), Experiment(**{"profile_name": "smoke", **change}).key(name)
        return first.difference(other.values)

    assert differs("hybrid") is None
    assert differs("hybrid", seed=1) == "seed"
    assert differs("hybrid", profile_name="smoke,evaluation.eta=1.0") == "evaluation"
    assert differs("hybrid", profile_name="smoke,hybrid.prior.channels=16") == "method"
    assert differs("mocov2", profile_name="smoke,hybrid.prior.channels=16") is None  # which is no part of it
    monkeypatch.setattr(module, "JUDGING", module.JUDGING + 1)
    assert Experiment("smoke").key("hybrid").difference(values | {"seed": 0}) is not None


@pytest.mark.parametrize(
    ("history", "of"),
    [("hybrid-representation", {"hybrid", "hybridplus"}), ("hybrid-prior", {"hybrid"}), ("mocov2-representation", {"mocov2"})],
)
def test_a_key_has_the_trainings_that_it_is_of(home, history, of):
    before = {name: Experiment("smoke").key(name) for name in methods.TABLE}
    files.write_text(home / f"results/smoke/digits/seed0/{history}.jsonl", '{"step": 1}\n')
    changed = {name for name in methods.TABLE if before[name].difference(Experiment("smoke").key(name).values)}
    assert changed == of


def test_no_outcome_counts_whose_first_stage_another_method_has_trained_again(home, monkeypatch):
    """Hybrid+ takes over the hybrid's error and accuracy: they must be those of the training that it continues."""
    experiment = Experiment("smoke")
    files.write_text(experiment.store.history_path("hybrid", "representation"), '{"step": 1}\n')
    before = experiment.key("hybrid")

    def train(run, config):
        files.write_text(experiment.run_folder("hybrid") / "representation" / "history.jsonl", '{"step": 2}\n')

    monkeypatch.setitem(methods.METHODS, "hybridplus", replace(methods.METHODS["hybridplus"], train=train))
    experiment.model("hybridplus")
    assert before.difference(experiment.key("hybrid").values) == "training"


def test_seeds_of_other_data_are_not_in_one_mean(home):
    """Though they lie in one folder, under one name."""
    experiment = Experiment("smoke")
    for seed, sha256 in ((0, experiment.sha256), (1, "another")):
        origin = {"seed": seed, "device": "a", "sha256": sha256}
        key = Experiment("smoke", seed=seed).key("mocov2")
        key.values["sha256"] = sha256
        store = Experiment("smoke", seed=seed).store
        store.keep_outcome("mocov2", key, {"metrics": {"acc": 50.0}, "calibration": [], "provenance": origin})
    assert experiment.table().set_index(["method", "metric"]).loc[("mocov2", "acc"), "seeds"] == "0"


def test_methods_differ_in_what_the_paper_says_they_do():
    smoke = profile("smoke")
    hybrid = describe(smoke.hybrid.representation)
    contrast, ablation = describe(methods.contrast_only(smoke)), describe(methods.contrast_on_z(smoke))
    assert contrast["alpha"] == 0 and contrast | {"alpha": hybrid["alpha"]} == hybrid
    assert ablation["contrast"]["on"] == "z" and hybrid["contrast"]["on"] == "y"
    assert ablation | {"contrast": ablation["contrast"] | {"on": "y"}} == hybrid


def test_priors_learn_codes_of_images_and_of_their_mirror_images(home, monkeypatch):
    experiment = Experiment("smoke,images=32")
    config, seen = experiment.profile.hybrid, []
    model = HybridModel(Encoder(config.representation.autoencoder), Decoder(config.representation.autoencoder))
    run = experiment.run("hybrid")
    monkeypatch.setattr(methods.Run, "stage", lambda self, name, prior, config, data, **about: seen.append((data(), about)))
    methods.on_latents(run, model, "prior", lambda *_: None, config.prior, {})
    (codes, about), images = seen[0], run.images.train_images
    assert torch.equal(codes[:, 0], model.encode(images)) and torch.equal(codes[:, 1], model.encode(images.flip(3)))
    assert about["encoder"]


def test_a_batch_that_keys_do_not_divide_is_refused(home):
    with pytest.raises(methods.HybridError, match="key_batch = 7: give a divisor of the batch's 512 images"):
        Experiment("smoke,hybrid.representation.contrast.key_batch=7")
