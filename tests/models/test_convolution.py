"""The 3x3 convolution that is a matrix product on the smallest maps."""

import pytest
import torch
import torch.nn.functional as F

from hybrid.models.convolution import Conv3x3


@pytest.mark.parametrize("side", [2, 3, 4])
@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format])
def test_it_equals_torchs_convolution_and_its_gradients(side, memory):
    torch.manual_seed(0)
    conv = Conv3x3(5, 7).to(memory_format=memory)
    x = torch.randn(4, 5, side, side).to(memory_format=memory).requires_grad_()
    ours, plain = conv(x), F.conv2d(x, conv.weight, padding=1)
    torch.testing.assert_close(ours, plain)
    towards = torch.randn_like(plain)
    for got, wanted in zip(*(torch.autograd.grad(y, (x, conv.weight), towards) for y in (ours, plain)), strict=True):
        torch.testing.assert_close(got, wanted)


def test_only_maps_of_2x2_in_float32_on_a_cpu_are_products(monkeypatch):
    seen = []
    monkeypatch.setattr(Conv3x3, "_product", lambda self, x: seen.append(x.shape) or x)
    conv = Conv3x3(3, 3)
    for shape in ((1, 3, 4, 4), (1, 3, 2, 4), (1, 3, 2, 2)):
        conv(torch.randn(shape))
    with torch.autocast("cpu", torch.bfloat16):
        conv(torch.randn(1, 3, 2, 2))
    assert seen == [(1, 3, 2, 2)]
