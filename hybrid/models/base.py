"""What all models share: the interface to the training loop, inference in batches, and derived seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hybrid.machine import distributed
from hybrid.machine.precision import autocast, without_tf32

BATCH = 500  # images per forward pass outside training


@torch.no_grad()
def in_batches(function: Callable[..., Tensor], device: torch.device, *inputs: Tensor) -> Tensor:
    """Return function(*inputs) in float32. It runs on `device`, BATCH examples (N, ...) at a time, in the device's precision
    and without TF32.

    Several processes divide the batches among them: each must call this with the same inputs, and each gets the whole result.
    """

    def compute(*parts: Tensor) -> Tensor:
        return function(*(part.to(device, non_blocking=True) for part in parts)).float()

    with without_tf32(), autocast(device):
        return distributed.map_sharded(compute, list(zip(*(x.split(BATCH) for x in inputs), strict=True)))


def batch_seeds(count: int, seed: int) -> Tensor:
    """Return seeds for `in_batches`, int64 (count,): equal within a batch, different between batches and between `seed`s."""
    return torch.tensor([stream(seed, "batch", i // BATCH) for i in range(0, count, BATCH)]).repeat_interleave(BATCH)[:count]


class Trainable(nn.Module):
    """A module that the loop can train: it has a loss, and may have several players that take turns (two in a GAN)."""

    players: tuple[str, ...] = ("model",)  # each takes one optimiser step per training step, in this order; names may repeat
    progress: float = 0.0  # fraction of the training that is done, in [0, 1); the loop sets it before every step
    # Whether `loss` draws random numbers for the images of all processes and uses its own shard, as `augment` does. If so, all
    # processes get the same seed, and several draw the same numbers as one. Otherwise each process has its own seed.
    draws_for_all: bool = False
    leaves_out: bool = False  # whether the loss of a step need not depend on some of the player's parameters
    # Whether every step of a phase runs the same operations on tensors only, so that a GPU can replay a CUDA graph.
    repeats: bool = False

    @property
    def phases(self) -> Sequence[tuple[float, float]]:
        """Return the phases of the training as (start, end) in units of `progress`. Within each, all steps are alike."""
        return [(0.0, 1.0)]

    @property
    def phase(self) -> int:
        """Return the number of the phase that `progress` is in."""
        return sum(end <= self.progress for _, end in self.phases)

    def mean_over_phases(self, measure: Callable[[float], float]) -> float:
        """Call `measure` with the share of each phase, near its end and so past all warm-ups; return the weighted mean."""
        mean = 0.0
        for start, end in self.phases:
            self.progress = start + 0.999 * (end - start)
            mean += (end - start) * measure(end - start)
        return mean

    def time_share(self, progress: float) -> float:
        """Return, roughly, the share of the training's time that has passed at this `progress`. By default they are equal."""
        return progress

    def networks(self) -> list[nn.Module]:
        """Return the submodules that do most of the work of a step; `compilation` compiles them."""
        return []

    def player(self, name: str) -> nn.Module:
        """Return the module with the parameters that this player's optimiser updates."""
        return self

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss to minimise, and scalars for the history."""
        raise NotImplementedError

    def prepare(self, data: Tensor) -> None:
        """Compute what depends on the data but is not learned. Each command calls it before its first step, with all the
        data; a checkpoint then replaces what it computed."""

    def after_step(self) -> None:
        """Called in every step after all players have taken theirs."""


def stream(*parts: int | str) -> int:
    """Return a 63-bit seed derived from the parts, such as (seed, "step", 7)."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
