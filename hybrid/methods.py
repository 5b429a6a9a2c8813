"""The methods that Table 1 compares: how each is trained, and which of the table's numbers it has.

A method is trained in stages, each a run of the one training loop in a folder of its own, and gives a model to judge:
a module with `features`, and with `reconstruct` and `sample` where the method can.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hybrid import checkpoint, profiles
from hybrid.data import ImageSet
from hybrid.errors import HybridError
from hybrid.latent import LatentDDIM
from hybrid.model import HybridModel
from hybrid.profiles import Profile, describe, restore
from hybrid.representation import Representation
from hybrid.train import Clock, Trainable, finished, stream, train


@dataclass(frozen=True)
class Run:
    """One training of one method: what is trained, on what, where it is kept."""

    profile: Profile
    images: ImageSet  # on the device
    seed: int
    folder: Path
    clock: Clock

    def stage(self, name: str, trainable: Trainable, config, data: Callable[[], Tensor], **about) -> Trainable:
        """A stage trained to its end, or loaded where it has come to it; `data` is asked for only in the first case.

        The checkpoint says of itself, beside `about`, what it takes to build the model again and to refuse another's.
        """
        folder = self.folder / name
        about |= {"config": describe(config), "dataset": self.images.name, "sha256": self.images.sha256, "seed": self.seed}
        trainable.to(self.images.train_images.device)
        return finished(trainable, folder, about) or train(
            trainable,
            data(),
            self.images.train_labels,
            config.training,
            folder,
            seed=self.seed,
            about=about,
            clock=self.clock,
        )


@dataclass(frozen=True)
class Method:
    name: str  # in folders and tables
    title: str  # as the paper's Table 1 writes it
    metrics: tuple[str, ...]  # of mse, fid, acc: those it can have at all; the others get a dash
    stages: tuple[str, ...]  # its folders of checkpoint and history
    train: Callable[[Run], nn.Module]  # whatever of it is not trained yet


def train_hybrid(run: Run) -> HybridModel:
    """Autoencoder and contrast, then the DDIM on the frozen z."""
    config = run.profile.hybrid
    torch.manual_seed(stream(run.seed, "representation"))
    representation = Representation(config.representation)
    representation = run.stage("representation", representation, config.representation, lambda: run.images.train_images)
    model = HybridModel(representation.encoder, representation.decoder)
    torch.manual_seed(stream(run.seed, "prior"))
    prior = LatentDDIM(config.prior)

    def latents() -> Tensor:
        images = run.images.train_images
        both = torch.stack([model.encode(images), model.encode(images.flip(3))], dim=1)  # (N, 2, 6, 16, 16)
        prior.standardise(both)
        return both

    prior = run.stage("prior", prior, config.prior, latents, latents_of=describe(config.representation))
    return HybridModel(representation.encoder, representation.decoder, prior)


STAGES = {"representation": (profiles.Representation, Representation), "prior": (profiles.Diffusion, LatentDDIM)}

METHODS = {
    method.name: method
    for method in (Method("hybrid", "Hybrid", ("mse", "fid", "acc"), ("representation", "prior"), train_hybrid),)
}


def method(name: str) -> Method:
    """The method of that name. Raises HybridError, listing the right ones."""
    if name not in METHODS:
        raise HybridError(f"method {name!r} is unknown: choose one of {', '.join(METHODS)}")
    return METHODS[name]


def load(path: str | Path, device: torch.device | str = "cpu") -> HybridModel:
    """The trained hybrid in a run's folder, such as runs/demo/digits/hybrid/seed0, ready for use.

    Raises HybridError where there is none. A prior that is not trained to its end is left out.
    """
    device = torch.device(device)
    stages = {}
    for name, (config, build) in STAGES.items():
        state = checkpoint.load(Path(path) / name / "checkpoint.pt", device)
        if state is not None and state["step"] == state["steps"]:
            stage = build(restore(config, state["about"]["config"]))
            stage.load_state_dict(state["weights"])
            stages[name] = stage.to(device=device, memory_format=torch.channels_last)
    if "representation" not in stages:
        raise HybridError(f"{path} holds no trained hybrid: give a run's folder, such as runs/demo/digits/hybrid/seed0")
    representation = stages["representation"]
    return HybridModel(representation.encoder, representation.decoder, stages.get("prior"))
