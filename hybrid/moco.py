"""MoCo-v2 (He et al. 2020; Chen et al. 2020): a momentum encoder and a queue of keys for the contrast of equation (3).

Batch norm lets a query and its key recognise each other by their batch's statistics. Shuffling batches over GPUs, MoCo's
cure, does nothing on one device. Here the key network normalises by running statistics that follow the query network's
with the same momentum as its weights (EMAN, Cai et al. 2021): a key does not depend on the batch it is computed in.

Keys enter the queue before their queries are compared with it, so the other images of the batch are among the negatives.
MoCo compares with older keys only; where the network moves fast, as in a short training, a query then tells its key by its
age alone, and the bound falls as the learning rate does.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybrid.bounds import i_cpc
from hybrid.errors import HybridError
from hybrid.profiles import Contrast


def head(inputs: int, config: Contrast) -> nn.Sequential:
    """MoCo-v2's two-layer head: features (N, ...) of `inputs` values -> (N, dim)."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, config.hidden), nn.ReLU(inplace=True), nn.Linear(config.hidden, config.dim)
    )


class MoCo(nn.Module):
    """The key side of the contrast: a momentum copy of the query network, and a first-in first-out queue of its keys."""

    def __init__(self, query_network: nn.Module, config: Contrast):
        super().__init__()
        self.config = config
        self.key_network = copy.deepcopy(query_network).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(config.queue, config.dim), dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> MoCo:
        super().train(mode)
        self.key_network.eval()  # running statistics, always
        return self

    @torch.no_grad()
    def keys(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) -> keys (N, dim) of length 1."""
        return F.normalize(self.key_network(x).float(), dim=1)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> Tensor:
        """Put keys (N, dim) in the place of the oldest, and return their places (N,). N may not exceed the queue."""
        size, count = len(self.queue), len(keys)
        if count > size:
            raise HybridError(f"a batch of {count} keys does not fit a queue of {size}: lengthen the queue or cut the batch")
        places = (self.pointer + torch.arange(count, device=keys.device)) % size
        self.queue.index_copy_(0, places, keys)
        self.pointer.add_(count).remainder_(size)
        return places

    def bound(self, queries: Tensor, places: Tensor) -> Tensor:
        """I_CPC in nats of queries (N, dim) whose keys lie at `places` (N,) of the queue: m = queue, g = exp(q . k / T)."""
        queries = F.normalize(queries.float(), dim=1) / self.config.temperature
        return i_cpc(queries @ self.queue.T, places)

    @torch.no_grad()
    def follow(self, query_network: nn.Module) -> None:
        """Move the key network, batch norm's statistics included, a step of 1 - momentum towards the query network."""
        own, others = self.key_network.state_dict(), query_network.state_dict()
        names = [name for name, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[n] for n in names], [others[n] for n in names], 1 - self.config.momentum)
