"""The 3x3 convolution that needs fewer multiplications on small maps."""

import pytest
import torch
import torch.nn.functional as F

from hybrid.models import convolution
from hybrid.models.convolution import Conv3x3


@pytest.fixture
def always(monkeypatch):
    """Batches are never too small."""
    monkeypatch.setattr(convolution, "ENOUGH", 0)


@pytest.mark.parametrize("side", [2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format])
def test_it_equals_torchs_convolution_and_its_gradients(side, memory, always):
    torch.manual_seed(0)
    conv = Conv3x3(5, 7).to(memory_format=memory)
    x = torch.randn(4, 5, side, side).to(memory_format=memory).requires_grad_()
    ours, plain = conv(x), F.conv2d(x, conv.weight, padding=1)
    towards = torch.randn_like(plain)
    gradients = [torch.autograd.grad(y, (x, conv.weight), towards) for y in (ours, plain)]
    for got, wanted in zip((ours, *gradients[0]), (plain, *gradients[1]), strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=3e-5 * wanted.abs().max().item())


def test_only_small_maps_of_large_batches_in_float32_on_a_cpu_have_fewer_products(monkeypatch):
    seen = []
    monkeypatch.setattr(Conv3x3, "_with_fewer_products", lambda self, x: seen.append(x.shape) or x)
    monkeypatch.setattr(convolution, "ENOUGH", 2 * 3 * 3)
    conv = Conv3x3(3, 3)
    small = (2, 3, 2, 2)
    for shape in ((2, 3, 1, 1), (2, 3, 7, 7), (2, 3, 2, 4), (1, 3, 2, 2), small):
        conv(torch.randn(shape))
    with torch.autocast("cpu", torch.bfloat16):
        conv(torch.randn(small))
    assert seen == [small]


@pytest.mark.parametrize("side", convolution.SIDES)
def test_its_matrices_are_exact_and_few(side):
    a, g, b = (matrix.double() for matrix in convolution.MATRICES[side])
    places = torch.eye(side**2, dtype=torch.float64).view(-1, 1, side, side)
    for tap in range(9):
        kernel = torch.zeros(9, dtype=torch.float64)
        kernel[tap] = 1
        plain = F.conv2d(places, kernel.view(1, 1, 3, 3), padding=1).flatten(1).T  # column by place of the input
        torch.testing.assert_close(a @ ((g @ kernel)[:, None] * b), plain, rtol=0, atol=1e-5)
    assert len(g) < 9 * side**2 / 3
