"""The methods that Table 1 compares: how to train each one, and which of the table's numbers it has.

A method is trained in stages. Each stage is one run of the training loop and has its own folder. The result is a model to
judge: a module with `features`, and with `reconstruct` and `sample` if the method supports them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hybrid.data.datasets import ImageSet
from hybrid.errors import HybridError
from hybrid.judging import interpolations
from hybrid.judging.evaluate import OwnMetrics, finer
from hybrid.machine import files
from hybrid.model import EncoderModel, HybridModel
from hybrid.models.autoencoder import LATENT_SIZE
from hybrid.models.base import Trainable, stream
from hybrid.models.biggan import BigGAN
from hybrid.models.hybrid import Representation
from hybrid.models.latent_ddim import LatentDDIM, PlusPrior, SemanticPrior, TexturePrior
from hybrid.models.nvae import NVAE
from hybrid.models.pixel_ddim import PixelDDIM
from hybrid.profiles import schema
from hybrid.profiles.schema import Profile, Training, describe
from hybrid.training import checkpoint
from hybrid.training.loop import Clock, finished, train

Watch = Callable[[Path, Trainable, dict, ImageSet], None]  # a stage's folder, its model so far, a history line, the images


@dataclass(frozen=True)
class Run:
    """One training of one method: profile, data, seed and folder."""

    profile: Profile
    images: ImageSet  # on the device
    seed: int
    folder: Path
    clock: Clock
    watch: Watch | None = None  # called with each line of the histories

    def stage(self, name: str, trainable: Trainable, config, data: Callable[[], Tensor], **about) -> Trainable:
        """Train a stage to its end, or load it if it is finished; `data` is called only to train.

        The checkpoint stores `about`, the config, the data set and the seed. They suffice to rebuild the model, and to refuse a
        checkpoint of another training.
        """
        folder = self.folder / name
        about |= self.identity(config) | {"sha256": self.images.sha256}
        trainable.to(self.images.train_images.device)
        kinds = kinds_in(config)
        if (done := finished(trainable, folder, about, kinds)) is not None:
            return done
        labels = self.images.train_labels
        with files.sole_use(folder):
            return train(
                trainable,
                data(),
                labels,
                config.training,
                folder,
                seed=self.seed,
                about=about,
                kinds=kinds,
                clock=self.clock,
                watch=self.watch and (lambda model, line: self.watch(folder, model, line, self.images)),
            )

    def identity(self, config) -> dict:
        """Return what a checkpoint stores about a stage, without the digest of the images."""
        return {"config": describe(config), "dataset": self.images.name, "seed": self.seed}


def kinds_in(config) -> dict[str, type]:
    """Return the classes of the configs in what a checkpoint stores about a stage."""
    return {"config": type(config), "latents_of": schema.Representation}


@dataclass(frozen=True)
class Planned:
    """A stage of a `Preview`."""

    trainable: Trainable
    training: Training
    data: Callable[[], Tensor]
    about: dict  # what its checkpoint would store, without the digests of images and encoder
    kinds: dict[str, type]


@dataclass(frozen=True)
class Preview(Run):
    """A run that trains nothing, and records its stages by their folders."""

    found: dict[Path, Planned] = field(default_factory=dict)

    def stage(self, name: str, trainable: Trainable, config, data: Callable[[], Tensor], **about) -> Trainable:
        trainable.to(self.images.train_images.device)
        known = {part: value for part, value in about.items() if part != "encoder"} | self.identity(config)
        self.found[self.folder / name] = Planned(trainable, config.training, data, known, kinds_in(config))
        return copy.deepcopy(trainable)  # a copy, because the caller freezes it


def preview(run: Run, name: str) -> dict[Path, Planned]:
    """Return the stages of a method by their folders, without training."""
    seen = Preview(run.profile, run.images, run.seed, run.folder, run.clock)
    method(name).train(seen, method(name).config(run.profile))
    return seen.found


@dataclass(frozen=True)
class Method:
    """A row of the table, or an ablation."""

    name: str  # in folders and tables
    title: str  # as in the paper's Table 1
    metrics: tuple[str, ...]  # those of mse, fid and acc that the method supports; the others get a dash
    stages: tuple[str, ...]  # folders with a checkpoint and a history each
    config: Callable[[Profile], Any]  # selects the method's config from a profile
    train: Callable[[Run, Any], nn.Module]  # trains the stages that are not finished, and returns the model
    first: str | None = None  # the method whose first stage it reuses, together with that method's mse and acc
    own_metrics: OwnMetrics | None = None  # computes metrics beyond the table's

    @property
    def has_gallery(self) -> bool:
        """Whether it is a row of the table with pictures to show: samples, reconstructions or both."""
        return self.name in TABLE and not {"mse", "fid"}.isdisjoint(self.metrics)


@cache
def check(profile: Profile) -> None:
    """Build the profile's networks without values, so that impossible settings raise HybridError before any training starts.

    BigGAN is left out, because its spectral norms need values.
    """
    batch, contrast = profile.hybrid.representation.training.batch, profile.hybrid.representation.contrast
    keys = contrast.key_batch
    if batch % min(keys, batch):
        raise HybridError(
            f"hybrid.representation.contrast.key_batch = {keys}: give a divisor of the batch's {batch} images, or more"
        )
    if batch > contrast.queue:
        raise HybridError(f"hybrid.representation.contrast.queue = {contrast.queue}: give at least the batch's {batch} images")
    autoencoder = profile.hybrid.representation.autoencoder
    most = autoencoder.y_channels * LATENT_SIZE**2
    if profile.plus.y.components > most:
        raise HybridError(f"plus.y.components = {profile.plus.y.components}: give at most y's {most} dimensions")
    networks: dict[str, Callable[[], nn.Module]] = {
        "hybrid.representation": lambda: Representation(profile.hybrid.representation),
        "hybrid.prior": lambda: LatentDDIM(profile.hybrid.prior, autoencoder),
        "plus.y": lambda: SemanticPrior(profile.plus.y, autoencoder),
        "plus.w": lambda: TexturePrior(profile.plus.w, autoencoder),
        "nvae": lambda: NVAE(profile.nvae),
        "ddim": lambda: PixelDDIM(profile.ddim),
    }
    for part, build in networks.items():
        try:
            with torch.device("meta"):
                network = build()
                if isinstance(network, LatentDDIM | SemanticPrior | TexturePrior | PixelDDIM):
                    network.diffusion.timesteps(profile.evaluation.sampler_steps)
        except HybridError as error:
            raise HybridError(f"{part}: {error}") from None


def train_representation(run: Run, config: schema.Representation) -> EncoderModel:
    """Train the autoencoder with the contrast; with alpha = 0, MoCo-v2 without a decoder."""
    torch.manual_seed(stream(run.seed, "representation"))
    trained = run.stage("representation", Representation(config), config, lambda: run.images.train_images)
    return EncoderModel(trained.encoder) if trained.decoder is None else HybridModel(trained.encoder, trained.decoder)


def train_hybrid(run: Run, config: schema.Hybrid) -> HybridModel:
    """Train autoencoder and contrast, then the DDIM on the frozen z."""
    if not config.representation.alpha:
        raise HybridError(
            "hybrid.representation.alpha = 0.0: a hybrid needs a weight above 0; without a decoder, train the method mocov2"
        )
    model = train_representation(run, config.representation)
    prior = on_latents(run, model, "prior", LatentDDIM, config.prior, describe(config.representation))
    return HybridModel(model.encoder, model.decoder, prior)


def train_hybrid_plus(run: Run, config: schema.HybridPlus) -> HybridModel:
    """Train the hybrid's first stage, then p(y) and p(w | y) on the frozen z = [y, w]."""
    first = replace(run, folder=run.folder.parents[1] / "hybrid" / run.folder.name)
    model = train_representation(first, config.representation)
    semantic = on_latents(run, model, "semantic", SemanticPrior, config.y, describe(config.representation))
    texture = on_latents(run, model, "texture", TexturePrior, config.w, describe(config.representation))
    return HybridModel(model.encoder, model.decoder, PlusPrior(semantic, texture))


