"""Faster steps with the same results: torch.compile, gradients by products, and on a GPU one CUDA graph of the whole step.

torch.compile is used only on GPUs with Triton, unless HYBRID_COMPILE says otherwise: on two CPU cores it does not make steps of
the first stage faster (results/bench/step.md) and takes a minute to compile. HYBRID_GRAPH=no turns the graph off.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.utils._triton import has_triton

from hybrid.errors import HybridError
from hybrid.machine.gradients import leave_products, take_products


def backend(device: torch.device) -> str | None:
    """Return the backend HYBRID_COMPILE for torch.compile, None for `no`. If unset: inductor on a GPU with Triton, else None.

    Raises HybridError for a backend that torch does not know.
    """
    wanted = os.environ.get("HYBRID_COMPILE", "")
    if not wanted:
        return "inductor" if device.type == "cuda" and has_triton() else None
    known = ["no", *torch._dynamo.list_backends(exclude_tags=())]
    if wanted not in known:
        raise HybridError(f"HYBRID_COMPILE = {wanted!r} is unknown: choose one of {', '.join(known)}")
    return None if wanted == "no" else wanted


def compile_networks(networks: list[nn.Module], device: torch.device) -> None:
    """Compile each in place, at its first call. Without a compiler, they take gradients by products where that is faster."""
    name = backend(device)
    if name is None:
        take_products(networks, device)
    else:
        for network in networks:
            network.compile(backend=name)


@contextlib.contextmanager
def compiled(networks: list[nn.Module], device: torch.device) -> Iterator[None]:
    """Inside this context `compile_networks` holds, and on a GPU cuDNN searches for its fastest algorithms.

    Afterwards both are undone, because they do not pay for a few batches of other shapes. If the compiler fails, the networks
    run uncompiled, with a warning.
    """
    benchmark, compiler = torch.backends.cudnn.benchmark, torch._dynamo.config
    suppress = compiler.suppress_errors
    torch.backends.cudnn.benchmark = benchmark or device.type == "cuda"
    compile_networks(networks, device)
    compiler.suppress_errors = suppress or backend(device) is not None
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark, compiler.suppress_errors = benchmark, suppress
        for network in networks:
            network._compiled_call_impl = None
        leave_products(networks)


Step = Callable[..., dict[str, Tensor]]  # tensors of the same shapes at every call -> named scalars


def graphs(device: torch.device) -> bool:
    """Return whether to capture steps: on a GPU, unless HYBRID_GRAPH is `no`. Raises HybridError for any other value."""
    wanted = os.environ.get("HYBRID_GRAPH", "")
    if wanted not in ("", "no"):
        raise HybridError(f"HYBRID_GRAPH = {wanted!r} is unknown: give no, or leave it unset")
    return device.type == "cuda" and not wanted


class GraphedStep:
    """A training step that a GPU replays as one CUDA graph, so the host need not launch thousands of kernels one by one.

    The first `WARMUP` calls are normal steps without a graph; the next call captures the graph. `step` must run the same
    operations in every call, read all that changes (batches, learning rates) from tensors, and never wait for the device.
    Random numbers follow torch.manual_seed as without a graph. Each call overwrites the tensors that the previous one returned.
    """

    WARMUP = 3  # until optimiser states, cuDNN's choices and compiled kernels exist

    def __init__(self, step: Step):
        self.step, self.calls = step, 0
        self.graph, self.stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls <= self.WARMUP:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                found = self.step(*inputs)
            torch.cuda.current_stream().wait_stream(self.stream)
            return found
        if self.calls == self.WARMUP + 1:
            self.inputs = [x.clone() for x in inputs]
            with torch.cuda.graph(self.graph, stream=self.stream):
                self.found = self.step(*self.inputs)
        for kept, x in zip(self.inputs, inputs, strict=True):
            kept.copy_(x)
        self.graph.replay()
        return self.found
