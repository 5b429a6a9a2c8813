"""Figure 6 of an experiment: one y with several w, one w with several y, and the classes that judges see in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hybrid import released
from hybrid.experiments import few
from hybrid.judging import given
from hybrid.judging.classifier import Classifier, Judge
from hybrid.judging.probe import fitted
from hybrid.models.base import stream

if TYPE_CHECKING:
    from hybrid.experiments.experiment import Experiment


def study(experiment: Experiment) -> dict:
    """Return the figure's data with the judgements of the linear probe on y and of a classifier of pixels, trained first.

    Without labels there are no judgements.
    """
    own = not _uses_released(experiment)
    model = experiment.model("hybridplus") if own else released.pretrained(experiment.slug, experiment.device)
    images, seed, config = experiment.images, experiment.seed, experiment.profile.evaluation
    judges = {}
    if images.labelled:
        judge = few.clipped(Judge.of(experiment.profile), len(images.train_images))
        torch.manual_seed(stream(seed, "classifier"))
        untrained = Classifier(images.classes, judge)
        classifier = experiment.run("hybridplus").stage("classifier", untrained, judge, lambda: images.train_images)
        probe = fitted(model.features(images.train_images)["y"], images.train_labels)
        judges = {"probe": lambda pictures: probe(model.features(pictures)["y"]), "classifier": classifier.predict}
    return given.study(model, images, judges, config.sampler_steps, config.eta, seed, **config.solver)


def provenance(experiment: Experiment) -> dict:
    """Return the provenance of the figure's data. If the weights are the released ones, it says so."""
    origin = experiment.provenance("hybridplus", judging=("given", "classifier"))
    if not _uses_released(experiment):
        return origin
    trained = released.about(experiment.slug)["provenance"]["trained"]
    return origin | {"weights": f"released {experiment.slug}, in half precision", "trained": trained}


def _uses_released(experiment: Experiment) -> bool:
    """Return whether Hybrid+ is not trained here, but its saved outcome is that of the released weights."""
    if experiment.is_trained("hybridplus") or experiment.slug not in released.names():
        return False
    kept = experiment.kept_outcome("hybridplus")
    return kept is not None and kept["metrics"] == released.about(experiment.slug)["metrics"]
