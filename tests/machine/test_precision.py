"""The precision of each computation on each device; Muon's iteration against timm's in float64."""

import math
import runpy
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from timm.optim.muon import _COEFFICIENTS
from torch import nn

import hybrid
from hybrid import released
from hybrid.errors import HybridError
from hybrid.judging.evaluate import squared_error
from hybrid.machine import precision, provenance
from hybrid.models.diffusion import Diffusion
from hybrid.models.nvae import NVAE
from hybrid.profiles.overrides import profile
from hybrid.training import muon

CPU, CUDA, MPS = map(torch.device, ("cpu", "cuda", "mps"))
QUINTIC = _COEFFICIENTS["quintic"]


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in ("HYBRID_PRECISION", "HYBRID_DEVICE"):
        monkeypatch.delenv(name, raising=False)


def hardware(monkeypatch, cuda=False, mps=False, avx512=False, amx=False, arm=False):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(precision.platform, "machine", lambda: "aarch64" if arm else "x86_64")
    monkeypatch.setattr(precision, "_cpu_flags", lambda: ["asimd", "bf16"])


def test_bf16_is_used_where_the_hardware_computes_in_it(monkeypatch):
    for there in ({"avx512": True}, {"amx": True}, {"arm": True}):
        hardware(monkeypatch, **there)
        assert precision.dtype(CPU) == torch.bfloat16 and precision.instructions().endswith(" with bf16")
    hardware(monkeypatch, cuda=True)
    assert precision.dtype(CUDA) == torch.bfloat16
    assert precision.dtype(CPU) == precision.dtype(MPS) == torch.float32
    assert "bf16" not in precision.instructions()
    hardware(monkeypatch)
    assert precision.dtype(CUDA) == torch.float32  # a GPU of before 2020


def test_the_device_is_the_best_that_is_there(monkeypatch):
    for there, best in (({"cuda": True, "mps": True}, CUDA), ({"mps": True}, MPS), ({}, CPU)):
        hardware(monkeypatch, **there)
        assert precision.best_device() == best


def test_the_environment_overrides_both_and_wrong_values_are_told(monkeypatch):
    hardware(monkeypatch, mps=True, avx512=True)
    monkeypatch.setenv("HYBRID_DEVICE", "cpu")
    monkeypatch.setenv("HYBRID_PRECISION", "float32")
    assert precision.best_device() == CPU and precision.dtype(CPU) == torch.float32
    with precision.autocast(CPU):
        assert not torch.is_autocast_enabled("cpu")
    monkeypatch.setenv("HYBRID_PRECISION", "bf16")
    hardware(monkeypatch, mps=True)
    with precision.autocast(CPU):
        assert torch.is_autocast_enabled("cpu")
        with precision.float32(CPU):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    monkeypatch.setenv("HYBRID_PRECISION", "fp16")
    with pytest.raises(HybridError, match=r"HYBRID_PRECISION = 'fp16' is unknown: choose one of bf16, float32"):
        precision.dtype(CPU)
    for name, why in (("cuda", "is not available"), ("tpu", "is unknown")):
        monkeypatch.setenv("HYBRID_DEVICE", name)
        with pytest.raises(HybridError, match=rf"HYBRID_DEVICE = '{name}' {why}: choose one of mps, cpu"):
            precision.best_device()


def test_a_run_says_what_it_computes_in(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    hardware(monkeypatch)
    assert precision.in_words(CPU) == "float32, 2 cores, AVX2"
    assert precision.in_words(MPS) == "float32, Apple's GPU (MPS)"
    for flags, instructions in (("avx2", "AVX2"), ("avx2 amx_bf16 amx_tile", "AVX2 and AMX")):
        lines = ["model name\t: Some CPU", f"flags\t\t: {flags}"]
        monkeypatch.setattr(provenance, "_cpuinfo", lambda lines=lines: lines)
        found = {"device": "2 cores of Some CPU", "precision": "float32", "instructions": instructions}
        assert provenance.machine(CPU) == found


def test_tf32_is_off_inside_and_as_it_was_outside():
    convolutions = torch.backends.cudnn.conv
    before = convolutions.fp32_precision
    with precision.without_tf32():
        assert convolutions.fp32_precision == torch.backends.cuda.matmul.fp32_precision == "ieee"
    assert convolutions.fp32_precision == before


@pytest.mark.parametrize("shape", [(24, 200), (200, 24), (40, 48), (7, 1)])
def test_muons_iteration_in_float32_is_timms_in_float64(monkeypatch, shape):
    """Also of a matrix whose singular values lie five orders of magnitude apart, most of them too small to be brought to 1."""
    monkeypatch.setenv("HYBRID_PRECISION", "float32")
    torch.manual_seed(0)
    u, s, v = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), full_matrices=False)
    matrix = 3 * u * torch.logspace(0, -5, len(s), dtype=torch.float64) @ v
    arguments = {"eps": 1e-7, "safety_factor": 1.0, "scale_eps": False}
    found = muon.orthogonalised(matrix.float(), 5, QUINTIC, **arguments)
    expected = muon.TIMM_ITERATION(matrix, 5, QUINTIC, **arguments, dtype=torch.float64)
    assert found.shape == shape and found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-3)  # of values up to 1; CPUs round differently
    assert muon.orthogonalised(torch.zeros(shape), 5, QUINTIC, **arguments).abs().max() == 0


