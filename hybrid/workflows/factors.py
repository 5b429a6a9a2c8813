"""Measure what the hybrid's y, w and z keep about an image, and save it with the experiment's other results."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from hybrid import paths, released
from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import contrast_only, train_representation
from hybrid.experiments.store import Key, Store, as_json
from hybrid.judging.factors import MOST, study
from hybrid.machine import distributed, files
from hybrid.machine.fingerprint import modules
from hybrid.machine.provenance import machine, provenance
from hybrid.model import EncoderModel, HybridModel
from hybrid.models.base import stream
from hybrid.models.hybrid import Representation
from hybrid.profiles import schema
from hybrid.profiles.schema import describe
from hybrid.training import checkpoint

MOCO = "y of MoCo-v2"  # the name of that part, see PARTS
JUDGING = 3  # increase it when a change of the judging code changes the numbers


def factors(experiment: Experiment, run: str | Path | None = None) -> pd.DataFrame:
    """Return `judging.factors.study` of the experiment's first stage: the saved result, or else train, measure and save it.

    `run`: released weights or a run's folder to measure instead of training; without it, MoCo-v2 is measured too. A saved
    result of other weights, of the hybrid or of MoCo-v2, is made again.
    Raises HybridError if the weights are of another profile or data set.
    """
    config, images = experiment.profile.hybrid.representation, experiment.slug
    values = {"dataset": images, "seed": experiment.seed, "method": describe(config), "most": MOST, "judging": JUDGING}
    if experiment.profile.images is not None:
        values["images"] = experiment.profile.images
    values["sha256"] = experiment.sha256
    key = Key(as_json(values), schema.Representation)
    store, name = Store(folder(experiment)), f"seed{experiment.seed}"
    origin, moco = _origin(experiment, run), _moco_origin(experiment, run)
    kept = store.outcome(name, key)
    if kept is None or not _is_of(kept, origin, moco, run):
        experiment.images.demand_classes()
        model, others = _model(experiment, run), {"y, untrained": _untrained(experiment)}
        if run is None:
            others[MOCO] = train_representation(experiment.run("mocov2"), contrast_only(experiment.profile))
        rows = distributed.on_rank_zero(lambda: study(model, others, experiment.images, experiment.seed).to_dict("records"))
        found = [{name: value for name, value in row.items() if not pd.isna(value)} for row in rows]  # JSON has no NaN
        about = provenance(
            **machine(experiment.device),
            modules=modules("hybrid.judging.factors"),
            seed=experiment.seed,
            sha256=experiment.images.sha256,
            trained=origin or _origin(experiment, run),
            moco=moco or _moco_origin(experiment, run),
        )
        metrics = {f"{row['factor']}, {row['part']}": row["score"] for row in found}
        kept = store.keep_outcome(name, key, {"metrics": metrics, "calibration": [], "rows": found, "provenance": about})
    return pd.DataFrame(kept["rows"])


def folder(experiment: Experiment) -> Path:
    """Return the folder of the results, a file per seed. It is not the folder of the methods' outcomes, because a new file
    there makes the notebooks run again."""
    return experiment.results / "factors"


def committed(profile: str, dataset: str, seed: int = 0) -> pd.DataFrame:
    """Return the results in the repository, wherever HYBRID_HOME is. Raises HybridError if there are none."""
    path = paths.REPOSITORY / "results" / profile / dataset / "factors" / f"seed{seed}.json"
    if (kept := files.read_json(path)) is None:
        raise HybridError(f"{path} is missing or damaged: restore it, for example with git checkout")
    return pd.DataFrame(kept["rows"])


def _model(experiment: Experiment, run: str | Path | None) -> HybridModel:
    if run is not None:
        return released.open_model(run, experiment.device)
    return train_representation(experiment.run("hybrid"), experiment.profile.hybrid.representation)


def _untrained(experiment: Experiment) -> EncoderModel:
    """Return the encoder with the weights that this seed's training starts from."""
    torch.manual_seed(stream(experiment.seed, "representation"))
    return EncoderModel(Representation(experiment.profile.hybrid.representation).encoder.to(experiment.device))


def _origin(experiment: Experiment, run: str | Path | None) -> dict | None:
    """Return the provenance of the weights' training, as JSON stores it; None if they must be trained first.

    Raises HybridError if `run` is of another profile, data set or seed, or does not tell them.
    """
    wanted = describe(experiment.profile.hybrid.representation)
    if run is not None and released.are_released(run):
        known = released.about(str(run))
        found, origin = describe(schema.restore(schema.Representation, known["config"]["representation"])), known["provenance"]
        if (origin["dataset"], found, origin["seed"]) != (experiment.slug, wanted, experiment.seed):
            raise HybridError(
                f"the released {run} was not trained by profile {experiment.profile.name} on {experiment.slug} with seed "
                f"{experiment.seed}: give the profile, data set and seed that its model card names"
            )
        return as_json({"released": str(run), **origin["trained"]["representation"]})
    state = _trained(experiment.run_folder("hybrid") if run is None else released.first_stage(run))
    if state is None and run is not None:
        raise HybridError(f"{run} does not tell what it was trained on: give released weights or a run's folder")
    if state is None:
        return None
    if run is not None:
        found = describe(schema.restore(schema.Representation, state["about"]["config"]))
        about = state["about"]
        if (about["sha256"], found, about["seed"]) != (experiment.images.sha256, wanted, experiment.seed):
            raise HybridError(
                f"{run} was not trained by profile {experiment.profile.name} on this {experiment.slug} with seed "
                f"{experiment.seed}: give the profile, data set and seed of that run"
            )
    return as_json(state["provenance"])


def _is_of(kept: dict, origin: dict | None, moco: dict | None, run: str | Path | None) -> bool:
    """Return whether a saved result is of the weights that are here, if any, and then has MoCo-v2 if it is wanted."""
    about = kept["provenance"]
    same = origin in (None, about.get("trained")) and moco in (None, about.get("moco"))
    return same and (origin is None or run is not None or MOCO in {row["part"] for row in kept["rows"]})


def _moco_origin(experiment: Experiment, run: str | Path | None) -> dict | None:
    """Return the provenance of MoCo-v2's training; None if `run` is measured without it, or if it must be trained first."""
    state = None if run is not None else _trained(experiment.run_folder("mocov2"))
    return None if state is None else as_json(state["provenance"])


def _trained(folder: Path) -> dict | None:
    """Return the checkpoint of a first stage whose training is complete."""
    return checkpoint.load_finished(folder / "representation" / "checkpoint.pt")
