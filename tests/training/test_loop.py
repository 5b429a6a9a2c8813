"""The training loop: an interrupted run ends with the same weights as an uninterrupted one, and loses no history."""

import contextlib
import json
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from hybrid import objectives
from hybrid.errors import HybridError
from hybrid.machine.provenance import provenance
from hybrid.models import hybrid as hybrid_module
from hybrid.models.base import Trainable, stream
from hybrid.models.hybrid import Representation
from hybrid.profiles import schema
from hybrid.profiles.overrides import profile
from hybrid.profiles.schema import Training, describe
from hybrid.training import checkpoint, loop
from hybrid.training.averaging import average_of
from hybrid.training.history import read_history
from hybrid.training.loop import Clock, TimeUp, finished, train
from hybrid.training.optimisers import optimiser_for

LABELS = torch.zeros(64, dtype=torch.int64)


class StopAfter(Clock):
    """A clock that is up after so many looks at it."""

    def __init__(self, looks):
        super().__init__()
        self.looks = looks

    @property
    def up(self):
        self.looks -= 1
        return self.looks <= 0


class Regression(Trainable):
    """The smallest thing to train, with dropout so that every step draws."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))

    def loss(self, player, batch, labels):
        loss = (self.net(batch).float().squeeze(1) - batch.sum(1)).square().mean()
        return loss, {"loss": loss}


def numbers():
    return torch.randn(64, 4, generator=torch.Generator().manual_seed(1))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"average": 0.1}, {"optimiser": "muon"}], ids=str)
def test_resumed_ends_as_uninterrupted_to_the_last_bit(tmp_path, options):
    config = Training(epochs=4, batch=16, **options)
    whole = train(Regression(), numbers(), LABELS, config, tmp_path / "whole", seed=3, about={})
    for looks in (3, 6):
        with pytest.raises(TimeUp, match="of 16"):
            train(Regression(), numbers(), LABELS, config, tmp_path / "cut", seed=3, about={}, clock=StopAfter(looks))
    resumed = train(Regression(), numbers(), LABELS, config, tmp_path / "cut", seed=3, about={})
    assert same(whole, resumed)
    lines = [[(x["step"], x["loss"]) for x in read_history(tmp_path / folder / "history.jsonl")] for folder in ("whole", "cut")]
    assert lines[0] == lines[1]
    assert [step for step, _ in lines[0]] == list(range(1, 17))
    other = train(Regression(), numbers(), LABELS, config, tmp_path / "other", seed=4, about={})
    assert not same(whole, other)


def test_every_phase_has_a_graph_of_its_own(tmp_path, monkeypatch):
    class InPhases(Regression):
        repeats, phases = True, ((0.0, 0.5), (0.5, 1.0))

    made, seen = [], []

    class Recorder:
        def __init__(self, step):
            self.step = step
            made.append(self)

        def __call__(self, *inputs):
            seen.append((len(made), module.phase))
            return self.step(*inputs)

    module = InPhases()
    monkeypatch.setattr(loop, "GraphedStep", Recorder)
    monkeypatch.setattr(loop, "graphs", lambda device: True)
    monkeypatch.setattr(loop, "optimiser_for", lambda module, config, graphed: optimiser_for(module, config))
    train(module, numbers(), LABELS, Training(epochs=4, batch=16), tmp_path, seed=3, about={})
    assert seen == [(1, 0)] * 8 + [(2, 1)] * 8


def test_an_average_has_the_width_it_is_asked_for_whatever_the_training_s_length():
    """The weights that each step's have in it, read off by averaging steps told apart: their deviation is `width` (EDM2)."""
    for width in (0.05, 0.1, 0.2):
        for steps in (200, 1000):
            module = nn.Linear(1, steps, bias=False)
            average = average_of(module, Training(epochs=1, average=width))
            for step in range(1, steps + 1):
                module.weight.data = torch.zeros(steps, 1).index_fill(0, torch.tensor(step - 1), 1.0)
                average.update(module, step)
            share, place = average.module.weight[:, 0].double(), (torch.arange(steps) + 0.5) / steps
            assert share.sum().item() == pytest.approx(1, abs=1e-4) and share.argmax() == steps - 1
            mean = (share * place).sum()
            assert ((share * place**2).sum() - mean**2).sqrt().item() == pytest.approx(width, rel=0.02)


