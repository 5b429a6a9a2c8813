"""The training work of each method, beside Table 1: minutes, images seen and operations, so that one sees whether it is fair.

Operations are those of convolutions, matrix products and attention in the steps of the training, forward and backward, a
multiplication with its addition being two, as torch counts them. They follow from the profile and the number of train images.
"""

from __future__ import annotations

import copy

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from hybrid.experiments.experiment import Experiment
from hybrid.experiments.methods import METHODS, method, preview
from hybrid.experiments.table import DASH
from hybrid.machine.provenance import trained_on
from hybrid.models.autoencoder import LATENT_CHANNELS, LATENT_SIZE
from hybrid.models.base import Trainable
from hybrid.models.latent_ddim import LatentDDIM, SemanticPrior, TexturePrior

OF_CODES = (LatentDDIM, SemanticPrior, TexturePrior)  # are trained on latents, the others on images
COUNTED = 8  # images of a player's step whose operations are counted; these are proportional to the images, to 0.1 %
COLUMNS = {
    "method": "method",
    "images": "images seen, 1e6",
    "operations": "operations, 1e15",
    "minutes": "minutes",
    "device": "on",
}


def table(experiment: Experiment, judged: dict[str, dict]) -> pd.DataFrame:
    """A row for each method judged (name -> outcome): images seen, operations, minutes, and the device of these.

    Hybrid+ has the hybrid's first stage among its own, which is trained once for both.
    """
    rows = []
    for name, outcome in judged.items():
        stages = of(experiment, name)
        origin = outcome["provenance"]
        seconds = dict(origin.get("training_seconds", {}))
        origins = [origin]
        if first := method(name).first:
            before = judged.get(first, {}).get("provenance", {})
            seconds |= {"representation": before.get("training_seconds", {}).get("representation")}
            shared = (before.get("trained") or {}).get("representation", before)
            origins = [shared, origin] if shared else origins
        known = all(seconds.get(stage) for stage in stages)
        rows.append(
            {
                "method": METHODS[name].title,
                "images": sum(images for images, _ in stages.values()) / 1e6,
                "operations": sum(operations for _, operations in stages.values()) / 1e15,
                "minutes": sum(seconds[stage] for stage in stages) / 60 if known else float("nan"),
                "device": trained_on(*origins),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def formatted(rows: pd.DataFrame) -> pd.DataFrame:
    """The table as texts."""
    shown = rows.copy()
    for name in ("images", "operations", "minutes"):
        shown[name] = [DASH if pd.isna(value) else f"{value:.3g}" for value in rows[name]]
    return shown.rename(columns=COLUMNS)


def markdown(rows: pd.DataFrame) -> str:
    """The table as Markdown, with a legend."""
    return f"{formatted(rows).to_markdown(index=False, disable_numparse=True)}\n\n{legend(rows)}\n"


def legend(rows: pd.DataFrame) -> str:
    """The table's legend."""
    return LEGEND + (PLUS if METHODS["hybridplus"].title in set(rows["method"]) else "")


LEGEND = (
    "The work of training each method. Images seen are steps times images per step, over all stages. Operations are those of "
    "convolutions, matrix products and attention, forward and backward. Minutes are those of the named device: compare only "
    "minutes of the same device."
)
PLUS = " The work of Hybrid+ includes the hybrid's first stage, which is trained once for both."


def of(experiment: Experiment, name: str) -> dict[str, tuple[float, float]]:
    """Images seen and operations of each stage of a method."""
    stages, train_images = {}, experiment.images.train_images
    for folder, planned in preview(experiment.run(name), name).items():
        seen = planned.training.steps(len(train_images)) * planned.training.batch
        images = COUNTED * max(len(planned.trainable.players) - 1, 1)  # BigGAN's discriminator steps divide them among them
        stages[folder.name] = float(seen), seen / images * operations(planned.trainable, images)
    return stages


def operations(module: Trainable, images: int) -> int:
    """The mean operations of a training step of so many images."""
    module = copy.deepcopy(module).train()
    shape = (2, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE) if isinstance(module, OF_CODES) else (3, 32, 32)
    device = next(module.parameters()).device
    batch = torch.zeros(images, *shape, dtype=torch.float32 if len(shape) == 4 else torch.uint8, device=device)
    labels = torch.zeros(images, dtype=torch.int64, device=device)

    def counted(_: float) -> int:
        with FlopCounterMode(display=False) as counter:
            for player in module.players:
                with torch.autocast(device.type, torch.bfloat16):  # else a CPU has ways with fewer operations
                    loss = module.loss(player, batch, labels)[0]
                loss.backward()
        return counter.get_total_flops()

    return round(module.mean_over_phases(counted))
