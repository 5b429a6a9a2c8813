"""BigGAN: its losses, norms and augmentation against closed forms and re-implementations; each player moves alone."""

import pytest
import torch
import torch.nn.functional as F
from timm.utils import ModelEmaV3
from torch import nn

from hybrid.errors import HybridError
from hybrid.models import biggan
from hybrid.models.biggan import BigGAN, Norm, hinge_discriminator, hinge_generator
from hybrid.models.diffaugment import diffaugment
from hybrid.profiles import schema
from hybrid.profiles.schema import Training
from hybrid.training.history import read_history
from hybrid.training.loop import Clock, TimeUp, train

LABELS = torch.arange(8) % 4


def gan(epochs=1, **changes):
    torch.manual_seed(0)
    training = Training(epochs=epochs, batch=8, lr=2e-3, weight_decay=0.0, betas=(0.0, 0.999), ema=0.9)
    small = {"noise": 8, "generator_channels": 4, "discriminator_channels": 4}
    return BigGAN(schema.BigGAN(training, **small | changes), classes=4)


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module, before):
    return {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}


def test_hinge_losses():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0])
    assert hinge_discriminator(real, fake).item() == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1 + 2) / 3)
    assert hinge_generator(fake).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("conditional", [False, True])
def test_weights_and_averaged_weights_have_spectral_norm_one(images, conditional):
    model = gan(conditional=conditional)
    average = ModelEmaV3(model, decay=0.95)
    for player in ("discriminator", "generator"):
        optimiser = torch.optim.Adam(model.player(player).parameters(), lr=5e-3, betas=(0.0, 0.999))
        for step in range(40):
            loss, _ = model.loss(player, images, LABELS)
            model.turn = 0
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            average.update(model, step)
    for module in (model.train(), model.eval(), average.module):
        layers = [layer for layer in module.modules() if hasattr(layer, "parametrizations")]
        assert len(layers) == 8 + 10 + conditional
        for layer in layers:
            largest = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0].item()
            assert largest == pytest.approx(1, abs=0.1)


def test_spectral_norm_is_torchs_in_a_training_step():
    ours, theirs = nn.Linear(6, 5), nn.Linear(6, 5)
    biggan.spectral(ours)
    with torch.no_grad():
        theirs.weight.copy_(ours.parametrizations.weight.original)
    nn.utils.parametrizations.spectral_norm(theirs, n_power_iterations=30)
    for layer in (ours, theirs):
        for _ in range(100):  # ours goes one iteration at a time
            weight = layer.weight
        (weight * torch.arange(30.0).view(5, 6)).sum().backward()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.parametrizations.weight.original.grad, theirs.parametrizations.weight.original.grad)


def test_diffaugment_is_the_published_one_image_by_image():
    images = 2 * torch.rand(16, 3, 32, 32) - 1
    torch.manual_seed(3)
    views = diffaugment(images)
    torch.manual_seed(3)
    draws = [torch.rand(16, 1, 1, 1).flatten() for _ in range(3)]
    for _ in range(2):  # rows, then columns
        draws.append(torch.randint(-4, 5, (16, 1, 1, 1)).flatten())
        draws.append(torch.randint(33, (16, 1, 1)).flatten())
    for x, view, draw in zip(images, views, zip(*draws, strict=True), strict=True):
        brightness, saturation, contrast = (u.item() for u in draw[:3])
        down, top, right, left = (u.item() for u in draw[3:])
        x = x + (brightness - 0.5)
        x = (x - x.mean(0)) * (2 * saturation) + x.mean(0)
        x = (x - x.mean()) * (contrast + 0.5) + x.mean()
        x = F.pad(x, (4, 4, 4, 4))[:, 4 + down : 36 + down, 4 + right : 36 + right]
        hole = torch.ones(32, 32)
        hole[max(top - 8, 0) : top + 8, max(left - 8, 0) : left + 8] = 0
        torch.testing.assert_close(view, x * hole)


def test_diffaugment_draws_for_each_image_and_zero_strength_changes_nothing():
    x = torch.rand(1, 3, 32, 32).expand(32, -1, -1, -1)
    views = diffaugment(x)
    assert len(views.flatten(1).unique(dim=0)) == 32
    torch.testing.assert_close(diffaugment(x, 0.0), x)


def test_diffaugment_passes_gradients():
    def view(x):
        torch.manual_seed(0)
        return diffaugment(x)

    assert torch.autograd.gradcheck(view, torch.rand(2, 3, 8, 8, dtype=torch.float64, requires_grad=True), fast_mode=True)


def test_classes_have_their_own_gain_and_offset():
    norm, x = Norm(5, classes=4), torch.randn(8, 5, 3, 3)
    nn.init.normal_(norm.styles.weight)
    y = norm(x, LABELS)
    normal = F.batch_norm(x, None, None, training=True)
    for image, plain, label in zip(y, normal, LABELS, strict=True):
        gain, offset = norm.styles.weight[label].view(2, 5, 1, 1)
        torch.testing.assert_close(image, plain * (1 + gain) + offset)


def test_conditional_score_is_linear_plus_projection(images):
    d = gan(conditional=True).discriminator.eval()
    x = images / 127.5 - 1
    h, weight, classes = d.features(x), d.linear.weight, d.classes.weight
    by_hand = torch.stack([row @ weight[0] + d.linear.bias[0] + row @ classes[i] for row, i in zip(h, LABELS, strict=True)])
    torch.testing.assert_close(d(x, LABELS), by_hand)


