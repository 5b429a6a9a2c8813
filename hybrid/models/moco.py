"""MoCo-v2 (He et al. 2020; Chen et al. 2020): a momentum encoder and a queue of keys for the contrast of equation (3).

Batch norm lets a query and its key recognise each other by their batch's statistics, a leak that MoCo stops by shuffling
its batches over GPUs. On one device two things stop it here. Keys are computed in small parts of the batch, each normalised
by itself (split batch norm): a key carries the mark of a few images, a query that of the whole batch. And keys enter the
queue before their queries are compared with it: what all keys of the batch share, their mark as well as their age, does
not tell a query which of them is its own. Several processes gather the keys of all into the queue, which is the same in each.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybrid.errors import HybridError
from hybrid.machine import distributed
from hybrid.models.batchnorm import norms
from hybrid.objectives import i_cpc
from hybrid.profiles.schema import Contrast


def head(inputs: int, config: Contrast) -> nn.Sequential:
    """MoCo-v2's head, of two layers unless `config` has more: features (N, ...) of `inputs` values -> (N, dim)."""
    layers = [nn.Flatten(), nn.Linear(inputs, config.hidden), nn.ReLU(inplace=True)]
    for _ in range((config.layers or 2) - 2):
        layers += [nn.Linear(config.hidden, config.hidden), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(config.hidden, config.dim))


def predictor(config: Contrast) -> nn.Module:
    """What queries (N, dim) go through, and keys do not (Grill et al. 2020; Chen et al. 2021): two layers, or nothing."""
    if config.predictor is None:
        return nn.Identity()
    return nn.Sequential(
        nn.Linear(config.dim, config.predictor), nn.ReLU(inplace=True), nn.Linear(config.predictor, config.dim)
    )


def all_parts_at_once(device: torch.device) -> bool:
    """A CPU's caches hold one part of a batch of keys; a GPU would wait for the many small kernels of each."""
    return device.type != "cpu"


class MoCo(nn.Module):
    """The key side of the contrast: a momentum copy of the query network, and a first-in first-out queue of its keys."""

    def __init__(self, query_network: nn.Module, config: Contrast):
        super().__init__()
        self.config = config
        self.key_network = copy.deepcopy(query_network).requires_grad_(False)
        for norm in norms(self.key_network):
            norm.shared = False
        self.register_buffer("queue", F.normalize(torch.randn(config.queue, config.dim), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def keys(self, *views: Tensor) -> Tensor:
        """Images (N, 3, H, W), in an order of chance -> keys (N, dim) of length 1; of several views of them, the mean's."""
        x = views[0] if len(views) == 1 else torch.cat(views)
        parts = max(1, len(x) // self.config.key_batch)
        at_once = parts if len(x) % parts == 0 and all_parts_at_once(x.device) else 1
        for norm in norms(self.key_network):
            norm.parts = at_once
        keys = [self.key_network(some) for some in x.tensor_split(parts // at_once)]
        keys = F.normalize(torch.cat(keys).float(), dim=1)
        return keys if len(views) == 1 else F.normalize(keys.unflatten(0, (len(views), -1)).mean(0), dim=1)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> Tensor:
        """Put keys (N, dim) in the place of the oldest, and return their places (N,). N may not exceed the queue.

        Several processes put the keys of all of them, in their order, and each gets the places of its own.
        """
        keys = torch.cat(distributed.gather(keys))
        size, count = len(self.queue), len(keys)
        if count > size:
            raise HybridError(f"a batch of {count} keys does not fit a queue of {size}: lengthen the queue or cut the batch")
        places = (self.pointer + torch.arange(count, device=keys.device)) % size
        self.queue[places] = keys
        self.pointer.add_(count).remainder_(size)
        return distributed.shard(places)

    def bound(self, queries: Tensor, places: Tensor) -> Tensor:
        """I_CPC in nats of queries (N, dim) whose keys lie at `places` (N,) of the queue: m = queue, g = exp(q . k / T)."""
        queries = F.normalize(queries.float(), dim=1) / self.config.temperature
        return i_cpc(queries @ self.queue.T, places)

    @torch.no_grad()
    def momentum_update(self, query_network: nn.Module) -> None:
        """Move the key network's weights a step of 1 - momentum towards the query network's."""
        torch._foreach_lerp_(list(self.key_network.parameters()), list(query_network.parameters()), 1 - self.config.momentum)
