"""Several processes that train and judge one model together: torchrun starts them, each takes its share of every batch.

All run the same program in step. The first alone reads and writes files, and what it reads counts for all, so machines need
no file system in common. A process that is alone is its own first, and nothing here costs it anything.
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

from hybrid.errors import HybridError

T = TypeVar("T")
Loss = Callable[..., tuple[Tensor, dict[str, Tensor]]]  # as `Trainable.loss`: the loss, and scalars
TIMEOUT = timedelta(days=1)  # the others wait while the first fits probes, draws and executes notebooks

# Set while rank 0 is in `on_rank_zero`: a world of its own then, none of the others takes part.
_alone = ContextVar("alone", default=False)


def start() -> None:
    """Join the other processes, where torchrun's RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT tell of any.

    Each gets a GPU of its machine where there are GPUs. Raises HybridError where they are too few.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    backend = "gloo"
    if torch.cuda.is_available():
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise HybridError(f"process {local} of this machine has no GPU, there are {gpus}: set --nproc-per-node {gpus}")
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=TIMEOUT)


def stop() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def world() -> int:
    """How many processes there are."""
    return 1 if _alone.get() or not dist.is_initialized() else dist.get_world_size()


def rank() -> int:
    return 0 if world() == 1 else dist.get_rank()


def on_rank_zero(make: Callable[[], T]) -> T:
    """What `make` gives in the first process, its tensors on the CPU. All wait for it; a HybridError of it is raised in all."""
    if world() == 1:
        return make()
    sent: list[Any] = [None, None]
    if rank() == 0:
        token = _alone.set(True)
        try:
            sent[0] = make()
        except HybridError as error:
            sent[1] = error
        finally:
            _alone.reset(token)
    dist.broadcast_object_list(sent, src=0, device=torch.device("cpu"))
    if sent[1] is not None:
        raise sent[1]
    return sent[0]


def shard(x: Tensor, dim: int = 0) -> Tensor:
    """This process's part of x along `dim`, which the number of processes divides."""
    return x if world() == 1 else x.tensor_split(world(), dim)[rank()]


def gather(x: Tensor) -> list[Tensor]:
    """x of each process, in their order, without gradients. All have the same shape."""
    if world() == 1:
        return [x]
    gathered = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world())]
    dist.all_gather(gathered, x.contiguous())
    return gathered


def mean(x: Tensor) -> Tensor:
    """The mean of x over the processes; gradients pass."""
    return x if world() == 1 else _Mean.apply(x)


def map_sharded(function: Callable[..., Tensor], parts: list[tuple[Tensor, ...]]) -> Tensor:
    """torch.cat of function(*part) over parts, which gives a row for each of a part's: shared out, and all get all of it."""
    ends = [i * len(parts) // world() for i in range(world() + 1)]
    runs = [parts[a:b] for a, b in pairwise(ends)]
    if world() == 1 or not all(runs):  # fewer parts than processes are soon done by each
        return torch.cat([function(*part) for part in parts])
    own = torch.cat([function(*part) for part in runs[rank()]])
    counts = [sum(len(part[0]) for part in run) for run in runs]
    padded = torch.cat([own, own.new_zeros(max(counts) - len(own), *own.shape[1:])])
    return torch.cat([x[:count] for x, count in zip(gather(padded), counts, strict=True)])


def averaged(loss: Loss, module: nn.Module, leaves_out: bool = False) -> Loss:
    """`loss`, whose backward pass leaves in the module's parameters the gradient's mean over the processes.

    `leaves_out`: a step may leave some of the parameters out, the same in each process.
    """
    return loss if world() == 1 else DistributedDataParallel(_Loss(loss, module), find_unused_parameters=leaves_out)


class _Loss(nn.Module):
    """A loss as a module's forward, which is what DistributedDataParallel looks after.

    It is not shown the buffers: they are the same everywhere anyway, and the queue is too large to send at each step.
    """

    def __init__(self, loss: Loss, module: nn.Module):
        super().__init__()
        self.loss, self.moved = loss, nn.ParameterList(p for p in module.parameters() if p.requires_grad)

    def forward(self, *arguments) -> tuple[Tensor, dict[str, Tensor]]:
        loss, scalars = self.loss(*arguments)
        return loss, {name: scalar.detach() for name, scalar in scalars.items()}  # what they alone use moves nothing


class _Mean(torch.autograd.Function):
    """Each process's loss depends on the mean, so the gradient is a mean too."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total / world()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Mean.forward(ctx, gradient)