def test_what_is_returned_is_the_average_of_the_weights_and_the_last_ones_train_on(tmp_path):
    passed, watched = [], []

    class Watched(Regression):
        def after_step(self):
            passed.append(self.net[0].weight.detach().clone())

    def watch(module, line):
        watched.append(module.net[0].weight.detach().clone())

    config = Training(epochs=8, batch=16, lr=0.05, ema=0.85)
    returned = train(Watched(), numbers(), LABELS, config, tmp_path, seed=0, about={}, watch=watch)
    average = torch.zeros(8, 4)
    for step, weight in enumerate(passed, 1):
        average.lerp_(weight, 1 - min(0.85, 1 - step**-0.75))  # as schema.Training.ema says
    torch.testing.assert_close(returned.net[0].weight.detach(), average)
    torch.testing.assert_close(watched[-1], average)
    assert not torch.allclose(average, passed[-1])
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    assert torch.equal(state["model"]["net.0.weight"], passed[-1])
    assert torch.equal(state["weights"]["net.0.weight"], returned.net[0].weight)


def test_one_average_is_asked_for():
    assert average_of(nn.Linear(1, 1), Training(epochs=1)) is None
    with pytest.raises(HybridError, match=r"ema = 0\.9: give 0, because average = 0\.1"):
        Training(epochs=1, ema=0.9, average=0.1)
    with pytest.raises(HybridError, match=r"average = 0\.5: give a share above 0, at most 0\.25, or none"):
        Training(epochs=1, average=0.5)


def test_a_resumed_training_says_where_it_began_and_who_went_on(tmp_path, monkeypatch):
    config, commits = Training(epochs=4, batch=16), []

    def kept_after(commit, looks):
        own = {"commit": commit, "date": len(commits)}
        monkeypatch.setattr("hybrid.training.loop.provenance", lambda **details: provenance(**details) | own)
        commits.append(commit)
        with pytest.raises(TimeUp):
            train(Regression(), numbers(), LABELS, config, tmp_path, seed=0, about={}, clock=StopAfter(looks))
        return checkpoint.load(tmp_path / "checkpoint.pt")["provenance"]

    assert "resumed" not in kept_after("a", 2)
    for commit, others in (("a", []), ("b", ["b"]), ("b", ["b"]), ("a", ["b", "a"])):
        origin = kept_after(commit, 2)
        assert (origin["commit"], origin["date"]) == ("a", 0)
        assert [now["commit"] for now in origin.get("resumed", [])] == others
    assert origin["peak_memory_gib"] > 0


def test_a_stop_between_two_lines_of_the_history_does_not_show_in_it(tmp_path):
    config = Training(epochs=2, batch=2)  # 32 steps an epoch, a line every eight
    train(Regression(), numbers(), LABELS, config, tmp_path / "whole", seed=0, about={})
    with pytest.raises(TimeUp, match="step 5 of"):
        train(Regression(), numbers(), LABELS, config, tmp_path / "cut", seed=0, about={}, clock=StopAfter(5))
    train(Regression(), numbers(), LABELS, config, tmp_path / "cut", seed=0, about={})
    lines = [[(x["step"], x["loss"]) for x in read_history(tmp_path / folder / "history.jsonl")] for folder in ("whole", "cut")]
    assert lines[0] == lines[1]
    assert [step for step, _ in lines[0]] == list(range(8, 65, 8))


def test_a_step_of_muon_is_orthogonal_and_as_long_as_one_of_adamw(tmp_path):
    """Rates mean the same for both: a matrix moves by lr * 0.2 * sqrt(its larger side) in every direction."""

    class Matrix(Trainable):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(8, 32))
            self.bias = nn.Parameter(torch.zeros(8))

        def loss(self, player, batch, labels):
            loss = (batch @ self.weight.T + self.bias - batch[:, :8] * torch.arange(1, 9)).square().mean()
            return loss, {"loss": loss}

    data = torch.randn(64, 32, generator=torch.Generator().manual_seed(1))
    config = Training(epochs=1, batch=64, optimiser="muon", lr=1e-2, weight_decay=0.0, warmup=0.0, clip=1e9)
    moved = train(Matrix(), data, LABELS, config, tmp_path, seed=0, about={})
    lengths = torch.linalg.svdvals(moved.weight.detach()) / (config.lr * 0.2 * 32**0.5)
    assert lengths.min() > 0.5 and lengths.max() < 1.3
    torch.testing.assert_close(moved.bias.abs(), torch.full((8,), 1.9 * config.lr), rtol=0.01, atol=0)  # NAdam's first step


