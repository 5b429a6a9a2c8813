"""torch.compile: it gives the same training, and training goes on if the compiler fails."""

from dataclasses import replace

import pytest
import torch

from hybrid.errors import HybridError
from hybrid.machine.compilation import GraphedStep, backend, compiled, graphs
from hybrid.models.hybrid import Representation
from hybrid.models.latent_ddim import LatentDDIM, TexturePrior
from hybrid.profiles.overrides import profile
from hybrid.training.history import read_history
from hybrid.training.loop import Clock, TimeUp, train

CPU = torch.device("cpu")
CONFIG = profile("smoke,hybrid.representation.training.batch=32,hybrid.representation.contrast.queue=64").hybrid.representation


def trained(folder, **about):
    torch.manual_seed(0)
    images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
    network = Representation(CONFIG)
    train(network, images, torch.zeros(64, dtype=torch.int64), CONFIG.training, folder, seed=0, about=about)
    assert all(part._compiled_call_impl is None for part in network.networks())  # whoever judges has other batches
    return read_history(folder / "history.jsonl")[-1]


@pytest.mark.parametrize("name", ["runs", "fails"])
def test_a_compiled_training_is_the_same(name, tmp_path, monkeypatch):
    """`runs` is a compiler that gives the trace of a network back; `fails` one that breaks on whatever it is given."""
    graphs = []

    def runs(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def fails(graph, inputs):
        graphs.append(graph)
        raise RuntimeError("no compiler")

    plain = trained(tmp_path / "plain")
    monkeypatch.setattr("hybrid.machine.compilation.backend", lambda device: {"runs": runs, "fails": fails}[name])
    compiled = trained(tmp_path / "compiled")
    assert graphs
    for key in ("loss", "i_ba", "i_cpc", "mse"):
        assert compiled[key] == pytest.approx(plain[key], rel=1e-3), key


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_cudnn_tries_its_algorithms_while_training_alone(kind):
    with compiled([], torch.device(kind)):
        assert torch.backends.cudnn.benchmark == (kind == "cuda")
    assert not torch.backends.cudnn.benchmark


def test_what_is_compiled_where(monkeypatch):
    monkeypatch.delenv("HYBRID_COMPILE", raising=False)
    assert backend(CPU) is None
    monkeypatch.setattr("hybrid.machine.compilation.has_triton", lambda: True)
    assert backend(CPU) is None and backend(torch.device("cuda")) == "inductor"
    monkeypatch.setenv("HYBRID_COMPILE", "no")
    assert backend(torch.device("cuda")) is None
    monkeypatch.setenv("HYBRID_COMPILE", "inductor")
    assert backend(CPU) == "inductor"
    monkeypatch.setenv("HYBRID_COMPILE", "fast")
    with pytest.raises(HybridError, match=r"HYBRID_COMPILE = 'fast' is unknown: choose one of no, "):
        backend(CPU)


@pytest.mark.parametrize(("wanted", "device", "expected"), [("", "cpu", False), ("", "cuda", True), ("no", "cuda", False)])
def test_where_steps_are_captured(wanted, device, expected, monkeypatch):
    monkeypatch.setenv("HYBRID_GRAPH", wanted)
    assert graphs(torch.device(device)) == expected


def test_another_word_for_graphs_is_refused(monkeypatch):
    monkeypatch.setenv("HYBRID_GRAPH", "yes")
    with pytest.raises(HybridError, match="HYBRID_GRAPH = 'yes' is unknown: give no, or leave it unset"):
        graphs(CPU)


SMOKE = profile("smoke").hybrid
TRAINED = {
    "representation": lambda: (Representation(CONFIG), CONFIG.training),
    "prior": lambda: (LatentDDIM(SMOKE.prior, CONFIG.autoencoder), SMOKE.prior.training),
    "muon": lambda: (Representation(CONFIG), replace(CONFIG.training, optimiser="muon")),
    "texture": lambda: (TexturePrior(profile("smoke").plus.w, CONFIG.autoencoder), SMOKE.prior.training),
}


def trained_on(device, name, folder, clock=None):
    """The history of 12 steps on random images or codes."""
    torch.manual_seed(0)
    module, training = TRAINED[name]()
    pixels = torch.randint(0, 256, (128, 3, 32, 32), dtype=torch.uint8)
    data = torch.randn(128, 2, 6, 16, 16) if name in ("prior", "texture") else pixels
    labels = torch.zeros(128, dtype=torch.int64, device=device)
    training = replace(training, epochs=3, batch=32, lr=1e-3)
    train(module, data.to(device), labels, training, folder, seed=0, about={}, clock=clock)
    return read_history(folder / "history.jsonl")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
class TestOnAGPU:
    @pytest.mark.parametrize("name", TRAINED)
    def test_a_graphed_training_is_the_plain_one(self, name, tmp_path, monkeypatch):
        monkeypatch.setenv("HYBRID_COMPILE", "no")
        replayed = []
        replay = torch.cuda.CUDAGraph.replay
        monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda self: replayed.append(self) or replay(self))
        graphed = trained_on("cuda", name, tmp_path / "graphed")
        assert len(replayed) == 12 - GraphedStep.WARMUP
        monkeypatch.setenv("HYBRID_GRAPH", "no")
        plain = trained_on("cuda", name, tmp_path / "plain")
        assert len(graphed) == len(plain) == 12
        for ours, theirs in zip(graphed, plain, strict=True):
            for key in theirs.keys() - {"seconds"}:
                assert ours[key] == pytest.approx(theirs[key], rel=2e-2, abs=2e-2), (key, ours["step"])

    @pytest.mark.parametrize("name", TRAINED)
    @pytest.mark.parametrize(("first", "second"), [("cpu", "cuda"), ("cuda", "cpu")])
    def test_a_checkpoint_goes_on_on_another_device(self, name, first, second, tmp_path, monkeypatch):
        monkeypatch.setenv("HYBRID_COMPILE", "no")
        with pytest.raises(TimeUp):
            trained_on(first, name, tmp_path, Clock(limit=0.0))
        history = trained_on(second, name, tmp_path)
        assert [line["step"] for line in history] == list(range(1, 13))