def on_latents(run: Run, model: HybridModel, name: str, build, config, latents_of: dict) -> Trainable:
    """Train a stage on the frozen codes of the train images and their mirror images.

    `latents_of`: plain values that tell whose codes they are; a checkpoint of others' is refused, and so is one of the codes of
    the same encoder with other weights. Raises HybridError for codes that are not finite.
    """
    torch.manual_seed(stream(run.seed, name))
    prior = build(config, model.encoder.config)

    def latents() -> Tensor:
        images = run.images.train_images
        codes = torch.stack([model.encode(images), model.encode(images.flip(3))], dim=1)  # (N, 2, 6, 16, 16)
        if not torch.isfinite(codes).all():
            raise HybridError(f"the first stage, in {run.folder.parents[1]}, gives codes that are not finite: train it again")
        return codes

    return run.stage(name, prior, config, latents, latents_of=latents_of, encoder=checkpoint.digest(model.encoder.state_dict()))


def train_alone(build: Callable[[Run, Any], Trainable]) -> Callable[[Run, Any], nn.Module]:
    """Return the `train` of a method with one stage on images. Its trained module is the model to judge."""

    def train_it(run: Run, config: Any) -> nn.Module:
        torch.manual_seed(stream(run.seed, "model"))
        return run.stage("model", build(run, config), config, lambda: run.images.train_images).requires_grad_(False)

    return train_it


