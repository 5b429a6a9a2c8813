"""The DDIM on pixels, with an untrained net and on Gaussian data, where encoding and decoding have closed forms."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hybrid.data.pixels import as_float
from hybrid.errors import HybridError
from hybrid.judging import evaluate
from hybrid.models import base
from hybrid.models.pixel_ddim import PixelDDIM
from hybrid.profiles import schema
from hybrid.profiles.schema import Training
from hybrid.training.history import read_history
from hybrid.training.loop import Clock, TimeUp, train

MEAN, STD = 0.1, 0.3  # of the Gaussian data, on [-1, 1]


CONFIG = schema.PixelDiffusion(
    Training(epochs=2, batch=8, ema=0.9), channels=8, multipliers=(1,), attention=(), steps=100, beta_max=0.1, patch=4
)


class Gaussian(nn.Module):
    """The best possible net for pixels from N(MEAN, STD^2), each by itself: E[noise | x_t]."""

    def __init__(self, diffusion):
        super().__init__()
        self.alpha = diffusion.alpha

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        alpha = self.alpha[t][:, None, None, None]
        return ((1 - alpha).sqrt() * (x - alpha.sqrt() * MEAN) / (alpha * STD**2 + 1 - alpha)).float()


class Stop(Clock):
    """A clock that is up at its third look."""

    looks = 0

    @property
    def up(self):
        self.looks += 1
        return self.looks == 3


def ddim(config=CONFIG, seed=0) -> PixelDDIM:
    torch.manual_seed(seed)
    return PixelDDIM(config).eval()


def gaussian(config=CONFIG) -> PixelDDIM:
    made = ddim(config)
    made.net = Gaussian(made.diffusion)
    return made


def lively(config=CONFIG) -> PixelDDIM:
    """A net that answers, as a trained one does: the branches that start at zero are drawn."""
    made = ddim(config)
    torch.manual_seed(1)
    for parameter in made.net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return made


def test_an_untrained_net_only_scales(images):
    """Zero noise everywhere: x_T = sqrt(alpha_T) x_0, and the way back undoes it."""
    made = ddim()
    x_T = made.features(images)["x_T"]
    assert x_T.shape == (8, 3072) and x_T.dtype == torch.float32
    expected = (2 * images.double() / 255 - 1) * made.diffusion.alpha[-1].sqrt()
    torch.testing.assert_close(x_T, expected.float().flatten(1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(made.reconstruct(images), images / 255, rtol=0, atol=1e-5)
    assert made.loss("model", images, images)[0].item() == pytest.approx(1, abs=0.03)  # the noise's own square


def test_gaussian_data_is_carried_to_noise_and_back_the_better_the_more_steps():
    made = gaussian(replace(CONFIG, steps=1000, beta_max=0.02))
    noise = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    images = ((MEAN + STD * noise + 1) / 2).clamp(0, 1)
    errors = made.errors_by_steps(images)
    assert list(errors) == [f"{kind}_s{steps}" for kind in ("mse", "median") for steps in (10, 20, 50, 100)]
    values = list(errors.values())[:4]
    assert values == sorted(values, reverse=True) and values[0] > 20 * values[-1]
    by_hand = (made.reconstruct(images, 20) - images).square().mean((1, 2, 3)) * 1e3
    assert errors["mse_s20"] == pytest.approx(by_hand.mean().item(), rel=1e-5)
    assert errors["median_s20"] == pytest.approx(by_hand.sort().values[3].item(), rel=1e-5)
    # A flow that keeps every marginal Gaussian is affine: x_T is the pixel's own standard score, to Euler's error.
    exact = (2 * images - 1 - MEAN) / STD
    assert (made.encode(images, 1000) - exact).abs().max() < 0.05


def test_no_two_batches_of_any_seeds_are_drawn_alike(monkeypatch):
    monkeypatch.setattr(base, "BATCH", 3)
    seeds = [base.batch_seeds(7, seed).tolist() for seed in (0, 1)]
    assert all(s[0] == s[1] == s[2] != s[3] == s[5] != s[6] for s in seeds)
    assert len({*seeds[0], *seeds[1]}) == 6


def test_the_error_is_measured_in_the_steps_that_there_are(images):
    few = ddim(replace(CONFIG, steps=20, encoding_steps=1, ode_steps=1, error_images=3))
    assert list(few.errors_by_steps(images)) == ["mse_s10", "mse_s20", "median_s10", "median_s20"]
    chosen = images[[0, 3, 7]]  # the first, the last and one between them
    by_hand = 1e3 * (few.reconstruct(chosen, 10) - chosen / 255).square().mean().item()
    assert few.errors_by_steps(images, (10,))["mse_s10"] == pytest.approx(by_hand, rel=1e-5)


def test_samples_of_gaussian_data_have_its_moments():
    samples = gaussian(replace(CONFIG, steps=1000, beta_max=0.02)).sample(20, steps=200)
    assert samples.mean().item() == pytest.approx((MEAN + 1) / 2, abs=0.01)
    assert samples.std().item() == pytest.approx(STD / 2, abs=0.01)


def test_each_image_has_its_own_flip(monkeypatch):
    made, seen = ddim(), []
    monkeypatch.setattr(made.diffusion, "loss", lambda net, x: seen.append(x) or x.mean())
    image = torch.zeros(400, 3, 32, 32, dtype=torch.uint8)
    image[..., 0] = 255
    torch.manual_seed(0)
    made.loss("model", image, torch.zeros(400))
    left, right = seen[0][..., 0], seen[0][..., -1]
    assert torch.equal(left, -right)
    assert set(left.unique().tolist()) == {-1.0, 1.0}
    kept = (left.flatten(1) == 1).all(1)
    assert torch.equal(kept, (left.flatten(1) == 1).any(1))
    assert 150 < kept.sum() < 250  # five standard deviations


def test_counts_need_not_be_whole_batches(images, monkeypatch):
    made = lively()
    at_once = made.sample(5, 4), made.reconstruct(images, 4), made.features(images)["x_T"]
    monkeypatch.setattr(base, "BATCH", 3)
    split = made.sample(5, 4), made.reconstruct(images, 4), made.features(images)["x_T"]
    for a, b in zip(at_once, split, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=0, atol=0.02)  # bfloat16's, where there is one
    asked = []
    monkeypatch.setattr(made.diffusion, "sample", lambda net, noise, *rest: asked.append(rest) or noise)
    made.sample(7, 4, eta=1.0, seed=5)
    made.sample(2, 3, order=2)
    assert [(*rest[:3], rest[4]) for rest in asked] == [(4, 1.0, 1.0, 1)] * 3 + [(3, 0.0, 1.0, 2)]
    assert len({rest[3] for rest in asked[:3]}) == 3  # noise added to one batch is not added to the next


def test_codes_are_in_the_encodings_steps_and_reconstructions_in_the_odes(images):
    made = lively(replace(CONFIG, encoding_steps=2, ode_steps=5))
    codes = made.features(images)["x_T"]
    assert torch.equal(codes, made.encode(images, 2).flatten(1))
    assert not torch.equal(codes, made.encode(images, 5).flatten(1))
    assert torch.equal(made.reconstruct(images), made.reconstruct(images, 5))


def test_ranges_shapes_and_determinism(images):
    made = lively()
    for eta in (0.0, 1.0):
        a, b, other = (made.sample(3, 4, eta, seed) for seed in (1, 1, 2))
        assert a.shape == (3, 3, 32, 32) and a.dtype == torch.float32 and not a.requires_grad
        assert torch.equal(a, b) and not torch.allclose(a, other)
        assert a.min() >= 0 and a.max() <= 1
    again = made.reconstruct(images, 4)
    assert again.shape == images.shape and again.min() >= 0 and again.max() <= 1
    assert torch.equal(again, made.reconstruct(images, 4))
    torch.testing.assert_close(again, made.reconstruct(as_float(images), 4), rtol=0, atol=0)
    assert made.features(images[:1])["x_T"].shape == (1, 3072)
    before = torch.get_rng_state()
    made.sample(2, 2, eta=1.0)
    assert torch.equal(before, torch.get_rng_state())


def test_what_does_not_fit_is_told(images):
    with pytest.raises(HybridError, match=r"\(8, 3, 28, 28\).*expected \(N, 3, 32, 32\)"):
        ddim().features(images[..., :28, :28])


def test_it_trains_in_the_one_loop_and_resumes_exactly(images, tmp_path):
    data, labels = images.repeat(4, 1, 1, 1), torch.zeros(32)
    arguments = {"seed": 0, "about": {"method": "ddim"}}
    whole = train(ddim(), data, labels, CONFIG.training, tmp_path / "whole", **arguments)
    with pytest.raises(TimeUp, match="step 3 of 8"):
        train(ddim(), data, labels, CONFIG.training, tmp_path / "cut", **arguments, clock=Stop())
    resumed = train(ddim(seed=9), data, labels, CONFIG.training, tmp_path / "cut", **arguments)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True))
    lines = read_history(tmp_path / "whole" / "history.jsonl")
    losses = [line["loss"] for line in lines]
    assert sum(losses[4:]) < sum(losses[:4]) < 4 * 1.2
    assert not whole.training and torch.equal(whole.sample(2, 3), resumed.sample(2, 3))


def test_it_answers_the_evaluator(images):
    made = gaussian()
    by_hand = (made.reconstruct(images, 50) - images / 255).square().mean().item() * 1e3
    assert evaluate.squared_error(made.reconstruct(images), images) == pytest.approx(by_hand, rel=1e-4)
