"""Two processes get the same weights and metrics as one; only rank 0 has files.

The tests compare in float64. In float32 AdamW would turn the rounding noise of zero gradients, such as that of a bias before
batch norm, into full steps (in float64 into steps of 1e-10).
"""

import contextlib
import math
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from torch import nn

from hybrid.data.augment import augment
from hybrid.errors import HybridError, TimeUp
from hybrid.experiments.methods import ABLATIONS, METHODS
from hybrid.experiments.table import PAPER
from hybrid.machine import distributed
from hybrid.model import HybridModel
from hybrid.models import hybrid as hybrid_module
from hybrid.models.base import Trainable
from hybrid.models.batchnorm import BatchNorm
from hybrid.models.biggan import BigGAN, frozen
from hybrid.models.hybrid import Representation
from hybrid.models.latent_ddim import LatentDDIM
from hybrid.models.nvae import NVAE
from hybrid.models.pixel_ddim import PixelDDIM
from hybrid.profiles import schema
from hybrid.profiles.overrides import profile
from hybrid.profiles.schema import Training
from hybrid.training.history import read_history
from hybrid.training.loop import Clock, train

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
EXACT = {"rtol": 0.0, "atol": 1e-9}  # of weights that have moved by 1e-2
SMOKE = profile("smoke")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes found: {scenario: (of the first, of the second)}."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(work, (folder, port), nprocs=2)
    both = [torch.load(folder / f"found{rank}.pt", weights_only=False) for rank in range(2)]
    return {name: (both[0][name], both[1][name]) for name in both[0]} | {"folder": folder}


def work(rank, folder, port):
    """One of the two processes."""
    os.environ |= {"CI": "true", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    distributed.TIMEOUT = distributed.timedelta(minutes=5)  # a test that goes wrong ends
    distributed.start()
    own = folder / f"rank{rank}"  # each has a disk of its own
    found = {name: scenario(own / name) for name, scenario in SCENARIOS.items()}
    distributed.stop()
    torch.save(found, folder / f"found{rank}.pt")


@contextlib.contextmanager
def float64():
    """Whatever is float32 elsewhere is float64, but for the augmentation's views and, on hardware for it, Muon's bfloat16."""

    def views(images, config):
        torch.set_default_dtype(torch.float32)
        seen = augment(images, config)
        torch.set_default_dtype(torch.float64)
        return seen.double()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "float", lambda x: x.to(torch.get_default_dtype()))
        patch.setattr(hybrid_module, "augment", views)
        for module in ("hybrid.training.loop", "hybrid.models.base", "hybrid.models.latent_ddim"):
            patch.setattr(f"{module}.autocast", lambda device: contextlib.nullcontext())
        torch.set_default_dtype(torch.float64)
        try:
            yield
        finally:
            torch.set_default_dtype(torch.float32)


def pictures(count=96):
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def config_of(alpha=3e-5, **training):
    """The hybrid of profile smoke, every second view decoded, with noise; a share of 16 images is two parts of keys."""
    return replace(
        SMOKE.hybrid.representation,
        alpha=alpha,
        decode_every=2,
        noise=0.2,
        training=Training(**{"epochs": 2, "batch": 32, **training}),
        contrast=schema.Contrast(queue=80, hidden=16, dim=8, key_batch=8),
    )


def fresh(config):
    torch.manual_seed(5)
    return Representation(config)


def trained(made, data, training, folder, clock=None):
    """The weights of the last step and what else is kept, and the history without its times."""
    labels = torch.zeros(len(data), dtype=torch.int64)
    state = train(made, data, labels, training, folder, seed=0, about={}, clock=clock).state_dict()
    history = read_history(folder / "history.jsonl")
    return state, [{key: value for key, value in line.items() if key != "seconds"} for line in history]


def hybrid(folder):
    with float64():
        config = config_of()
        return trained(fresh(config), pictures(), config.training, folder)


def mocov2(folder):
    with float64():
        config = config_of(alpha=0.0, optimiser="muon", ema=0.9)
        return trained(fresh(config), pictures(), config.training, folder)


