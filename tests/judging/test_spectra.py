"""Spectra of codes with known spectra, and the DCT against SciPy's."""

import numpy as np
import pytest
import scipy.fft
import torch
import torch.nn.functional as F

from hybrid.judging import spectra


def white(count=400, channels=3, size=16, seed=0):
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def test_white_noise_has_one_over_the_blocks_area_whatever_its_scale_and_mean():
    scale, mean = torch.tensor([1.0, 5.0, 0.1])[:, None, None], torch.tensor([0.0, 100.0, -3.0])[:, None, None]
    shares = spectra.block_shares(white() * scale + mean)
    assert shares.shape == (3, 3)
    for size, share in zip((2, 4, 8), shares, strict=True):
        np.testing.assert_allclose(share, 1 / size**2, rtol=0.1)


def test_blocks_that_are_flat_have_all_of_it_and_chequers_none():
    flat = F.interpolate(white(size=4), scale_factor=4)
    np.testing.assert_allclose(spectra.block_shares(flat, (2, 4)), 1, rtol=1e-5)
    chequers = white(size=1) * torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(8, 8)
    np.testing.assert_allclose(spectra.block_shares(chequers), 0, atol=1e-6)


def test_the_modes_are_scipys():
    x = white(3)
    np.testing.assert_allclose(spectra.modes(x), scipy.fft.dctn(x.numpy(), axes=(2, 3), norm="ortho"), atol=1e-5)


def test_bands_hold_every_mode_once():
    counts = sum(spectra.in_band(*band, 16).int() for band in spectra.BANDS)
    assert (counts == 1).all()


def test_band_powers_of_known_spectra():
    np.testing.assert_allclose(spectra.band_powers(2 * white() + 7), 4, rtol=0.1)
    coarse = F.interpolate(white(size=2), size=16, mode="bilinear")
    powers = spectra.band_powers(coarse)
    assert powers[0] > 100 * powers[-1]


def test_mixed_takes_each_band_from_one_of_the_two():
    a, b = white(seed=1), 3 * white(seed=2)
    powers = spectra.band_powers(spectra.mixed(a, b, 8)).tolist()
    assert powers == pytest.approx([1, 1, 1, 9, 9], rel=0.15)
    torch.testing.assert_close(spectra.mixed(a, a, 8), a, atol=1e-5, rtol=0)
