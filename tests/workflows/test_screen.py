"""Screening: it does not use the test set, and does not train again what a change does not affect."""

import json

import numpy as np
import pytest
import torch

from hybrid.cli import main
from hybrid.experiments.experiment import Experiment
from hybrid.judging import frechet
from hybrid.judging.frechet import FeatureNetwork
from hybrid.models.latent_ddim import TexturePrior
from hybrid.workflows import screen
from hybrid.workflows.screen import held_out

STAGES = ("hybrid.representation", "hybrid.prior", "plus.y", "plus.w")
# Small batches for few images; y apart from w, as `laptop` has it.
SMALL = ",".join(["smoke", *(f"{stage}.training.batch=64" for stage in STAGES), "hybrid.prior.unshuffle=true"])
SMALL += ",hybrid.prior.multipliers=1-1-2"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A home that the tests of this file share, so that a first stage is trained once."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HYBRID_HOME", str(home))
        patch.delenv("HYBRID_DATA", raising=False)
        images = torch.randint(0, 256, (250, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)).numpy()
        labels = torch.arange(250).remainder(2).numpy()
        parts = {"train": slice(200), "test": slice(200, None)}
        arrays = {f"{name}_images": images[part] for name, part in parts.items()}
        np.savez(home / "few.npz", **arrays, **{f"{name}_labels": labels[part] for name, part in parts.items()})
        yield home


@pytest.fixture
def seen(monkeypatch):
    """Batches that the feature network, a small one here, was given."""
    batches = []

    def means(x):
        batches.append((x * 255).round().to(torch.uint8))
        return x.mean((2, 3))

    network = FeatureNetwork("fd_means", "kd_means", "means", means, torch.device("cpu"))
    monkeypatch.setattr(frechet, "load_network", lambda *_: network)
    return batches


def screened(home, *arguments):
    """The line that a screening leaves in the log."""
    assert main(["screen", *arguments]) == 0
    return json.loads((home / "results/bench/screen.jsonl").read_text().splitlines()[-1])


def prior(home, stage, profile=SMALL, *arguments):
    """The line of a prior of the few images."""
    return screened(home, "--profile", profile, "--dataset", str(home / "few.npz"), "--stage", stage, *arguments)


def checkpoints(home):
    """When each was written, by the folder of its stage."""
    return {path.parent: path.stat().st_mtime_ns for path in home.glob("runs/screen/few-held-out/**/checkpoint.pt")}


def as_bytes(images):
    return {image.tobytes() for image in images.numpy()}


