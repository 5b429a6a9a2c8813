"""Screening: test a change of one stage of the hybrid, or of a baseline, in a short training, without using the test set.

A stage is trained on nine tenths of the train set. It is judged on the last tenth, or its samples are compared with the nine
tenths, so the results may be used to choose settings. Each run appends a line with its provenance to a log. A stage that a
change does not affect is not trained again.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from hybrid import paths
from hybrid.data import pixels
from hybrid.data.datasets import NAMED, ImageSet, split
from hybrid.errors import HybridError
from hybrid.experiments import few
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import Run, method, on_latents, train_representation
from hybrid.judging import frechet
from hybrid.judging.evaluate import evaluate, squared_error
from hybrid.judging.probe import linear_probe
from hybrid.machine import distributed
from hybrid.machine.provenance import machine, provenance
from hybrid.model import EncoderModel, HybridModel
from hybrid.models.base import Trainable
from hybrid.models.latent_ddim import LatentDDIM, PlusPrior, SemanticPrior, TexturePrior
from hybrid.profiles import schema
from hybrid.profiles.schema import describe
from hybrid.released import open_model
from hybrid.training import checkpoint
from hybrid.training.history import active_seconds, append, closing, read_history

HELD_OUT = 0.1  # fraction of the train set for judging
SAMPLES = 2000  # largest number of images for a prior's distances
BASELINES = ("nvae", "ddim", "biggan")
STAGES = ("representation", "prior", "plus", *BASELINES)
PARTS = {"p(z)": "prior", "p(y)": "semantic", "p(w | y)": "texture"}  # name in `diagnose.losses` -> folder


def screen(experiment: Experiment, log: Path, stage: str = "representation", run: str | Path | None = None) -> dict:
    """Train a stage of the experiment's profile, append its results as a line to `log` (.jsonl), and return that line.

    `stage`: `representation`, the first (see `judge_representation`); `prior`, the DDIM on z; `plus`, Hybrid+'s p(y) and
    p(w | y) (for both, see `judge_prior`); or a baseline (see `judge_baseline`). A prior is trained on codes of the profile's
    first stage, or of `run`: released weights or a run's folder. That encoder may have seen the whole train set. The line's
    `seconds` are those of training without pauses, per stage. Raises TimeUp if the experiment's time is up, and HybridError
    if the stage or run is invalid.
    """
    if stage not in STAGES:
        raise HybridError(f"stage {stage!r} is unknown: choose one of {', '.join(STAGES)}")
    if run is not None and stage in BASELINES:
        raise HybridError(f"run = {str(run)!r} has codes for a prior to be trained on, and {stage} needs none: leave it out")
    if run is not None and stage == "representation":
        raise HybridError(f"run = {str(run)!r} provides the first stage, so it is not trained: give stage prior or plus")
    images = held_out(experiment.images)
    if experiment.dataset not in NAMED:
        experiment = copy.copy(experiment)
        experiment.profile = few.clipped(experiment.profile, len(images.train_images))
    config = experiment.profile.hybrid.representation
    if stage in ("prior", "plus") and run is None and not config.alpha:
        raise HybridError(
            "hybrid.representation.alpha = 0.0: without a decoder the prior's samples cannot be judged as images; "
            "give a weight above 0"
        )
    if stage == "representation":
        images.demand_classes()
    folders = {}
    if stage in BASELINES:
        model, folders["model"] = _baseline(experiment, images, stage)
    elif run is None:
        training = _run(experiment, images, describe(config))
        model = train_representation(training, config)
        folders["representation"] = training.folder / "representation"
    else:
        model = open_model(run, experiment.device)
    if stage == "representation":
        found = judge_representation(model, images, experiment.seed)
    elif stage in BASELINES:
        found = judge_baseline(model, stage, images, experiment.profile.evaluation, experiment.seed)
    else:
        prior, trained = _priors(experiment, images, model, stage)
        folders |= trained
        model = HybridModel(model.encoder, model.decoder, prior)
        found = judge_prior(model, images, experiment.profile.evaluation, experiment.seed, trained)
    loaded = {name: checkpoint.load(folder / "checkpoint.pt") for name, folder in folders.items()}
    states = {name: state for name, state in loaded.items() if state is not None}
    seconds = {name: round(active_seconds(read_history(folders[name] / "history.jsonl"))[-1].item()) for name in states}
    origins = {name: state["provenance"] for name, state in states.items()}
    first = stage == "representation"
    line = {
        "profile": experiment.profile.name,
        "dataset": experiment.slug,
        "seed": experiment.seed,
        **({} if first else {"stage": stage}),
        **({} if run is None else {"run": str(run)}),
        **found,
        "seconds": seconds[stage] if first else seconds,
        "provenance": origins[stage] if first else provenance(**machine(experiment.device), trained=origins),
    }
    if distributed.rank() == 0:
        append(log, line)
    return line


def judge_representation(model: EncoderModel, images: ImageSet, seed: int) -> dict:
    """Return `acc_y`, the linear accuracy on y in percent, and, if there is a decoder, `mse`, in 1e-3 per dimension on [0, 1].

    Both are measured on the held-out images.
    """
    y, held_y = model.features(images.train_images)["y"], model.features(images.test_images)["y"]
    labels, held_labels, sources = images.train_labels, images.test_labels, images.train_sources
    probe = distributed.on_rank_zero(lambda: linear_probe(y, labels, held_y, held_labels, seed=seed, sources=sources))
    found = {"acc_y": round(probe.accuracy, 2)}
    if isinstance(model, HybridModel):
        found["mse"] = round(squared_error(model.reconstruct(images.test_images), images.test_images), 3)
    return found


def judge_baseline(model: nn.Module, name: str, images: ImageSet, config: schema.Evaluation, seed: int) -> dict[str, float]:
    """Return the baseline's numbers of `judging.evaluate.evaluate`: those of images on the held-out ones, those of samples
    against the train images of `images`."""
    few = replace(config, samples=min(SAMPLES, config.samples), witness=False)
    judged = evaluate(model, method(name).metrics, images, few, seed, calibrate=False)
    return {metric: round(value, 4) for metric, value in judged["metrics"].items()}


def judge_prior(
    model: HybridModel, images: ImageSet, config: schema.Evaluation, seed: int, trained: dict[str, Path]
) -> dict[str, dict]:
    """Return a prior's losses and the distances of its samples.

    `losses`, for each loss of the prior: `train`, at the end of training (noisy: the mean over a quarter of an epoch);
    `held_out`, on the held-out images; `gaussian`, of the best Gaussian predictor. The other entries are distance, kernel
    distance, precision and recall of `count` images against the train images of `images`: `samples`; `reconstructions` of
    held-out images, the limit for samples; and `real_y`, with w sampled given y of held-out images, if the prior can do that.

    `trained`: the folder of each of the prior's stages.
    """
    from hybrid.judging import diagnose  # imports pandas and matplotlib

    steps, eta, count = config.sampler_steps, config.eta, min(SAMPLES, config.samples)
    held = images.test_images[:count]  # in random order
    real = model.encode(held)
    sets = {"samples": model.sample(count, steps, eta, seed, **config.solver), "reconstructions": model.decode(real)}
    if isinstance(model.prior, PlusPrior):
        sets["real_y"] = model.sample_given(model.split(real)[0], steps, eta, seed, **config.solver)
    codes = model.encode(images.train_images[: diagnose.CODES])
    latents = torch.stack([real, model.encode(held.flip(3))], dim=1)  # (N, 2, 6, 16, 16)

    def judge() -> dict[str, dict]:
        losses, last = {}, {name: closing(read_history(folder / "history.jsonl")) for name, folder in trained.items()}
        for name, row in diagnose.losses(model, codes, latents, seed).dropna(subset="prior").iterrows():
            part, key = name.split(": ")
            values = {"train": last[PARTS[part]][key], "held_out": row["prior"], "gaussian": row["Gaussian"]}
            losses[name] = {kind: round(value, 4) for kind, value in values.items() if value == value}  # no nan
        network = frechet.load_network("efficientnet_lite0", images.train_images.device)
        reference = frechet.reference(network, images.train_images, f"{images.sha256} train", paths.cache())
        compared = {name: reference.compare(pixels.to_uint8(x)) for name, x in sets.items()}
        return {"losses": losses} | {
            name: {"count": len(sets[name])} | {key: round(value, 4) for key, value in values.items()}
            for name, values in compared.items()
        }

    return distributed.on_rank_zero(judge)


def _baseline(experiment: Experiment, images: ImageSet, name: str) -> tuple[nn.Module, Path]:
    """Train a baseline; return it and its folder, which does not depend on NVAE's temperature, a setting for sampling only."""
    wanted = method(name).config(experiment.profile)
    config = replace(wanted, temperature=1.0) if isinstance(wanted, schema.NVAE) else wanted
    run = _run(experiment, images, name, describe(config))
    model = method(name).train(run, config)
    model.config = wanted
    return model, run.folder / "model"