def test_a_player_may_come_twice_and_the_loop_tells_how_far_it_is(tmp_path):
    class Game(Regression):
        players = ("net", "net", "bias")

        def __init__(self):
            super().__init__()
            self.bias, self.seen = nn.Linear(4, 1), []

        def player(self, name):
            return getattr(self, name)

        def loss(self, player, batch, labels):
            self.seen.append((player, self.progress))
            loss = getattr(self, player)(batch).square().mean()
            return loss, {player: torch.tensor(float(len(self.seen)))}

    game = train(Game(), numbers(), LABELS, Training(epochs=1, batch=16), tmp_path, seed=0, about={})
    assert [player for player, _ in game.seen] == ["net", "net", "bias"] * 4
    assert [progress for _, progress in game.seen[::3]] == [0.0, 0.25, 0.5, 0.75]
    assert [line["net"] for line in read_history(tmp_path / "history.jsonl")] == [1.5, 4.5, 7.5, 10.5]


def test_without_alpha_nothing_is_decoded_and_the_contrast_is_the_hybrids():
    config = replace(profile("smoke").hybrid.representation, contrast=schema.Contrast(queue=40, hidden=16, dim=8))
    images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    hybrid, contrast = (Representation(replace(config, alpha=alpha)).train() for alpha in (config.alpha, 0.0))
    contrast.load_state_dict({name: v for name, v in hybrid.state_dict().items() if not name.startswith("decoder.")})
    found = []
    for made in (hybrid, contrast):
        torch.manual_seed(6)
        found.append(made.loss("model", images, LABELS)[1])
    assert contrast.decoder is None and set(found[1]) == {"loss", "i_cpc"}
    torch.testing.assert_close(found[0]["i_cpc"], found[1]["i_cpc"])
    torch.testing.assert_close(found[1]["loss"], -found[1]["i_cpc"])


def test_decoding_every_second_view_estimates_i_ba_from_those_and_leaves_the_contrast(monkeypatch):
    config = replace(profile("smoke").hybrid.representation, contrast=schema.Contrast(queue=40, hidden=16, dim=8))
    images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole, half = (Representation(replace(config, decode_every=every)).eval() for every in (1, 2))
    half.load_state_dict(whole.state_dict())
    likelihoods, found = [], []
    monkeypatch.setattr(hybrid_module, "i_ba", lambda likelihood: likelihoods.append(likelihood) or objectives.i_ba(likelihood))
    for made in (whole, half):
        torch.manual_seed(6)
        found.append(made.loss("model", images, LABELS)[1])
    torch.testing.assert_close(likelihoods[1], likelihoods[0][::2])
    torch.testing.assert_close(found[1]["i_cpc"], found[0]["i_cpc"])
    torch.testing.assert_close(found[1]["i_ba"], likelihoods[0][::2].mean())


def test_the_code_s_noise_is_a_share_of_each_channel_s_deviation():
    z = torch.tensor([1.0, 10.0, 0.1])[:, None, None] * torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    moved = hybrid_module.add_noise(z + 5, 0.2) - (z + 5)
    torch.testing.assert_close(moved.std((0, 2, 3)) / z.std((0, 2, 3)), torch.full((3,), 0.2), atol=0.01, rtol=0)


def test_noise_reaches_what_is_decoded_and_not_the_contrast():
    config = replace(profile("smoke").hybrid.representation, contrast=schema.Contrast(queue=40, hidden=16, dim=8))
    images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    clean, noisy = (Representation(replace(config, noise=noise)).eval() for noise in (None, 0.5))
    noisy.load_state_dict(clean.state_dict())
    found = []
    for made in (clean, noisy):
        torch.manual_seed(6)
        found.append(made.loss("model", images, LABELS)[1])
    torch.testing.assert_close(found[1]["i_cpc"], found[0]["i_cpc"])
    assert found[1]["i_ba"] != found[0]["i_ba"]


def test_a_broken_loss_never_reaches_a_checkpoint(tmp_path):
    class Breaks(Regression):
        def loss(self, player, batch, labels):
            loss, scalars = super().loss(player, batch, labels)
            self.count = getattr(self, "count", 0) + 1
            return (loss * math.nan, {"loss": loss * math.nan}) if self.count == 3 else (loss, scalars)

    with pytest.raises(HybridError, match="loss is no longer finite at step 3"):
        train(Breaks(), numbers(), LABELS, Training(epochs=1, batch=2), tmp_path, seed=0, about={}, clock=StopAfter(3))
    assert checkpoint.load(tmp_path / "checkpoint.pt") is None


