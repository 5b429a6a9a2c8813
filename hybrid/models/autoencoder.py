"""Encoder and decoder: x (3, 32, 32) in [0, 1] <-> z (6, 16, 16), z = [y, w] (paper, section 4).

y is the first channels; the contrast trains it. It is computed at the lowest resolution, so the receptive field of each
value can cover the whole image; a pixel shuffle brings it to 16 x 16. w is the other channels. It is computed at 16 x 16, the
highest resolution, and stays local. The decoder takes both.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from hybrid.errors import HybridError
from hybrid.models.cells import DecoderCell, EncoderCell, norm_swish
from hybrid.profiles.schema import Autoencoder

LATENT_CHANNELS = 6
LATENT_SIZE = 16


class Encoder(nn.Module):
    """Images (N, 3, 32, 32) in [0, 1] -> z (N, 6, 16, 16); the first `y_channels` are y. Smaller views give a smaller z.

    Raises HybridError if `widths` and `cells` differ in length.
    """

    def __init__(self, config: Autoencoder):
        super().__init__()
        widths, cells = config.widths, config.cells
        if len(cells) != len(widths):
            raise HybridError(f"cells {cells} and widths {widths} differ in length: give one number of cells for each width")
        self.config, self.y_channels = config, config.y_channels
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, widths[0], 3, padding=1))
        self.local = nn.Sequential(*(EncoderCell(widths[0]) for _ in range(cells[0])))
        self.w_path = None
        if config.w_cells is not None:
            first = [nn.PixelUnshuffle(2), nn.Conv2d(12, widths[0], 3, padding=1)]
            self.w_path = nn.Sequential(*first, *(EncoderCell(widths[0]) for _ in range(config.w_cells)))
        below = []
        for (narrow, wide), count in zip(pairwise(widths), cells[1:], strict=True):
            below += [norm_swish(narrow), nn.Conv2d(narrow, wide, 3, stride=2, padding=1)]
            below += [EncoderCell(wide) for _ in range(count)]
        self.below = nn.Sequential(*below)
        self.scale = scale = 2 ** (len(widths) - 1)  # y is computed at 16 / scale
        self.to_y = nn.Sequential(
            norm_swish(widths[-1]),
            nn.Conv2d(widths[-1], config.y_channels * scale**2, 1),
            nn.PixelShuffle(scale),  # back to 16 x 16
        )
        self.to_w = nn.Sequential(
            norm_swish(widths[0]), nn.Conv2d(widths[0], LATENT_CHANNELS - config.y_channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        local = self._local(x)
        w = local if self.w_path is None else self.w_path(2 * x - 1)
        return torch.cat([self.to_y(self.below(local)), self.to_w(w)], dim=1)

    def y(self, x: Tensor) -> Tensor:
        """Return only y, (N, y_channels, 16, 16), without computing w."""
        return self.to_y(self.below(self._local(x)))

    def _local(self, x: Tensor) -> Tensor:
        return self.local(self.stem(2 * x - 1))  # (N, widths[0], 16, 16)


class Decoder(nn.Module):
    """The mean of q(x|z): z (N, 6, 16, 16) -> images (N, 3, 32, 32), roughly in [0, 1], not clipped."""

    def __init__(self, config: Autoencoder):
        super().__init__()
        width = config.decoder_width
        self.net = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, width, 3, padding=1),
            *(DecoderCell(width, config.expansion, config.kernel) for _ in range(config.decoder_cells)),
            norm_swish(width),
            nn.Conv2d(width, 12, 3, padding=1),
            nn.PixelShuffle(2),  # (N, 3, 32, 32)
        )

    def forward(self, z: Tensor) -> Tensor:
        return 0.5 + 0.5 * self.net(z)
