"""torch.compile where it pays and where it can be had: on a GPU with Triton, unless HYBRID_COMPILE says otherwise.

On two CPU cores the step gains nothing by it (results/bench/step.md) and waits a minute for the compiler.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
from torch import nn
from torch.utils._triton import has_triton

from hybrid.errors import HybridError


def backend(device: torch.device) -> str | None:
    """HYBRID_COMPILE: `no`, or one of torch.compile's backends, such as `inductor`; not set: inductor on a GPU with Triton.

    None: nothing is compiled. Raises HybridError for a backend that torch does not know.
    """
    wanted = os.environ.get("HYBRID_COMPILE", "")
    if not wanted:
        return "inductor" if device.type == "cuda" and has_triton() else None
    known = ["no", *torch._dynamo.list_backends(exclude_tags=())]
    if wanted not in known:
        raise HybridError(f"HYBRID_COMPILE = {wanted!r} is unknown: choose one of {', '.join(known)}")
    return None if wanted == "no" else wanted


def compile_networks(networks: list[nn.Module], device: torch.device) -> None:
    """Compile each in place, at its first call. What the compiler cannot do runs as it is, with a warning."""
    name = backend(device)
    if name is not None:
        torch._dynamo.config.suppress_errors = True
        for network in networks:
            network.compile(backend=name)


@contextlib.contextmanager
def compiled(networks: list[nn.Module], device: torch.device) -> Iterator[None]:
    """The networks are compiled in here, on a GPU cuDNN tries which of its algorithms is the fastest, and afterwards all is as
    it was: for a few batches of other shapes neither would pay."""
    benchmark = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = benchmark or device.type == "cuda"
    compile_networks(networks, device)
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = benchmark
        for network in networks:
            network._compiled_call_impl = None