def test_hybrid_resumes_exactly_with_queue_and_key_network(tmp_path):
    config = profile("smoke").hybrid.representation
    contrast = schema.Contrast(queue=40, hidden=16, dim=8)
    config = replace(config, training=Training(epochs=3, batch=16), contrast=contrast)
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def fresh():
        torch.manual_seed(5)
        return Representation(config)

    whole = train(fresh(), images, LABELS, config.training, tmp_path / "whole", seed=0, about={})
    with pytest.raises(TimeUp):
        train(fresh(), images, LABELS, config.training, tmp_path / "cut", seed=0, about={}, clock=StopAfter(5))
    cut = checkpoint.load(tmp_path / "cut" / "checkpoint.pt")["model"]
    assert cut["moco.pointer"].item() == 5 * 16 % 40
    resumed = train(fresh(), images, LABELS, config.training, tmp_path / "cut", seed=0, about={})
    assert same(whole, resumed)


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}], ids=str)
def test_a_finished_run_is_loaded_not_trained(tmp_path, options):
    config = Training(epochs=1, batch=16, **options)
    assert finished(Regression(), tmp_path, {"a": 1}) is None
    trained = train(Regression(), numbers(), LABELS, config, tmp_path, seed=0, about={"a": 1})
    loaded = finished(Regression(), tmp_path, {"a": 1})
    assert same(trained, loaded) and not trained.training and not loaded.training
    with pytest.raises(HybridError, match=r"trained with a = 1, now it is 2"):
        finished(Regression(), tmp_path, {"a": 2})
    with pytest.raises(HybridError, match=r"b\.c = None, now it is 3"):
        train(Regression(), numbers(), LABELS, config, tmp_path, seed=0, about={"a": 1, "b": {"c": 3}})


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_used(tmp_path):
    config = Training(epochs=4, batch=16)
    whole = train(Regression(), numbers(), LABELS, config, tmp_path / "whole", seed=0, about={})
    for looks in (3, 4):
        with pytest.raises(TimeUp):
            train(Regression(), numbers(), LABELS, config, tmp_path / "cut", seed=0, about={}, clock=StopAfter(looks))
    path = tmp_path / "cut" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:200])
    resumed = train(Regression(), numbers(), LABELS, config, tmp_path / "cut", seed=0, about={})
    assert same(whole, resumed)
    assert path.with_name("checkpoint.pt.damaged").exists()


