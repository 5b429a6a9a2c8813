"""`hybrid tradeoff`: the paper's trade-off as a curve, over alpha and over the number of y's channels.

alpha = 0 is MoCo-v2, and alpha = 1 is an autoencoder. Each row is a training of the first stage with one changed value. It is
evaluated on the test set and saved with its provenance in results/tradeoff/<profile>-<data set>.json, or in
<profile>-<data set>-contrast.json if only the contrast on z is compared. Saved rows are not trained again, so an interrupted
command continues.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pandas as pd

from hybrid import paths
from hybrid.errors import HybridError, counted, tell
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import Run, train_representation
from hybrid.experiments.store import Store, as_json
from hybrid.judging import evaluate
from hybrid.judging.probe import PENALTIES
from hybrid.machine import distributed, files
from hybrid.machine.fingerprint import modules, tell_difference, tell_or_refuse
from hybrid.machine.provenance import machine, provenance
from hybrid.models.autoencoder import LATENT_CHANNELS
from hybrid.profiles import overrides
from hybrid.profiles.schema import Representation, describe, updated
from hybrid.training import checkpoint
from hybrid.training.history import active_seconds, closing, read_history

Rows = Literal["all", "ends", "contrast"]
FACTORS = (0.01, 0.1, 10.0, 100.0)  # times the profile's alpha
ON = {"hybrid": "y", "contrast_on_z": "z"}  # methods, and what their contrast is on
SHOWN = ("seed", "mse", "acc_y")
COLUMNS = ("sweep", "alpha", "y_channels", "seed", "acc_y", "acc_w", "acc_z", "mse", "i_cpc", "i_ba", "m")


def variants(config: Representation, rows: Rows = "all") -> dict[tuple[str, float], Representation]:
    """Return the settings to train, by (sweep, value). The sweeps are "alpha" and "y_channels"; 6 channels are all of z.

    Both sweeps have the profile's own setting. `rows`: "contrast" for only that and the contrast on all of z, "ends" for these,
    MoCo-v2 and the autoencoder.
    """
    alphas = {config.alpha} | ({0.0, 1.0} if rows != "contrast" else set())
    alphas |= {config.alpha * factor for factor in FACTORS} if rows == "all" else set()
    swept = {("alpha", alpha): replace(config, alpha=alpha) for alpha in sorted(alphas) if alpha <= 1}
    for channels in range(1, LATENT_CHANNELS):
        if rows == "all" or channels == config.autoencoder.y_channels:
            swept["y_channels", channels] = replace(config, autoencoder=replace(config.autoencoder, y_channels=channels))
    swept["y_channels", LATENT_CHANNELS] = replace(config, contrast=replace(config.contrast, on="z"))
    return swept


def tradeoff(experiment: Experiment, rows: Rows = "all") -> Path:
    """Train and evaluate the `variants` that are not saved yet for the experiment's seed. Return the file's path.

    Raises TimeUp if the experiment's time limit ends, and HybridError if the profile has one end of the trade-off as its own.
    """
    path, own = file(experiment, rows), experiment.profile.hybrid.representation
    experiment.images.demand_classes()
    if not 0 < own.alpha < 1 or own.contrast.on != "y":
        raise HybridError(
            f"alpha = {own.alpha:g} with the contrast on {own.contrast.on}: the trade-off varies them itself, "
            "so give a profile with alpha between 0 and 1 and the contrast on y"
        )
    about = {"profile": experiment.profile.name, "sha256": experiment.sha256, "seed": experiment.seed}
    for (sweep, value), config in variants(own, rows).items():
        wanted = about | {"config": as_json(describe(config))}
        same = [row for row in distributed.on_rank_zero(lambda: _kept(path)) if _of(row) == wanted]
        if any(row["sweep"] == sweep for row in same):
            continue
        found = same[0] if same else wanted | _judged(experiment, f"{sweep}{value:g}", config)
        files.append_json(path, found | {"sweep": sweep})
    return path


def file(experiment: Experiment, rows: Rows = "all") -> Path:
    """Return the path of the rows. Rows of all overrides of a profile share a file, as overrides are too long for a name."""
    name = f"{experiment.profile.name.split(',')[0]}-{experiment.slug}"
    return paths.tradeoff() / f"{name}{'-contrast' * (rows == 'contrast')}.json"


def read(name: str, profile: str | None = None, own: Representation | None = None) -> pd.DataFrame:
    """Return the saved rows of all seeds under `name`, such as demo-digits, with the columns `COLUMNS`.

    If the home folder has none of the profile, they are those of the repository.
    `profile`: the profile as given to the command; by default, the one with the most rows. `own`: its first stage, if that is
    not the profile's own, because the data set is small. `acc_y` is the linear accuracy, in percent, on y, or on all of z where
    the contrast is on z. `acc_w` and `acc_z` are those on w and z. `mse` is in 1e-3 per dimension. Both bounds are in nats, for
    augmented train images, and means over the last quarter of an epoch or, in older rows, over its last steps. `i_ba` does not
    include h(X). `i_cpc` is missing at alpha = 1, where nothing trains the head. `m` is the number of its candidates. Raises
    HybridError if there are no rows.
    """
    folders = paths.tradeoff(), paths.REPOSITORY / "results" / "tradeoff"
    for path in (folder / f"{name}.json" for folder in folders):
        kept = _kept(path)
        saved = Counter(row["profile"] for row in kept)
        wanted = max(saved, key=saved.__getitem__, default=None) if profile is None else profile
        if rows := [row for row in kept if row["profile"] == wanted]:
            break
    if not rows:
        raise HybridError(f"{path} has no rows of profile {profile or name}: run hybrid tradeoff first")
    _tell_differences(path, rows)
    rows = _of_today(rows, own or overrides.profile(rows[0]["profile"]).hybrid.representation)
    if not rows:
        raise HybridError(f"{path} has only rows of an earlier version of this profile: run hybrid tradeoff again")
    return table(rows)


def _tell_differences(path: Path, rows: list[dict]) -> None:
    """Log a line if rows come from other code or from another precision, and one if they come from several precisions."""
    origins = [row.get("provenance", {}) for row in rows]
    every = [*origins, *(origin.get("trained") or {} for origin in origins)]
    precisions = sorted({origin["precision"] for origin in origins if origin.get("precision")})
    only = precisions[0] if len(precisions) == 1 else None
    tell_difference(str(path), {"trained": dict(enumerate(every)), "precision": only})
    if len(precisions) > 1:
        tell_or_refuse(f"{path} has rows in {' and in '.join(precisions)}", "means over seeds mix them")


def _of_today(rows: list[dict], own: Representation) -> list[dict]:
    """Return the rows that the profile, as it is now, would train. A line reports the others."""
    configs = [as_json(describe(config)) for config in variants(own).values()]
    found = [row for row in rows if _of(row)["config"] in configs]
    if len(found) < len(rows):
        left = counted(len(rows) - len(found), "row")
        tell(f"{left} of the trade-off belong to an earlier version of profile {rows[0]['profile']}: left out")
    return found


def table(rows: list[dict]) -> pd.DataFrame:
    """Return rows of a file as `read` does."""
    candidates = [row["config"]["contrast"]["queue"] for row in rows]
    found = pd.DataFrame(rows).assign(m=candidates).reindex(columns=list(COLUMNS))
    return found.assign(i_cpc=found["i_cpc"].where(found["alpha"] < 1))


def saved_lengths(experiment: Experiment) -> pd.DataFrame:
    """Return the `lengths` for all seeds: of the saved rows, and of the outcomes of the profile without overrides, that differ
    from the experiment's profile at most in the number of epochs."""
    configs = variants(experiment.profile.hybrid.representation, "contrast").values()
    own = [_but_epochs(as_json(describe(config))) for config in configs]
    same_images = experiment.profile.images
    rows = [
        row
        for row in _kept(file(experiment, "contrast"))
        if _but_epochs(_of(row)["config"]) in own and overrides.profile(row["profile"]).images == same_images
    ]
    folders = sorted(paths.results(experiment.profile.name.split(",")[0], experiment.slug).glob("seed*"))
    judged = {name: [kept for folder in folders if (kept := Store(folder).read(name))] for name in ON}
    same = {
        name: [kept for kept in found if _but_epochs(_own(kept)) in own and kept["key"].get("images") == same_images]
        for name, found in judged.items()
    }
    return lengths(rows, same)


