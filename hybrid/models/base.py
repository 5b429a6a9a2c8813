"""What all models share: the interface of the training loop, passes in batches, and streams of seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hybrid.machine import distributed
from hybrid.machine.precision import autocast, without_tf32

BATCH = 500  # images that go through a network at once outside training


@torch.no_grad()
def in_batches(function: Callable[..., Tensor], device: torch.device, *inputs: Tensor) -> Tensor:
    """function(*inputs) in float32, BATCH examples (N, ...) at a time, on `device` and in its precision, TF32 off.

    Several processes share the batches out: all must call this, with the same inputs, and all get the whole.
    """

    def compute(*parts: Tensor) -> Tensor:
        return function(*(part.to(device, non_blocking=True) for part in parts)).float()

    with without_tf32(), autocast(device):
        return distributed.map_sharded(compute, list(zip(*(x.split(BATCH) for x in inputs), strict=True)))


def batch_seeds(count: int, seed: int) -> Tensor:
    """For `in_batches`: int64 (count,), a seed of its own for each batch, that no batch of another `seed` has."""
    return torch.tensor([stream(seed, "batch", i // BATCH) for i in range(0, count, BATCH)]).repeat_interleave(BATCH)[:count]


class Trainable(nn.Module):
    """What the loop trains: a module with a loss, and optionally several players that take turns (a GAN's two)."""

    players: tuple[str, ...] = ("model",)  # one optimiser step each, in this order, every step; a name may come again
    progress: float = 0.0  # share of the training that is done, in [0, 1); the loop sets it before every step
    # Whether `loss` draws for the images of all processes and takes its share, as `augment` does: all are then seeded alike,
    # and several draw what one would. Otherwise each has a stream of its own.
    draws_for_all: bool = False
    leaves_out: bool = False  # whether a step's loss may leave some of the player's parameters out
    repeats: bool = False  # whether all steps are the same operations on tensors alone, so that a GPU can replay one

    def networks(self) -> list[nn.Module]:
        """The submodules that do most of the work of a step, for `compilation`."""
        return []

    def player(self, name: str) -> nn.Module:
        """The module whose parameters that player's optimiser moves."""
        return self

    def loss(self, player: str, batch: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss to minimise, and scalars for the history."""
        raise NotImplementedError

    def prepare(self, data: Tensor) -> None:
        """Called once before the first step, with all of the data: for what is computed of it and not learned."""

    def after_step(self) -> None:
        """Called once all players have moved."""

    def finish(self, data: Tensor) -> None:
        """Called once the last step is done, with all of the data, on the module that is kept for use."""


def stream(*parts: int | str) -> int:
    """A seed of 63 bits that differs for each sequence of parts, such as (seed, "step", 7)."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
