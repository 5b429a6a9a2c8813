"""The diagnosis of a hybrid on codes with known spectra; Gaussian losses against least squares on samples."""

import math
from dataclasses import replace

import pytest
import torch

from hybrid import cli, released
from hybrid.data.datasets import ImageSet
from hybrid.errors import HybridError
from hybrid.judging import diagnose, frechet
from hybrid.judging.frechet import FeatureNetwork
from hybrid.model import HybridModel
from hybrid.models.autoencoder import Decoder, Encoder
from hybrid.models.diffusion import Diffusion
from hybrid.models.latent_ddim import LatentDDIM, PlusPrior, SemanticPrior, TexturePrior
from hybrid.profiles.overrides import profile
from hybrid.showing import diagnosis

SMOKE = profile("smoke")
CONFIG = SMOKE.hybrid.representation.autoencoder


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def image_set():
    generator = torch.Generator().manual_seed(0)
    train, test = (torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator) for n in (60, 40))
    return ImageSet("random", train, torch.arange(60) % 2, test, torch.arange(40) % 2, ("a", "b"))


def model(kind):
    torch.manual_seed(0)
    prior = None
    if kind == "ddim":
        prior = LatentDDIM(SMOKE.hybrid.prior, CONFIG)
    if kind == "plus":
        prior = PlusPrior(SemanticPrior(SMOKE.plus.y, CONFIG), TexturePrior(SMOKE.plus.w, CONFIG))
    return HybridModel(Encoder(CONFIG), Decoder(CONFIG), prior)


@pytest.mark.parametrize("predict", ["v", "noise"])
def test_gaussian_losses_are_those_of_least_squares(predict):
    """The best linear predictor's error, found by fitting one at each time to draws."""
    diffusion = Diffusion(4, 0.1, 0.5, predict)
    mix = normal(8, 8, seed=1)
    codes = (normal(40_000, 8) @ mix + 3).view(-1, 2, 2, 2)
    full, diagonal = (diffusion.gaussian_loss(v) for v in diagnose.gaussian_variances(codes))
    std, mean = torch.std_mean(codes, dim=(0, 2, 3), keepdim=True)
    x0 = (codes - mean) / std
    x0 = x0 - x0.mean(0)
    errors, alone = [], []
    for t in range(1, 5):
        noise = normal(*x0.shape, seed=t + 10)
        a = diffusion.alpha[t].item()
        x = (math.sqrt(a) * x0 + math.sqrt(1 - a) * noise).flatten(1)
        target = noise if predict == "noise" else math.sqrt(a) * noise - math.sqrt(1 - a) * x0
        target = target.flatten(1)
        errors.append((x @ torch.linalg.lstsq(x, target).solution - target).square().mean().item())
        alone.append((x * (x * target).sum(0) / x.square().sum(0) - target).square().mean().item())
    assert full == pytest.approx(sum(errors) / 4, rel=0.02)
    assert diagonal == pytest.approx(sum(alone) / 4, rel=0.02)
    assert full < 0.95 * diagonal


def test_of_white_codes_correlations_tell_nothing_and_v_is_1():
    full, diagonal = (Diffusion(predict="v").gaussian_loss(v) for v in diagnose.gaussian_variances(normal(20_000, 2, 4, 4)))
    assert full == pytest.approx(1, abs=0.01) and diagonal == pytest.approx(1, abs=0.01)


def test_power_of_codes_drawn_too_soft():
    hybrid = model(None)
    real = normal(500, 6, 16, 16)
    drawn = torch.cat([real[:, :3], 0.5 * real[:, 3:]], dim=1)
    found = diagnose.power(hybrid, real, drawn)
    assert found["y"].tolist() == pytest.approx([1] * 5)
    assert found["w"].tolist() == pytest.approx([0.25] * 5)


def test_a_priors_loss_is_the_mean_over_its_batches():
    class Stage:
        diffusion = Diffusion(predict="v")

        def loss(self, player, batch, labels):
            return None, {"loss": batch.mean(), "loss_y": torch.tensor(2.0), "loss_y_gaussian": torch.tensor(3.0)}

    latents = torch.cat([torch.ones(500, 2, 1, 1, 1), torch.zeros(100, 2, 1, 1, 1)])
    assert diagnose.prior_losses(Stage(), latents, seed=0) == pytest.approx({"loss": 5 / 6, "loss_y": 2.0})