def lengths(rows: list[dict], judged: Mapping[str, list[dict]]) -> pd.DataFrame:
    """Return the contrast on y and on all of z by the length of training: `epochs`, `on`, `seed`, `mse`, `accuracy`.

    `rows` are those of a file, `judged` the outcomes of the methods in `ON`. `accuracy` is that on what the contrast sees, in
    percent; `mse` is in 1e-3. A seed without both contrasts of a length is left out.
    """
    swept = [row for row in rows if row["sweep"] == "y_channels"]
    found = [(row["config"]["training"]["epochs"], row["config"]["contrast"]["on"], *map(row.get, SHOWN)) for row in swept]
    for name, on in ON.items():
        for kept in judged[name]:
            config, metrics = kept["provenance"]["profile"]["hybrid"]["representation"], kept["metrics"]
            found.append((config["training"]["epochs"], on, kept["key"]["seed"], metrics["mse"], metrics[f"acc_{on}"]))
    shown = pd.DataFrame(found, columns=["epochs", "on", "seed", "mse", "accuracy"])
    return shown[shown.groupby(["epochs", "seed"])["on"].transform("nunique") == len(set(ON.values()))]


def _own(outcome: dict) -> dict:
    """Return the config of the hybrid's first stage in the profile of an outcome, as JSON stores it."""
    return as_json(updated(Representation, outcome["provenance"]["profile"]["hybrid"]["representation"]))


