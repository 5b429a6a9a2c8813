"""Use the hybrid's DDIM on z with the schedulers of diffusers: pip install 'hybrid-mi[diffusers]'.

    from diffusers import DPMSolverMultistepScheduler
    from hybrid.bridges import schedulers

    images = schedulers.sample(model, schedulers.scheduler(model, DPMSolverMultistepScheduler), count=16, steps=20)

In diffusers, times run from 0 to T - 1; in this package, from 1 to T.
"""

from __future__ import annotations

import inspect
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hybrid.errors import HybridError
from hybrid.machine.precision import autocast, float32, without_tf32
from hybrid.model import HybridModel
from hybrid.models.autoencoder import LATENT_CHANNELS, LATENT_SIZE
from hybrid.models.latent_ddim import LatentDDIM
from hybrid.released import RUN

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

PREDICTIONS = {"noise": "epsilon", "v": "v_prediction"}  # `predict` -> diffusers' name for it


def scheduler(model: HybridModel, kind: Any = None, **options) -> SchedulerMixin:
    """Return a scheduler with the noise levels of the model's DDIM: diffusers' DDIMScheduler, or another `kind`.

    `options` replace the default ones. Raises HybridError if the model has no DDIM on z.
    """
    prior, DDIMScheduler = _prior(model), _diffusers().DDIMScheduler
    config = prior.config
    made = DDIMScheduler(
        **{
            "num_train_timesteps": config.steps,
            "beta_start": config.beta_min,
            "beta_end": config.beta_max,
            "beta_schedule": "linear",
            "prediction_type": PREDICTIONS[config.predict],
            "clip_sample": True,
            "clip_sample_range": config.clip,
            "set_alpha_to_one": True,
            "timestep_spacing": "trailing",  # from T on, as here
        }
        | options
    )
    return made if kind in (None, DDIMScheduler) else kind.from_config(made.config)


def sample(model: HybridModel, scheduler: SchedulerMixin, count: int, steps: int = 50, seed: int = 0) -> Tensor:
    """Sample new images (count, 3, 32, 32) in [0, 1] with diffusers' steps, from the same noise as `model.sample`."""
    noise = torch.randn(count, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE, generator=torch.Generator().manual_seed(seed))
    scheduler.set_timesteps(steps)
    return model.decode(codes(model, scheduler, noise))


@torch.no_grad()
@without_tf32()
def codes(model: HybridModel, scheduler: SchedulerMixin, noise: Tensor) -> Tensor:
    """Sample z from noise (N, 6, 16, 16) along the scheduler's current `timesteps`."""
    prior = _prior(model)
    x = noise.to(model.device)
    # Like Diffusion's own steps: compute the noise from the clipped x_0.
    options = {"use_clipped_model_output": True, "return_dict": False}
    options = {name: value for name, value in options.items() if name in inspect.signature(scheduler.step).parameters}
    with autocast(x.device), float32(x.device) if prior.config.predict == "noise" else nullcontext():
        for time in scheduler.timesteps:
            t = torch.full((len(x),), round(float(time)) + 1, device=x.device)
            predicted = prior.predicted(scheduler.scale_model_input(x, time), t).float()
            x = scheduler.step(predicted, time, x, **options)[0]
        return prior.to_codes(x)


def _prior(model: HybridModel) -> LatentDDIM:
    if not isinstance(model.prior, LatentDDIM):
        raise HybridError(f"{model!r} has no DDIM on the whole of z, which is what schedulers run: load a run such as {RUN}")
    return model.prior


def _diffusers():
    try:
        import diffusers
    except ImportError:
        raise HybridError("diffusers is not installed: pip install 'hybrid-mi[diffusers]'") from None
    return diffusers