def test_facts_of_white_y():
    hybrid = model(None)
    codes = normal(1000, 6, 16, 16)
    codes[:, 0, 0, 0] *= 100  # nearly all of y's variance in one dimension
    images = torch.zeros(len(codes), 3, 32, 32, dtype=torch.uint8)
    found = diagnose.facts(hybrid, images, codes, seed=0)["value"]
    assert found["components with 90 % of y's variance"] == 1 and found["dimensions of y"] == 768


def test_mixtures_are_of_the_parts_that_their_names_say():
    hybrid = model("ddim")
    hybrid.decode = lambda z: z
    codes, real, drawn = normal(50, 6, 16, 16), normal(4, 6, 16, 16, seed=1), normal(4, 6, 16, 16, seed=2)
    found = diagnose.mixed_images(hybrid, codes, real, drawn, 2, 0.0, 0, 1)
    assert torch.equal(found["samples"], drawn) and torch.equal(found["reconstructions"], real)
    assert torch.equal(found["real y, drawn w"], torch.cat([real[:, :3], drawn[:, 3:]], dim=1))
    assert torch.equal(found["drawn y, real w"], torch.cat([drawn[:, :3], real[:, 3:]], dim=1))


def test_two_images_of_each_split_are_needed(image_set):
    one = replace(image_set, test_images=image_set.test_images[:1], test_labels=image_set.test_labels[:1])
    with pytest.raises(HybridError, match="random has 1 train or test image: give a data set with two or more of each"):
        diagnose.diagnose(model(None), one)


@pytest.mark.parametrize("kind", [None, "ddim", "plus"])
def test_the_whole_of_it(kind, image_set, tmp_path, monkeypatch):
    network = FeatureNetwork("fd_means", "kd_means", "means", lambda x: x.mean((2, 3)), torch.device("cpu"))
    monkeypatch.setattr(frechet, "load_network", lambda *_: network)
    hybrid = model(kind)
    found = diagnose.diagnose(hybrid, image_set, count=20, steps=2, cache=tmp_path)
    assert set(found) == {"facts", "spectra", "losses", "power", "distances"}
    drawn = {"samples", "real y, drawn w", "drawn y, real w"} if kind else set()
    given = {"real y, w drawn given it"} if kind == "plus" else set()
    assert set(found["distances"].index) >= {"real, test set", "reconstructions"} | drawn | given
    assert {"fd_means", "precision", "recall"} <= set(found["distances"])
    rows = {None: [], "ddim": ["p(z): loss"], "plus": ["p(y): loss", "p(w | y): loss"]}[kind]
    assert found["losses"].index[6:].tolist() == rows
    assert len(found["power"]) == (5 if kind else 0)
    assert found["spectra"].loc["white noise"].tolist() == [1 / 4, 1 / 16, 1 / 64]
    assert len(diagnosis.draw(found).axes) == 4
    text = diagnosis.markdown(found)
    assert "white noise" in text and "nan" not in text
    assert all((diagnosis.NOTES[name] in text) == bool(len(frame)) for name, frame in found.items())
    tables = [[line for line in part.splitlines() if line.startswith("|")] for part in text.split("\n\n")]
    assert all(len({line.count("|") for line in lines}) == 1 for lines in tables if lines)  # no name ends a cell
    assert ("p(w given y): loss" in text) == (kind == "plus")


def test_the_command_draws_what_it_finds_on_the_data_set_of_the_weights(image_set, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(released, "open_model", lambda *_: model(None))
    monkeypatch.setattr("hybrid.data.datasets.load", lambda name, _: asked.append(name) or image_set)
    monkeypatch.setenv("HYBRID_HOME", str(tmp_path))
    out = tmp_path / "d.png"
    assert cli.main(["diagnose", "--run", released.names()[0], "--out", str(out), "--count", "8"]) == 0
    assert asked == [released.names()[0]]
    assert out.stat().st_size > 0
    assert "white noise" in out.with_suffix(".md").read_text()
    assert cli.main(["diagnose", "--run", "cifar10", "--out", "d.txt"]) == 2