def test_a_history_line_cut_by_a_kill_is_dropped(tmp_path):
    config = Training(epochs=4, batch=16)
    with pytest.raises(TimeUp):
        train(Regression(), numbers(), LABELS, config, tmp_path, seed=0, about={}, clock=StopAfter(4))
    with open(tmp_path / "history.jsonl", "a") as file:
        file.write(json.dumps({"step": 5, "loss": 0.0}) + '\n{"step": 6, "lo')
    train(Regression(), numbers(), LABELS, config, tmp_path, seed=0, about={})
    lines = read_history(tmp_path / "history.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 17))
    assert lines[4]["loss"] > 0


def test_a_gradient_that_is_not_finite_is_told_with_its_step_though_the_loss_is_finite(tmp_path):
    """At the last step too, whose weights no loss has seen; and the state is kept for a look."""

    class Steep(Regression):
        def loss(self, player, batch, labels):
            loss, scalars = super().loss(player, batch, labels)
            self.count = getattr(self, "count", 0) + 1
            if self.count == self.broken:
                loss = loss + (0 * self.net[0].weight.sum()).sqrt()  # 0, of an infinite slope
            return loss, scalars

    for step in (3, 4):
        steep, folder = Steep(), tmp_path / str(step)
        steep.broken = step
        with pytest.raises(HybridError, match=rf"a gradient is no longer finite at step {step} of .*broken\.pt"):
            train(steep, numbers(), LABELS, Training(epochs=1, batch=16), folder, seed=0, about={})
        assert checkpoint.load(folder / "checkpoint.pt") is None
        assert torch.load(folder / "broken.pt", weights_only=True)["step"] == step


def test_broken_weights_do_not_count_as_finished(tmp_path):
    config = Training(epochs=1, batch=16)
    whole = train(Regression(), numbers(), LABELS, config, tmp_path, seed=0, about={})
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    state["weights"] |= {"net.0.weight": torch.full((8, 4), math.nan)}
    checkpoint.save(tmp_path / "checkpoint.pt", state)
    checkpoint.previous(tmp_path / "checkpoint.pt").unlink()
    assert finished(Regression(), tmp_path, {}) is None
    assert same(whole, train(Regression(), numbers(), LABELS, config, tmp_path, seed=0, about={}))


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    class Breaks(Regression):
        def after_step(self):
            self.net[0].weight.data.fill_(math.nan)

    with pytest.raises(HybridError, match=r"net\.0\.weight is no longer finite at step 1"):
        train(Breaks(), numbers(), LABELS, Training(epochs=1, batch=64), tmp_path, seed=0, about={})
    assert not (tmp_path / "checkpoint.pt").exists()


def test_weights_of_another_network_are_set_aside(tmp_path):
    class Wider(Regression):
        def __init__(self):
            super().__init__()
            self.net[0] = nn.Linear(4, 8, bias=False)

    config = Training(epochs=1, batch=16)
    train(Wider(), numbers(), LABELS, config, tmp_path, seed=0, about={})
    assert finished(Regression(), tmp_path, {}) is None
    assert (tmp_path / "checkpoint.pt.damaged").exists()


@pytest.mark.parametrize("content", [b"", b'{"step": 1, "lo', b"\xff", b"[]\n", None])
def test_a_history_is_mended_from_the_checkpoint(tmp_path, content):
    """Also once the training is finished."""
    config, history = Training(epochs=4, batch=16), tmp_path / "history.jsonl"
    for looks in (4, math.inf):
        with pytest.raises(TimeUp) if looks == 4 else contextlib.nullcontext():
            train(Regression(), numbers(), LABELS, config, tmp_path, seed=0, about={}, clock=StopAfter(looks))
        before = history.read_bytes()
        history.unlink() if content is None else history.write_bytes(content)
        if looks == 4:
            continue
        assert finished(Regression(), tmp_path, {}) is not None and history.read_bytes() == before
    assert [line["step"] for line in read_history(history)] == list(range(1, 17))


def test_configs_that_an_earlier_version_described_are_recognised(tmp_path):
    now = describe(profile("smoke").hybrid.representation)
    before = {name: value for name, value in now.items() if name != "sigma"}
    train(Regression(), numbers(), LABELS, Training(epochs=1, batch=16), tmp_path, seed=0, about={"latents_of": before})
    with pytest.raises(HybridError, match=r"latents_of\.sigma = None"):
        finished(Regression(), tmp_path, {"latents_of": now})
    assert finished(Regression(), tmp_path, {"latents_of": now}, {"latents_of": schema.Representation}) is not None


def test_a_training_of_one_step_warns_of_nothing(tmp_path, caplog):
    trained = train(Regression(), numbers(), LABELS, Training(epochs=1, batch=64), tmp_path, seed=0, about={})
    assert not caplog.records and not same(trained, Regression())


@pytest.mark.parametrize("limit", [math.nan, -1.0, math.inf])
def test_a_time_limit_is_a_time(limit):
    with pytest.raises(HybridError, match="give seconds, 0 or more"):
        Clock(limit)


def test_a_batch_larger_than_the_data_is_refused(tmp_path):
    with pytest.raises(HybridError, match="batch = 65 exceeds the 64"):
        train(Regression(), numbers(), LABELS, Training(epochs=1, batch=65), tmp_path, seed=0, about={})


def test_players_move_only_their_own_and_take_turns(tmp_path):
    turns, weights = [], []

    class Two(Trainable):
        players = ("a", "a", "b")

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 1), nn.Linear(4, 1)

        def player(self, name):
            return getattr(self, name)

        def loss(self, player, batch, labels):
            turns.append(player)
            weights.append((self.a.weight.detach().clone(), self.b.weight.detach().clone()))
            loss = (self.a(batch) + self.b(batch)).square().mean() if player == "a" else -self.b(batch).mean()
            return loss, {f"loss_{player}": loss}

    config = Training(epochs=1, batch=32, clip=1e9, warmup=0.0)
    trained = train(Two(), numbers(), LABELS, config, tmp_path, seed=0, about={})
    assert turns == ["a", "a", "b"] * 2
    weights.append((trained.a.weight, trained.b.weight))
    moved = [[not torch.equal(*pair) for pair in zip(before, after, strict=True)] for before, after in pairwise(weights)]
    assert moved == [[player == "a", player == "b"] for player in turns]