def _but_epochs(config: dict) -> dict:
    return config | {"training": config["training"] | {"epochs": None}}


def _kept(path: Path) -> list[dict]:
    return files.read_json(path) or []


def _of(row: dict) -> dict:
    """Return what determines a row's numbers."""
    config = as_json(updated(Representation, row["config"]))
    return {"profile": row["profile"], "sha256": row["sha256"], "seed": row["seed"], "config": config}


def _judged(experiment: Experiment, name: str, config: Representation) -> dict:
    folder = experiment.runs / "tradeoff" / name / f"seed{experiment.seed}"
    images = experiment.images
    model = train_representation(Run(experiment.profile, images, experiment.seed, folder, experiment.clock), config)
    accuracies, _ = evaluate.accuracy(model, images, experiment.seed, experiment.profile.evaluation.penalties or PENALTIES)
    history = distributed.on_rank_zero(lambda: read_history(folder / "representation" / "history.jsonl"))
    last = closing(history)
    found: dict[str, float | None] = {"alpha": config.alpha, "y_channels": config.autoencoder.y_channels}
    found["acc_y"] = accuracies["acc_y"]
    if config.alpha:
        found |= {"acc_w": accuracies["acc_w"], "acc_z": accuracies["acc_z"], "i_ba": last["i_ba"]}
        found["mse"] = evaluate.squared_error(model.reconstruct(images.test_images), images.test_images)
    if config.contrast.on == "z":
        found |= {"y_channels": LATENT_CHANNELS, "acc_y": found["acc_z"], "acc_w": None}
    trained = checkpoint.origin(folder / "representation" / "checkpoint.pt")
    about = provenance(
        **machine(experiment.device),
        modules=modules("hybrid.judging.evaluate"),
        training_seconds=active_seconds(history)[-1],
        trained=trained,
    )
    return found | {"i_cpc": last["i_cpc"], "provenance": about}