def _priors(experiment: Experiment, images: ImageSet, model: HybridModel, stage: str) -> tuple[nn.Module, dict[str, Path]]:
    """Train the prior of z; return it and the folder of each of its stages.

    The folder depends on the stage's config and on the encoder's weights, but not on settings for sampling only. So another
    guidance or another p(w | y) does not train p(y) again.
    """
    weights, folders = checkpoint.digest(model.encoder.state_dict()), {}

    def train(name: str, build, config) -> Trainable:
        run = _run(experiment, images, weights, describe(config))
        folders[name] = run.folder / name
        return on_latents(run, model, name, build, config, {"weights": weights})

    if stage == "prior":
        return train("prior", LatentDDIM, experiment.profile.hybrid.prior), folders
    config = experiment.profile.plus
    semantic = train("semantic", SemanticPrior, config.y)
    texture = train("texture", TexturePrior, replace(config.w, guidance=1.0))
    texture.config = config.w  # now with guidance
    return PlusPrior(semantic, texture), folders


def _run(experiment: Experiment, images: ImageSet, *what) -> Run:
    """Return a run in a folder that all screens with the same images and the same plain values `what` share."""
    digest = hashlib.sha256(json.dumps([images.sha256, *what]).encode()).hexdigest()[:16]
    folder = paths.runs("screen", images.name) / f"seed{experiment.seed}" / digest
    return Run(experiment.profile, images, experiment.seed, folder, experiment.clock)


def held_out(images: ImageSet) -> ImageSet:
    """Split the train set into two parts, the same for every seed. The smaller one replaces the test set."""
    sources, device = images.train_sources, images.train_images.device
    held, kept = (part.to(device) for part in split(len(images.train_images), HELD_OUT, seed=0, sources=sources))
    return replace(
        images,
        name=f"{images.name}-held-out",
        train_images=images.train_images[kept],
        train_labels=images.train_labels[kept],
        test_images=images.train_images[held],
        test_labels=images.train_labels[held],
        train_sources=None if sources is None else sources[kept.cpu()],
    )