class Game(Trainable):
    """Two players in the manner of a GAN, with batch norm in both and no chance."""

    players = ("critic", "critic", "maker")

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.maker = nn.Sequential(nn.Conv2d(3, 4, 1), BatchNorm(4, affine=False), nn.ReLU(), nn.Conv2d(4, 3, 1))
        self.critic = nn.Sequential(nn.Conv2d(3, 4, 3), BatchNorm(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 1))

    def player(self, name):
        return getattr(self, name)

    def loss(self, player, batch, labels):
        if player == "maker":
            with frozen(self.critic):
                loss = -self.critic(self.maker(batch.flip(3))).mean()
        else:
            with torch.no_grad():
                made = self.maker(batch)
            loss = (self.critic(batch) - 1).square().mean() + self.critic(made).square().mean()
        return loss, {f"loss_{player}": loss}


def game(folder):
    with float64():
        data = torch.randn(64, 3, 6, 6, generator=torch.Generator().manual_seed(1))
        return trained(Game(), data, Training(epochs=2, batch=16, ema=0.9), folder)


def baselines(folder):
    found = {}
    for name, build in (
        ("nvae", lambda training: NVAE(replace(SMOKE.nvae, training=training))),
        (
            "prior",
            lambda training: LatentDDIM(
                replace(SMOKE.hybrid.prior, training=training), SMOKE.hybrid.representation.autoencoder
            ),
        ),
        ("ddim", lambda training: PixelDDIM(replace(SMOKE.ddim, training=training))),
        ("biggan", lambda training: BigGAN(replace(SMOKE.biggan, training=training, discriminator_steps=2), 10)),
    ):
        torch.manual_seed(0)
        training = Training(epochs=1, batch=32)
        data = torch.randn(96, 2, 6, 16, 16) if name == "prior" else pictures()
        found[name] = trained(build(training), data, training, folder / name)
    return found


class Chance(Trainable):
    """Remembers what it drew."""

    def __init__(self):
        super().__init__()
        self.weight, self.drawn = nn.Parameter(torch.ones(())), []

    def loss(self, player, batch, labels):
        self.drawn.append(torch.rand(()).item())
        return (self.weight * batch).mean(), {}


def chance(folder):
    streams = {}
    for alike in (True, False):
        made = Chance()
        made.draws_for_all = alike
        trained(made, torch.ones(8), Training(epochs=2, batch=4), folder / str(alike))
        streams[alike] = made.drawn
    return streams


def refusal(function, *arguments, kind=HybridError):
    with pytest.raises(kind) as told:
        function(*arguments)
    return str(told.value)


def refused(folder):
    def broken():
        raise HybridError("the first says no")

    def late():
        raise TimeUp("the first's time is up")

    class Breaks(Chance):
        def loss(self, player, batch, labels):
            loss, _ = super().loss(player, batch, labels)
            ill = distributed.rank() == 1 and len(self.drawn) == 3
            return loss, {"loss": loss * (math.nan if ill else 1)}

    small = replace(config_of(), contrast=schema.Contrast(queue=24, hidden=16, dim=8))
    return {
        "uneven": refusal(trained, Chance(), torch.ones(9), Training(epochs=1, batch=3), folder / "uneven"),
        "queue": refusal(trained, fresh(small), pictures(), small.training, folder / "queue"),
        "nan": refusal(trained, Breaks(), torch.ones(16), Training(epochs=1, batch=2), folder / "nan"),
        "first": refusal(distributed.on_rank_zero, broken),
        "late": refusal(distributed.on_rank_zero, late, kind=TimeUp),
        "after": distributed.on_rank_zero(distributed.world),
    }


def resumed(folder):
    """As `hybrid`, but stopped twice, by the first's clock."""

    class Stops(Clock):
        looks = 2 if distributed.rank() == 0 else math.inf

        @property
        def up(self):
            self.looks -= 1
            return self.looks <= 0

    told = []
    with float64():
        config = config_of()
        for _ in range(2):
            told.append(refusal(trained, fresh(config), pictures(), config.training, folder, Stops(), kind=TimeUp))
        return told, trained(fresh(config), pictures(), config.training, folder)


