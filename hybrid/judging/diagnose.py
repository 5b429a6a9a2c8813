"""Tables that help to answer, for a trained hybrid: Is its code good? Has its prior converged?

`spectra`: if all of a code's variance is in fine detail, a diffusion can learn little. `losses`: a prior that is no better
than the best Gaussian predictor has learned covariances and nothing else. `power`: samples with too little power look soft.
`distances`: whether the sampled y or the sampled w makes samples worse than reconstructions.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybrid import paths
from hybrid.data import pixels
from hybrid.data.datasets import ImageSet
from hybrid.data.pixels import as_float
from hybrid.errors import HybridError
from hybrid.judging import frechet, spectra
from hybrid.machine.precision import without_tf32
from hybrid.model import HybridModel
from hybrid.models.diffusion import Diffusion
from hybrid.models.latent_ddim import PlusPrior, SemanticPrior, TexturePrior, principal_components

CODES = 10_000  # largest number of train images to compute codes and features of
PASSES = 4  # passes over the test codes to estimate a prior's loss, with new times and noise in each
FINE = 8  # in mixtures, the modes of w with i + j >= FINE come from another image


def diagnose(
    model: HybridModel,
    images: ImageSet,
    count: int = 2000,
    steps: int = 50,
    eta: float = 0.0,
    seed: int = 0,
    order: int = 1,
    cache: Path | None = None,
) -> dict[str, pd.DataFrame]:
    """Return the tables `facts`, `spectra`, `losses`, `power` and `distances`, from `count` test images and as many samples.

    A model without a prior has no samples; what needs them is left out. `cache`: a folder for the features of train images.
    Raises HybridError if train or test set have fewer than two images.
    """
    if (fewest := min(len(images.train_images), len(images.test_images))) < 2:
        raise HybridError(f"{images.name} has {fewest} train or test image: give a data set with two or more of each")
    chosen = torch.randperm(len(images.train_images), generator=torch.Generator().manual_seed(0))[:CODES]
    some = torch.randperm(len(images.test_images), generator=torch.Generator().manual_seed(seed))[:count]
    train, test = images.train_images[chosen], images.test_images[some]
    drawn = None if model.prior is None else model.sample_codes(len(test), steps, eta, seed, order)  # may refuse `steps`
    codes, real = model.encode(train), model.encode(test)
    both = torch.stack([real, model.encode(test.flip(3))], dim=1)
    network = frechet.load_network("efficientnet_lite0", images.train_images.device)
    key = f"{images.sha256} train, {len(chosen)} of them"
    reference = frechet.reference(network, train, key, cache or paths.cache())
    mixtures = {"real, test set": test} | {
        name: pixels.to_uint8(x) for name, x in mixed_images(model, codes, real, drawn, steps, eta, seed, order).items()
    }
    rows = [{"images": name} | reference.compare(batch) for name, batch in mixtures.items()]
    return {
        "facts": facts(model, test, real, seed),
        "spectra": code_spectra(model, codes, train),
        "losses": losses(model, codes, both, seed),
        "power": power(model, real, drawn),
        "distances": pd.DataFrame(rows).set_index("images"),
    }


def facts(model: HybridModel, images: Tensor, codes: Tensor, seed: int) -> pd.DataFrame:
    """Return the reconstruction error, the change of the image when noise replaces y (both in 1e-3 per dimension), and the
    number of principal components with 90 % of y's variance."""
    y, w = model.split(codes)
    std, mean = torch.std_mean(y, dim=(0, 2, 3), keepdim=True)
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed)).to(y) * std + mean
    pictures = model.decode(codes)
    moved = (model.decode(torch.cat([noise, w], dim=1)) - pictures).square().mean()
    falling = principal_components(y.flatten(1))[0].flip(0)
    held = int((falling.cumsum(0) < 0.9 * falling.sum()).sum()) + 1
    values = {
        "error, 1e-3": 1e3 * (pictures - as_float(images)).square().mean().item(),
        "noise for y moves the picture by, 1e-3": 1e3 * moved.item(),
        "components with 90 % of y's variance": held,
        "dimensions of y": y[0].numel(),
    }
    return pd.DataFrame({"value": values}).rename_axis("fact")


def code_spectra(model: HybridModel, codes: Tensor, images: Tensor) -> pd.DataFrame:
    """Return the share of variance in k x k block means: the smallest and largest channel of y, w and 2 x 2 means of pixels."""
    y, w = model.split(codes)
    rows = {}
    for name, x in {"y": y, "w": w, "pixels, 2 x 2 means": F.avg_pool2d(as_float(images), 2)}.items():
        shares = spectra.block_shares(x)
        rows |= {f"{name}, least": shares.amin(1).tolist(), f"{name}, most": shares.amax(1).tolist()}
    rows["white noise"] = [1 / size**2 for size in spectra.SIZES]
    columns = [f"{size} x {size}" for size in spectra.SIZES]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("share in means of")


