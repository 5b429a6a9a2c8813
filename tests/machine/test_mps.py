"""Training, sampling, probe and distances on a simulated Apple GPU: they use no float64 and no operation without a kernel.

The tests need no Mac. Tensors claim to be on `mps` while the CPU computes them; float64 is refused as on MPS; and every
operation is looked up in torch's list of kernels.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
import torchgen
import yaml
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from hybrid.judging import frechet, probe
from hybrid.judging.evaluate import squared_error
from hybrid.model import HybridModel
from hybrid.models.biggan import BigGAN
from hybrid.models.hybrid import Representation
from hybrid.models.latent_ddim import LatentDDIM
from hybrid.models.nvae import NVAE
from hybrid.models.pixel_ddim import PixelDDIM
from hybrid.profiles.overrides import profile
from hybrid.profiles.schema import Contrast, Training
from hybrid.training.loop import train

MPS = torch.device("mps")


class OnMps(Tensor):
    """A tensor that says it lies on `mps`; `plain` computes for it. To torch's C++ it lies on `meta`, which that knows."""

    device = property(lambda self: MPS)

    @staticmethod
    def __new__(cls, plain):
        return Tensor._make_wrapper_subclass(
            cls,
            plain.shape,
            strides=plain.stride(),
            storage_offset=plain.storage_offset(),
            dtype=plain.dtype,
            device="meta",
            requires_grad=plain.requires_grad,
        )

    def __init__(self, plain):
        self.plain = plain

    def __repr__(self):
        return f"OnMps({self.plain!r})"

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), options=None):
        return pretended(function, arguments, options or {})