def test_the_test_set_is_never_seen(shared):
    whole = Experiment("demo").images
    parts = held_out(whole)
    assert len(parts.test_images) == 4 * round(0.1 * len(whole.train_images) / 4)  # four images of each glyph
    glyphs = torch.arange(len(whole.train_images)) % (len(whole.train_images) // 4)
    assert torch.equal(whole.train_sources, glyphs) and len(parts.train_sources.unique()) == len(parts.train_images) / 4
    assert as_bytes(parts.train_images) | as_bytes(parts.test_images) == as_bytes(whole.train_images)


def test_the_first_stage(shared, capsys):
    lines = [screened(shared, "--profile", name) for name in ("smoke", "smoke,hybrid.representation.alpha=0")]
    assert [line["profile"] for line in lines] == ["smoke", "smoke,hybrid.representation.alpha=0"]
    assert 10 < lines[0]["acc_y"] <= 100 and lines[0]["mse"] > 0 and "mse" not in lines[1]
    assert all({"command", "commit", "device"} <= line["provenance"].keys() for line in lines)
    assert '"acc_y"' in capsys.readouterr().out


def test_the_prior(shared, seen):
    line = prior(shared, "prior")
    assert line["stage"] == "prior" and line["seconds"].keys() == {"representation", "prior"}
    assert line["losses"].keys() == {"p(z): loss", "p(z): loss_y", "p(z): loss_w"}
    y = line["losses"]["p(z): loss_y"]
    assert y["train"] > 0 and y["held_out"] > 0 and y["gaussian"] > 0
    assert line["samples"].keys() == {"count", "fd_means", "kd_means", "precision", "recall"} and line["samples"]["count"] == 64
    assert line["reconstructions"]["fd_means"] > 0 and "real_y" not in line
    experiment = Experiment("smoke", str(shared / "few.npz"))
    given = as_bytes(torch.cat(seen))
    assert as_bytes(held_out(experiment.images).train_images) <= given
    assert not as_bytes(experiment.images.test_images) & given


def test_hybrid_plus_and_nothing_trained_twice(shared, seen, monkeypatch):
    sample, guidance = TexturePrior.sample, []
    monkeypatch.setattr(
        TexturePrior, "sample", lambda self, *rest: guidance.append(self.config.guidance) or sample(self, *rest)
    )
    first = prior(shared, "plus")
    assert first["seconds"].keys() == {"representation", "semantic", "texture"}
    assert first["losses"].keys() == {"p(y): loss", "p(w | y): loss"}
    assert first["losses"]["p(y): loss"]["gaussian"] == pytest.approx(1, abs=1e-3)  # y is white
    assert first["real_y"]["count"] == 20 and first["real_y"]["fd_means"] > 0
    before = checkpoints(shared)
    guided = prior(shared, "plus", f"{SMALL},plus.w.guidance=3")
    assert checkpoints(shared) == before
    assert guided["losses"] == first["losses"]
    assert set(guidance) == {1, 3} and guided["reconstructions"] == first["reconstructions"]
    prior(shared, "plus", f"{SMALL},plus.w.training.lr=1e-3")
    after = checkpoints(shared)
    assert [folder.name for folder in after.keys() - before.keys()] == ["texture"]
    assert {folder: after[folder] for folder in before} == before


def test_a_runs_own_encoder(shared, seen):
    """The same encoder in a run's folder has the same priors, which are found again."""
    first, before = prior(shared, "plus"), checkpoints(shared)
    contents = {folder: torch.load(folder / "checkpoint.pt")["about"]["config"] for folder in before}
    run = next(folder.parent for folder in before if folder.name == "representation" and contents[folder]["alpha"])
    again = prior(shared, "plus", SMALL, "--run", str(run))
    assert checkpoints(shared) == before
    assert again["run"] == str(run) and again["seconds"].keys() == {"semantic", "texture"}
    assert all(again[name] == first[name] for name in ("losses", "samples", "reconstructions", "real_y"))


def test_a_baseline_is_judged_on_the_held_out_tenth(shared, monkeypatch):
    """NVAE's temperature is for sampling only, so another one trains nothing."""
    known, given = [], []
    whole = Experiment("smoke", str(shared / "few.npz")).images
    monkeypatch.setattr(
        screen, "evaluate", lambda model, having, images, *rest, **named: given.append((model, images, rest)) or judged
    )
    judged = {"metrics": {"acc": 50.0, "mse": 1.23456}}
    for profile in (f"{SMALL},nvae.training.batch=64", f"{SMALL},nvae.training.batch=64,nvae.temperature=.7"):
        line = prior(shared, "nvae", profile)
        assert line["stage"] == "nvae" and line["mse"] == 1.2346 and line["seconds"].keys() == {"model"}
        known.append(checkpoints(shared))
    assert known[0] == known[1]
    assert [model.config.temperature for model, *_ in given] == [1.0, 0.7]
    for _, images, (config, _) in given:
        assert as_bytes(images.train_images) | as_bytes(images.test_images) == as_bytes(whole.train_images)
        assert config.samples <= 2000


@pytest.mark.parametrize(("name", "measured"), [("ddim", {"mse", "acc"}), ("biggan", {"acc"})])
def test_each_baseline_has_its_numbers(shared, seen, name, measured):
    line = prior(shared, name, f"{SMALL},{name}.training.batch=64")
    assert measured | {"fd_means", "kd_means", "precision", "recall"} <= line.keys() and ("mse" in line) == ("mse" in measured)
    assert not as_bytes(Experiment("smoke", str(shared / "few.npz")).images.test_images) & as_bytes(torch.cat(seen))


def test_what_cannot_be_is_told(shared, capsys):
    assert main(["screen", "--profile", "smoke", "--run", "cifar10"]) == 2
    assert "so it is not trained" in capsys.readouterr().err
    assert main(["screen", "--profile", "smoke", "--stage", "nvae", "--run", "cifar10"]) == 2
    assert "nvae needs none: leave it out" in capsys.readouterr().err
    assert main(["screen", "--profile", "smoke,hybrid.representation.alpha=0", "--stage", "prior"]) == 2
    assert "alpha = 0.0" in capsys.readouterr().err