def gaussian_variances(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the variances of the principal components, and of the dimensions, of codes (N, C, H, W): (C H W,) each.

    With them `Diffusion.gaussian_loss` gives the loss of the best linear predictor, and of the best one without correlations.
    Channels are standardised first. These losses are no bounds: a better net has learned what is not Gaussian. With few codes
    per dimension the first loss is too low.
    """
    std, mean = torch.std_mean(codes, dim=(0, 2, 3), keepdim=True)
    x = ((codes - mean) / std).flatten(1)
    return principal_components(x)[0], x.var(0).cpu()


def losses(model: HybridModel, codes: Tensor, latents: Tensor, seed: int) -> pd.DataFrame:
    """Return one row for each part and target with the losses of the two Gaussian predictors, then one for each prior loss.

    The Gaussians are fitted to codes (N, 6, 16, 16) of train images; the prior is evaluated on latents (M, 2, 6, 16, 16) of
    test images. The rows of the prior also have the loss of a Gaussian fitted to the codes in that stage's coordinates.
    """
    y, w = model.split(codes)
    variances = {part: gaussian_variances(x) for part, x in {"z": codes, "y": y, "w": w}.items()}
    rows = []
    for predict in ("v", "noise"):
        for part, both in variances.items():
            full, diagonal = (Diffusion(predict=predict).gaussian_loss(v) for v in both)
            rows.append({"of": part, "predicted": predict, "Gaussian": full, "without correlation": diagonal})
    for name, stage in _stages(model.prior).items():
        own = _own_gaussian(stage, variances["z"][0])
        for key, value in prior_losses(stage, latents, seed).items():
            row = {"of": f"{name}: {key}", "predicted": stage.diffusion.predict, "Gaussian": own.get(key), "prior": value}
            rows.append(row)
    return pd.DataFrame(rows).set_index("of")


def _stages(prior: nn.Module | None) -> dict[str, nn.Module]:
    if isinstance(prior, PlusPrior):
        return {"p(y)": prior.semantic, "p(w | y)": prior.texture}
    return {} if prior is None else {"p(z)": prior}


def _own_gaussian(stage: nn.Module, variances: Tensor) -> dict[str, float]:
    """Return Gaussian losses by the names of the losses. `variances`: of the principal components of z, for a DDIM on z."""
    if isinstance(stage, SemanticPrior):
        return {"loss": stage.diffusion.gaussian_loss(torch.ones(1))}  # its codes are whitened
    if isinstance(stage, TexturePrior):
        return {"loss": stage.diffusion.gaussian_loss(stage.codes.w_variances.cpu())}
    return stage.gaussian_losses() or {"loss": stage.diffusion.gaussian_loss(variances)}


@torch.no_grad()
@without_tf32()
def prior_losses(stage: nn.Module, latents: Tensor, seed: int) -> dict[str, float]:
    """Return the mean over latents (N, 2, 6, 16, 16) of each loss that this stage of the prior logs in training."""
    device, labels, found = latents.device, torch.zeros(len(latents), dtype=torch.long), []
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for _ in range(PASSES):
            for batch, some in zip(latents.split(500), labels.split(500), strict=True):
                parts = stage.loss("", batch, some.to(device))[1]
                parts = {name: value for name, value in parts.items() if not name.endswith("_gaussian")}
                found.append({name: value.item() * len(batch) for name, value in parts.items()})
    return (pd.DataFrame(found).sum() / (PASSES * len(latents))).to_dict()


def power(model: HybridModel, real: Tensor, drawn: Tensor | None) -> pd.DataFrame:
    """Return, for each band of the DCT, the power of y and w in sampled codes divided by that in real ones. 1 is ideal."""
    if drawn is None:
        return pd.DataFrame()
    bands = [f"{first} to {last}" for first, last in spectra.BANDS]
    pairs = zip("yw", model.split(real), model.split(drawn), strict=True)
    ratios = {part: (spectra.band_powers(b) / spectra.band_powers(a)).tolist() for part, a, b in pairs}
    return pd.DataFrame(ratios, index=pd.Index(bands, name="i + j"))


def mixed_images(
    model: HybridModel, codes: Tensor, real: Tensor, drawn: Tensor | None, steps: int, eta: float, seed: int, order: int
) -> dict[str, Tensor]:
    """Decode real codes, sampled codes and mixtures of them: name -> images, float on [0, 1]."""
    y, w = model.split(real)
    x = codes.flatten(1)
    variances, basis = (part.to(x) for part in principal_components(x))
    noise = torch.randn(len(real), x.shape[1], generator=torch.Generator().manual_seed(seed)).to(x)
    gaussian = (noise * variances.sqrt()) @ basis.T + x.mean(0)
    mixtures = {
        "reconstructions": real,
        "real y, w's fine part another's": torch.cat([y, spectra.mixed(w, w.roll(1, 0), FINE)], dim=1),
        "Gaussian with z's covariance": gaussian.view_as(real),
    }
    if drawn is not None:
        drawn_y, drawn_w = model.split(drawn)
        mixtures |= {
            "samples": drawn,
            "real y, drawn w": torch.cat([y, drawn_w], dim=1),
            "drawn y, real w": torch.cat([drawn_y, w], dim=1),
        }
    found = {name: model.decode(z) for name, z in mixtures.items()}
    if isinstance(model.prior, PlusPrior):
        found["real y, w drawn given it"] = model.sample_given(y, steps, eta, seed, order)
    return found
