"""torch.compile: the same training, and a training all the same where the compiler fails."""

import pytest
import torch

from hybrid.compilation import backend, compiled
from hybrid.errors import HybridError
from hybrid.profiles import profile
from hybrid.representation import Representation
from hybrid.train import read_history, train

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
    monkeypatch.setattr("hybrid.compilation.backend", lambda device: {"runs": runs, "fails": fails}[name])
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
    monkeypatch.setattr("hybrid.compilation.has_triton", lambda: True)
    assert backend(CPU) is None and backend(torch.device("cuda")) == "inductor"
    monkeypatch.setenv("HYBRID_COMPILE", "no")
    assert backend(torch.device("cuda")) is None
    monkeypatch.setenv("HYBRID_COMPILE", "inductor")
    assert backend(CPU) == "inductor"
    monkeypatch.setenv("HYBRID_COMPILE", "fast")
    with pytest.raises(HybridError, match=r"HYBRID_COMPILE = 'fast' is unknown: choose one of no, "):
        backend(CPU)
