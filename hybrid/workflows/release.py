"""Export the weights of a trained hybrid for release, with a model card."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader
from safetensors.torch import save

from hybrid.data.datasets import ImageSet
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import method
from hybrid.judging import evaluate, interpolations
from hybrid.judging.probe import layer
from hybrid.machine import distributed
from hybrid.machine.files import save_arrays, write_atomically, write_text
from hybrid.machine.provenance import trained_on
from hybrid.model import HybridModel
from hybrid.profiles.schema import describe
from hybrid.released import EXAMPLES, FOLDER, KEPT, PROBE, SUMS, sha256, sums

STAGES = {"representation": "first stage", "semantic": "model of y", "texture": "model of w given y"}


def release(experiment: Experiment, folder: Path = FOLDER, force: bool = False) -> Path:
    """Write `folder`/<data set>.safetensors and its model card <data set>.md, and return the path of the weights.

    Floating-point values are rounded to half precision; the card states the error after rounding. Raises HybridError if the
    file exists, unless `force` is set.
    """
    path = folder / f"{experiment.slug}.safetensors"
    if folder.exists() and not folder.is_dir():
        raise HybridError(f"out = {str(folder)!r} is a file: give a folder with --out")
    if path.exists() and not force:
        raise HybridError(f"{path} exists: give another folder with --out, or --force to replace it")
    model, images = experiment.model("hybridplus"), experiment.images
    first, judged = experiment.outcome("hybrid"), experiment.outcome("hybridplus")
    made = {stage: first["provenance"][stage] | judged["provenance"][stage] for stage in ("trained", "training_seconds")}
    made = {kind: {stage: of for stage, of in stages.items() if stage != "prior"} for kind, stages in made.items()}
    shown = images.test_images[interpolations.pairs(images, EXAMPLES // 2, experiment.seed).flatten()].cpu()
    tensors = {
        key: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for key, value in model.state_dict().items()
    }
    rounded = copy.deepcopy(model)
    rounded.load_state_dict(tensors)
    known = {
        "config": describe(method("hybridplus").config(experiment.profile)),
        "provenance": judged["provenance"] | made,
        "metrics": judged["metrics"],
        "half_mse": evaluate.squared_error(rounded.reconstruct(images.test_images), images.test_images),
        "examples_mse": evaluate.squared_error(rounded.reconstruct(shown), shown),
    }

    def write() -> None:
        write_probe(rounded, images, first, folder / f"{experiment.slug}{PROBE}")
        metadata = {"about": json.dumps(known)}
        write_atomically(path, lambda temporary: temporary.write_bytes(save(tensors | {KEPT: shown}, metadata)))
        list_sum(path)
        write_text(path.with_suffix(".md"), card(path, model, experiment.profile.name, known))

    distributed.on_rank_zero(write)
    return path


def card(path: Path, model: HybridModel, profile: str, known: dict) -> str:
    """Return the model card of released weights. `known`: what their file says about them."""
    made = known["provenance"]
    commits = {
        stage: list(dict.fromkeys((each["commit"] or "not recorded")[:12] for each in (origin, *origin.get("resumed", ()))))
        for stage, origin in made["trained"].items()
    }
    template = Environment(loader=PackageLoader("hybrid.workflows", ""), keep_trailing_newline=True).get_template("card.md")
    return template.render(
        name=path.stem,
        source=path.stem if path.parent == FOLDER else path.as_posix(),
        profile=profile,
        megabytes=path.stat().st_size / 1e6,
        parameters=sum(p.numel() for p in model.parameters()),
        minutes={stage: seconds / 60 for stage, seconds in made["training_seconds"].items()},
        titles=STAGES,
        commits=commits,
        devices={stage: trained_on(origin).replace(", ", " and ") for stage, origin in made["trained"].items()},
        **known,
    )


def write_probe(model: HybridModel, images: ImageSet, judged: dict, path: Path) -> None:
    """Write the linear layer that reads the classes off the train images' y, in half precision; nothing without labels.

    `judged`: the outcome whose probe on y chose the penalty.
    """
    if not images.labelled:
        return
    penalty = judged["details"]["probes"]["y"]["penalty"]
    weight, bias = (
        part.cpu().numpy() for part in layer(model.features(images.train_images)["y"], images.train_labels, penalty)
    )
    arrays = {"weight": weight.astype(np.float16), "bias": bias.astype(np.float32), "classes": np.array(images.class_names)}
    save_arrays(path, arrays)
    list_sum(path)


def list_sum(path: Path) -> None:
    """Write a file's digest into the list beside it."""
    listed = sums(path.parent) | {path.name: sha256(path)}
    write_text(path.parent / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sorted(listed.items())))
