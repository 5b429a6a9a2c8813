"""Optimisers and their learning-rate schedule."""

from __future__ import annotations

import torch
from torch import nn

from hybrid.profiles.schema import Training


def optimiser_for(module: nn.Module, config: Training, graphed: bool = False) -> torch.optim.Optimizer:
    """Return the optimiser of a module's parameters. `graphed`: its step will be captured in a CUDA graph."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    weights = {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay}
    others = {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0}
    if config.optimiser == "adamw":
        return torch.optim.AdamW([weights, others], lr=config.lr, betas=config.betas, fused=True, capturable=graphed)
    from hybrid.training.muon import Muon  # imports timm, which is slow

    # At the same learning rate Muon's updates are as large as AdamW's. NAdamW updates parameters that are not matrices.
    groups = [weights, others | {"use_fallback": True}]
    return Muon(groups, lr=config.lr, betas=config.betas, nesterov=True, capturable=graphed)


def schedule_for(optimiser: torch.optim.Optimizer, steps: int, config: Training):
    from timm.scheduler import CosineLRScheduler

    return CosineLRScheduler(
        optimiser, t_initial=steps, warmup_t=round(config.warmup * steps), warmup_prefix=False, t_in_epochs=False
    )
