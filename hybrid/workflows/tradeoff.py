"""Measure the paper's trade-off for values of alpha, from 0 (MoCo-v2) to 1 (an autoencoder), and for numbers of y channels.

For each value, the first stage is trained and then judged on the test set. The results are saved with their provenance in
results/<profile>/<data set>/tradeoff.json. You can stop the command at any time: saved results are not computed again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from hybrid.errors import HybridError
from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import Run, train_representation
from hybrid.experiments.store import as_json
from hybrid.judging import evaluate
from hybrid.machine import files
from hybrid.machine.provenance import machine, provenance
from hybrid.models.autoencoder import LATENT_CHANNELS
from hybrid.profiles.schema import Representation, describe
from hybrid.training import checkpoint
from hybrid.training.history import read_history

FACTORS = (0.01, 0.1, 0.3, 3.0, 10.0, 100.0)  # values of alpha, relative to the profile's
COLUMNS = ("sweep", "alpha", "y_channels", "seed", "acc_y", "acc_w", "mse", "i_cpc", "i_ba")


def variants(config: Representation) -> dict[tuple[str, float], Representation]:
    """Return the configs by (sweep, value).

    In the sweep `alpha`, 0 is MoCo-v2 and 1 the autoencoder alone. In the sweep `y_channels`, 6 means the contrast on all of
    z. Both sweeps include the profile's own value.
    """
    alphas = {0.0: config, 1.0: config, config.alpha: config} | {config.alpha * factor: config for factor in FACTORS}
    swept = {("alpha", alpha): replace(config, alpha=alpha) for alpha in sorted(alphas) if alpha <= 1}
    for channels in range(1, LATENT_CHANNELS):
        swept["y_channels", channels] = replace(config, autoencoder=replace(config.autoencoder, y_channels=channels))
    swept["y_channels", LATENT_CHANNELS] = replace(config, contrast=replace(config.contrast, on="z"))
    return swept


def tradeoff(experiment: Experiment) -> Path:
    """Train and judge all `variants` without a saved result for the experiment's seed, and return the file.

    Raises TimeUp if the experiment's time is up.
    """
    kept = kept_rows(experiment)
    for (sweep, value), config in variants(experiment.profile.hybrid.representation).items():
        described = as_json(describe(config))
        if any((row["sweep"], row["config"], row["seed"]) == (sweep, described, experiment.seed) for row in kept):
            continue
        same = [row for row in kept if (row["config"], row["seed"]) == (described, experiment.seed)]
        found = same[0] if same else _judged(experiment, f"{sweep}{value:g}", config) | {"config": described}
        kept.append(found | {"sweep": sweep, "seed": experiment.seed})
        files.write_json(file(experiment), kept)
    return file(experiment)


def file(experiment: Experiment) -> Path:
    return experiment.results / "tradeoff.json"


def kept_rows(experiment: Experiment) -> list[dict]:
    """Return the saved rows. Each has the `COLUMNS`, `config` and `provenance`."""
    return files.read_json(file(experiment)) or []


def read(experiment: Experiment) -> pd.DataFrame:
    """Return the saved `COLUMNS` for all seeds. Raises HybridError if there are none.

    `acc_y` and `acc_w` are in percent, `mse` in 1e-3 per dimension. Both bounds are in nats, on augmented views, averaged over
    the last quarter of an epoch.
    """
    if not (kept := kept_rows(experiment)):
        raise HybridError(f"{file(experiment)} does not exist: run hybrid tradeoff --profile {experiment.profile.name} first")
    return pd.DataFrame(kept).reindex(columns=list(COLUMNS))


def _judged(experiment: Experiment, name: str, config: Representation) -> dict:
    folder = experiment.runs / "tradeoff" / name / f"seed{experiment.seed}"
    images = experiment.images
    model = train_representation(Run(experiment.profile, images, experiment.seed, folder, experiment.clock), config)
    accuracies, _ = evaluate.accuracy(model, images, experiment.seed)
    last = read_history(folder / "representation" / "history.jsonl")[-1]
    found = {"alpha": config.alpha, "y_channels": config.autoencoder.y_channels, "acc_y": accuracies["acc_y"]}
    if config.contrast.on == "z":
        found |= {"y_channels": LATENT_CHANNELS, "acc_y": accuracies["acc_z"]}
    elif config.alpha:
        found["acc_w"] = accuracies["acc_w"]
    if config.alpha:
        found |= {
            "mse": evaluate.squared_error(model.reconstruct(images.test_images), images.test_images),
            "i_ba": last["i_ba"],
        }
    trained = checkpoint.origin(folder / "representation" / "checkpoint.pt")
    about = provenance(**machine(experiment.device), sha256=images.sha256, training_seconds=last["seconds"], trained=trained)
    return found | {"i_cpc": last["i_cpc"], "provenance": about}
