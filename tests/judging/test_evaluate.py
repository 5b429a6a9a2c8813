"""How a method is judged: on which images, with which labels, in which unit. The model is made up, so every number is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hybrid.data.datasets import ImageSet
from hybrid.judging import evaluate, frechet
from hybrid.models.pixel_ddim import PixelDDIM
from hybrid.profiles.overrides import profile
from hybrid.profiles.schema import Evaluation

CONFIG = Evaluation(samples=24, sampler_steps=7, eta=0.5, inception=False, penalties=(1e-2,))


def grey(levels):
    """Images (N, 3, 32, 32) of one level each."""
    return torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32).clone()


@pytest.fixture
def images():
    """Dark and light images of two classes, in another order in the test set. Three in four test labels are those of the other
    class: a probe that learns from the train set is wrong there."""
    labels = torch.arange(40) % 2
    train = grey((60 + 100 * labels + torch.arange(40) % 5).tolist())
    kinds = torch.arange(40) // 20
    test = grey((80 + 100 * kinds + torch.arange(40) % 5).tolist())
    wrong = torch.arange(40) % 8 < 6
    return ImageSet("made", train, labels, test, torch.where(wrong, 1 - kinds, kinds), ("dark", "light"))


class Made(torch.nn.Module):
    """Reconstructs everything as black, sees the brightness in y and the label's own noise in w."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def features(self, batch):
        level = batch[:, 0, 0, :1].float()
        return {"y": level, "w": (level > 1e9).float() + torch.arange(len(batch))[:, None] % 3}

    def reconstruct(self, batch):
        return torch.zeros(len(batch), 3, 32, 32)

    def sample(self, count, steps, eta, seed):
        self.asked.append((count, steps, eta, seed))
        return torch.full((count, 3, 32, 32), 0.5) + torch.linspace(0, 0.1, count)[:, None, None, None]


@pytest.fixture
def network(monkeypatch, tmp_path):
    """In the place of the networks, the mean and the contrast of an image; the list holds what was loaded."""
    loaded = []

    def load(name, device):
        loaded.append(name)
        net = lambda x: torch.stack([x.mean((1, 2, 3)), x[:, 0, 0, 0]], dim=1)  # noqa: E731
        return frechet.FeatureNetwork(f"fd_{name}", f"kd_{name}", name, net, device, f"_{name}")

    monkeypatch.setattr(frechet, "load_network", load)
    monkeypatch.setenv("HYBRID_HOME", str(tmp_path))
    return loaded


def test_the_error_is_that_of_the_test_set_in_thousandths(images):
    found = evaluate.evaluate(Made(), ("mse",), images, CONFIG, 0)
    assert found["metrics"] == {"mse": pytest.approx(1e3 * (images.test_images.double() / 255).square().mean().item())}


def test_a_probe_learns_from_the_train_set_and_is_judged_on_the_test_set(images):
    found = evaluate.evaluate(Made(), ("acc",), images, CONFIG, 0)["metrics"]
    assert found["acc_y"] == 25 and found["acc_w"] > 25
    assert found["acc"] == 25  # the table's is the first, not the best


def test_known_numbers_are_passed_on_and_not_measured(images):
    found = evaluate.evaluate(Made(), ("mse", "acc"), images, CONFIG, 0, known={"mse": 7.0, "acc": 8.0})
    assert found["metrics"] == {"mse": 7.0, "acc": 8.0}


def test_distances_are_those_of_samples_from_the_train_set(images, network):
    model = Made()
    found = evaluate.evaluate(model, ("fid",), images, CONFIG, 3)
    assert model.asked == [(24, 7, 0.5, 3)]
    assert network == ["efficientnet_lite0", "efficientnet_lite1"]
    assert found["details"]["networks"] == {name: name for name in network}
    drawn = (255 * model.sample(24, 7, 0.5, 3)).round()[:, 0, 0, 0].double() / 255
    train = images.train_images[:, 0, 0, 0].double() / 255
    distance = (drawn.mean() - train.mean()) ** 2 + (drawn.std() - train.std()) ** 2  # of Gaussians in a dimension
    assert found["metrics"]["fd_efficientnet_lite0"] == pytest.approx(2 * distance.item(), rel=1e-3)  # which comes twice
    rows = {row["images"]: row for row in found["calibration"]}
    assert rows["samples"]["fd_efficientnet_lite0"] == found["metrics"]["fd_efficientnet_lite0"]
    assert rows["real, test set"]["fd_efficientnet_lite0"] != found["metrics"]["fd_efficientnet_lite0"]
    assert set(found["metrics"]) >= {f"{what}_efficientnet_lite0" for what in ("fd", "kd", "precision", "recall")}


def test_one_network_where_no_witness_is_wanted(images, network):
    config = Evaluation(samples=24, sampler_steps=7, inception=False, witness=False)
    evaluate.evaluate(Made(), ("fid",), images, config, 0, calibrate=False)
    assert network == ["efficientnet_lite0"]


def test_x_T_in_more_steps_beside_the_coarse_one(images, monkeypatch):
    """Coarse codes are of chance here, fine ones are the images."""
    model, asked = PixelDDIM(profile("smoke").ddim).eval(), []

    def encode(batch, steps):
        asked.append((len(batch), steps))
        return (
            batch.float()
            if steps == 50
            else torch.from_numpy(np.random.default_rng(len(asked)).normal(size=batch.shape)).float()
        )

    monkeypatch.setattr(model, "encode", encode)
    found = evaluate.finer(model, images, 0)
    assert asked == [(40, 2), (40, 2), (40, 50), (40, 50)]
    assert found["acc_x_T_fine"] == 25 and found["acc_x_T_coarse"] > 25
    model.encoding_steps = 50
    assert evaluate.finer(model, images, 0) == {}


def test_images_of_one_source_stay_together_where_a_penalty_is_chosen(images, monkeypatch):
    given, fit = [], evaluate.linear_probe
    monkeypatch.setattr(evaluate, "linear_probe", lambda *rest: given.append(rest[-1]) or fit(*rest))
    sources = torch.arange(40) % 20
    evaluate.accuracy(Made(), replace(images, train_sources=sources), 0)
    assert len(given) == 2 and all(each is sources for each in given)