def contrast_only(profile: Profile) -> schema.Representation:
    """Return MoCo-v2's config: the hybrid's encoder, contrast and training without a decoder, for a fair comparison."""
    representation = profile.hybrid.representation
    return replace(representation, alpha=0.0, autoencoder=replace(representation.autoencoder, w_cells=None))  # w is unused


def contrast_on_z(profile: Profile) -> schema.Representation:
    """Return the hybrid's first stage with the contrast on all of z. The paper says that this makes reconstruction worse."""
    return replace(profile.hybrid.representation, contrast=replace(profile.hybrid.representation.contrast, on="z"))


# The rows of Table 1, in order.
TABLE = {
    method.name: method
    for method in (
        Method(
            name="hybrid",
            title="Hybrid",
            metrics=("mse", "fid", "acc"),
            stages=("representation", "prior"),
            config=lambda profile: profile.hybrid,
            train=train_hybrid,
            own_metrics=interpolations.moved,
        ),
        Method(
            name="hybridplus",
            title="Hybrid+",
            metrics=("mse", "fid", "acc"),
            stages=("semantic", "texture"),
            config=lambda profile: schema.HybridPlus(**vars(profile.plus), representation=profile.hybrid.representation),
            train=train_hybrid_plus,
            first="hybrid",
        ),
        Method(
            name="mocov2",
            title="MoCo-v2",
            metrics=("acc",),
            stages=("representation",),
            config=contrast_only,
            train=train_representation,
        ),
        Method(
            name="nvae",
            title="NVAE-lite",
            metrics=("mse", "fid", "acc"),
            stages=("model",),
            config=lambda profile: profile.nvae,
            train=train_alone(lambda run, config: NVAE(config)),
            own_metrics=lambda model, images, seed: {"bits_per_dim": model.bits_per_dim(images.test_images, seed)},
        ),
        Method(
            name="ddim",
            title="DDIM",
            metrics=("mse", "fid", "acc"),
            stages=("model",),
            config=lambda profile: profile.ddim,
            train=train_alone(lambda run, config: PixelDDIM(config)),
            own_metrics=lambda model, images, seed: model.errors_by_steps(images.test_images) | finer(model, images, seed),
        ),
        Method(
            name="biggan",
            title="BigGAN",
            metrics=("fid", "acc"),
            stages=("model",),
            config=lambda profile: profile.biggan,
            train=train_alone(lambda run, config: BigGAN(config, run.images.classes)),
        ),
    )
}

# Claims that the paper makes only in words, measured with the same budget and one change.
ABLATIONS = {
    method.name: method
    for method in (
        Method(
            name="contrast_on_z",
            title="Contrast on z",
            metrics=("mse", "acc"),
            stages=("representation",),
            config=contrast_on_z,
            train=train_representation,
            own_metrics=interpolations.moved,
        ),
    )
}

METHODS = TABLE | ABLATIONS


def method(name: str) -> Method:
    """Return the method of this name. Raises HybridError, with the list of methods, if there is none."""
    if name not in METHODS:
        raise HybridError(f"method {name!r} is unknown: choose one of {', '.join(METHODS)}")
    return METHODS[name]


def judged(labelled: bool) -> tuple[str, ...]:
    """Return the methods that have a number: without labels, none that has only an accuracy."""
    return tuple(name for name, each in METHODS.items() if labelled or set(each.metrics) != {"acc"})
