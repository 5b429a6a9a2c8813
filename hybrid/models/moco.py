"""MoCo-v2 (He et al. 2020; Chen et al. 2020): a momentum encoder and a queue of keys for the contrast of equation (3).

With batch norm, a query could recognise its key by the statistics of their common batch. MoCo prevents this leak by shuffling
batches over GPUs. Here two measures prevent it on one device. First, keys are computed in small parts of the batch, each
normalised alone (split batch norm), so a key depends on the statistics of a few images, and a query on those of the whole
batch. Second, keys enter the queue before the queries are compared with it, so nothing that all keys of the batch share, such
as their statistics or their age, tells a query which key is its own. Several processes gather their keys; the queue is the
same in each.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybrid.errors import HybridError
from hybrid.machine import distributed
from hybrid.models.batchnorm import norms, splits
from hybrid.objectives import i_cpc
from hybrid.profiles.schema import Contrast


def head(inputs: int, config: Contrast) -> nn.Sequential:
    """Return MoCo-v2's projection head of two layers: features (N, ...) of `inputs` values -> (N, dim)."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, config.hidden), nn.ReLU(inplace=True), nn.Linear(config.hidden, config.dim)
    )


def all_parts_at_once(device: torch.device) -> bool:
    """Return whether to compute all parts of a batch of keys in one pass.

    A GPU is faster with one pass than with many small kernels for each part. So is a CPU in float32, where `Conv3x3` transforms
    its kernels once, and one with AMX. In bfloat16 without AMX, a part fits the caches of a CPU.
    """
    return device.type != "cpu" or not torch.is_autocast_enabled("cpu") or torch.cpu._is_amx_tile_supported()


class MoCo(nn.Module):
    """The key side of the contrast: a momentum copy of the query network and a first-in first-out queue of its keys."""

    def __init__(self, query_network: nn.Module, config: Contrast):
        super().__init__()
        self.config = config
        self.key_network = copy.deepcopy(query_network).requires_grad_(False)
        for norm in norms(self.key_network):
            norm.shared = False
        self.register_buffer("queue", F.normalize(torch.randn(config.queue, config.dim), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def keys(self, views: Tensor) -> Tensor:
        """Views (N, 3, H, W) in random order -> keys (N, dim) of length 1."""
        parts = max(1, len(views) // self.config.key_batch)
        can_split = len(views) % parts == 0 and splits(self.key_network)
        at_once = parts if can_split and all_parts_at_once(views.device) else 1
        for norm in norms(self.key_network):
            norm.parts = at_once
        keys = [self.key_network(some) for some in views.tensor_split(parts // at_once)]
        return F.normalize(torch.cat(keys).float(), dim=1)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> Tensor:
        """Replace the oldest keys by these (N, dim), and return their places (N,) in the queue.

        Several processes enqueue the keys of all, in the order of their ranks; each gets the places of its own keys.
        Raises HybridError if there are more keys than places.
        """
        keys = torch.cat(distributed.gather(keys))
        size, count = len(self.queue), len(keys)
        if count > size:
            raise HybridError(f"a batch of {count} keys does not fit a queue of {size}: use a longer queue or a smaller batch")
        places = (self.pointer + torch.arange(count, device=keys.device)) % size
        self.queue[places] = keys
        self.pointer.add_(count).remainder_(size)
        return distributed.shard(places)

    def bound(self, queries: Tensor, places: Tensor) -> Tensor:
        """Return I_CPC in nats for queries (N, dim) with their keys at `places` (N,): m = queue length, g = exp(q . k / T)."""
        queries = F.normalize(queries.float(), dim=1) / self.config.temperature
        return i_cpc(queries @ self.queue.T, places)

    @torch.no_grad()
    def momentum_update(self, query_network: nn.Module) -> None:
        """Move the key network's weights towards the query network's by a fraction 1 - momentum."""
        torch._foreach_lerp_(list(self.key_network.parameters()), list(query_network.parameters()), 1 - self.config.momentum)
