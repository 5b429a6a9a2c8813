"""Export the weights of a trained hybrid for release, with a model card."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from jinja2 import Environment, PackageLoader
from safetensors.torch import save_file

from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import method
from hybrid.judging import evaluate, interpolations
from hybrid.machine.files import write_atomically, write_text
from hybrid.profiles.schema import describe
from hybrid.released import EXAMPLES, FOLDER, KEPT, SUMS, sha256, sums


def release(experiment: Experiment, folder: Path = FOLDER) -> Path:
    """Write `folder`/<data set>.safetensors and its model card <data set>.md, and return the path of the weights.

    Floating-point values are rounded to half precision; the card states the error after rounding.
    """
    model, images = experiment.model("hybridplus"), experiment.images
    first, judged = experiment.metrics("hybrid"), experiment.metrics("hybridplus")
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
    path, metadata = folder / f"{experiment.slug}.safetensors", {"about": json.dumps(known)}
    write_atomically(path, lambda temporary: save_file(tensors | {KEPT: shown}, temporary, metadata))
    listed = sums(folder) | {path.name: sha256(path)}
    write_text(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sorted(listed.items())))
    template = Environment(loader=PackageLoader("hybrid.workflows", "")).get_template("card.md")
    card = template.render(
        name=experiment.slug,
        profile=experiment.profile.name,
        megabytes=path.stat().st_size / 1e6,
        parameters=sum(p.numel() for p in model.parameters()),
        minutes={stage: seconds / 60 for stage, seconds in made["training_seconds"].items()},
        **known,
    )
    write_text(path.with_suffix(".md"), card)
    return path