def test_muons_iteration_follows_the_precision_and_timms_stays_as_it_is(monkeypatch):
    dtypes = []
    monkeypatch.setattr(muon, "TIMM_ITERATION", lambda x, *_, dtype=torch.bfloat16, **__: dtypes.append(dtype) or x)
    layer = nn.Linear(4, 4)
    for name in precision.PRECISIONS:
        monkeypatch.setenv("HYBRID_PRECISION", name)
        layer.weight.grad = torch.ones(4, 4)
        muon.Muon([layer.weight], lr=0.1).step()
    assert dtypes == [torch.bfloat16, torch.float32]
    assert muon.muon.zeropower_via_newtonschulz.__module__ == "timm.optim.muon"


@pytest.mark.parametrize("predict", ["noise", "v"])
def test_walks_that_would_suffer_from_bf16_are_in_float32(predict):
    seen = []

    def net(x, t):
        seen.append(torch.is_autocast_enabled("cpu"))
        return torch.zeros_like(x)

    diffusion, x = Diffusion(predict=predict), torch.randn(2, 1, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        diffusion.sample(net, x, 2)
        diffusion.encode(net, x, 2)
        diffusion.decode(net, x, 2)
    assert seen == [predict == "v"] * 2 + [False] * 4


def test_the_elbo_is_the_same_in_both_precisions(monkeypatch, images):
    torch.manual_seed(0)
    model = NVAE(profile("smoke").nvae).eval()
    found = []
    for name in precision.PRECISIONS:
        monkeypatch.setenv("HYBRID_PRECISION", name)
        found.append(model.bits_per_dim(images))
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_the_released_weights_do_the_same_in_both_precisions(monkeypatch):
    """The spread over the seeds of `laptop` is .04 of the error and .1 points of accuracy; both precisions agree far better."""
    model, images = hybrid.pretrained("cifar10"), released.examples("cifar10")
    codes, errors, samples = {}, {}, {}
    for name in precision.PRECISIONS:
        monkeypatch.setenv("HYBRID_PRECISION", name)
        codes[name] = model.encode(images)
        errors[name] = squared_error(model.decode(codes[name]), images)
        samples[name] = model.sample(4, steps=5)
    assert errors["bf16"] == pytest.approx(errors["float32"], abs=0.01)  # .006 on these 16 images, .003 on 512
    for found in (codes, samples):
        a, b = found.values()
        assert 0 < (a - b).square().mean() < 1e-3 * b.var()
    assert math.isfinite(errors["bf16"])


def test_emulated_bf16_computes_as_torch_does():
    path = Path(__file__).parents[2] / "results" / "bench" / "emulated_bf16.py"
    emulated = runpy.run_path(str(path))["Emulated"]
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(128, 4))
    images, found = torch.randn(8, 3, 8, 8), []
    for context in (nullcontext(), emulated()):
        net.zero_grad()
        with context:
            with torch.autocast("cpu", torch.bfloat16):
                out = net(images)
            out.float().square().mean().backward()
        found.append((out, net[0].weight.grad.clone()))
    (native, gradient), (emulated_out, emulated_gradient) = found
    assert emulated_out.dtype == torch.bfloat16
    torch.testing.assert_close(emulated_out, native, rtol=0.02, atol=0.02)
    assert (emulated_gradient - gradient).norm() < 0.02 * gradient.norm()
    exact = net.float()(images)
    assert (emulated_out.float() - exact).abs().max() > 1e-4  # it rounds
