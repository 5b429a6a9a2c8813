"""The trained hybrid as its users hold it: what it takes, and what it says of what it does not take."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import hybrid
from hybrid.errors import HybridError
from hybrid.model import EncoderModel, HybridModel
from hybrid.models.autoencoder import Decoder, Encoder
from hybrid.models.base import stream
from hybrid.models.latent_ddim import LatentDDIM, PlusPrior, SemanticPrior, TexturePrior
from hybrid.profiles.overrides import profile

SMOKE, PLUS = profile("smoke").hybrid, profile("smoke").plus


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = SMOKE.representation.autoencoder
    return HybridModel(Encoder(config), Decoder(config), LatentDDIM(SMOKE.prior, config))


def test_numpy_pillow_and_tensors_have_the_same_code(model, images):
    z = model.encode(images)
    last = images.permute(0, 2, 3, 1).numpy()
    for kind in (images.numpy(), last, images / 255, last / 255, [Image.fromarray(array) for array in last]):
        torch.testing.assert_close(model.encode(kind), z)
        torch.testing.assert_close(model.features(kind)["y"], z[:, :3].flatten(1))
    torch.testing.assert_close(model.decode(z.numpy()), model.decode(z))
    assert torch.equal(model.split(z.numpy())[1], z[:, 3:])
    paths = [model.interpolate(last, images, t) for t in (torch.tensor([1.0, 0.5]), [1, 0.5], np.array([1, 0.5]))]
    assert paths[0].shape == (8, 2, 3, 32, 32)
    assert all(torch.equal(path, paths[0]) for path in paths)
    backwards = np.ascontiguousarray(z.numpy()[::-1])[::-1]
    torch.testing.assert_close(model.decode(backwards), model.decode(z))
    assert torch.equal(model.interpolate(last, images, np.array([0.5, 1])[::-1]), paths[0])
    assert torch.equal(model.interpolate(last, images), model.interpolate(last, images, torch.linspace(1, 0, 9)))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m, x: m(x), "^HybridModel is not called by itself: call one of encode, decode"),
        (lambda m, x: m.encode(x[:, :1]), r"images of shape \(8, 1, 32, 32\): expected \(N, 3, 32, 32\)"),
        (lambda m, x: m.encode(x.float()), "divide by 255"),
        (lambda m, x: m.reconstruct(x.float()), "divide by 255"),
        (lambda m, x: m.features(x[0]), r"images\[None\]"),
        (lambda m, x: m.decode(torch.zeros(2, 3, 16, 16)), r"z is torch.float32 \(2, 3, 16, 16\): .*half a code"),
        (lambda m, x: m.decode(x), r"z is torch.uint8 \(8, 3, 32, 32\): expected floats \(N, 6, 16, 16\)"),
        (lambda m, x: m.decode(torch.zeros(6, 16, 16)), r"\(6, 16, 16\): expected floats"),
        (lambda m, x: m.decode(torch.zeros(0, 6, 16, 16)), "expected floats"),
        (lambda m, x: m.encode(x / 0.0), "not finite .NaN or infinity.: expected 0 to 1"),
        (lambda m, x: m.encode([]), "images are an empty list"),
        (lambda m, x: m.decode(torch.full((1, 6, 16, 16), torch.nan)), "z has values that are not finite: expected floats"),
        (lambda m, x: m.interpolate(x[:1], x), "1 image at the start and 8 at the end"),
        (lambda m, x: m.decode([1.0]), "z is a list: .*as encode and split give it"),
        (lambda m, x: m.split(torch.zeros(2, 5, 16, 16)), r"\(2, 5, 16, 16\): expected"),
        (lambda m, x: m.sample(0), "count = 0: expected a whole number, 1 or more"),
        (lambda m, x: m.sample(-3), "count = -3"),
        (lambda m, x: m.sample(2.0), r"count = 2\.0: expected a whole number"),
        (lambda m, x: m.sample(True), "count = True"),
        (lambda m, x: m.sample(1, steps=0), "steps = 0"),
        (lambda m, x: m.sample(1, steps=10_000), "10000 sampling steps"),
        (lambda m, x: m.sample(1, steps=2, seed=-1), "seed = -1: expected a whole number, from 0 to 4294967295"),
        (lambda m, x: m.sample(1, steps=2, seed=2**32), "seed = 4294967296"),
        (lambda m, x: m.sample(1, steps=2, eta=2.0), "eta is 2.0"),
        (lambda m, x: m.sample(1, steps=2, order=3), "order is 3 with eta 0; give 1, or 2 with eta 0"),
        (lambda m, x: m.sample(1, steps=2, guidance=2.0), r"guidance = 2\.0: the DDIM on z has none"),
        (lambda m, x: m.interpolate(x, x, 0.5), r"t = 0\.5: expected places on the path, \(T,\), such as \[0\.5\]"),
        (lambda m, x: m.interpolate(x, x, torch.tensor(0.5)), r"expected places on the path"),
        (lambda m, x: m.interpolate(x, x, torch.rand(2, 3)), r"^t = tensor[^\n]*: expected places[^\n]*$"),
        (lambda m, x: m.interpolate(x, x, []), r"t = \[\]: expected places"),
        (lambda m, x: m.interpolate(x, x, "half"), r"t = 'half': expected places"),
        (lambda m, x: m.interpolate(x, x, [torch.nan]), "expected places"),
        (lambda m, x: m.interpolate(x, x[:3], [0.5]), "8 images at the start and 3 at the end"),
        (lambda m, x: m.interpolate(x, x, [0.5], "v"), "part 'v' is unknown: choose one of z, y, w"),
        (lambda m, x: m.sample_given(m.encode(x)[:, :3]), "cannot draw w given y"),
        (lambda m, x: m.sample_given(m.encode(x)), r"y is torch.float32 \(8, 6, 16, 16\)"),
        (lambda m, x: m.decode(np.array([None])), "z is of numpy type object: expected floats"),
    ],
)
def test_what_it_does_not_take_is_told_in_a_line(model, images, call, says):
    with pytest.raises(HybridError, match=says) as caught:
        call(model, images)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_it_prints_a_line(model):
    assert repr(model) == str(model)
    assert "\n" not in repr(model)
    assert repr(model).startswith("HybridModel: 0.")
    assert "on cpu, z = [y, w] with 3 + 3 channels of 16 x 16; samples by a DDIM on z" in repr(model)
    assert repr(HybridModel(model.encoder, model.decoder)).endswith("cannot sample, its second stage is not there")
    assert repr(EncoderModel(model.encoder)).startswith("EncoderModel: ")
    with pytest.raises(HybridError, match="EncoderModel is not called by itself: call one of features"):
        EncoderModel(model.encoder)(None)


def test_public_names_are_what_they_say():
    assert hybrid.HybridModel is HybridModel
    assert set(hybrid.__all__) <= set(dir(hybrid))
    assert repr(hybrid.load_dataset("digits")).startswith("ImageSet 'digits': ")
    assert "of 10 classes" in repr(hybrid.load_dataset("digits"))
    assert (Path(hybrid.__file__).parent / "py.typed").exists()


def test_a_frozen_model_stays_so_inside_one_that_trains(model, images):
    before = model.encode(images)
    whole = torch.nn.Sequential(model)
    whole.train()
    assert not model.training and not any(part.training for part in model.modules())
    assert torch.equal(model.encode(images), before)


def test_seeds_and_counts_may_be_numpys(model):
    assert torch.equal(model.sample(np.int64(2), np.int32(2), 1.0, np.int64(3)), model.sample(2, 2, 1.0, 3))


def plus(model, drop):
    config = SMOKE.representation.autoencoder
    prior = PlusPrior(SemanticPrior(PLUS.y, config), TexturePrior(replace(PLUS.w, drop=drop), config))
    return HybridModel(model.encoder, model.decoder, prior)


def test_hybrid_plus_samples_with_the_guidance_that_is_asked_for(model):
    one, asked = plus(model, 0.1), []
    sample = one.prior.texture.sample
    one.prior.texture.sample = lambda *args: asked.append(args[-1]) or sample(*args)
    one.sample(2, steps=2), one.sample(2, steps=2, guidance=3), one.sample_given(torch.zeros(2, 3, 16, 16), 2, guidance=0.5)
    assert asked == [None, 3.0, 0.5]


def test_hybrid_plus_samples_both_parts_as_asked_for(model):
    one, asked = plus(model, 0.1), []
    for stage in (one.prior.semantic, one.prior.texture):
        stage.sample = lambda *args, sample=stage.sample: asked.append(args) or sample(*args)
    one.sample(2, 3, 0.5, 7)
    one.sample(2, 3, order=2)
    seed = stream(7, "batch", 0)
    assert asked[0][1:] == (3, 0.5, stream(seed, "y"), 1) and asked[1][2:6] == (3, 0.5, seed, 1)
    assert asked[2][4] == asked[3][5] == 2


@pytest.mark.parametrize(
    ("drop", "guidance", "says"),
    [
        (0.1, -1.0, r"guidance = -1\.0: expected a number, 0 or more"),
        (0.1, float("nan"), "guidance = nan: expected"),
        (0.1, float("inf"), "guidance = inf: expected"),
        (0.1, "2", "guidance = '2': expected"),
        (0.1, True, "guidance = True: expected"),
        (0.0, 2.0, r"drop = 0.*only 1 is possible"),
    ],
)
def test_a_guidance_that_cannot_be_is_told(model, drop, guidance, says):
    one = plus(model, drop)
    for ask in (
        lambda: one.sample(1, steps=2, guidance=guidance),
        lambda: one.sample_given(torch.zeros(1, 3, 16, 16), 2, guidance=guidance),
    ):
        with pytest.raises(HybridError, match=says):
            ask()
