"""Weights' gradients as products are those of torch."""

import pytest
import torch
from torch import nn

from hybrid.machine.compilation import compiled
from hybrid.machine.gradients import Convolution, is_plain, leave_products, take_products, weights_gradient

CPU = torch.device("cpu")
KINDS = [  # kernel, stride, padding, size
    (3, 1, 1, (6, 6)),
    (3, 2, 1, (7, 8)),
    (1, 1, 0, (2, 3)),
    (5, 3, 2, (9, 4)),
    ((3, 2), (1, 2), (1, 0), (5, 6)),
]


@pytest.fixture(autouse=True)
def amx(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)


@pytest.mark.parametrize(("kernel", "stride", "padding", "size"), KINDS)
def test_the_product_is_the_gradient(kernel, stride, padding, size):
    conv = nn.Conv2d(4, 5, kernel, stride, padding, bias=False, dtype=torch.float64)
    x = torch.randn(3, 4, *size, dtype=torch.float64)
    y = conv(x)
    gradient = torch.randn_like(y)
    y.backward(gradient)
    found = weights_gradient(gradient, x, conv.kernel_size, conv.stride, conv.padding)
    torch.testing.assert_close(found, conv.weight.grad)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("inputs", [False, True])  # whether the inputs want a gradient
def test_all_gradients_of_a_layer(bias, inputs):
    conv = nn.Conv2d(8, 6, 3, stride=2, padding=1, bias=bias, dtype=torch.float64)
    x = torch.randn(4, 8, 6, 6, dtype=torch.float64, requires_grad=inputs)
    wanted = [t for t in (x, conv.weight, conv.bias) if t is not None and t.requires_grad]
    expected = torch.autograd.grad(conv(x).square().sum(), wanted)
    found = torch.autograd.grad(Convolution.apply(x, conv.weight, conv.bias, (2, 2), (1, 1)).square().sum(), wanted)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def step(network: nn.Module, size: int, bf16: bool = True) -> tuple[str, torch.Tensor]:
    """Return the name of the operation that the backward pass starts with, and the gradient of the weights."""
    x = torch.randn(4, 8, size, size, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        y = network(x)
    y.float().square().sum().backward()
    return y.grad_fn.name(), network.weight.grad.clone()


def conv3x3() -> nn.Conv2d:
    return nn.Conv2d(8, 8, 3, padding=1, bias=False).to(memory_format=torch.channels_last)


def test_which_steps_take_products():
    conv = conv3x3()
    plain, expected = step(conv, 4)
    take_products([nn.Sequential(conv)], CPU)
    name, found = step(conv, 4)
    assert name == "ConvolutionBackward" != plain
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02 * expected.abs().max().item())
    assert step(conv, 4, bf16=False)[0] == plain, "float32 keeps its own way"
    assert step(conv, 8)[0] == plain, "a large map"
    with torch.no_grad():
        assert conv(torch.zeros(1, 8, 4, 4)).grad_fn is None
    leave_products([conv])
    assert step(conv, 4)[0] == plain


@pytest.mark.parametrize(("kind", "amx"), [("cuda", True), ("cpu", False)])
def test_only_cpus_with_amx_take_products(kind, amx, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    conv = conv3x3()
    take_products([conv], torch.device(kind))
    assert step(conv, 4)[0] != "ConvolutionBackward"


def test_a_compiled_network_keeps_its_own_gradients(monkeypatch):
    conv = conv3x3()
    with compiled([conv], CPU):
        assert step(conv, 4)[0] == "ConvolutionBackward"
    assert step(conv, 4)[0] != "ConvolutionBackward", "after a training, all is as before"
    monkeypatch.setenv("HYBRID_COMPILE", "eager")
    with compiled([conv], CPU):
        assert "_conv_forward" not in vars(conv)


@pytest.mark.parametrize(
    "options", [{"groups": 2}, {"dilation": 2}, {"padding": "same"}, {"padding": "valid"}, {"padding_mode": "circular"}]
)
def test_other_convolutions_are_left_alone(options):
    assert not is_plain(nn.Conv2d(4, 4, 3, **options))
    assert is_plain(nn.Conv2d(4, 4, 3, padding=1))