@pytest.mark.parametrize("conditional", [False, True])
def test_labels_matter_only_where_networks_are_conditional(images, conditional):
    model = gan(conditional=conditional).eval()
    for block in model.generator.blocks:
        for norm in (block.norm1, block.norm2):
            if norm.styles is not None:
                nn.init.normal_(norm.styles.weight)
    noise, other = torch.randn(8, 8), LABELS.flip(0)
    for network, x in ((model.generator, noise), (model.discriminator, images / 127.5 - 1)):
        assert torch.equal(network(x, LABELS), network(x, other)) != conditional


def test_a_generators_step_leaves_the_discriminator_as_it_was(images):
    model = gan(conditional=True)
    before = state(model.discriminator)
    loss, _ = model.loss("generator", images, LABELS)
    loss.backward()
    assert not changed(model.discriminator, before)
    assert all(p.grad is None and p.requires_grad for p in model.discriminator.parameters())
    assert all(p.grad.abs().sum() > 0 for p in model.generator.parameters() if p.ndim == 4)


def test_a_discriminators_step_moves_only_batch_statistics_of_the_generator(images):
    model = gan(conditional=True)
    before = state(model.generator)
    loss, _ = model.loss("discriminator", images, LABELS)
    loss.backward()
    names = changed(model.generator, before)
    assert names
    assert all(name.rpartition(".")[2] in ("running_mean", "running_var", "num_batches_tracked") for name in names)
    assert all(p.grad is None and p.requires_grad for p in model.generator.parameters())
    assert all(p.grad.abs().sum() > 0 for p in model.discriminator.parameters() if p.ndim == 4)


def test_discriminators_steps_share_the_batch(images, monkeypatch):
    model, seen = gan(discriminator_steps=3, flip=0.0, diffaugment=0.0, conditional=True), []
    forward = model.discriminator.forward
    monkeypatch.setattr(model.discriminator, "forward", lambda x, labels: seen.append((x, labels)) or forward(x, labels))
    for _ in range(2):
        seen.clear()
        for player in model.players:
            model.loss(player, images, LABELS)
        real = [(x.chunk(2)[0], labels.chunk(2)[0]) for x, labels in seen[:3]]
        torch.testing.assert_close(torch.cat([x for x, _ in real]), images / 127.5 - 1)
        assert torch.equal(torch.cat([labels for _, labels in real]), LABELS)
        assert len(seen) == 4


def test_real_images_are_mirrored_where_flips_are_wanted(images, monkeypatch):
    model, seen = gan(flip=1.0, diffaugment=0.0), []
    forward = model.discriminator.forward
    monkeypatch.setattr(model.discriminator, "forward", lambda x, labels: seen.append(x) or forward(x, labels))
    model.loss("discriminator", images, LABELS)
    torch.testing.assert_close(seen[0][:8], images.flip(3) / 127.5 - 1)


@pytest.mark.parametrize("conditional", [False, True])
def test_samples_depend_on_the_seed_and_on_nothing_else(monkeypatch, conditional):
    model = gan(conditional=conditional).eval()
    samples = model.sample(5, seed=1)
    assert samples.shape == (5, 3, 32, 32)
    assert samples.dtype == torch.float32
    assert 0 <= samples.min() < samples.max() <= 1
    torch.manual_seed(7)
    assert torch.equal(samples, model.sample(5, steps=9, eta=1.0, seed=1))
    assert not torch.equal(samples, model.sample(5, seed=2))
    monkeypatch.setattr("hybrid.models.base.BATCH", 2)
    torch.testing.assert_close(samples, model.sample(5, seed=1), atol=1e-2, rtol=0)


def test_features_are_what_the_last_layer_sees(images):
    model, given = gan().eval(), []
    model.discriminator.linear.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    (features,) = model.features(images).values()
    assert features.shape == (8, 16)
    assert features.min() >= 0
    assert not features.requires_grad
    model.discriminator(images / 127.5 - 1, LABELS)
    torch.testing.assert_close(features, given[0], rtol=0.05, atol=0.05)  # bfloat16 against float32
    torch.testing.assert_close(features, model.features(images / 255)["discriminator"])


def test_more_steps_than_images_are_refused():
    with pytest.raises(HybridError, match="give 1 to the 8"):
        gan(discriminator_steps=9)


def test_training_goes_through_and_resumes_exactly(tmp_path):
    class StopAfter(Clock):
        looks = 5

        @property
        def up(self):
            self.looks -= 1
            return self.looks <= 0

    images = torch.randint(0, 256, (32, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(32) % 4

    def run(folder, clock=None):
        model = gan(epochs=2, discriminator_steps=2, conditional=True)
        return train(model, images, labels, model.config.training, tmp_path / folder, seed=0, about={}, clock=clock)

    whole = run("whole")
    with pytest.raises(TimeUp):
        run("cut", StopAfter())
    resumed = run("cut")
    assert not changed(resumed, state(whole))
    assert changed(whole, state(gan(conditional=True)))
    lines = read_history(tmp_path / "whole" / "history.jsonl")
    assert set(lines[-1]) >= {"loss_d", "loss_g", "real_score", "fake_score"}
    assert lines[0]["loss_d"] == pytest.approx(2, abs=0.5)  # the mean of both steps: 1 + 1 while all scores are small
    assert whole.sample(3).isfinite().all()
    assert not whole.training


def test_both_players_see_augmented_images(images, monkeypatch):
    model, seen = gan(diffaugment=0.5), []
    monkeypatch.setattr(biggan, "diffaugment", lambda x, strength: seen.append((len(x), strength)) or x)
    for player in model.players:
        model.loss(player, images, LABELS)
    assert seen == [(16, 0.5), (8, 0.5)]