def judged(folder):
    """What evaluation computes of the images, in batches of ten, and how many of these this process computed."""
    calls = []
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr("hybrid.models.base.BATCH", 10)
        torch.manual_seed(3)
        stage = Representation(SMOKE.hybrid.representation)
        hybrid = HybridModel(
            stage.encoder, stage.decoder, LatentDDIM(SMOKE.hybrid.prior, SMOKE.hybrid.representation.autoencoder)
        )
        nvae, ddim = NVAE(SMOKE.nvae).eval(), PixelDDIM(SMOKE.ddim).eval()
        for last in (hybrid.prior.net.last, ddim.net.last):
            nn.init.normal_(last.weight, std=0.1)  # a fresh net predicts no noise
        images = pictures(47)
        found = {
            **hybrid.features(images),
            "reconstructions": hybrid.reconstruct(images),
            "few": hybrid.reconstruct(images[:7]),
            "samples": hybrid.sample(33, steps=3, eta=1.0),
            "pixels": ddim.sample(33, steps=3, eta=1.0),
            "bits": torch.tensor(nvae.bits_per_dim(images)),
        }
        hybrid.encoder.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
        hybrid.encode(images)
    return found | {"calls": calls}


SCENARIOS = {f.__name__: f for f in (hybrid, mocov2, game, baselines, chance, refused, resumed, judged)}


@pytest.mark.parametrize("scenario", [hybrid, mocov2, game])
def test_two_processes_end_where_one_does(two, tmp_path, scenario):
    state, history = scenario(tmp_path)
    (first, lines), (second, _) = two[scenario.__name__]
    for name, value in state.items():
        # Each process normalises its own keys; nothing reads the averages of how.
        if not ("key_network" in name and name.endswith(("running_mean", "running_var", "num_batches_tracked"))):
            torch.testing.assert_close(first[name], value, **EXACT, msg=lambda text, name=name: f"{name}: {text}")
            assert torch.equal(first[name], second[name]), name
    assert len(lines) == len(history)
    for found, expected in zip(lines, history, strict=True):
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_keys_of_both_fill_one_queue(two, tmp_path):
    (first, _), (second, _) = two["hybrid"]
    state, _ = hybrid(tmp_path)
    assert torch.equal(first["moco.queue"], second["moco.queue"])
    torch.testing.assert_close(first["moco.queue"], state["moco.queue"], **EXACT)
    assert first["moco.pointer"] == state["moco.pointer"] == 6 * 32 % 80


def test_every_baseline_stays_one_model(two):
    for name, (first, lines) in two["baselines"][0].items():
        second, _ = two["baselines"][1][name]
        assert all(torch.equal(first[key], second[key]) for key in first), name
        assert len(lines) == 3 and all(math.isfinite(value) for line in lines for value in line.values())


def test_each_process_has_its_own_stream_unless_it_draws_for_all(two):
    (first, second), alone = two["chance"], chance(two["folder"] / "alone")
    assert first[True] == second[True] == alone[True]
    assert first[False] == alone[False]
    assert not set(first[False]) & set(second[False])


def test_what_cannot_be_shared_or_went_wrong_ends_all(two):
    for found in two["refused"]:
        assert "batch = 3 cannot be shared by 2 processes" in found["uneven"]
        assert "32 keys does not fit a queue of 24" in found["queue"]
        assert "loss is no longer finite at step 4" in found["nan"]  # broken at the third, told where the history has a line
        assert found["first"] == "the first says no"
        assert found["late"] == "the first's time is up"
        assert found["after"] == 1


def test_the_clock_of_the_first_stops_both_and_they_go_on(two):
    (told, whole), (other, _) = two["resumed"]
    assert [re.search("step . of 6", text)[0] for text in told] == ["step 2 of 6", "step 4 of 6"]
    assert [re.search("step . of 6", text)[0] for text in other] == ["step 2 of 6", "step 4 of 6"]
    (state, lines), _ = two["hybrid"]
    assert all(torch.equal(value, whole[0][name]) for name, value in state.items())
    assert lines == whole[1]


def test_only_the_first_writes(two):
    assert (two["folder"] / "rank0" / "hybrid" / "checkpoint.pt").exists()
    assert not (two["folder"] / "rank1").exists()


