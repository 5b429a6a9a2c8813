"""The latent DDIM under diffusers' schedulers: the same sample as by this package's own steps."""

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from torch.nn import functional as F

from hybrid.bridges import schedulers
from hybrid.errors import HybridError
from hybrid.model import HybridModel
from hybrid.models.autoencoder import Decoder, Encoder
from hybrid.models.latent_ddim import LatentDDIM, PlusPrior, SemanticPrior, TexturePrior
from hybrid.profiles.overrides import profile


def made(change=""):
    """A hybrid with a prior whose weights are drawn, and whose units are not the codes'."""
    config = profile(f"smoke{change}").hybrid
    torch.manual_seed(0)
    autoencoder = config.representation.autoencoder
    prior = LatentDDIM(config.prior, autoencoder)
    for parameter in prior.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    prior.prepare(2 + 3 * torch.randn(60, 2, 6, 16, 16))
    return HybridModel(Encoder(autoencoder), Decoder(autoencoder), prior)


V = ",hybrid.prior.predict=v"


@pytest.mark.parametrize("change", ["", V, f"{V},hybrid.prior.unshuffle=true,hybrid.prior.multipliers=1-1-2"])
def test_ddim_gives_the_same_sample(change):
    model, noise = made(change), torch.randn(2, 6, 16, 16, generator=torch.Generator().manual_seed(1))
    theirs = schedulers.scheduler(model)
    assert type(theirs) is DDIMScheduler
    # Ten evenly spaced steps from 1000 to 1 lie 111 apart, where diffusers takes 1000 // num_inference_steps.
    theirs.set_timesteps(9)
    theirs.timesteps = torch.arange(999, -1, -111)
    ours = model.prior.sample(noise, steps=10, eta=0.0, seed=0)
    torch.testing.assert_close(schedulers.codes(model, theirs, noise), ours, rtol=1e-3, atol=2e-2)
    assert ours.std() > 1


def test_its_own_timesteps_are_this_packages_steps_along_them():
    model, noise = made(), torch.randn(2, 6, 16, 16, generator=torch.Generator().manual_seed(1))
    theirs = schedulers.scheduler(model)
    theirs.set_timesteps(50)
    diffusion, prior = model.prior.diffusion, model.prior
    times = F.pad(theirs.timesteps + 1, (0, 1))
    assert times[0] == 1000 and times[-2:].tolist() == [20, 0]
    with torch.no_grad():
        ours = diffusion._walk(prior.predicted, noise, times, diffusion.alpha.new_zeros(50), prior.clip, None)
    torch.testing.assert_close(schedulers.codes(model, theirs, noise), prior.to_codes(ours), rtol=1e-3, atol=2e-2)


def test_samples_are_of_the_same_noise_and_others_run_too():
    model = made()
    images = schedulers.sample(model, schedulers.scheduler(model), count=3, steps=20, seed=5)
    assert images.shape == (3, 3, 32, 32) and 0 <= images.min() <= images.max() <= 1
    near = (images - model.sample(3, steps=20, seed=5)).abs().mean()
    assert near < 0.3 * (images - model.sample(3, steps=20, seed=6)).abs().mean()
    for kind in (DPMSolverMultistepScheduler, EulerDiscreteScheduler):
        other = schedulers.scheduler(model, kind)
        assert type(other) is kind and other.config.prediction_type == "epsilon"
    assert schedulers.sample(model, schedulers.scheduler(model, DPMSolverMultistepScheduler), 2, 5).isfinite().all()


def test_hybrid_plus_is_refused():
    config = profile("smoke")
    autoencoder = config.hybrid.representation.autoencoder
    plus = PlusPrior(SemanticPrior(config.plus.y, autoencoder), TexturePrior(config.plus.w, autoencoder))
    with pytest.raises(HybridError, match=r"samples by Hybrid\+.* has no DDIM on the whole of z"):
        schedulers.scheduler(HybridModel(Encoder(autoencoder), Decoder(autoencoder), plus))
