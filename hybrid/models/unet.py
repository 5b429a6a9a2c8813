"""The U-Net of DDPM (Ho, Jain & Abbeel 2020, appendix B), which DDIM also uses.

Residual blocks are conditioned on the time. Self-attention runs at the given resolutions and in the middle. Each branch ends
in a zero-initialised convolution, so an untrained net predicts zero.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybrid.errors import HybridError
from hybrid.profiles import schema


def time_embedding(t: Tensor, channels: int) -> Tensor:
    """Return sines, then cosines, of t (N,) at channels / 2 frequencies from 1 to 1 / 10000: float32 (N, channels)."""
    half = channels // 2
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10000) / max(half - 1, 1)))
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    """Set the weight and bias of a convolution to zero, and return it."""
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


class GroupNorm(nn.GroupNorm):
    """Group normalisation with at most 32 groups, of at least four channels each."""

    def __init__(self, channels: int):
        most = max(1, min(32, channels // 4))
        super().__init__(next(g for g in range(most, 0, -1) if channels % g == 0), channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> the same shape, channels_last."""
        # On a CPU, PyTorch's channels_last kernel takes five times as long as this, both copies included. On CUDA, PyTorch
        # does not keep channels_last.
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


class ResidualBlock(nn.Module):
    """Two times GroupNorm, swish, 3x3. The time embedding is added between them; dropout precedes the second convolution."""

    def __init__(self, channels_in: int, channels_out: int, time_channels: int, dropout: float):
        super().__init__()
        self.norm1 = GroupNorm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.time = nn.Linear(time_channels, channels_out)
        self.norm2 = GroupNorm(channels_out)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(channels_out, channels_out, 3, padding=1))
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x (N, channels_in, H, W), activated embedding (N, time_channels) -> (N, channels_out, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(embedding)[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.skip(x) + h


class Attention(nn.Module):
    """Self-attention with one head over the pixels, as a residual branch."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = GroupNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zeroed(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) -> the same shape."""
        qkv = self.qkv(self.norm(x)).permute(0, 2, 3, 1)  # (N, H, W, 3C), no copy in channels_last
        q, k, v = qkv.flatten(1, 2).unsqueeze(1).chunk(3, dim=-1)  # each (N, 1, HW, C)
        if x.is_cuda:
            h = F.scaled_dot_product_attention(q, k, v)
        else:  # for so few pixels the fused kernel takes three times as long on a CPU, mostly in the backward pass
            h = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1) @ v
        h = h.squeeze(1).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)  # (N, C, H, W), channels_last
        return x + self.out(h)


class Stage(nn.Module):
    """A residual block, followed by attention if `attend` is set."""

    def __init__(self, channels_in: int, channels_out: int, time_channels: int, dropout: float, attend: bool):
        super().__init__()
        self.block = ResidualBlock(channels_in, channels_out, time_channels, dropout)
        self.attention = Attention(channels_out) if attend else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """x (N, channels_in, H, W), embedding (N, time_channels) -> (N, channels_out, H, W)."""
        return self.attention(self.block(x, embedding))


class UNet(nn.Module):
    """Predicts the diffusion's target (`predict`) from x at time t, in x's shape.

    channels_in: channels of x and of the prediction. channels: width at full resolution, an even number. multipliers:
    width of each level, in units of `channels`; each level has half the resolution of the one before. blocks: residual
    blocks per level on the way down; one more per level on the way up. attention: resolutions with self-attention; the middle
    always has it. dropout: in [0, 1). size: height and width of x. patch: side of the square of pixels that is folded into
    channels at the start and unfolded at the end, to save work on CPUs; the full resolution is then size / patch.

    DDPM's net for CIFAR-10 is UNet(3, 128, (1, 2, 2, 2), 2, (16,), 0.1, 32). Raises HybridError if `patch` does not divide the
    size, the size cannot be halved often enough, `attention` has a resolution of no level, or `channels` is odd.
    """

    @classmethod
    def of(cls, config: schema.Diffusion, channels_in: int, size: int) -> UNet:
        """Build the net of a profile's config."""
        return cls(
            channels_in,
            config.channels,
            config.multipliers,
            config.blocks,
            config.attention,
            config.dropout,
            size,
            config.patch,
        )

    def __init__(
        self,
        channels_in: int,
        channels: int,
        multipliers: tuple[int, ...],
        blocks: int,
        attention: tuple[int, ...],
        dropout: float,
        size: int,
        patch: int = 1,
    ):
        super().__init__()
        if patch < 1 or size % patch:
            raise HybridError(f"patch is {patch}; give a divisor of {size}, the side of x")
        self.shape, self.patch = (channels_in, size, size), patch
        channels_in, size = channels_in * patch**2, size // patch
        levels = len(multipliers)
        sizes = [size // 2**level for level in range(levels)]
        widths = [channels * multiplier for multiplier in multipliers]
        if channels % 2:
            raise HybridError(f"channels is {channels}; the time embedding needs an even number of them")
        if size % 2 ** (levels - 1):
            raise HybridError(f"size {size} does not halve {levels - 1} times; shorten the multipliers {multipliers}")
        if not set(attention) <= set(sizes):
            raise HybridError(f"attention at {attention}; choose among the resolutions of the levels, {tuple(sizes)}")
        self.channels = channels

        time_channels = 4 * channels
        # All blocks use the activated embedding, so it is activated once, here.
        self.time = nn.Sequential(
            nn.Linear(channels, time_channels), nn.SiLU(), nn.Linear(time_channels, time_channels), nn.SiLU()
        )
        self.first = nn.Conv2d(channels_in, channels, 3, padding=1)

        width, skips = channels, [channels]  # channels of the current activation and of the skip connections
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        for level in range(levels):
            stages = nn.ModuleList()
            for _ in range(blocks):
                stages.append(Stage(width, widths[level], time_channels, dropout, sizes[level] in attention))
                width = widths[level]
                skips.append(width)
            self.down.append(stages)
            if level < levels - 1:
                self.shrink.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)

        self.middle = nn.ModuleList(Stage(width, width, time_channels, dropout, attend) for attend in (True, False))

        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(levels)):
            stages = nn.ModuleList()
            for _ in range(blocks + 1):
                width_in = width + skips.pop()
                stages.append(Stage(width_in, widths[level], time_channels, dropout, sizes[level] in attention))
                width = widths[level]
            self.up.append(stages)
            if level > 0:
                self.grow.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1)))

        self.norm = GroupNorm(width)
        self.last = zeroed(nn.Conv2d(width, channels_in, 3, padding=1))
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (N, channels_in, size, size), t (N,) in [0, T], integer or float -> the prediction, of x's shape, channels_last.

        Raises HybridError on an x of any other shape.
        """
        return self._run(x, self.time(time_embedding(t, self.channels)))[0]

    def _run(self, x: Tensor, embedding: Tensor, entering: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the prediction and the features at the lowest resolution. `entering` is added to the input of that level."""
        if tuple(x.shape[1:]) != self.shape:
            raise HybridError(f"x has the shape {tuple(x.shape)}; this net takes images of the shape {self.shape}")
        x = F.pixel_unshuffle(x, self.patch)  # (N, channels_in patch^2, size / patch, size / patch)
        h = self.first(x.contiguous(memory_format=torch.channels_last))
        skips = [h]
        for level, stages in enumerate(self.down):
            if entering is not None and level == len(self.down) - 1:
                h = h + entering
            for stage in stages:
                h = stage(h, embedding)
                skips.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h)
                skips.append(h)
        for stage in self.middle:
            h = stage(h, embedding)
        lowest = h
        for level, stages in enumerate(self.up):
            for stage in stages:
                h = stage(torch.cat([h, skips.pop()], dim=1), embedding)
            if level < len(self.grow):
                h = self.grow[level](h)
        return F.pixel_shuffle(self.last(F.silu(self.norm(h))), self.patch), lowest


