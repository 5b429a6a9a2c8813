"""Several processes train and judge one model together. torchrun starts them; each takes its shard of every batch.

All processes run the same program in step. Only rank 0 reads and writes files, and sends what it reads to the others, so
machines need no common file system. A single process is rank 0, and these functions cost it nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hybrid.errors import HybridError, TimeUp
from hybrid.machine import lines

T = TypeVar("T")
Loss = Callable[..., tuple[Tensor, dict[str, Tensor]]]  # like `Trainable.loss`: the loss, and scalars
TIMEOUT = timedelta(days=1)  # the others wait while rank 0 fits probes, draws and executes notebooks

# Set while rank 0 runs `on_rank_zero`. The other processes take no part, so the world then has size 1.
_alone = ContextVar("alone", default=False)


def start() -> None:
    """Join the other processes, if torchrun's RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say there are any.

    On machines with GPUs each process gets one of its own. Raises HybridError if there are too few.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    backend = "gloo"
    if torch.cuda.is_available():
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise HybridError(f"process {local} of this machine gets no GPU, there are {gpus}: set --nproc-per-node {gpus}")
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=TIMEOUT)


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def world() -> int:
    """Return the number of processes."""
    return 1 if _alone.get() or not dist.is_initialized() else dist.get_world_size()


def rank() -> int:
    return 0 if world() == 1 else dist.get_rank()


def on_rank_zero(make: Callable[[], T]) -> T:
    """Run `make` on rank 0 and return its result in all processes, with tensors on the CPU.

    All processes wait for it. If it raises HybridError or TimeUp, all raise it.
    """
    if world() == 1:
        return make()
    sent: list[Any] = [None, None]
    if rank() == 0:
        token = _alone.set(True)
        try:
            sent[0] = make()
        except (HybridError, TimeUp) as error:
            sent[1] = error
        finally:
            _alone.reset(token)
    dist.broadcast_object_list(sent, src=0, device=torch.device("cpu"))
    if sent[1] is not None:
        raise sent[1]
    return sent[0]


def shard(x: Tensor, dim: int = 0) -> Tensor:
    """Return this process's part of x along `dim`. The number of processes must divide its length."""
    return x if world() == 1 else x.tensor_split(world(), dim)[rank()]


def gather(x: Tensor) -> list[Tensor]:
    """Return the x of each process, in the order of ranks, without gradients. All must have the same shape."""
    if world() == 1:
        return [x]
    gathered = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world())]
    dist.all_gather(gathered, x.contiguous())
    return gathered


def mean(x: Tensor) -> Tensor:
    """Return the mean of x over the processes; differentiable."""
    return x if world() == 1 else _Mean.apply(x)


def map_sharded(function: Callable[..., Tensor], parts: list[tuple[Tensor, ...]]) -> Tensor:
    """Return torch.cat of function(*part) over parts. The processes divide the parts among them; each gets the whole result.

    `function` must return one row for each row of a part.
    """
    ends = [i * len(parts) // world() for i in range(world() + 1)]
    runs = [parts[a:b] for a, b in pairwise(ends)]
    if world() == 1 or not all(runs):  # with fewer parts than processes, each process computes all of them
        return torch.cat([function(*part) for part in lines.told(parts, silent=rank() > 0)])
    own = torch.cat([function(*part) for part in lines.told(runs[rank()], silent=rank() > 0)])
    counts = [sum(len(part[0]) for part in run) for run in runs]
    padded = torch.cat([own, own.new_zeros(max(counts) - len(own), *own.shape[1:])])
    return torch.cat([x[:count] for x, count in zip(gather(padded), counts, strict=True)])


def averaged(loss: Loss, module: nn.Module, leaves_out: bool = False) -> Loss:
    """Wrap `loss` so that its backward pass averages the gradients of the module's parameters over the processes.

    `leaves_out`: the loss of a step need not depend on some parameters, the same ones in each process.
    """
    return loss if world() == 1 else DistributedDataParallel(_Loss(loss, module), find_unused_parameters=leaves_out)


class _Loss(nn.Module):
    """A loss as the forward method of a module, as DistributedDataParallel needs it.

    It hides the buffers: they are the same in all processes anyway, and the queue is too large to send in every step.
    """

    def __init__(self, loss: Loss, module: nn.Module):
        super().__init__()
        self.loss, self.moved = loss, nn.ParameterList(p for p in module.parameters() if p.requires_grad)

    def forward(self, *arguments) -> tuple[Tensor, dict[str, Tensor]]:
        loss, scalars = self.loss(*arguments)
        return loss, {name: scalar.detach() for name, scalar in scalars.items()}  # scalars have no gradients


class _Mean(torch.autograd.Function):
    """The mean over processes. Each process's loss depends on it, so its gradient is averaged too."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total / world()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Mean.forward(ctx, gradient)