class Pretend(TorchDispatchMode):
    """Makes what is asked for on `mps`, while it lasts."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        return pretended(function, arguments, options or {})


@cache
def kernels():
    """The dispatch keys of each operator that torch has, from its own list."""
    path = Path(torchgen.__file__).parent / "packaged/ATen/native/native_functions.yaml"
    listed = yaml.safe_load(path.read_text())
    found = {entry["func"].split("(")[0]: entry for entry in listed}
    keys = {}
    for name, entry in found.items():
        dispatch = found[entry.get("structured_delegate", name)].get("dispatch", {"Composite": ""})
        keys[name] = {key for joined in dispatch for key in joined.split(", ")}
    return keys


def has_kernel(function):
    name = function._schema.name.removeprefix("aten::")
    name += f".{function._schema.overload_name}" if function._schema.overload_name else ""
    keys = kernels().get(name, {"Composite"})
    return "MPS" in keys or any(key.startswith("Composite") for key in keys)


COMPUTED = set()  # names of the operators that ran on the pretended device


def pretended(function, arguments, options):
    inputs = [x for x in tree_flatten((arguments, options))[0] if isinstance(x, Tensor)]
    there = [x for x in inputs if isinstance(x, OnMps)]
    device = options.get("device")
    asked = None if device is None else torch.device(device)
    goes_there = (there and asked is None) or (asked is not None and asked.type in ("mps", "meta"))
    if device is not None:
        options = {**options, "device": torch.device("cpu")}
    plain = tree_map(lambda x: x.plain if isinstance(x, OnMps) else x, (arguments, options))
    found = function(*plain[0], **plain[1])
    crosses = "copy" in function._schema.name or function._schema.name == "aten::_to_copy"
    if there or goes_there:  # copies to and from the device too must not change the type to or from float64 on the way
        for x in tree_flatten(found)[0]:
            assert not isinstance(x, Tensor) or x.dtype != torch.float64, f"{function}: float64 on mps"
        if not crosses:
            others = [x for x in inputs if not isinstance(x, OnMps) and x.ndim > 0]
            assert not others, f"{function}: tensors on mps and on the CPU"
            assert has_kernel(function), f"{function} has no kernel for MPS"
            COMPUTED.add(function._schema.name)
    if not goes_there:
        return found
    own = {id(x.plain): x for x in there}  # what was written to in place is returned as it was given
    return tree_map(lambda x: (own[id(x)] if id(x) in own else OnMps(x)) if isinstance(x, Tensor) else x, found)


def moved(x, *arguments, **options):
    """Tensor.to, which looks for a real device before anything is dispatched."""
    options.pop("copy", None)
    device, dtype, _, layout = torch._C._nn._parse_to(*arguments, **options)
    device, dtype = device or x.device, dtype or x.dtype
    if (device.type, dtype, layout) == (x.device.type, x.dtype, None):
        return x
    if isinstance(x, OnMps) or device.type != "mps":
        return torch.ops.aten._to_copy(x, dtype=dtype, device=device, memory_format=layout)
    assert torch.float64 not in (x.dtype, dtype), "float64 on mps"
    return OnMps(torch.ops.aten._to_copy(x.detach(), dtype=dtype, memory_format=layout))


@pytest.fixture
def mps(monkeypatch):
    """The device, as long as it can be had; what was computed on it has passed all checks."""
    COMPUTED.clear()
    monkeypatch.delenv("HYBRID_PRECISION", raising=False)
    monkeypatch.setattr("hybrid.training.checkpoint.save", lambda path, state: None)  # whose tensors could not be pickled
    plain = torch.tensor

    def tensor(values, dtype=None, device=None):
        return moved(plain(values, dtype=dtype), device or "cpu")

    monkeypatch.setattr(torch, "tensor", tensor)
    monkeypatch.setattr(Tensor, "to", moved)
    monkeypatch.setattr(Tensor, "new_tensor", lambda x, values: tensor(values, x.dtype, x.device))
    with Pretend():
        yield MPS


def pictures(count=16):
    return torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def on_cpu(x):
    return x.plain if isinstance(x, OnMps) else x


def test_the_pretended_device_refuses_what_apples_would(mps):
    x = torch.ones(3, device=mps)
    assert x.device.type == (x + 1).device.type == "mps" and x.cpu().device.type == "cpu"
    with pytest.raises(AssertionError, match="float64 on mps"):
        x.double()
    with pytest.raises(AssertionError, match="on mps and on the CPU"):
        x + torch.ones(3)
    with pytest.raises(AssertionError, match="no kernel for MPS"):
        torch.linalg.eig(torch.eye(3, device=mps))


SMOKE = profile("smoke")
REPRESENTATION = replace(SMOKE.hybrid.representation, noise=0.3, contrast=Contrast(queue=64, hidden=32, dim=16))
BUILDS = {
    "hybrid": lambda: Representation(REPRESENTATION),
    "nvae": lambda: NVAE(SMOKE.nvae),
    "ddim": lambda: PixelDDIM(SMOKE.ddim),
    "biggan": lambda: BigGAN(SMOKE.biggan, 10),
}


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize("name", BUILDS)
def test_training_steps(mps, tmp_path, name, optimiser):
    config = Training(epochs=1, batch=8, optimiser=optimiser)
    labels = torch.zeros(16, dtype=torch.int64)
    trained = train(BUILDS[name](), pictures().to(mps), labels.to(mps), config, tmp_path, seed=0, about={})
    assert all(isinstance(p, OnMps) and on_cpu(p).isfinite().all() for p in trained.parameters())
    assert "aten::convolution_backward" in COMPUTED


def test_a_hybrid_is_sampled_encoded_and_judged(mps, monkeypatch):
    monkeypatch.setenv("HYBRID_PRECISION", "float32")  # of the CPU's features too
    representation, images = Representation(REPRESENTATION), pictures()
    prior = LatentDDIM(SMOKE.hybrid.prior, REPRESENTATION.autoencoder)
    model = HybridModel(representation.encoder, representation.decoder, prior)
    features = model.features(images)["y"]
    there = model.to(mps)
    torch.testing.assert_close(on_cpu(there.features(images.to(mps))["y"]), features)
    samples = there.sample(3, steps=2)
    assert isinstance(samples, OnMps) and samples.shape == (3, 3, 32, 32)
    assert 0 < squared_error(there.reconstruct(images.to(mps)), images.to(mps)) < 1e3
    assert {"aten::convolution"} <= COMPUTED


def test_the_baselines_are_judged(mps):
    images = pictures(4).to(mps)
    nvae, ddim = NVAE(SMOKE.nvae).eval().to(mps), PixelDDIM(SMOKE.ddim).eval().to(mps)
    assert nvae.bits_per_dim(images) > 0
    assert isinstance(ddim.features(images)["x_T"], OnMps)
    assert set(ddim.errors_by_steps(images, (2,))) == {"mse_s2", "median_s2"}
    for model in (nvae, ddim):
        assert isinstance(model.sample(2, 2), OnMps) and isinstance(model.reconstruct(images), OnMps)


def test_probe_and_distances_are_computed_beside_it_in_float64(mps, tmp_path):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    features = torch.randn(60, 5, generator=generator) + 2 * torch.nn.functional.one_hot(labels, 5)
    given = [part.to(mps) for part in (features[:40], labels[:40], features[40:], labels[40:])]
    found = probe.linear_probe(*given)
    assert found == probe.linear_probe(features[:40], labels[:40], features[40:], labels[40:]) and found.accuracy > 60
    distances = []
    for device in (mps, torch.device("cpu")):
        network = frechet.load_network("efficientnet_lite0", device)
        reference = frechet.reference(network, pictures(8).to(device), "pictures", tmp_path / device.type)
        distances.append(reference.compare(pictures(6).to(device)))
    assert distances[0] == pytest.approx(distances[1], rel=1e-3)