def test_learning_rate_warms_up_and_falls_to_nothing(tmp_path):
    rates = []

    class Watched(Regression):
        def after_step(self):
            rates.append(self.optimiser.param_groups[0]["lr"])

    watched, made = Watched(), torch.optim.AdamW.__init__

    def remember(self, *args, **kwargs):
        made(self, *args, **kwargs)
        watched.__dict__["optimiser"] = self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "__init__", remember)
        train(watched, numbers(), LABELS, Training(epochs=10, batch=16, lr=0.1, warmup=0.25), tmp_path, seed=0, about={})
    assert max(rates) <= 0.1
    assert rates[0] < 0.02
    assert rates.index(max(rates)) in (9, 10, 11)
    assert rates[-1] < 0.001
    assert rates[11:] == sorted(rates[11:], reverse=True)


def test_streams_differ():
    seeds = {stream(seed, kind, i) for seed in range(5) for kind in ("step", "epoch") for i in range(100)}
    assert len(seeds) == 1000
    assert all(0 <= s < 2**63 for s in seeds)


def test_every_step_has_its_own_batch_labels_and_draws(tmp_path):
    """An epoch sees each example once, the next in another order."""
    data, labels = torch.arange(64.0)[:, None], torch.arange(64) * 10
    steps = []

    class Seen(Regression):
        def loss(self, player, batch, labels):
            steps.append((batch[:, 0].clone(), labels.clone(), torch.rand(1).item()))
            loss = self.net(batch.expand(-1, 4)).square().mean()
            return loss, {"loss": loss}

    train(Seen(), data, labels, Training(epochs=2, batch=16), tmp_path / "0", seed=0, about={})
    first = steps.copy()
    steps.clear()
    train(Seen(), data, labels, Training(epochs=2, batch=16), tmp_path / "1", seed=1, about={})
    assert not torch.equal(first[0][0], steps[0][0]) and first[0][2] != steps[0][2]  # another seed, another order and draws
    assert all(torch.equal(10 * batch.long(), own) for batch, own, _ in steps)
    epochs = [torch.cat([batch for batch, _, _ in steps[first : first + 4]]) for first in (0, 4)]
    assert all(sorted(epoch.tolist()) == data[:, 0].tolist() for epoch in epochs)
    assert not torch.equal(*epochs)
    assert len({draw for _, _, draw in steps}) == 8


def test_what_is_half_trained_is_not_finished_and_what_is_anothers_is_refused(tmp_path):
    config = Training(epochs=4, batch=16)
    with pytest.raises(TimeUp):
        train(Regression(), numbers(), LABELS, config, tmp_path, seed=3, about={"seed": 3}, clock=StopAfter(3))
    assert finished(Regression(), tmp_path, {"seed": 3}) is None
    train(Regression(), numbers(), LABELS, config, tmp_path, seed=3, about={"seed": 3})
    assert finished(Regression(), tmp_path, {"seed": 3}) is not None
    with pytest.raises(HybridError, match=r"was trained with seed = 3, now it is 4: move that folder away$"):
        finished(Regression(), tmp_path, {"seed": 4})


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_weights_decay_and_offsets_do_not(optimiser):
    module = Regression()
    groups = optimiser_for(module, Training(epochs=1, optimiser=optimiser, weight_decay=0.5, betas=(0.0, 0.5))).param_groups
    assert all(group.get("betas", (0.0, 0.5)) == (0.0, 0.5) for group in groups)
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert all(decays[id(p)] == (0.5 if p.ndim >= 2 else 0.0) for p in module.parameters())


def test_gradients_are_clipped_over_all_of_a_players_weights(tmp_path):
    norms = []

    class Watched(Regression):
        def after_step(self):
            norms.append(torch.stack([p.grad.norm() for p in self.parameters()]).norm().item())

    train(Watched(), 100 * numbers(), LABELS, Training(epochs=1, batch=16, clip=0.5), tmp_path, seed=0, about={})
    assert norms == pytest.approx([0.5] * 4, rel=1e-3)


def test_the_time_of_a_training_goes_on_after_a_stop(tmp_path):
    config, path = Training(epochs=4, batch=16), tmp_path / "checkpoint.pt"
    with pytest.raises(TimeUp):
        train(Regression(), numbers(), LABELS, config, tmp_path, seed=0, about={}, clock=StopAfter(3))
    checkpoint.save(path, checkpoint.load(path) | {"seconds": 1000.0})
    train(Regression(), numbers(), LABELS, config, tmp_path, seed=0, about={})
    assert read_history(tmp_path / "history.jsonl")[-1]["seconds"] >= 1000
    assert checkpoint.load(path)["seconds"] >= 1000
