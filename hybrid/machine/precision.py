"""The choice of the device, and the precision of each computation.

- Networks, in training and evaluation, and Muon's iteration (`muon`): bfloat16 if the hardware supports it (CUDA, CPUs with
  AVX-512 bf16 or AMX, Arm with bf16), else float32; so are the products of queries and keys in the contrast. Weights and
  optimiser states are float32.
- A DDIM's ODE in both directions, all sampling with a net that predicts noise, the ELBO, and the features for distances:
  always float32 (`float32`).
- The diffusions' coefficients: float64 on the CPU. The probe's loss and the distances: float64, on the device or, for MPS,
  which has no float64, on the CPU (`float64_device`).

Evaluation uses no TF32 on GPUs. HYBRID_PRECISION (bf16, float32) and HYBRID_DEVICE (cpu, cuda, mps) override the choice.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch

from hybrid.errors import HybridError

PRECISIONS = {"bf16": torch.bfloat16, "float32": torch.float32}


def best_device() -> torch.device:
    """Return the device HYBRID_DEVICE. If it is not set: CUDA if torch finds it, else Apple's MPS, else the CPU.

    Raises HybridError for any other value, and for a device that torch does not find.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    here = [name for name, there in found.items() if there]
    wanted = os.environ.get("HYBRID_DEVICE") or here[0]
    if wanted not in here:
        why = "is not available" if wanted in found else "is unknown"
        raise HybridError(f"HYBRID_DEVICE = {wanted!r} {why}: choose one of {', '.join(here)}, or leave it unset")
    return torch.device(wanted)


def usable(device: torch.device | str) -> torch.device:
    """Return the device. Raises HybridError if torch cannot use it."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # the latter if torch was built without that device
        raise HybridError(f"device = {str(device)!r} cannot be used here ({str(error).splitlines()[0]}): give cpu") from error


def dtype(device: torch.device) -> torch.dtype:
    """Return the type that networks compute in: HYBRID_PRECISION or, if unset, bfloat16 if the hardware has it, else float32.

    Raises HybridError for any other value of HYBRID_PRECISION.
    """
    wanted = os.environ.get("HYBRID_PRECISION")
    if wanted:
        if wanted not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise HybridError(f"HYBRID_PRECISION = {wanted!r} is unknown: choose one of {known}, or leave it unset")
        return PRECISIONS[wanted]
    return torch.bfloat16 if _has_bf16(device.type) else torch.float32


def _has_bf16(kind: str) -> bool:
    """Return whether bfloat16 is faster than float32. A CPU without bfloat16 units emulates it and takes five times as long."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu":
        return False
    # On Arm, Linux lists the CPU's features. On a Mac, torch has no fast bfloat16 for the CPU, whatever the hardware supports.
    arm = platform.machine() == "aarch64" and "bf16" in _cpu_flags()
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() or arm


def autocast(device: torch.device) -> torch.autocast:
    """Return a context that computes in `dtype`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=dtype(device) == torch.bfloat16)


def float32(device: torch.device) -> contextlib.AbstractContextManager:
    """Return a context that computes in float32, even inside `autocast`."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, torch.bfloat16, enabled=False)
    return contextlib.nullcontext()


@contextlib.contextmanager
def without_tf32() -> Iterator[None]:
    """Inside this context a GPU computes in full float32. By torch's default, convolutions keep only ten bits (TF32)."""
    backends = torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn
    kept = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, kept, strict=True):
            backend.fp32_precision = precision


def float64_device(device: torch.device) -> torch.device:
    """Return the device for float64 computations: `device` itself or, for MPS, which has no float64, the CPU."""
    return torch.device("cpu") if device.type == "mps" else device


def in_words(device: torch.device) -> str:
    """Describe the device as runs print it: "float32, 2 cores, AVX2", or "bf16, NVIDIA H100"."""
    if device.type != "cpu":
        return f"{name(device)}, {gpu_name(device)}"
    threads = torch.get_num_threads()
    return f"{name(device)}, {threads} core{'s' * (threads > 1)}, {instructions()}"


def name(device: torch.device) -> str:
    """Return the name of `dtype`, as in HYBRID_PRECISION."""
    return next(name for name, kind in PRECISIONS.items() if kind == dtype(device))


def gpu_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "Apple's GPU (MPS)"


def instructions() -> str:
    """Return the vector instructions that torch uses on the CPU, such as AVX2, or AVX512 with bf16."""
    name = torch.backends.cpu.get_cpu_capability()
    if name == "DEFAULT":  # torch's name for Arm's Neon and for everything it does not know
        name = "Neon" if platform.machine() in ("aarch64", "arm64") else platform.machine()
    return name + " with bf16" * _has_bf16("cpu")


@cache
def _cpu_flags() -> list[str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    return next((line.split(":")[1].split() for line in lines if line.startswith(("Features", "flags"))), [])