class CodeUNet(UNet):
    """A U-Net of w that takes y at y's own, coarse resolution, and predicts both.

    y (N, C, S, S) enters at the level with S x S pixels, and its prediction leaves there. An embedding of y also conditions all
    blocks, together with the times. w and y have separate times, so y can be as noisy as w, clean, or unknown (pure noise).

    Raises HybridError unless the lowest level of the net has y's resolution.
    """

    def __init__(
        self, config: schema.Diffusion, w_shape: tuple[int, int, int], y_shape: tuple[int, int, int], predict_y: bool = True
    ):
        super().__init__(
            w_shape[0],
            config.channels,
            config.multipliers,
            config.blocks,
            config.attention,
            config.dropout,
            w_shape[1],
            config.patch,
        )
        lowest = w_shape[1] // config.patch // 2 ** (len(config.multipliers) - 1)
        if lowest != y_shape[1]:
            raise HybridError(
                f"multipliers {config.multipliers} end at {lowest} x {lowest}, y has {y_shape[1]} x {y_shape[1]}: "
                "change their number until both agree"
            )
        width, time_channels = config.channels * config.multipliers[-1], 4 * config.channels
        entering = config.channels * config.multipliers[-2] if len(config.multipliers) > 1 else config.channels
        self.y_time = nn.Sequential(
            nn.Linear(config.channels, time_channels), nn.SiLU(), nn.Linear(time_channels, time_channels)
        )
        self.y_all = nn.Linear(math.prod(y_shape), time_channels)
        self.y_in = nn.Conv2d(y_shape[0], entering, 1)
        self.y_out = None
        if predict_y:
            last = zeroed(nn.Conv2d(width, y_shape[0], 3, padding=1))
            self.y_out = nn.Sequential(GroupNorm(width), nn.SiLU(), last)
        self.to(memory_format=torch.channels_last)

    def forward(  # type: ignore[override]
        self, w: Tensor, t: Tensor, y: Tensor, t_y: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """w (N, ...) at times t (N,), y (N, C, S, S) at t_y (N,) -> the predictions for w and, with `predict_y`, for y."""
        embedding = self.time[:-1](time_embedding(t, self.channels)) + self.y_time(time_embedding(t_y, self.channels))
        embedding = F.silu(embedding + self.y_all(y.flatten(1)))
        w, lowest = self._run(w, embedding, self.y_in(y))
        return w, None if self.y_out is None else self.y_out(lowest)


class ResidualMLP(nn.Module):
    """A net for vectors: residual blocks of two layers, each conditioned on the time, as in RCG (Li et al. 2023).

    It takes and returns maps (N, C, S, S), which it flattens to vectors. An untrained net predicts zero.
    """

    def __init__(self, shape: tuple[int, int, int], width: int, blocks: int, dropout: float = 0.0):
        super().__init__()
        size = math.prod(shape)
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.first = nn.Linear(size, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(blocks))
        self.scales = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(blocks))
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Dropout(dropout), nn.Linear(2 * width, width))
            for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, size)
        for layer in (self.last, *(branch[-1] for branch in self.branches)):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x (N, C, S, S), t (N,) -> the prediction, of x's shape."""
        embedding = self.time(time_embedding(t, self.width))
        h = self.first(x.flatten(1))
        for norm, scale, branch in zip(self.norms, self.scales, self.branches, strict=True):
            gain, shift = scale(embedding).chunk(2, dim=1)
            h = h + branch(norm(h) * (1 + gain) + shift)
        return self.last(self.norm(h)).unflatten(1, x.shape[1:])
