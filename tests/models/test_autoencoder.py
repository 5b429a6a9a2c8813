"""Encoder and decoder: shapes, the receptive fields of y and w, and the cells' initialisation."""

import pytest
import timm
import torch

from hybrid.errors import HybridError
from hybrid.models.autoencoder import Decoder, Encoder
from hybrid.models.cells import DecoderCell, EncoderCell, SqueezeExcite
from hybrid.profiles.overrides import PROFILES
from hybrid.profiles.schema import Autoencoder

SMALL = Autoencoder(widths=(8, 8, 16), cells=(1, 1, 1), decoder_width=8, decoder_cells=1)


def test_shapes_and_the_split():
    encoder, decoder = Encoder(SMALL).eval(), Decoder(SMALL).eval()
    x = torch.rand(2, 3, 32, 32)
    z = encoder(x)
    assert z.shape == (2, 6, 16, 16)
    assert decoder(z).shape == x.shape
    torch.testing.assert_close(encoder.y(x), z[:, :3])
    assert encoder(torch.rand(2, 3, 24, 24)).shape == (2, 6, 12, 12)
    with pytest.raises(HybridError, match="give one number of cells for each width"):
        Encoder(Autoencoder(widths=(8, 8, 16), cells=(1, 1)))


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_has_the_papers_code(name):
    config = PROFILES[name].hybrid.representation.autoencoder
    with torch.device("meta"):
        z = Encoder(config)(torch.rand(1, 3, 32, 32))
        assert z.shape == (1, 6, 16, 16)
        assert Decoder(config)(z).shape == (1, 3, 32, 32)
    assert config.y_channels == 3


def seen_from_the_corner(part):
    """Which input pixels move the top left value of a part of z; batch norm in training mode would mix images, not pixels."""
    torch.manual_seed(0)
    encoder = Encoder(Autoencoder(widths=(8, 8, 16), cells=(2, 2, 2))).eval()
    for cell in encoder.modules():
        if isinstance(cell, EncoderCell):
            torch.nn.init.normal_(cell.branch[-2].weight, std=0.3)  # as training would
            del cell.branch[-1]  # squeeze-excite sees the whole image by its mean alone; here its cells are asked for
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    z = encoder(x)
    (z[:, :3] if part == "y" else z[:, 3:])[0, :, 0, 0].sum().backward()
    return x.grad.abs().sum((0, 1)) > 0


def test_y_sees_further_than_w():
    y, w = seen_from_the_corner("y"), seen_from_the_corner("w")
    assert w.sum() < 0.5 * y.sum()
    assert y.all(), "each value of y can see the whole image"
    assert not w[-1, -1]


@pytest.mark.parametrize("cell", [EncoderCell(8), DecoderCell(8, 2, 3), DecoderCell(8, 2, 5)])
def test_cells_start_as_the_identity_and_learn(cell):
    x = torch.randn(4, 8, 16, 16)
    torch.testing.assert_close(cell(x.clone()), x)
    cell(x.clone()).square().sum().backward()
    assert cell.branch[-2].weight.grad.abs().sum() > 0


def test_squeeze_excite_is_timms_and_its_gradients_stay_in_channels_last():
    """The weights have timm's names, so those that trained with timm's module load."""
    torch.manual_seed(0)
    ours, theirs = SqueezeExcite(96), timm.layers.SqueezeExcite(96, rd_channels=6)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 96, 8, 8).to(memory_format=torch.channels_last).requires_grad_()
    weights = torch.randn(4, 96, 8, 8)
    torch.testing.assert_close(ours(x), theirs(x))
    (found,), (expected,) = (torch.autograd.grad((module(x) * weights).sum(), x) for module in (ours, theirs))
    torch.testing.assert_close(found, expected)
    (of_means,) = torch.autograd.grad(ours(x), x, torch.ones_like(x).contiguous(memory_format=torch.channels_last))
    assert of_means.is_contiguous(memory_format=torch.channels_last)