def test_evaluation_is_shared_out_and_the_same(two, tmp_path):
    alone = judged(tmp_path)
    assert alone.pop("calls") == [10, 10, 10, 10, 7]
    for found, calls in zip(two["judged"], ([10, 10], [10, 10, 7]), strict=True):
        assert found.pop("calls") == calls
        for name, value in alone.items():
            torch.testing.assert_close(found[name], value, msg=lambda text, name=name: f"{name}: {text}")


def test_alone_nothing_is_shared():
    x = torch.arange(4.0)
    assert distributed.world() == 1 and distributed.rank() == 0
    assert distributed.shard(x) is x and distributed.gather(x)[0] is x and distributed.mean(x) is x
    assert distributed.averaged(len, nn.Linear(1, 1)) is len


def test_batch_norm_alone_is_torchs(monkeypatch):
    own, torchs, x = BatchNorm(3), nn.BatchNorm2d(3), torch.randn(4, 3, 5, 5)
    for training in (True, False):
        assert torch.equal(own.train(training)(x), torchs.train(training)(x))
    assert all(torch.equal(a, b) for a, b in zip(own.state_dict().values(), torchs.state_dict().values(), strict=True))
    # And so is the arithmetic by which several processes do it, where each has the same images.
    monkeypatch.setattr(distributed, "world", lambda: 2)
    monkeypatch.setattr(distributed, "mean", lambda value: value)
    torch.testing.assert_close(own.train()(x), torchs.train()(torch.cat([x, x]))[:4])
    torch.testing.assert_close(own.state_dict(), torchs.state_dict())


def torchrun(home, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "hybrid.cli"]
    environment = os.environ | {"HYBRID_HOME": str(home), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=600)


def test_the_command_line_under_torchrun(home):
    stopped = torchrun(home, "train", "--profile", "smoke", "--methods", "mocov2", "--time-limit", "0")
    assert stopped.returncode == 1, stopped.stderr  # torchrun's own; the processes' is 75
    assert stopped.stderr.count("the same command continues from there") == 1
    assert "exitcode  : 75" in stopped.stderr
    done = torchrun(home, "evaluate", "--profile", "smoke", "--methods", "mocov2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("MoCo-v2, smoke, digits, seed 0") == 1
    assert (home / "results" / "smoke" / "digits" / "seed0" / "mocov2.json").exists()


def grid(folder, task, status=0):
    """What slurm/grid.sh calls as this task of its array, where training ends with that status."""
    log = folder / f"calls{task}-{status}"
    for name, ends in (("hybrid", f'[ "$1" != train ] || exit {status}'), ("scontrol", "")):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n{ends}\n')
        (folder / name).chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "HYBRID": "hybrid"}
    environment |= {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(folder)}
    done = subprocess.run([REPOSITORY / "slurm" / "grid.sh"], env=environment, capture_output=True, text=True)
    return done.returncode, log.read_text().splitlines()


def test_every_job_of_the_slurm_array_is_another_cell_of_the_grid(tmp_path):
    script = (REPOSITORY / "slurm" / "grid.sh").read_text()
    first, last = re.search(r"--array=(\d+)-(\d+)$", script, re.MULTILINE).groups()
    calls = [grid(tmp_path, task)[1] for task in range(int(first), int(last) + 1)]
    cell = re.compile(r"--profile paper --dataset (cifar100?) --seed (\d) --methods (\w+)")
    cells = {cell.search(trains).groups() for trains, _ in calls}
    jobs = {name for _, _, name in cells}
    assert cells == {(data, seed, name) for data in ("cifar10", "cifar100") for seed in "012" for name in jobs}
    assert len(cells) == len(calls)
    assert {*PAPER["cifar10"], *ABLATIONS} <= jobs <= METHODS.keys() - {"hybridplus"}  # which is trained in the hybrid's job
    assert calls[0][1] == "hybrid evaluate --profile paper --dataset cifar10 --seed 0 --methods hybrid hybridplus"


def test_a_stopped_job_is_queued_again_and_a_failed_one_is_not(tmp_path):
    assert grid(tmp_path, 0, status=75)[1][1:] == ["scontrol requeue 7"]
    status, calls = grid(tmp_path, 0, status=2)
    assert status == 2 and len(calls) == 1
